"""What `verify` says of the images that annotations are about: missing, empty, too few in a video, of another size.

Images are counted and their first headers read; nothing is decoded.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._jpeg import jpeg_size
from hpsbench.store.checks import Problem
from hpsbench.types import Track

_VIDEOS = frozenset({".avi", ".mp4", ".mov", ".mkv"})


@dataclass(slots=True)
class ImageChecks:
    """What is known of the images after reading some sequences.

    Attributes:
        lacking: names of annotated images that are not there.
        containers: names of videos and shards of annotated frames that are not there.
        empty: names of annotated images without a byte.
        short: video -> annotated frames that lie beyond its end.
        resized: images and videos -> their size and that of the annotation, where these differ.
        unreadable: messages about first images that are no JPEG.
        unannotated: images in the same folders that nothing is annotated in.
    """

    lacking: list[str] = field(default_factory=list)
    containers: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    short: dict[str, int] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    unannotated: int = 0

    def look(self, root: Path, tracks: Sequence[Track]) -> None:
        """Compare what a sequence's tracks need with what is there; folders are listed once."""
        needed: set[str] = set()
        for track in tracks:
            name, _, inner = (track.image_source or "").partition("#")
            if inner and not (root / name).is_file():
                self.containers.add(name)
            elif inner:
                self._look_into(root, name, track)
            elif name:
                needed |= set(_names(track))
        held = _held(root, needed)
        self.lacking += sorted(needed - held.keys())
        self.empty += sorted(name for name in needed & held.keys() if not held[name])
        self.unannotated += len(held.keys() - needed)
        for source, track in {track.image_source: track for track in tracks}.items():
            if source is not None and "#" not in source:
                first = next((name for name in _names(track) if held.get(name)), None)
                if first is not None:
                    self._compare(first, _image_size(root / first, self.unreadable), track)

    def _look_into(self, root: Path, name: str, track: Track) -> None:
        """A video that is there: whether it is long enough, and as large as the annotation says."""
        beyond = int(np.count_nonzero(~np.asarray(track.fields.get("has_image", True), dtype=bool)))
        if beyond:
            self.short[name] = beyond
        if Path(name).suffix.lower() in _VIDEOS:
            self._compare(name, _video_size(root / name), track)

    def _compare(self, name: str, size: tuple[int, int] | None, track: Track) -> None:
        wanted = (track.width, track.height)
        if size is not None and None not in wanted and size != wanted:
            self.resized[name] = f"{size[0]} x {size[1]} instead of {wanted[0]} x {wanted[1]}"

    def problems(self, root: Path) -> Iterator[Problem]:
        """What features cannot be extracted without, or would be wrong with."""
        where = str(root)
        for what, names in (("images", self.lacking), ("videos", sorted(self.containers))):
            if names:
                text = f"{len(names)} {what} are missing, the first is {names[0]}; features cannot be extracted without"
                yield Problem(severity="warning", kind="image-missing", where=where, text=text)
        if self.short:
            name, frames = next(iter(self.short.items()))
            text = (
                f"{sum(self.short.values()):,} annotated frames lie beyond the end of {len(self.short)} videos, the first "
                f"is {name} ({frames} frames); views that need images leave them out"
            )
            yield Problem(severity="warning", kind="image-missing", where=where, text=text)
        if self.empty:
            text = f"{len(self.empty)} images are empty files, the first is {self.empty[0]}; copy them again"
            yield Problem(severity="warning", kind="unreadable", where=where, text=text)
        if self.unreadable:
            more = f" (and {len(self.unreadable) - 1} more)" if len(self.unreadable) > 1 else ""
            yield Problem(severity="warning", kind="unreadable", where=where, text=self.unreadable[0] + more)
        if self.resized:
            name, sizes = next(iter(self.resized.items()))
            text = (
                f"{len(self.resized)} sequences have images of another size than their annotations are for, the first is "
                f"{name}: {sizes}; boxes would be cut from the wrong place, take images of the original size"
            )
            yield Problem(severity="warning", kind="image-size", where=where, text=text)


def _names(track: Track) -> Iterator[str]:
    """Names of a track's images, in the order of its frames."""
    source = str(track.image_source)
    return (source.format(frame_id=frame) for frame in np.asarray(track.frame_id).tolist())


def _held(root: Path, needed: set[str]) -> dict[str, int]:
    """Images in the folders of those that are needed, of the same types -> bytes."""
    found = {}
    endings = {Path(name).suffix for name in needed}
    for folder in {name.rpartition("/")[0] for name in needed}:
        if (root / folder).is_dir():
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if Path(entry.name).suffix in endings and entry.is_file():  # not a link to nowhere
                        found[f"{folder}/{entry.name}" if folder else entry.name] = entry.stat().st_size
    return found


def _image_size(path: Path, unreadable: list[str]) -> tuple[int, int] | None:
    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return None
    try:
        return jpeg_size(path)
    except BrokenFile as error:
        unreadable.append(str(error))
        return None


def _video_size(path: Path) -> tuple[int, int] | None:
    """Width and height; None where the file cannot be opened, which its reader reports."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return int(stream.width), int(stream.height)
    except (av.error.FFmpegError, IndexError):
        return None
