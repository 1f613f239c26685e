"""`hpsbench doctor`: is this machine ready, and what is missing."""

import typer

from hpsbench.cli.console import emit_json, table
from hpsbench.cli.options import HERE, AsJson, Root


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("doctor")(doctor_command)


def doctor_command(root: Root = HERE, json: AsJson = False) -> None:
    """Check Python, libraries, devices, disk and the files under the root; exit 1 if something essential fails."""
    from hpsbench.pipeline.doctor import examine

    findings = examine(root)
    if json:
        emit_json({"findings": findings, "ok": not any(f["state"] == "fails" for f in findings)})
    else:
        table(
            "hpsbench doctor",
            ("what", "state", "found", "what to do"),
            [(f["what"], f["state"], f["found"], f["advice"]) for f in findings],
        )
    if any(f["state"] == "fails" for f in findings):
        raise typer.Exit(1)
