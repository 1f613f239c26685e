"""Boards: the entries of one folder, ranked, and what papers report of the same dataset, apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsbench.errors import UsageError
from hpsbench.evaluation.compare import better_direction
from hpsbench.leaderboards.entry import Entry, read_entry, without_seed
from hpsbench.leaderboards.reported import Reported, read_reported

# Result name -> metric of the printed numbers.
_PRINTED = {
    "mpjpe": "mpjpe",
    "pa_mpjpe": "pa_mpjpe",
    "pve_raw": "pve",
    "accel_err": "accel_err",
    "pck150": "pck",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board.

    Attributes:
        path: its folder under `leaderboards/`.
        dataset, protocol, condition, synthetic: of all entries; the condition without its seed.
        metrics: result names in the protocol's order.
        entries: (file, entry), the best first, by the first metric that is PA-MPJPE or else the first of all.
        reported: printed numbers of the same dataset on clean data; none for synthetic boards.
    """

    path: str
    dataset: str
    protocol: str
    condition: str | None
    synthetic: bool
    metrics: tuple[str, ...]
    entries: tuple[tuple[Path, Entry], ...]
    reported: tuple[Reported, ...]


def list_boards(folder: Path) -> list[str]:
    """Paths of all boards under `leaderboards/` that hold an entry."""
    return sorted({path.parent.relative_to(folder).as_posix() for path in entry_files(folder)})


def entry_files(folder: Path) -> list[Path]:
    """Files of all entries."""
    return sorted(path for path in folder.rglob("*.json") if path.relative_to(folder).parts[0] != "papers" and "@" in path.parent.name)  # fmt: skip


def read_board(folder: Path, path: str) -> Board:
    """A board with its entries ranked.

    Args:
        folder: `leaderboards/`.
        path: of the board in it, `3dpw/tcmr@1`.

    Raises:
        UsageError: there is none.
        BrokenFile: an entry cannot be read; named.
    """
    files = sorted((folder / path).glob("*.json"))
    if not files:
        raise UsageError(
            f"no board {path!r} under {folder}; there are {', '.join(list_boards(folder)) or 'none'}"
        )
    entries = [(file, read_entry(file)) for file in files]
    first = entries[0][1]
    metrics = tuple(dict.fromkeys(name for _, entry in entries for name in entry.metrics))
    clean = first.condition is None and not first.synthetic
    return Board(
        path=path,
        dataset=first.dataset,
        protocol=first.protocol,
        condition=without_seed(first.condition),
        synthetic=first.synthetic,
        metrics=metrics,
        entries=tuple(_ranked(entries, metrics)),
        reported=tuple(_of_dataset(read_reported(folder), first.dataset)) if clean else (),
    )


def _ranked(entries: Sequence[tuple[Path, Entry]], metrics: Sequence[str]) -> list[tuple[Path, Entry]]:
    by = "pa_mpjpe" if "pa_mpjpe" in metrics else metrics[0]
    sign = -1.0 if better_direction(by) == "higher" else 1.0
    return sorted(
        entries, key=lambda pair: sign * pair[1].metrics[by].value if by in pair[1].metrics else float("inf")
    )


def _of_dataset(reported: Sequence[Reported], dataset: str) -> list[Reported]:
    """Headline rows: no ablations, and each number of a method once. `h36m-p2` is a setting of `h36m`."""
    seen: dict[tuple[str, ...], Reported] = {}
    for number in reported:
        row = number.row
        if (
            f"{dataset}-".startswith(row["dataset"].replace("_", "-") + "-")
            and not row["variant"].startswith("abl:")
            and row["metric"] in _PRINTED.values()
        ):
            key = tuple(row[k] for k in ("method", "variant", "trained_with_3dpw", "metric", "value"))
            seen.setdefault(key, number)
    return list(seen.values())
