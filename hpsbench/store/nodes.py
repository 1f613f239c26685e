"""Where the groups and arrays of a store are: a local folder, or anything that zarr-python opens."""

from pathlib import Path
from typing import Any, Protocol

from hpsbench.errors import HpsbenchError, IncompleteStore, MissingStore, NotAClipStore
from hpsbench.store import layout
from hpsbench.store.arrays import ChunkMaps, MappedArray, RowArray, ZarrArray


class Nodes(Protocol):
    """Attributes, children and arrays by their path in the store; the root's path is empty."""

    mapped: bool

    def attributes(self, path: str) -> dict[str, Any] | None:
        """Attributes of a group or array; None where there is none."""

    def children(self, path: str) -> list[str]:
        """Names of the groups and arrays in a group, sorted; none if the group is not there."""

    def array(self, path: str) -> RowArray:
        """An array.

        Raises:
            NotAClipStore: there is no array at `path`.
        """

    def missing(self) -> HpsbenchError:
        """The error for a place that has no root metadata."""


class LocalNodes:
    """Groups and arrays in a folder; chunk files are mapped where their codecs allow it and `mapped` is set."""

    def __init__(self, folder: Path, mapped: bool) -> None:
        self.folder, self.mapped = folder, mapped
        self._maps = ChunkMaps()

    def attributes(self, path: str) -> dict[str, Any] | None:
        """Attributes of a group or array; None where there is none."""
        document = layout.read_document(self.folder / path)
        return None if document is None else dict(document.get("attributes", {}))

    def children(self, path: str) -> list[str]:
        """Names of the groups and arrays in a group, sorted; none if the group is not there."""
        folder = self.folder / path
        if not folder.is_dir():
            return []
        return sorted(child.name for child in folder.iterdir() if (child / layout.NODE).is_file())

    def array(self, path: str) -> RowArray:
        """An array.

        Raises:
            NotAClipStore: there is no array at `path`.
        """
        node = self.folder / path
        document = layout.read_document(node)
        if document is None or document.get("node_type") != "array":
            raise NotAClipStore(f"{self.folder}: no array at {path!r}; copy or prepare the store again")
        if self.mapped and layout.is_plain(document):
            return MappedArray(node, document, self._maps)
        return ZarrArray(_open_zarr_array(str(node)))

    def missing(self) -> HpsbenchError:
        """The error for a folder that has no root metadata."""
        if not self.folder.exists():
            return MissingStore(f"no clip store at {self.folder}; 'hpsbench prepare <dataset>' makes one")
        if self.folder.is_dir() and {child.name for child in self.folder.iterdir()} <= {
            *layout.GROUPS,
            "clips",
        }:
            return IncompleteStore(
                f"{self.folder} is incomplete: its preparation was interrupted. Run the same command to resume."
            )
        return NotAClipStore(f"{self.folder} is not a clip store: it has no {layout.NODE}")


class RemoteNodes:
    """Groups and arrays behind a URL, through zarr-python."""

    mapped = False

    def __init__(self, url: str) -> None:
        self.url = url

    def _group(self, path: str) -> Any:
        import zarr

        try:
            return zarr.open_group(self.url, path=path or None, mode="r", zarr_format=3)
        except FileNotFoundError:
            return None

    def attributes(self, path: str) -> dict[str, Any] | None:
        """Attributes of a group; None where there is none."""
        group = self._group(path)
        return None if group is None else dict(group.attrs)

    def children(self, path: str) -> list[str]:
        """Names of the groups and arrays in a group, sorted; none if the group is not there."""
        group = self._group(path)
        return [] if group is None else sorted(name for name, _ in group.members())

    def array(self, path: str) -> RowArray:
        """An array.

        Raises:
            NotAClipStore: there is no array at `path`.
        """
        try:
            return ZarrArray(_open_zarr_array(self.url, path))
        except FileNotFoundError as error:
            raise NotAClipStore(f"{self.url}: no array at {path!r}; copy the store again") from error

    def missing(self) -> HpsbenchError:
        """The error for a URL that has no root metadata."""
        return MissingStore(f"no clip store at {self.url}; check the address, and that you may read it")


def _open_zarr_array(store: str, path: str = "") -> Any:
    import zarr

    return zarr.open_array(store, path=path, mode="r", zarr_format=3)
