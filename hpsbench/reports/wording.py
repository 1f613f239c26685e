"""What a report says in words about its runs: sentences about the numbers, and which runs belong to one system."""

import re
from collections.abc import Iterable, Sequence

from hpsbench.reports import tables
from hpsbench.reports.material import Run


def sentences(runs: Sequence[Run], lead: str) -> list[str]:
    """What the numbers say, in words."""
    first = runs[0].result
    sequences = len(first.sequences)
    tracks = first.accounting.get("tracks", {}).get("used", 0)
    kind = "synthetic " if first.synthetic else ""
    said = [
        f"{counted(len(runs), 'run')} on {kind}{first.dataset} under the protocol {first.protocol}: "
        f"{counted(first.accounting.get('scored', 0), 'frame')} of {counted(tracks, 'track')} in {counted(sequences, 'sequence')} are scored."
    ]
    said += _corrupted(runs)
    valued = [run for run in runs if lead in run.result.summary]
    if valued:
        best = min(valued, key=lambda run: run.result.summary[lead].value)
        value = best.result.summary[lead]
        said.append(
            f"{'Lowest ' if len(valued) > 1 else ''}{tables.metric_name(lead)}: "
            f"{tables.number(value.value, value.unit)} {tables.shown_unit(value.unit)}"
            + (f" (95 % interval {tables.interval(value)})" if value.interval else "")
            + (f", by {best.label}." if len(valued) > 1 else ".")
        )
    for clean, hit in _pairs(runs):
        moved = [
            f"{tables.metric_name(metric)} from {tables.number(before.value)} to {tables.number(after.value)} {tables.shown_unit(before.unit)}"
            for metric in dict.fromkeys((lead, "accel_err"))
            for before, after in [(clean.result.summary.get(metric), hit.result.summary.get(metric))]
            if before is not None and after is not None
        ]
        if moved:
            said.append(f"{hit.label} against {clean.label}: {' and '.join(moved)}.")
    return said


def _corrupted(runs: Sequence[Run]) -> list[str]:
    """Which runs saw corrupted input, where their names do not say so."""
    found: dict[str, list[str]] = {}
    for run in runs:
        text = run.condition.text
        if run.result.condition is not None and text not in run.label:
            found.setdefault(text, []).append(run.label)
    return [
        f"Corrupted input: {text}" + ("." if len(labels) == len(runs) else f", of {'; '.join(labels)}.")
        for text, labels in found.items()
    ]


def counted(count: int, what: str) -> str:
    """A number and what it counts.

    Example:
        >>> counted(1, "track"), counted(11, "track")
        ('1 track', '11 tracks')
    """
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Clean and corrupted runs of the same system and checkpoint."""
    found = []
    for own in systems_of(runs).values():
        clean = [run for run in own if run.result.condition is None]
        found += [(clean[0], run) for run in own if clean and run.result.condition is not None]
    return found


def systems_of(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of one system and checkpoint, under a name for both."""
    keyed: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        sha256 = str(run.result.provenance.get("checkpoint_sha256") or "")
        keyed.setdefault((run.result.system or "predictions", sha256), []).append(run)
    names = [system for system, _ in keyed]
    named: dict[str, list[Run]] = {}
    for (system, sha256), own in keyed.items():
        label = system
        if names.count(system) > 1:
            shared = _shared_words([run.label for run in own])
            label = shared if shared and shared not in named else f"{system} {sha256[:6]}"
        named[label] = own
    return named


def _shared_words(labels: Sequence[str]) -> str:
    """What several labels begin with, in whole words."""
    parts = [re.split(r"([-_ ,(]+)", label) for label in labels]
    same = []
    for words in zip(*parts, strict=False):
        if len(set(words)) > 1:
            break
        same.append(words[0])
    return re.sub(r"([-_ ,]+(on|under|with))?[-_ ,(]*$", "", "".join(same))
