"""What CI runs on `leaderboards/`: everything that can be checked without the data, and more where the data are."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsbench.errors import HpsbenchError
from hpsbench.leaderboards.board import entry_files
from hpsbench.leaderboards.entry import FLAG_REASONS, Entry, flag_reason, read_entry
from hpsbench.leaderboards.reported import (
    CERTAINTIES,
    COLUMNS,
    METHODS,
    read_flags,
    read_methods,
    read_reported,
)
from hpsbench.protocols.catalog import get_protocol

CLOSE = 1e-6
"""Relative difference between a mean and the same mean taken again from its sequences."""
RESCORED = 1e-3
"""Largest difference between an entry and its predictions scored again, in the metric's unit."""
_HASH = re.compile(r"[0-9a-f]{64}")


def check(folder: Path, *, root: Path | None = None) -> list[str]:
    """Problems of everything under `leaderboards/`: file, what is wrong. Empty: all is well.

    Args:
        folder: `leaderboards/`.
        root: data root; where it holds the store of an entry whose predictions are a file, the numbers are made again.
    """
    problems = list(_reported(folder))
    entries = []
    for path in entry_files(folder):
        where = path.relative_to(folder).as_posix()
        try:
            entry = read_entry(path)
        except HpsbenchError as problem:
            problems.append(str(problem).replace(str(path), where))
            continue
        entries.append((where, entry))
        problems += [f"{where}: {text}" for text in _problems(entry, path, folder)]
        if root is not None:
            problems += [f"{where}: {text}" for text in _rescored(entry, path, root)]
    problems += _strays(folder)
    for board in dict.fromkeys(entry.board for _, entry in entries):
        problems += _disagreements([(where, entry) for where, entry in entries if entry.board == board])
    return problems


def _strays(folder: Path) -> Iterator[str]:
    """JSON files that lie where no board looks for them."""
    known = set(entry_files(folder))
    for path in sorted(folder.rglob("*.json")):
        place = path.relative_to(folder)
        if path not in known and place.parts[0] != "papers" and "tables" not in place.parts:
            yield (
                f"{place.as_posix()}: lies on no board; entries lie in [synthetic/]<dataset>/<protocol>@<version>[_<condition>]"
            )


def _disagreements(entries: Sequence[tuple[str, Entry]]) -> Iterator[str]:
    """Entries of one board that were not measured on the same, or are there twice."""
    for what, of in _SAME.items():
        usual = Counter(of(entry) for _, entry in entries).most_common(1)[0][0]
        for where, entry in entries:
            if of(entry) != usual:
                found, other = _differing(of(entry), usual)
                yield f"{where}: {what} {found}, others of this board {other}; they do not compare"
    first: dict[Any, str] = {}
    for where, entry in entries:
        key = (
            entry.name,
            entry.system,
            entry.checkpoint_sha256,
            entry.features,
            entry.condition,
            entry.seeds,
        )
        if key in first:
            yield (
                f"{where}: the same name, system, checkpoint, features and seeds as {first[key]}; remove one, or give it "
                "another name (submit --name)"
            )
        first.setdefault(key, where)


_SAME: Mapping[str, Callable[[Entry], Any]] = {
    "scored frames:": lambda entry: entry.scored,
    "frames of the dataset:": lambda entry: entry.accounting.get("in"),
    "sequences:": lambda entry: tuple(sorted(entry.sequences)),
    "raw data:": lambda entry: entry.store.get("raw_manifest_sha256"),
}
"""What all entries of a board have in common; the frames of one sequence may differ, where a system skips some."""


def _differing(found: Any, other: Any) -> tuple[Any, Any]:
    """Two values, of lists only what the other lacks."""
    if not isinstance(found, tuple):
        return found, other
    own, theirs = sorted(set(found) - set(other)), sorted(set(other) - set(found))
    return (
        f"{len(found)}" + (f" with {', '.join(own)}" if own else ""),
        f"{len(other)}" + (f" with {', '.join(theirs)}" if theirs else ""),
    )


