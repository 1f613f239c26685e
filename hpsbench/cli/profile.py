"""`hpsbench profile`: what a system costs, by module."""

from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, table
from hpsbench.cli.convert_checkpoint import options_of
from hpsbench.cli.options import HERE, AsJson, Device, Root
from hpsbench.errors import UnknownName, UsageError

TABLES = ("mpsnet:table2",)


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("profile")(profile_command)


def profile_command(
    system: Annotated[
        str | None,
        typer.Option("--system", help="A system's name ('hpsbench ls systems'); weights are random."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="A checkpoint, in place of --system.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Choose an option of the system: bidirectional=true.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Windows at once.")] = 1,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Frames of a window; default: the system's own.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=0, help="How deep modules are told apart.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Timed calls; 0 only counts.")] = 5,
    paper_table: Annotated[
        str | None, typer.Option("--table", help="Instead: count a published table again (mpsnet:table2).")
    ] = None,
    root: Root = HERE,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Count parameters, multiply-adds and bytes of a SYSTEM, and time it, by module."""
    if [system, model, paper_table].count(None) != 2:
        raise UsageError("name one of --system, --model and --table")
    if paper_table is not None:
        _show_table(paper_table, json)
        return
    from hpsbench.features.backbones import choose_device
    from hpsbench.models._catalog import get_system, load_system
    from hpsbench.models._profile import profile_system

    chosen: Any
    if system is not None:
        chosen = get_system(system)(**options_of(sets)).eval().to(choose_device(device))
    else:
        chosen = load_system(str(model), device=choose_device(device), root=root, options=options_of(sets))
    found = profile_system(chosen, batch=batch, frames=frames, depth=depth, repeats=repeats)
    if json:
        emit_json(found.to_json_dict())
        return
    rows = [
        [
            part.module or "whole network",
            part.kind,
            f"{part.parameters:,}",
            f"{part.multiply_adds / 1e6:,.2f}",
            f"{part.bytes / 2**20:,.2f}",
            "" if part.milliseconds is None else f"{part.milliseconds:.2f}",
        ]
        for part in found.parts
    ]
    columns = ("module", "kind", "parameters", "multiply-adds, M", "MiB", "ms")
    many = f", {found.batch} at once" if found.batch > 1 else ""
    title = (
        f"{found.system}: one window of {found.frames} frames{many}, of which it predicts {found.predicts}"
    )
    table(title, columns, rows, right=columns[2:])
    note(", ".join(f"{key} {value}" for key, value in found.machine.items()))
    if found.image_network is not None:
        image = found.image_network
        note(
            f"before it, once per frame: SPIN's ResNet-50 with {image['parameters']:,} parameters and "
            f"{image['multiply_adds'] / 1e6:,.2f} M multiply-adds"
        )


def _show_table(name: str, json: bool) -> None:
    if name not in TABLES:
        raise UnknownName("table to count", name, TABLES)
    from hpsbench.tables.mpsnet_costs import mpsnet_table2, printed_table2

    rows, printed = mpsnet_table2(), printed_table2()
    if json:
        emit_json({"table": name, "rows": [row.to_json_dict(printed[row.method]) for row in rows]})
        return
    cells = [
        [
            row.method,
            f"{row.params_m:.3f}",
            f"{printed[row.method]['params_m']:.2f}",
            f"{row.flops_g:.3f}",
            f"{printed[row.method]['flops_g']:.2f}",
            f"{row.weights_mib:.1f}",
        ]
        for row in rows
    ]
    columns = ("method", "params, M", "printed", "multiply-adds, G", "printed", "weights, MiB (ours)")
    table(f"{name}: what four systems cost, counted and as printed", columns, cells, right=columns[1:])
    for row in rows:
        for line in row.notes:
            note(f"{row.method}: {line}")
    note("printed model sizes look like checkpoint files and have no recipe; the last column is ours alone")
