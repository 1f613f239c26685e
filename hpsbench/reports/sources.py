"""Where a report's numbers come from: provenance, the protocol in words, papers and BibTeX entries."""

from collections.abc import Iterable, Sequence
from typing import Any

from hpsbench.errors import HpsbenchError
from hpsbench.leaderboards.citations import entries_for
from hpsbench.models._catalog import read_card
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.explain import explain_lines
from hpsbench.reports.material import Run


def explained(protocol: str, dataset: str) -> dict[str, Any]:
    """The rules of a protocol for a dataset, as topics and texts."""
    try:
        found = get_protocol(protocol)
        rule = found.rule(dataset)
    except HpsbenchError as error:
        return {
            "title": protocol,
            "lines": [("note", f"its rules are not at hand: {error}")],
            "defects": [],
            "source": "",
        }
    lines = explain_lines(found)
    return {
        "title": found.table.title,
        "source": found.table.source,
        "lines": [(line.topic, line.text) for line in lines if line.dataset == rule.name],
        "defects": [(line.topic, line.text) for line in lines if line.dataset.startswith("known defects")],
    }


def provenance_of(run: Run) -> dict[str, Any]:
    """What produced a run, flat: key -> text."""
    result = run.result
    facts: dict[str, Any] = {
        "system": result.system,
        "condition": run.condition.text,
        "windowing": result.windowing,
        "seeds": list(result.seeds),
        "flags": list(result.flags) or "none",
        "partial": result.partial,
        "protocol_sha256": result.protocol_sha256,
        **result.provenance,
    }
    return {
        "label": run.label,
        "facts": list(_flat(facts)),
    }


def _flat(values: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name} · ")
        elif value is not None:
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def papers(runs: Sequence[Run]) -> list[str]:
    """Where the systems were published, as their files say."""
    found = []
    for system in dict.fromkeys(run.result.system for run in runs if run.result.system):
        try:
            card = read_card(str(system))
        except (HpsbenchError, OSError):
            continue
        if card.get("paper"):
            found.append(f"{card.get('title', system)}: {card['paper']}")
    return found


def bibtex(runs: Sequence[Run]) -> str:
    """Entries of the datasets, systems and protocols, of the body model on real data, and of hpsbench."""
    datasets = [
        str((r.result.provenance.get("store") or {}).get("dataset") or r.result.dataset) for r in runs
    ]
    return "\n\n".join(
        entries_for(
            datasets=datasets,
            systems=[str(r.result.system) for r in runs if r.result.system],
            protocols=[r.result.protocol for r in runs],
            real_bodies=any(r.result.synthetic is False for r in runs),
        )
    )
