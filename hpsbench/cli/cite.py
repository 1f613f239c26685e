"""`hpsbench cite`: BibTeX of what was used."""

from typing import Annotated

import typer

from hpsbench.cli.console import emit_json
from hpsbench.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("cite")(cite_command)


def cite_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Datasets, systems, protocols; none: hpsbench alone.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Print BibTeX of NAMES and of hpsbench."""
    from hpsbench.leaderboards.citations import cite

    entries = cite(names or [])
    if json:
        emit_json({"names": names or [], "bibtex": entries})
    else:
        typer.echo("\n\n".join(entries))
