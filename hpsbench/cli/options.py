"""Options that several verbs share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path,
    typer.Option(
        "--root", envvar="HPSBENCH_ROOT", help="Data root: raw/, stores/, body_models/, checkpoints/, runs/."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and touch nothing.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Only so many items, for trying; marks the result as partial."),
]
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="Worker processes.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda[:N].")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the dataset's licence without being asked.")
]
Recipes = Annotated[Path | None, typer.Option("--recipes", help="Folder with further recipes.")]
Split = Annotated[
    list[str] | None, typer.Option("--split", help="train, val or test; may be given several times.")
]
View = Annotated[str | None, typer.Option("--view", help="View of the store; default: the recipe's.")]
Flow = Annotated[
    str | None,
    typer.Option(
        "--flow", help="Set of optical-flow features, for a model that reads them; default: the view's."
    ),
]
Predictions = Annotated[
    str | None,
    typer.Option(
        "--predictions",
        help="For a model that reads another's predictions: their file, or that model; default: the one it names.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results; default: R/runs/<id>.")]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Allow a model that runs code of its own.")]


def _trust(paths: list[Path] | None) -> list[Path] | None:
    if paths:
        from hpsbench.safe_io import trust_pickles

        trust_pickles(paths)
    return paths


TrustPickle = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust-pickle",
        callback=_trust,
        help="Load this file even if it runs code; for files you made yourself.",
    ),
]

HERE = Path()
