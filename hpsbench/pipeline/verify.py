"""`verify`: raw files against their recipe, and the clip store made from them; problems come with likely causes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpsbench.errors import HpsbenchError, MissingRawFiles
from hpsbench.pipeline.assemble import store_path
from hpsbench.pipeline.image_checks import ImageChecks
from hpsbench.pipeline.work import Progress, silent
from hpsbench.recipes.access import SYNTHETIC_MARK, RawRoot, find_raw
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.document import rows_in_words
from hpsbench.recipes.manifest import raw_manifest
from hpsbench.recipes.schema import Expected, Recipe
from hpsbench.recipes.sequences import (
    RawSequence,
    SequenceSkipped,
    files_beside,
    find_sequences,
    read_sequence,
)
from hpsbench.store.checks import Problem, verify_store
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import Track

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        dataset: key of the recipe.
        raw: folder of the raw files, or None if there are none.
        store: folder of the clip store, or None if there is none.
        synthetic: whether the data is; expected counts are for real data.
        sequences: raw sequences per split.
        skipped: reason -> sequences that the dataset's rule leaves out.
        unannotated: images without annotations, in the folders of those that have some; they are no rows.
        counts: expected counts, each with what was found.
        problems: errors and warnings.
    """

    dataset: str
    raw: str | None
    store: str | None
    synthetic: bool
    sequences: Mapping[str, int]
    skipped: Mapping[str, int]
    unannotated: int
    counts: Sequence[Mapping[str, Any]]
    problems: Sequence[Problem]

    @property
    def ok(self) -> bool:
        """Whether there are no errors; warnings are allowed."""
        return all(problem.severity != "error" for problem in self.problems)

    @property
    def remarks(self) -> list[str]:
        """What was left out or passed over by rule, as a user reads it."""
        said = [
            f"left out by the dataset's rule: {number} ({reason})" for reason, number in self.skipped.items()
        ]
        if self.unannotated:
            said.append(f"images without annotations, which are no rows: {self.unannotated:,}")
        return said

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}