def _problems(entry: Entry, path: Path, folder: Path) -> Iterator[str]:
    board = path.parent.relative_to(folder).as_posix()
    if board != entry.board:
        yield f"lies in {board}, its content belongs to {entry.board}"
    if path.name != entry.file_name:
        yield f"should be called {entry.file_name} (the name follows from the content: was it edited?)"
    yield from _protocol_problems(entry)
    for name, digest in _hashes(entry).items():
        if not _HASH.fullmatch(digest):
            yield f"{name}: {digest!r} is no sha256"
    if entry.accounting.get("scored", entry.scored) != entry.scored:
        yield f"scored: {entry.scored}, but its accounting says {entry.accounting['scored']}"
    for flag in entry.flags:
        if flag_reason(flag) is None:
            yield f"flag {flag!r} has no known reason (known: {', '.join(FLAG_REASONS)})"
    for name, metric in entry.metrics.items():
        if metric.interval is not None and not metric.interval[0] <= metric.value <= metric.interval[1]:
            yield f"{name}: {metric.value} lies outside its interval {list(metric.interval)}"
        yield from _uncounted(entry, name)
        again = _again(entry, name)
        if again is not None and not math.isclose(again, metric.value, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{name}: {metric.value}, but its sequences give {again}"


def _protocol_problems(entry: Entry) -> Iterator[str]:
    try:
        protocol = get_protocol(entry.protocol)
        rule = protocol.rule(entry.dataset)
    except HpsbenchError as problem:
        yield str(problem)
        return
    if protocol.sha256 != entry.protocol_sha256:
        yield f"protocol_sha256 is not that of {entry.protocol} here ({protocol.sha256}): measured by other rules"
    if entry.view != rule.view:
        yield f"view {entry.view!r}; {entry.protocol} reads {rule.view!r}"
    units = {metric.name: metric.unit for metric in rule.metrics}
    for name, found in entry.metrics.items():
        if units.get(name) != found.unit:
            yield f"{name} in {found.unit}; {entry.protocol} has {units.get(name, 'no such metric')}"
    for name, wanted in ({} if entry.synthetic else rule.expect).items():
        count = entry.accounting.get(name)
        if isinstance(count, int) and count != wanted:
            yield f"{name}: {count} frames; {entry.protocol} expects {wanted}"


def _hashes(entry: Entry) -> dict[str, str]:
    found = {"extractor_sha256": entry.extractor_sha256}
    for kind, hashes in (("body_sha256", entry.body_sha256), ("regressor_sha256", entry.regressor_sha256)):
        found |= {f"{kind}.{k}": v for k, v in hashes.items()} if isinstance(hashes, dict) else {kind: hashes}
    return {name: digest for name, digest in found.items() if digest is not None}


def _again(entry: Entry, name: str) -> float | None:
    """A metric's mean from its sequences; None where they do not say enough."""
    average = entry.metrics[name].average
    pairs = [(s.get(name), s.get(f"{name}_n")) for s in entry.sequences.values()]
    known = [(float(v), float(n)) for v, n in pairs if v is not None and n]
    if not known or average == "track":
        return None
    if average == "video":
        return sum(v for v, _ in known) / len(known)
    return sum(v * n for v, n in known) / sum(n for _, n in known)


def _uncounted(entry: Entry, name: str) -> Iterator[str]:
    """Whether the sequences hold all values that a mean over frames is of."""
    metric = entry.metrics[name]
    counts = [s.get(f"{name}_n") for s in entry.sequences.values() if s.get(name) is not None]
    found = int(sum(count for count in counts if count))
    if metric.average != "track" and not found:
        yield f"{name}: no sequence has a value, so that its mean cannot be taken again"
    elif metric.average == "frame" and found != metric.n:
        yield f"{name}: n is {metric.n}, but its sequences have {found} values"


def _rescored(entry: Entry, path: Path, root: Path) -> Iterator[str]:
    """Score the predictions again, where file and store are there."""
    if entry.predictions is None:
        return
    places = (root / entry.predictions.url, path.parent / entry.predictions.url)
    file = next((place for place in places if place.exists()), None)
    store_path = root / "stores" / f"{entry.store.get('dataset', entry.dataset)}.zarr"
    if file is None or not store_path.exists():
        return
    from hpsbench.evaluation.run import score_predictions
    from hpsbench.leaderboards.submit import tree_sha256
    from hpsbench.predictions.files import load_predictions
    from hpsbench.store.reader import open_store

    if tree_sha256(file) != entry.predictions.sha256:
        yield f"{entry.predictions.url} has another sha256 than the entry says"
        return
    try:
        result = score_predictions(
            entry.protocol,
            load_predictions(file),
            open_store(store_path),
            root=root,
            dataset=entry.dataset,
        )
    except HpsbenchError as problem:
        yield f"the predictions cannot be scored again: {problem}"
        return
    for name, metric in entry.metrics.items():
        found = float(result.summary[name]) if name in result.summary else None
        if found is None or abs(found - metric.value) > RESCORED:
            yield f"{name}: {metric.value}, but the predictions give {found}"


def _reported(folder: Path) -> Iterator[str]:
    try:
        numbers, flags, methods = read_reported(folder), read_flags(folder), read_methods(folder)
    except HpsbenchError as problem:
        yield str(problem)
        return
    for number in numbers:
        row = number.row
        if set(row) != set(COLUMNS) or None in row.values():
            yield f"papers/{row['paper']}_{row['table']}.csv: {row['row_label']}: not {len(COLUMNS)} columns"
            continue
        where = (
            f"papers/{row['paper']}_{row['table']}.csv: {row['row_label']}, {row['dataset']} {row['metric']}"
        )
        if row["certainty"] not in CERTAINTIES:
            yield f"{where}: certainty {row['certainty']!r} is none of {', '.join(CERTAINTIES)}"
        if not re.fullmatch(r"-?\d+(\.\d+)?", row["value"]):
            yield f"{where}: value {row['value']!r} is no number"
        if row["method"] and row["method"] not in methods:
            yield f"{where}: method {row['method']!r} is not in papers/{METHODS}"
        if not _is_mapping(row["condition_json"]):
            yield f"{where}: condition_json {row['condition_json']!r} is neither empty nor a JSON object"
    for flag in flags:
        if not any(flag in number.flags for number in numbers):
            yield f"papers/flags.toml: flag {flag.name!r} ({flag.reason}) is about no number"


def _is_mapping(text: str) -> bool:
    try:
        return not text or isinstance(json.loads(text), dict)
    except ValueError:
        return False
