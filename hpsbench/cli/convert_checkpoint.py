"""`hpsbench convert-checkpoint`: a released checkpoint as safetensors with a card."""

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, out
from hpsbench.cli.options import HERE, AsJson, DryRun, Root, TrustPickle
from hpsbench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("convert-checkpoint")(convert_command)


def convert_command(
    source: Annotated[str, typer.Argument(help="Checkpoint of VIBE, TCMR, MPS-Net, SPIN, MEVA, or our own.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: beside it, .safetensors.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Choose an option of the system: batch_mixing=released."),
    ] = None,
    root: Root = HERE,
    trust_pickle: TrustPickle = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write a SOURCE checkpoint of any known layout as safetensors with a card."""
    from hpsbench.models._conversion import convert_checkpoint

    done = convert_checkpoint(source, target, root=root, options=options_of(sets), dry_run=dry_run)
    if json:
        emit_json({"dry_run": dry_run, **done.to_json_dict()})
        return
    lines = {
        "system": done.system,
        "options": ", ".join(f"{key} = {value}" for key, value in done.options.items()),
        "parameters": f"{done.parameters:,}",
        "source": f"{done.source} (sha256 {done.card['source']['sha256']})",
        "extractor": done.card.get("extractor"),
    }
    if "values" in done.card["source"]:
        said = ", ".join(f"{key} = {value}" for key, value in done.card["source"]["values"].items())
        lines["the file says"] = said
    if done.card.get("body_model_entries_left_out"):
        lines["left out"] = f"{done.card['body_model_entries_left_out']} entries of the body model"
    for key, value in lines.items():
        out().print(f"{key + ':':<15}{value}", markup=False, highlight=False)
    note(f"{'would write' if dry_run else 'written'}: {done.target}")


def options_of(sets: list[str] | None) -> dict[str, Any]:
    """`key=value` pairs; values are JSON where they are, else text."""
    chosen: dict[str, Any] = {}
    for pair in sets or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair}: expected KEY=VALUE")
        try:
            chosen[key] = json_text.loads(value)
        except ValueError:
            chosen[key] = value
    return chosen
