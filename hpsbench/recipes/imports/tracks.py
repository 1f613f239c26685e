"""From the rows of a processed file to tracks: names without machine paths, frame numbers, images.

The structure of such a file lies in `vid_name` alone (in the images' folders for SPIN's and mmhuman3d's archives): equal
names one after another are one track, and a track's frames need not follow one another.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from hpsbench.errors import BadData, BrokenFile
from hpsbench.recipes.imports.facts import ProcessedFacts
from hpsbench.recipes.imports.files import Processed
from hpsbench.types import Array, IntArray

ROWS_AT_ONCE = 1 << 15
_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)
_COLUMNS = ("subject", "action", "camera")
_GENDERS = {
    "m": "male",
    "f": "female",
    "n": "neutral",
    "male": "male",
    "female": "female",
    "neutral": "neutral",
}


@dataclass(slots=True)
class FileTrack:
    """One track of a processed file.

    Attributes:
        name: its `vid_name` without the machine's path; what its images say where there is no `vid_name`.
        spans: rows of the file, first and last + 1, in frame order.
        numbers: the frame numbers of each span, as the dataset counts.
        ordinal: 0, or how many tracks of this name came before.
        image: the first, without the machine's path; None where the file names none.
        image_source: with `{frame_id}`, or None where the file tells none or their numbers are not the frames'.
        gender: `male`, `female`, `neutral`, or None where the file doesn't say.
        info: sequence, person, subject, action, camera, as far as the name tells.
    """

    name: str
    spans: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[IntArray] = field(default_factory=list)
    ordinal: int = 0
    image: str | None = None
    image_source: str | None = None
    gender: str | None = None
    info: dict[str, str] = field(default_factory=dict)

    @property
    def frame_id(self) -> IntArray:
        """(T,) frame numbers."""
        return np.concatenate(self.numbers)

    @property
    def rows(self) -> IntArray:
        """(T,) rows of the file."""
        return np.concatenate([np.arange(start, stop) for start, stop in self.spans])


@dataclass(frozen=True, slots=True)
class Tracks:
    """All tracks of a file.

    Attributes:
        tracks: in the order in which they begin in the file.
        gaps_known: whether the file numbers its frames; else rows that follow one another need not be frames that do.
        rejoined: runs of rows that go on with a track after rows of another one.
        restarted: runs whose name was there before but whose numbers begin again: tracks of their own.
        step: distance of neighbouring frames of the file: the commonest one. None where no track has two.
    """

    tracks: list[FileTrack]
    gaps_known: bool
    rejoined: int
    restarted: int
    step: int | None


@dataclass(slots=True)
class _Run:
    """Rows that follow one another, of one full name and increasing numbers."""

    full_name: str
    start: int
    stop: int
    numbers: list[IntArray]
    image: str | None
    templates: set[str | None]
    genders: set[str | None]


def find_tracks(file: Processed, facts: ProcessedFacts) -> Tracks:
    """The tracks of a processed file, read in slices.

    A name that comes back after another one goes on with its track where the frame numbers do, and a new clip begins
    where some are missing; where they start again, or where the file has no numbers, it is a track of its own.

    Raises:
        BrokenFile: names that are not text, image names without a number where they are needed.
        BadData: frame numbers that do not count frames.
    """
    numbered = _number_source(file, facts) is not None
    found: list[FileTrack] = []
    last: dict[str, FileTrack] = {}
    rejoined = restarted = runs = 0
    for run in _runs(file, facts):
        runs += 1
        track = last.get(run.full_name)
        if track is not None and numbered and _goes_on(track, run):
            track.spans.append((run.start, run.stop))
            track.numbers.append(np.concatenate(run.numbers))
            rejoined += 1
            if _source(run) != track.image_source:
                track.image_source = None
            continue
        ordinal = 0 if track is None else track.ordinal + 1
        restarted += track is not None
        numbers = np.concatenate(run.numbers)
        track = FileTrack(
            run.full_name, [(run.start, run.stop)], [numbers], ordinal, run.image, _source(run), _gender(run)
        )
        if not numbered and track.image_source is None:
            track.numbers = [numbers - numbers[0] + facts.offset]
        found.append(track)
        last[run.full_name] = track
    if runs > 100 and restarted > file.rows // 4:
        raise BadData(
            f"{file.path}: frame numbers begin again {restarted:,} times in {file.rows:,} rows; they do not count frames"
        )
    _name(found, facts, by_image="name" not in file.columns)
    return Tracks(found, numbered, rejoined, restarted, _step(found))


def _step(tracks: list[FileTrack]) -> int | None:
    """The commonest distance of a track's frames; of equally common ones the smallest."""
    counts: Counter[int] = Counter()
    for track in tracks:
        jumps, times = np.unique(np.diff(track.frame_id), return_counts=True)
        counts.update(dict(zip(jumps.tolist(), times.tolist(), strict=True)))
    return min(counts, key=lambda jump: (-counts[jump], jump), default=None)


