"""Options that several verbs share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path,
    typer.Option("--root", envvar="HPSBENCH_ROOT", help="Data root: raw/, stores/, body_models/, checkpoints/, runs/."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and touch nothing.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only so many items, for trying; marks the result as partial.")]
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="Worker processes.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda[:N].")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
AcceptLicence = Annotated[bool, typer.Option("--accept-licence", help="Accept the dataset's licence without being asked.")]
Recipes = Annotated[Path | None, typer.Option("--recipes", help="Folder with further recipes.")]

HERE = Path()
