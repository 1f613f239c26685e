"""The results that a report is about: found, loaded, named apart, with their predictions where those were kept."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsbench.errors import UsageError
from hpsbench.predictions.files import load_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.results.result import Result, find_result, load_result

PREDICTION_FILES = ("predictions.zarr", "predictions.npz", "predictions.parquet")

_CONDITION = re.compile(
    r"(?P<mode>.+?)-(?P<ratio>\d+(?:\.\d+)?)x(?P<consecutive>\d+)-s(?P<seed>\d+)(?:-sev(?P<severity>\d+))?(?P<more>(?:-[a-z]+)*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What was done to the input.

    Attributes:
        mode: of the corruption, `center`; "clean" where nothing was done.
        ratio: share of frames that were hit; 0 for clean input, None where the name does not say.
        text: for a person.
        severity: of a graded corruption, or None.
    """

    mode: str
    ratio: float | None
    text: str
    severity: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One result in a report.

    Attributes:
        label: its name in the report, unlike all others.
        folder: where it was loaded from.
        result: the numbers.
        predictions: what was scored, or None where it was not kept.
    """

    label: str
    folder: Path
    result: Result
    predictions: Predictions | None

    @property
    def condition(self) -> Condition:
        """What was done to the input."""
        return read_condition(self.result.condition)

    @property
    def setting(self) -> tuple[str, str, bool | None]:
        """What must agree before numbers may stand side by side: dataset, protocol, and whether they are synthetic."""
        return self.result.dataset, self.result.protocol, self.result.synthetic


def read_condition(name: str | None) -> Condition:
    """A condition's name in its parts.

    Example:
        >>> read_condition("center-0.33x1-s0").ratio, read_condition(None).text
        (0.33, 'clean')
        >>> read_condition("noise-0.33x1-s0-sev4").text
        'noise, severity 4, 33% of frames'
    """
    if name is None:
        return Condition(mode="clean", ratio=0.0, text="clean")
    found = _CONDITION.fullmatch(name)
    if found is None:
        return Condition(mode=name, ratio=None, text=name)
    words = [found["mode"]]
    words += [f"severity {found['severity']}"] if found["severity"] else []
    words += [f"{float(found['ratio']):.0%} of frames"]
    words += [f"{found['consecutive']} in a row"] if found["consecutive"] != "1" else []
    words += [f"seed {found['seed']}"] if found["seed"] != "0" else []
    words += found["more"].split("-")[1:]
    severity = int(found["severity"]) if found["severity"] else None
    return Condition(
        mode=found["mode"], ratio=float(found["ratio"]), text=", ".join(words), severity=severity
    )


def load_runs(
    names: Sequence[str], *, root: Path = Path(), predictions: Mapping[str, Path] | None = None
) -> list[Run]:
    """Load the results that a report is about.

    Args:
        names: folders, or names under `root/runs`; `label=folder` names a run in the report.
        root: data root.
        predictions: run's label, or place in `names` from 1 as text -> file of its predictions; by default they are
            looked for beside the result.

    Raises:
        UsageError: no run, the same one twice, or predictions of a run that is not there.
        MissingData: no result of that name.
        BrokenFile, BadData: a result or predictions that cannot be read.
    """
    if not names:
        raise UsageError("no runs: give the folder of at least one result, as 'hpsbench evaluate' writes it")
    given = [_split_label(name) for name in names]
    folders = [find_result(name, root) for _, name in given]
    twice = [str(folder) for folder, count in Counter(f.resolve() for f in folders).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice; a report names each run once")
    results = [load_result(folder) for folder in folders]
    labels = _labels([label for label, _ in given], folders, results)
    files = {**(predictions or {})}
    runs = []
    for number, (label, folder, result) in enumerate(zip(labels, folders, results, strict=True), 1):
        own = files.pop(label, None) or files.pop(str(number), None) or _kept(folder)
        kept = None if own is None else load_predictions(own)
        runs.append(Run(label=label, folder=folder, result=result, predictions=kept))
    if files:
        raise UsageError(
            f"predictions of {next(iter(files))!r}: there is no such run; there are {', '.join(labels)}"
        )
    return runs


def _split_label(name: str) -> tuple[str | None, str]:
    if "=" in name and not Path(name).exists():
        label, rest = name.split("=", 1)
        if label.strip():
            return label.strip(), rest
    return None, name


def _labels(given: Sequence[str | None], folders: Sequence[Path], results: Sequence[Result]) -> list[str]:
    """System and condition; folder names where those are not told apart by them; paths where even that fails."""
    conditions = {result.condition for result in results}
    short = [
        f"{result.system or 'predictions'} ({read_condition(result.condition).text})"
        if len(conditions) > 1
        else str(result.system or "predictions")
        for result in results
    ]
    for proposed in (short, [folder.resolve().name for folder in folders], [str(f) for f in folders]):
        labels = [own or other for own, other in zip(given, proposed, strict=True)]
        if len(set(labels)) == len(labels):
            return labels
    raise UsageError(f"two runs have the label {Counter(labels).most_common(1)[0][0]!r}; give each its own")


def _kept(folder: Path) -> Path | None:
    return next((folder / name for name in PREDICTION_FILES if (folder / name).exists()), None)
