"""`hpsbench status`: what the root holds, and the next command."""

import typer

from hpsbench.cli.console import emit_json, note, table
from hpsbench.cli.options import HERE, AsJson, Recipes, Root


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("status")(status_command)


def status_command(root: Root = HERE, recipes: Recipes = None, json: AsJson = False) -> None:
    """Show raw data, stores, body models, checkpoints and runs under the root, and what to do next."""
    from hpsbench.pipeline.status import status

    found = status(root, recipes=recipes)
    if json:
        emit_json(found.to_json_dict())
        return
    if found.raw:
        rows = [[r.dataset, _kind(r.synthetic), _counts(r.sequences), f"{r.read}", r.path] for r in found.raw]
        table(
            "raw data",
            ("dataset", "kind", "sequences", "read so far", "folder"),
            rows,
            right=("read so far",),
        )
    if found.stores:
        stores = [
            [s.path, s.state, _kind(s.synthetic), s.frames, s.tracks, _counts(s.views), ", ".join(s.features)]
            for s in found.stores
        ]
        columns = ("store", "state", "kind", "frames", "tracks", "kept by view", "feature sets")
        table("clip stores", columns, stores, right=("frames", "tracks"))
    bodies = "; ".join(f"{kind}: {', '.join(files)}" for kind, files in found.body_models.items() if files)
    note(f"body models: {bodies or 'none'}")
    note(f"checkpoints: {', '.join(found.checkpoints) or 'none'}")
    note("runs: " + (", ".join(f"{number} {state}" for state, number in found.runs.items()) or "none"))
    for problem in found.problems:
        note(f"[yellow]problem:[/] {problem}")
    for command in found.next:
        note(f"[bold]next:[/] {command}")


def _kind(synthetic: bool | None) -> str:
    return "?" if synthetic is None else "synthetic" if synthetic else "real"


def _counts(numbers: object) -> str:
    return ", ".join(f"{name} {number}" for name, number in dict(numbers).items())  # type: ignore[call-overload]
