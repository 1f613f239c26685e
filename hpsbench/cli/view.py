"""`hpsbench view`: a track of a store in the browser, ground truth beside prediction."""

import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Annotated

import typer

from hpsbench.cli.console import emit_json, note, plain
from hpsbench.cli.options import AsJson, DryRun, View


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("view")(view_command)


def view_command(
    store: Annotated[str, typer.Argument(help="A store: its path, or its name under R/stores.")],
    clip: Annotated[str, typer.Argument(help="Track, clip id, or sequence of one track.")],
    pred: Annotated[
        str | None, typer.Option("--pred", help="A run, or a file of predictions, to show beside.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", envvar="HPSBENCH_ROOT", help="Data root; default: above the store's stores/."),
    ] = None,
    view: View = None,
    host: Annotated[str, typer.Option("--host", help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to serve at.")] = 8080,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Show a CLIP of a STORE live in the browser: annotated body, predicted body, image."""
    from hpsbench.reports.viewer import LiveView, load_viser, make_view
    from hpsbench.store.reader import open_store

    path = Path(store)
    if not path.exists() and root is not None and (root / "stores" / f"{store}.zarr").exists():
        path = root / "stores" / f"{store}.zarr"
    viser = None if dry_run else load_viser()
    shown = make_view(open_store(path), clip, root=root or path.resolve().parent.parent, pred=pred, view=view)
    server = None
    if viser is not None:
        with redirect_stdout(sys.stderr):  # what it prints is no data
            server = viser.ViserServer(host=host, port=port, verbose=False)
        port = int(server.get_port())  # where the port was in use, it took the next one
    names = [body.name for body in shown.bodies]
    about = {
        "track": shown.track,
        "frames": len(shown.frame_id),
        "bodies": names,
        "notes": list(shown.notes),
        "url": f"http://{host}:{port}",
    }
    if json:
        emit_json({"dry_run": dry_run, **about})
    else:
        would = "would show" if dry_run else "showing"
        note(f"{would} {plain(shown.track)}, {len(shown.frame_id)} frames: {plain(', '.join(names))}")
        for text in shown.notes:
            note(f"[dim]{plain(text)}[/]")
    if server is None:
        return
    if not json:
        note(f"open [bold]{about['url']}[/]; Ctrl-C ends")
    with suppress(KeyboardInterrupt, SystemExit):  # how a viewer ends
        LiveView(server, shown).play()
