"""`hpsbench verify`: raw files and store against the recipe."""

from typing import Annotated

import typer

from hpsbench.cli.console import emit_json, note, progress, table
from hpsbench.cli.options import HERE, AsJson, Recipes, Root


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("verify")(verify_command)


def verify_command(
    dataset: Annotated[str, typer.Argument(help="Dataset key.")],
    root: Root = HERE,
    recipes: Recipes = None,
    json: AsJson = False,
) -> None:
    """Check raw files and clip store of a DATASET; exit 5 if something is wrong."""
    from hpsbench.pipeline.verify import verify

    with progress(f"verify {dataset}", "items") as bar:
        report = verify(dataset, root, recipes=recipes, progress=bar)
    if json:
        emit_json(report.to_json_dict())
    else:
        counted = ", ".join(f"{split} {number}" for split, number in report.sequences.items())
        note(f"raw: {report.raw or 'absent'}" + (f" (sequences: {counted})" if counted else ""))
        note(f"store: {report.store or 'absent'}")
        for remark in report.remarks:
            note(remark)
        if report.counts:
            columns = list(report.counts[0])
            table("counts", columns, [[row.get(name) for name in columns] for row in report.counts])
        for problem in report.problems:
            note(f"[red]{problem.severity}:[/] {problem.where}: {problem.text}")
            for cause in problem.causes:
                note(f"  likely cause: {cause}")
        note("[green]no errors[/]" if report.ok else "[red]errors were found[/]")
    if not report.ok:
        raise typer.Exit(5)