def _goes_on(track: FileTrack, run: "_Run") -> bool:
    """Whether a run's frames come after the track's, and nothing says that it is another person."""
    return bool(run.numbers[0][0] > track.numbers[-1][-1]) and _gender(run) == track.gender


def _number_source(file: Processed, facts: ProcessedFacts) -> str | None:
    """The column that numbers the frames."""
    if "number" in file.columns:
        return "number"
    return "image" if "name" not in file.columns else None


def _runs(file: Processed, facts: ProcessedFacts) -> Iterator[_Run]:
    run: _Run | None = None
    source = _number_source(file, facts)
    for begin in range(0, file.rows, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, file.rows)
        images = _texts(file, "image", begin, end, facts)
        names = _texts(file, "name", begin, end, facts)
        if names is None:
            assert images is not None  # one of the two is there in every kind of file
            names = np.array([_sequence_of(image, facts) for image in images.tolist()])
        numbers = None if source is None else _numbers(file, source, begin, end, facts)
        genders = _texts(file, "gender", begin, end, facts)
        changes = names[1:] != names[:-1]
        if numbers is not None:
            changes |= np.diff(numbers) <= 0
        # The next person's frames may go on counting where those of the last one end.
        if genders is not None:
            changes |= genders[1:] != genders[:-1]
        starts = [0, *(np.flatnonzero(changes) + 1).tolist(), end - begin]
        for first, stop in pairwise(starts):
            name = str(names[first])
            own = None if numbers is None else numbers[first:stop]
            follows = run is not None and first == 0 and run.full_name == name
            if follows and own is not None:
                assert run is not None
                follows = bool(own[0] > run.numbers[-1][-1])
            if follows and genders is not None:
                assert run is not None
                follows = run.genders == {str(genders[0]).lower()}
            if not follows:
                if run is not None:
                    yield run
                image = None if images is None else str(images[first])
                run = _Run(name, begin + first, begin + first, [], image, set(), set())
            assert run is not None
            if own is None:
                own = np.arange(stop - first) + _first_number(run, facts) + (run.stop - run.start)
            run.numbers.append(own)
            run.stop = begin + stop
            if images is not None:
                run.templates |= _templates(images[first:stop], own)
            if genders is not None:
                run.genders |= {str(value).lower() for value in np.unique(genders[first:stop])}
    if run is not None:
        yield run


def _first_number(run: _Run, facts: ProcessedFacts) -> int:
    """Frames without numbers count from their first image, so that its name fits; from 0 without images."""
    parts = _LAST_NUMBER.match((run.image or "").rpartition("/")[2])
    return facts.offset if parts is None else int(parts[2])


def _texts(file: Processed, column: str, begin: int, end: int, facts: ProcessedFacts) -> Array | None:
    """Text of some rows, paths with forward slashes; images without what belongs to the machine."""
    if column not in file.columns:
        return None
    values = file.columns[column].read(begin, end)
    if values.dtype.kind == "S" or (values.dtype == object and isinstance(values[0], bytes)):
        try:
            values = np.array([value.decode() for value in values.tolist()])
        except UnicodeDecodeError as error:
            raise BrokenFile(
                f"{file.path}: {column} holds text that is not UTF-8, in rows {begin} to {end - 1}"
            ) from error
    if values.dtype.kind not in "UO" or not all(isinstance(value, str) for value in values.tolist()):
        raise BrokenFile(f"{file.path}: {column} holds {values.dtype} in row {begin}, expected text")
    if column == "image":
        values = np.array([_portable_image(value, facts) for value in values.tolist()])
    return values.astype(str)


def _portable_image(path: str, facts: ProcessedFacts) -> str:
    """The part of an image's path that is the same on every machine."""
    path = path.replace("\\", "/")
    found = re.search(f"(?:^|/)({facts.images})$", path)
    return found[1] if found else "/".join(path.split("/")[-2:])