def verify(
    dataset: str, root: str | Path, *, recipes: Path | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Check a dataset's raw files and its clip store, whichever are there. Nothing is written but a hash cache.

    Every raw sequence is read; images are counted and the first of each sequence measured, not decoded.

    Args:
        dataset: key of a recipe.
        root: data root.
        recipes: another folder with `datasets/*.toml`.
        progress: called as (items done, items, name).

    Raises:
        UnknownName: no such dataset.
        MissingData: no such root.
        MissingRawFiles: neither raw files nor a store of the dataset are there.
    """
    root, report = Path(root), progress or silent
    recipe = get_recipe(dataset, recipes)
    path = store_path(root, dataset)
    raw, skipped, images, found = None, Counter[str](), ImageChecks(), _Found()
    problems: list[Problem] = []
    sequences: list[RawSequence] = []
    try:
        raw = find_raw(recipe, root)
    except MissingRawFiles:
        if not path.exists():
            raise
    if raw is not None:
        sequences = find_sequences(recipe, raw.path)
        problems += _check_raw(recipe, raw, sequences, skipped, images, found, report)
    store = None
    if path.exists():
        problems += verify_store(path, lambda done, total, note: report(done, total, note))
        store = _opened(path)
        if store is not None and raw is not None:
            problems += _check_origin(recipe, raw, store, root)
    synthetic = raw.is_synthetic if raw is not None else bool(store is not None and store.synthetic)
    counts: list[dict[str, Any]] = []
    if not synthetic and store is not None:
        counts = _compare_counts(recipe, store)
    elif not synthetic and raw is not None:
        counts = found.compared(recipe)
    problems += [_count_problem(count, recipe, store) for count in counts if count["found"] != count["value"]]
    if store is not None and not synthetic:
        problems += _check_lengths(recipe, store)
    return VerifyReport(
        dataset=dataset, raw=None if raw is None else str(raw.path), store=str(path) if path.exists() else None,
        synthetic=synthetic, sequences=_per_split(recipe, sequences), skipped=dict(sorted(skipped.items())), unannotated=images.unannotated,
        counts=counts, problems=[_with_causes(problem, recipe) for problem in problems],
    )  # fmt: skip


def _per_split(recipe: Recipe, sequences: Sequence[RawSequence]) -> dict[str, int]:
    found = Counter(raw.split for raw in sequences)
    return {split: found[split] for split in recipe.splits}


def _opened(path: Path) -> ClipStore | None:
    try:
        return open_store(path)
    except HpsbenchError:
        return None


def _with_causes(problem: Problem, recipe: Recipe) -> Problem:
    known = tuple(defect.text for defect in recipe.defects if problem.kind in defect.explains)
    causes = (*problem.causes, *known)
    return replace(problem, causes=causes) if problem.severity == "error" or causes else problem


def _check_raw(
    recipe: Recipe,
    raw: RawRoot,
    sequences: Sequence[RawSequence],
    skipped: Counter[str],
    images: ImageChecks,
    found: "_Found",
    report: Progress,
) -> Iterator[Problem]:
    if not raw.is_synthetic:
        yield from _check_split_sizes(recipe, sequences)
    yield from _check_extra(recipe, raw, sequences)
    broken: dict[str, list[str]] = {}
    for done, sequence in enumerate(sequences, start=1):
        try:
            tracks = list(read_sequence(recipe, sequence))
            images.look(raw.path, tracks)
            found.add(tracks)
        except SequenceSkipped as reason:
            skipped[reason.reason] += 1
        except HpsbenchError as error:
            broken.setdefault(str(error), []).append(sequence.name)
        report(done, len(sequences), sequence.name)
    for text, names in broken.items():
        more = f" (and {len(names) - 1} further sequences)" if len(names) > 1 else ""
        yield Problem(severity="error", kind="unreadable", where=names[0] + more, text=text)
    yield from images.problems(raw.path)


def _check_split_sizes(recipe: Recipe, sequences: Sequence[RawSequence]) -> Iterator[Problem]:
    for split, found in _per_split(recipe, sequences).items():
        expected = recipe.splits[split].sequences
        if expected is None or expected == found:
            continue
        kind = "missing-files" if found < expected else "extra-files"
        where = ", ".join(recipe.splits[split].glob)
        yield Problem(
            severity="error", kind=kind, where=where, text=f"{split}: {found} sequences, expected {expected}"
        )


def _check_extra(recipe: Recipe, raw: RawRoot, sequences: Sequence[RawSequence]) -> Iterator[Problem]:
    """Files of the sequences' type that neither a split, `files` nor `exclude` names: they are not read."""
    endings = {sequence.path.suffix for sequence in sequences}
    known = {sequence.name for sequence in sequences}
    found = (
        path.relative_to(raw.path).as_posix() for ending in endings for path in raw.path.rglob(f"*{ending}")
    )
    beside = [pattern for files in recipe.files.values() for pattern in files.glob]
    passed = (*recipe.exclude, *beside, SYNTHETIC_MARK)
    extra = sorted(
        name
        for name in found
        if name not in known and not any(Path(name).match(pattern) for pattern in passed)
    )
    if extra:
        shown = ", ".join(extra[:SHOWN]) + (", ..." if len(extra) > SHOWN else "")
        shown = shown.encode(errors="backslashreplace").decode()  # names that are not UTF-8
        text = f"no split names these, and they are not read ({len(extra)}): {shown}"
        yield Problem(severity="warning", kind="extra-files", where=str(raw.path), text=text)


@dataclass(slots=True)
class _Found:
    """What the raw files hold, split by split, for those who have made no store yet.

    Attributes:
        names: what is counted -> split -> names of the sequences, or of the tracks.
        rows: split -> rows.
    """

    names: dict[str, dict[str, set[str]]] = field(default_factory=lambda: {"sequences": {}, "tracks": {}})
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, tracks: Sequence[Track]) -> None:
        """Count the tracks of one raw file."""
        for track in tracks:
            self.names["sequences"].setdefault(track.split, set()).add(track.sequence)
            self.names["tracks"].setdefault(track.split, set()).add(track.key)
            self.rows[track.split] += len(track)

    def compared(self, recipe: Recipe) -> list[dict[str, Any]]:
        """The recipe's expected counts that need neither views nor the clip table, beside what was found."""
        return [
            {**expected.model_dump(exclude={"where"}), "found": self._count(expected)}
            for expected in recipe.expected
            if expected.what in ("sequences", "tracks", "rows")
            and not expected.where
            and not (expected.what == "sequences" and _sized(recipe, expected.split))
        ]

    def _count(self, expected: Expected) -> int:
        if expected.what == "rows":
            return self.rows.total() if expected.split is None else self.rows[expected.split]
        of = self.names[expected.what]
        return len(set().union(*of.values()) if expected.split is None else of.get(expected.split, ()))


def _sized(recipe: Recipe, split: str | None) -> bool:
    """Whether the recipe says how many sequences a split has, which is compared by itself."""
    return split is not None and recipe.splits[split].sequences is not None


