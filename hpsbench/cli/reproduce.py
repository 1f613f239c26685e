"""`hpsbench reproduce`: a table of a paper, run again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import as_typed, emit_json, note, out, plain, progress, table
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
    from hpsbench.tables.dot_plot import dot_plot
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
        command=as_typed(),
    )
    if plan or dry_run:
        _show_plan(plan_table(facts, root, options, assume=True).to_json(), json)
        return
    found = reproduce(facts, root, options=options, watch=_watch)
    folder = out_folder or root / "runs" / "reproduce" / facts.id.replace(":", "_")
    forms = {**FORMS, "svg": dot_plot} if found.table.kind == "study" else FORMS
    paths = list(save(found, folder, forms))
    if boards is not None:
        paths += publish(found, boards, forms)
    if json:
        emit_json(found.to_json())
    else:
        _show(found)
        note("written: " + ", ".join(map(str, paths)))
    for problem in found.failed:
        note(f"failed: {plain(problem)}")
    if found.failed:
        raise typer.Exit(1)


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
        # A label may have commas, so the whole is one of the values, too.
        parts = [value.strip() for value in dict.fromkeys((*values.split(","), values))]
        wanted[key.strip()] = [meant for part in parts for meant in _values(part)]
    return wanted


def _values(text: str) -> list[Any]:
    """What a text may mean in a cell: the label 8, or the number."""
    if text.lower() in ("true", "false"):
        return [text.lower() == "true", text]
    try:
        return [float(text), text]
    except ValueError:
        return [text]


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    rows = [
        [
            step["kind"],
            step["label"],
            "exists" if step["exists"] else _time(step),
            step["id"],
        ]
        for step in plan["plan"]
    ]
    if rows:
        table(f"{plan['table']}: what it needs", ("step", "what", "time", "id"), rows, right=("time",))
    out().print(
        f"{plan['table']}: {len(rows)} steps, {plan['exist']} exist; about {_duration(plan['seconds'])} to go "
        "(?: a rough guess until one was timed here)",
        highlight=False,
    )
    _show_missing(plan)
    for reason in plan["cannot"]:
        what = "" if reason["why_not"].startswith("left out") else "cannot be measured: "
        note(f"{reason['cells']} of {plan['cells']} cells {what}{reason['why_not']}")


def _show_missing(plan: dict[str, Any]) -> None:
    """What has to be prepared before the steps can run, and what will be left out."""
    missing = plan["missing"]
    if missing:
        kind = "synthetic" if plan["synthetic"] else "real"
        out().print(
            f"\nFirst, by hand ('reproduce' prepares no datasets; times and ids are those of {kind} data, "
            "and change once it is there):",
            highlight=False,
        )
        for store in missing:
            place = "" if store["raw"] is None else f" ({store['raw']})"
            out().print(f"  {store['dataset']}: {store['what']}{place}", highlight=False, soft_wrap=True)
            for command in store["commands"]:
                out().print(f"    {command}", highlight=False, markup=False, soft_wrap=True)
        if any(store["raw"] is None for store in missing):
            note("real data instead: 'hpsbench verify DATASET' says where to get it and where to put it")
    if plan["left_out"]:
        note(
            f"not prepared, so trainings go without: {', '.join(plan['left_out'])}; their cells say so. "
            "'hpsbench prepare' them for the whole mix"
        )


def _time(step: dict[str, Any]) -> str:
    if not step["units"]:
        return "?"
    return _duration(step["seconds"]) + ("" if step["estimated_from"] else " ?")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show(found: Any) -> None:
    from hpsbench.tables.notes import footnotes, headline
    from hpsbench.tables.render import claim_columns, claim_rows, claims_title, rows

    for line in headline(found):
        out().print(line, markup=False, highlight=False, style="bold" if line.startswith("SYNTHETIC") else "")
    head, body = rows(found)
    table(f"{found.table.paper}: {found.table.number}. {found.table.title}", head, body)
    for line in footnotes(found):
        out().print(line, markup=False, highlight=False)
    if found.claims:
        table(claims_title(found), claim_columns(found), claim_rows(found))


@contextmanager
def _watch(step: Any, number: int, total: int) -> Iterator[Any]:
    note(f"[dim]{number}/{total}[/] {step.label}")
    with progress(step.kind, "steps" if step.kind == "train" else "frames") as bar:
        yield bar