def _sequence_of(image: str, facts: ProcessedFacts) -> str:
    """Which sequence an image belongs to: what `images` calls so, else its folder, else its name without the number."""
    found = re.fullmatch(facts.images, image)
    told = found.groupdict().get("sequence") if found else None
    if told is None and "/" not in image and (parts := _LAST_NUMBER.match(image)):
        told = parts[1].rstrip("_-. ")
    return told or image.rpartition("/")[0] or "images"


def _numbers(file: Processed, source: str, begin: int, end: int, facts: ProcessedFacts) -> IntArray:
    values = file.columns[source].read(begin, end)
    if values.dtype.kind in "iu":
        return values.astype(np.int64) + facts.offset
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        return values.astype(np.int64) + facts.offset
    numbers = []
    for row, value in enumerate(values.tolist(), start=begin):
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        parts = _LAST_NUMBER.match(text.replace("\\", "/").rpartition("/")[2])
        if parts is None:
            raise BrokenFile(f"{file.path}: row {row}: no frame number in {text!r}")
        numbers.append(int(parts[2]))
    return np.array(numbers, dtype=np.int64)


def _templates(images: Array, numbers: IntArray) -> set[str | None]:
    """Image paths with `{frame_id}` in place of the number; None among them where a number is not the frame's."""
    found: set[str | None] = set()
    for image, number in zip(images.tolist(), numbers.tolist(), strict=True):
        parts = _LAST_NUMBER.match(image)
        if parts is None or int(parts[2]) != number:
            return {None}
        before, after = (text.replace("{", "{{").replace("}", "}}") for text in (parts[1], parts[3]))
        width = f":0{len(parts[2])}d" if parts[2].startswith("0") and len(parts[2]) > 1 else ""
        found.add(f"{before}{{frame_id{width}}}{after}")
    return found


def _source(run: _Run) -> str | None:
    """The one template of a run. Numbers that fill their width look unpadded beside padded ones, and are not."""
    if None in run.templates:
        return None
    padded = {template for template in run.templates if template and "{frame_id:0" in template}
    chosen = padded or run.templates
    if len(chosen) != 1:
        return None
    bare = {re.sub(r"\{frame_id:0\d+d\}", "{frame_id}", template or "") for template in run.templates}
    return next(iter(chosen)) if len(bare) == 1 else None


def _gender(run: _Run) -> str | None:
    return _GENDERS.get(next(iter(run.genders)) or "") if len(run.genders) == 1 else None


def _name(tracks: list[FileTrack], facts: ProcessedFacts, *, by_image: bool) -> None:
    """Short names and what they tell; names that are the same without their folders keep as much as tells them apart."""
    full = list({track.name: None for track in tracks})
    short = _shortest(full, whole=by_image)
    for track in tracks:
        track.name = short[track.name]
        track.info = _parse(track, facts, by_image=by_image)


def _shortest(full: list[str], *, whole: bool) -> Mapping[str, str]:
    """Full names to names of as few last parts of the path as make them unique; folders of images keep all."""
    parts = {name: [part for part in name.replace("\\", "/").split("/") if part] or [name] for name in full}
    if whole:
        return {name: "_".join(pieces) for name, pieces in parts.items()}
    kept = dict.fromkeys(full, 1)
    while True:
        short = {name: "_".join(parts[name][-kept[name] :]) for name in full}
        count = Counter(short.values())
        longer = [name for name in full if count[short[name]] > 1 and kept[name] < len(parts[name])]
        if not longer:
            return short
        for name in longer:
            kept[name] += 1


def _parse(track: FileTrack, facts: ProcessedFacts, *, by_image: bool) -> dict[str, str]:
    """Sequence and person, and what else the name tells. Tracks by images are numbered in their sequence."""
    name = track.name.replace(".tfrecord-", "-")
    if by_image:
        found = re.fullmatch(facts.images, track.image or "")
        return {"sequence": name, "person": str(track.ordinal), **_columns(found, facts)}
    found = re.fullmatch(facts.track, name)
    told = _groups(found)
    sequence, person = told.get("sequence", name), told.get("person", "0")
    if track.ordinal:
        person = f"{person}~{track.ordinal + 1}"
    return {"sequence": sequence, "person": person, **_columns(found, facts)}


def _groups(found: re.Match[str] | None) -> dict[str, str]:
    return {key: value for key, value in (found.groupdict() if found else {}).items() if value is not None}


def _columns(found: re.Match[str] | None, facts: ProcessedFacts) -> dict[str, str]:
    """Columns of the clip table that a name tells, as a store of the raw files has them."""
    told = _groups(found)
    return {key: facts.values.get(key, {}).get(told[key], told[key]) for key in _COLUMNS if key in told}