def _check_origin(recipe: Recipe, raw: RawRoot, store: ClipStore, root: Path) -> Iterator[Problem]:
    """Whether the store was made from the raw files and the recipe that are here now."""
    sequences = find_sequences(recipe, raw.path, store.attrs.get("limit"))
    files = [*sequences, *files_beside(recipe, raw.path)]
    manifest = raw_manifest(files, root / ".hpsbench" / "cache" / f"raw-{recipe.key}.json")
    here = {
        "recipe_sha256": (recipe.sha256, "the recipe"),
        "raw_manifest_sha256": (manifest.sha256, "raw files (names, sizes or content)"),
        "synthetic": (raw.is_synthetic, "a synthetic mark"),
    }
    for key, (value, what) in here.items():
        if store.attrs.get(key) != value:
            text = f"it was made with another state of {what}; move the store away and prepare it again"
            yield Problem(severity="error", kind="origin", where=store.location, text=text)


def _compare_counts(recipe: Recipe, store: ClipStore) -> list[dict[str, Any]]:
    """The recipe's expected counts beside those of a store that was made from all sequences."""
    if store.attrs.get("limit") is not None:
        return []
    return [
        {**expected.model_dump(exclude={"where"}), "found": _count(expected, store)}
        for expected in recipe.expected
        if not expected.where or len(_clips_where(store, expected.where))
    ]


def _clips_where(store: ClipStore, where: Mapping[str, Sequence[str]]) -> "pd.DataFrame":
    """Clips that have one of the values in each of these columns; a column that no clip has matches nothing."""
    clips = store.clips
    for column, values in where.items():
        clips = clips[clips[column].isin(values)] if column in clips else clips[:0]
    return clips


def _check_lengths(recipe: Recipe, store: ClipStore) -> Iterator[Problem]:
    """Tracks that are not as long as the recipe says they are in the complete dataset."""
    for facts in recipe.lengths:
        clips = _clips_where(store, facts.where)
        if facts.column not in clips:
            continue
        tracks = clips.groupby(["track", facts.column])["length"].sum().reset_index()
        wrong = [
            f"{name} has {rows} instead of {facts.rows[name]} ({track})"
            for track, name, rows in tracks.itertuples(index=False)
            if name in facts.rows and rows != facts.rows[name]
        ]
        if wrong:
            shown = "; ".join(wrong[:SHOWN]) + ("; ..." if len(wrong) > SHOWN else "")
            text = f"rows of {len(wrong)} of {len(tracks)} tracks differ from those published ({facts.source}): {shown}"
            yield Problem(
                severity="error" if facts.certain else "warning",
                kind="count",
                where=facts.column,
                text=text,
            )


def _count(expected: Expected, store: ClipStore) -> int:
    chosen = _clips_where(store, expected.where)
    if expected.split is not None:
        chosen = chosen[chosen["split"] == expected.split]
    if expected.what in ("sequences", "tracks"):
        return int(chosen["sequence" if expected.what == "sequences" else "track"].nunique())
    rows = np.zeros(len(store), dtype=bool)
    for start, length in zip(chosen["start"].tolist(), chosen["length"].tolist(), strict=True):
        rows[start : start + length] = True
    if expected.what == "valid":
        rows &= np.asarray(store.frames["valid"])
    if expected.view is not None:
        rows &= store.views[expected.view].keep
    return int(rows.sum())


def _count_problem(count: Mapping[str, Any], recipe: Recipe, store: ClipStore | None) -> Problem:
    what = " ".join(str(part) for part in (count["split"], count["what"], count["view"]) if part)
    text = f"found {count['found']}, expected {count['value']} ({count['source']})"
    left_out = "" if store is None else _left_out(count, store)
    kind: Literal["count", "missing-files", "extra-files"] = "count"
    if count["what"] == "sequences" and not _sized(recipe, count["split"]):
        kind = "missing-files" if count["found"] < count["value"] else "extra-files"
    return Problem(
        severity="error" if count["certain"] else "warning",
        kind=kind,
        where=what,
        text=f"{text}; the view leaves out {left_out}" if left_out else text,
        causes=tuple(_other_views(count, recipe)),
    )


def _left_out(count: Mapping[str, Any], store: ClipStore) -> str:
    """How many rows the view of a count leaves out for which reason; empty for counts of no view."""
    if count["view"] is None:
        return ""
    counts = (store.views[count["view"]].attrs.get("counts") or {}).get(count["split"], {})
    return ", ".join(
        f"{rows:,} {reason}" for reason, rows in counts.items() if reason not in ("rows", "kept", "tracks")
    )


def _other_views(count: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    """Where the number found is that of another view, both rules: they are often taken for each other."""
    if count["view"] is None:
        return
    for other in recipe.expected:
        if (other.split, other.value) == (count["split"], count["found"]) and other.view not in (
            None,
            count["view"],
        ):
            yield (
                f"{other.value:,} is the count of the view {other.view}, which keeps other rows "
                f"({rows_in_words(recipe.views[other.view])}) than {count['view']} "
                f"({rows_in_words(recipe.views[count['view']])})"
            )
