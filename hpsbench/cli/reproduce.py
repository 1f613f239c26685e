"""`hpsbench reproduce`: a table of a paper, run again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, out, progress, table
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Recipes, Root, Workers
from hpsbench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("reproduce")(reproduce_command)


def reproduce_command(
    table_id: Annotated[str, typer.Argument(metavar="TABLE", help="'hpsbench ls tables': catfa:table5.")],
    root: Root = HERE,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of every system.")] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs that are needed, those that exist, and the time.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only cells like this: ratio=0,0.33. May be given several times."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key of every training recipe: schedule.epochs=3."),
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="The recipes' tiny overrides: shows that everything runs, no more.")
    ] = False,
    only_prepared: Annotated[
        bool,
        typer.Option(
            "--only-prepared", help="Leave out training sources that are not prepared; their cells say so."
        ),
    ] = False,
    boards: Annotated[
        Path | None,
        typer.Option(
            "--boards", help="Also put the table and an entry of each result under this leaderboards folder."
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the table; default: R/runs/reproduce/<table>.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 1,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Fill a published TABLE from runs on your stores, beside the paper's numbers, and judge its claims."""
    from hpsbench.tables.catalog import get_table
    from hpsbench.tables.plan import Options, plan_table
    from hpsbench.tables.publish import publish
    from hpsbench.tables.render import FORMS
    from hpsbench.tables.run import reproduce, save

    facts = get_table(table_id, recipes)
    options = Options(
        seeds=seeds,
        tiny=tiny,
        sets=tuple(sets or ()),
        only=_match(only),
        device=device,
        workers=workers,
        recipes=recipes,
        only_prepared=only_prepared,
        command=" ".join(["hpsbench", *sys.argv[1:]]),
    )
    if plan or dry_run:
        _show_plan(plan_table(facts, root, options).to_json(), json)
        return
    found = reproduce(facts, root, options=options, watch=_watch)
    folder = out_folder or root / "runs" / "reproduce" / facts.id.replace(":", "_")
    paths = list(save(found, folder, FORMS))
    if boards is not None:
        paths += publish(found, boards, FORMS)
    if json:
        emit_json(found.to_json())
        return
    _show(found)
    note("written: " + ", ".join(map(str, paths)))


def _match(texts: list[str] | None) -> dict[str, Any] | None:
    """`key=value[,value]` texts -> what cells have to be like.

    Raises:
        UsageError: no `=` in one.
    """
    if not texts:
        return None
    wanted: dict[str, Any] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals:
            raise UsageError(f"--only {text!r}: expected key=value, for example --only ratio=0,0.33")
        wanted[key.strip()] = [_value(value.strip()) for value in values.split(",")]
    return wanted


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    rows = [
        [
            step["kind"],
            step["label"],
            "exists"
            if step["exists"]
            else _duration(step["seconds"]) + ("" if step["estimated_from"] else " ?"),
            step["id"],
        ]
        for step in plan["plan"]
    ]
    table(f"{plan['table']}: what it needs", ("step", "what", "time", "id"), rows, right=("time",))
    out().print(
        f"{len(rows)} steps, {plan['exist']} exist; about {_duration(plan['seconds'])} to go "
        "(?: a rough guess until one was timed here)",
        highlight=False,
    )
    for reason in plan["cannot"]:
        note(f"{reason['cells']} cells cannot be measured: {reason['why_not']}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show(found: Any) -> None:
    from hpsbench.tables.render import CLAIM_COLUMNS, claim_rows, footnotes, headline, rows

    for line in headline(found):
        out().print(line, markup=False, highlight=False, style="bold" if line.startswith("SYNTHETIC") else "")
    head, body = rows(found)
    table(f"{found.table.paper}: {found.table.number}. {found.table.title}", head, body)
    for line in footnotes(found):
        out().print(line, markup=False, highlight=False)
    if found.claims:
        table("what the paper claims from it", CLAIM_COLUMNS, claim_rows(found))


@contextmanager
def _watch(step: Any, number: int, total: int) -> Iterator[Any]:
    note(f"[dim]{number}/{total}[/] {step.label}")
    with progress(step.kind, "steps" if step.kind == "train" else "frames") as bar:
        yield bar
