"""`hpsbench body`: convert and check body-model files."""

from pathlib import Path
from typing import Annotated

import typer

from hpsbench.cli.console import emit_json, note, table
from hpsbench.cli.options import HERE, AsJson, Root, TrustPickle

_bodies = typer.Typer(no_args_is_help=True, help="Convert and check body-model files.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.add_typer(_bodies, name="body")


@_bodies.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="Official SMPL pickle.")],
    target: Annotated[Path | None, typer.Argument(help="npz to write; default: beside the source.")] = None,
    trust_pickle: TrustPickle = None,
    json: AsJson = False,
) -> None:
    """Turn an official SMPL pickle into a plain npz; nothing in the file is run, chumpy is not needed."""
    from hpsbench.bodies.conversion import convert_body_file

    written = convert_body_file(source, target)
    if json:
        emit_json({"source": source, "written": written})
    else:
        note(f"wrote {written}")


@_bodies.command("check")
def check_command(
    root: Root = HERE,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="The synthetic bodies instead of the licensed.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Check the body models and regressors under the root; exit 5 if a file that is there is damaged."""
    from hpsbench.bodies.conversion import check_body_files

    reports = check_body_files(root, synthetic=synthetic)
    states = ["ok" if r.ok else "absent" if r.path is None else "bad" for r in reports]
    if json:
        names = ("key", "path", "sha256", "problem", "note")
        emit_json({"files": [{name: getattr(r, name) for name in names} for r in reports]})
    else:
        rows = [
            (r.key, state, r.path or "", (r.sha256 or "")[:12], r.problem or r.note)
            for r, state in zip(reports, states, strict=True)
        ]
        table("body models", ("what", "state", "file", "sha256", "found"), rows)
    if "bad" in states:
        raise typer.Exit(5)
