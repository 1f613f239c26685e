"""The command line: one file per verb, each a thin call of a Python function.

Data goes to stdout, progress and messages to stderr. `--help` and `ls` import nothing heavy; every verb
imports what it needs when it runs.
"""

import importlib
import pkgutil

import typer

from hpsbench.cli.console import run

app = typer.Typer(
    name="hpsbench",
    help="Dataset toolkit and benchmark harness for 3D human pose and shape from video.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # panels cost more time than the rest of --help together
    pretty_exceptions_enable=False,
)

# The order of the flow, as `--help` shows it. Verbs that are not named here follow in alphabetical order.
_FLOW = (
    "demo",
    "doctor",
    "ls",
    "status",
    "synth",
    "prepare",
    "verify",
    "extract",
    "import",
    "export",
    "corrupt",
    "train",
    "predict",
    "evaluate",
    "score",
    "compare",
    "breakdown",
    "sweep",
    "reproduce",
    "report",
    "view",
    "leaderboard",
)


def _verbs() -> list[str]:
    """Modules of this folder that register a verb: all but the shared ones."""
    found = {module.name for module in pkgutil.iter_modules(__path__)} - {"console", "options"}
    return sorted(found, key=_place_in_flow)


def _place_in_flow(module: str) -> tuple[int, str]:
    verb = module.rstrip("_")  # a module whose verb is a word of Python has an underscore more
    return (_FLOW.index(verb) if verb in _FLOW else len(_FLOW), verb)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from hpsbench import __version__

        typer.echo(__version__)
        raise typer.Exit


for _verb in _verbs():
    importlib.import_module(f"hpsbench.cli.{_verb}").register(app)


def main() -> None:
    """Entry point of the `hpsbench` script."""
    run(app)
