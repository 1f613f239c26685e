"""`hpsbench ls`: what there is. Imports nothing heavy."""

from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, out, table
from hpsbench.cli.options import HERE, AsJson, Recipes, Root
from hpsbench.errors import HpsbenchError, UnknownName

KINDS = (
    "datasets",
    "protocols",
    "systems",
    "corruptions",
    "training",
    "tables",
    "figures",
    "studies",
    "stores",
)


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("ls")(ls_command)


def ls_command(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    root: Root = HERE,
    explain: Annotated[
        str | None, typer.Option("--explain", help="Say in words what this protocol does.")
    ] = None,
    recipes: Recipes = None,
    json: AsJson = False,
) -> None:
    """List what hpsbench knows, or what the root holds."""
    if kind not in KINDS:
        raise UnknownName("kind of thing to list", kind, KINDS)
    if explain is not None:
        _explain(explain, recipes, json)
        return
    rows: list[dict[str, Any]] = {
        "datasets": _datasets,
        "protocols": _protocols,
        "systems": _systems,
        "corruptions": _corruptions,
        "training": _training,
        "tables": _tables,
        "figures": _figures,
        "studies": _studies,
        "stores": _stores,
    }[kind](root, recipes)
    if json:
        emit_json({kind: rows})
    elif kind == "systems":
        _show_systems(rows)
    elif kind == "corruptions":
        _show_corruptions(rows)
    elif not rows:
        out().print(f"no {kind}" + (f" under {root / 'stores'}" if kind == "stores" else ""))
    else:
        columns = list(rows[0])
        table(f"{kind}", columns, [[_cell(row[column]) for column in columns] for row in rows])


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _toml(*parts: str, extra: Any = None) -> dict[str, Any]:
    import tomllib

    from hpsbench.data_dir import data_dir

    for folder in ([extra] if extra else []) + [data_dir("recipes")]:
        path = folder.joinpath(*parts)
        if path.is_file():
            return tomllib.loads(path.read_text(encoding="utf-8"))
    return {}


def _datasets(_: Any, recipes: Any) -> list[dict[str, Any]]:
    from hpsbench.recipes.catalog import list_recipes

    rows = []
    for key in list_recipes(recipes):
        recipe = _toml("datasets", f"{key}.toml", extra=recipes)
        rows.append(
            {
                "dataset": key,
                "title": recipe.get("title", ""),
                "splits": list(recipe.get("splits", {})),
                "views": list(recipe.get("views", {})),
                "licence": recipe.get("licence", {}).get("name", recipe.get("licence", ""))
                if isinstance(recipe.get("licence"), dict)
                else recipe.get("licence", ""),
            }
        )
    return rows


def _protocols(_: Any, recipes: Any) -> list[dict[str, Any]]:
    from hpsbench.protocols.catalog import list_protocols

    rows = []
    for name in list_protocols(recipes):
        document = _toml("protocols", f"{name}.toml", extra=recipes)
        rows.append(
            {
                "protocol": f"{name}@{document.get('version', '?')}",
                "title": document.get("title", ""),
                "datasets": list(document.get("datasets", {})),
                "source": document.get("source", ""),
            }
        )
    return rows


def _systems(_: Any, __: Any) -> list[dict[str, Any]]:
    from hpsbench.models._catalog import list_systems, read_card

    rows = []
    for name in list_systems():
        try:
            card = read_card(name)
        except HpsbenchError as problem:  # of another package; the others are listed all the same
            card = {"title": f"no card can be read: {problem}"}
        plain = {key: card.get(key) for key in ("title", "paper", "inputs", "predicts", "parameters")}
        rows.append(
            {
                "system": name,
                **plain,
                "fixed": _lines(card.get("fixed")),
                "reading": _lines(card.get("reading")),
            }
        )
    return rows


def _lines(text: Any) -> list[str]:
    """What a card says in one line or in a list of lines."""
    if text is None:
        return []
    return [text] if isinstance(text, str) else list(text)


def _show_systems(rows: list[dict[str, Any]]) -> None:
    """One block per system: its name and paper, what goes in and comes out, what is fixed and what is a reading."""
    from rich.markup import escape
    from rich.table import Table

    for row in rows:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True, min_width=12)
        grid.add_column(no_wrap=True, min_width=1)
        grid.add_column(overflow="fold")
        grid.add_row(f"[bold cyan]{row['system']}[/]", "", f"[bold]{escape(row['title'] or '')}[/]")
        count = row["parameters"]
        facts = {
            "paper": [row["paper"] or ""],
            "reads": [_reads(row["inputs"])],
            "predicts": [row["predicts"] or ""],
            "parameters": [f"{count / 1e6:.2f} M ({count:,})" if count else ""],
            "fixed": row["fixed"],
            "reading": row["reading"],
        }
        for label, lines in facts.items():
            for number, line in enumerate(line for line in lines if line):
                name = f"  [dim]{label if number == 0 else ''}[/]"
                grid.add_row(name, "-" if len(lines) > 1 else "", escape(line))
        out().print(grid, soft_wrap=False)
        out().print()
    note("fixed: by the paper or its released code; reading: where these leave it open, what hpsbench does")


def _reads(inputs: dict[str, Any] | None) -> str:
    """A card's inputs in words."""
    if inputs is None:
        return ""
    words = {
        "features": "{} CNN features a frame",
        "flow": "{} optical-flow features a frame",
        "images": "crops of {0} x {0} pixels",
        "keypoints2d": "2D keypoints ({})",
        "predictions": "predictions of {}",
    }
    read = [text.format(inputs[key]) for key, text in words.items() if inputs.get(key)]
    if not read:
        return "nothing"
    window = inputs.get("window")
    frames = (
        "whole tracks"
        if window is None
        else "one frame at a time"
        if window == 1
        else f"windows of {window} frames"
    )
    return f"{', '.join(read)}; {frames}"


def _corruptions(_: Any, __: Any) -> list[dict[str, Any]]:
    from hpsbench.corruption._listing import describe_corruptions

    return describe_corruptions()


def _show_corruptions(rows: list[dict[str, Any]]) -> None:
    """One line of what each does, and its five severities."""
    body = [
        [
            row["corruption"],
            "?" if row["version"] is None else str(row["version"]),
            row["changes"] or "?",
            row["does"].rstrip(".:"),
            ", ".join(map(_level, row["severities"] or ())),
            row["counts"] or "",
        ]
        for row in rows
    ]
    table(
        "corruptions",
        ("corruption", "version", "changes", "what is done", "severity 1 to 5", "which is"),
        body,
    )
    note(
        "image: the frame before it is cropped; box: what is cut out of it; rows: which frame is shown. "
        "'hpsbench corrupt --mode NAME --severity N' makes a feature set"
    )


def _level(level: Any) -> str:
    if not isinstance(level, list):
        return f"{level:g}"
    return f"({', '.join(f'{value:g}' for value in level)})"


def _training(_: Any, recipes: Any) -> list[dict[str, Any]]:
    from hpsbench.data_dir import data_dir

    folders = [data_dir("recipes"), *([recipes] if recipes else [])]
    names = sorted({path.stem for folder in folders for path in folder.glob("training/[!_]*.toml")})
    documents = {name: _toml("training", f"{name}.toml", extra=recipes) for name in names}
    return [
        {
            "recipe": name,
            "system": _inherited(d, "system", recipes),
            "title": d.get("title", ""),
            "source": _inherited(d, "source", recipes),
        }
        for name, d in documents.items()
    ]


def _inherited(document: dict[str, Any], key: str, recipes: Any) -> str:
    """A key of a training recipe, or of the one that it extends."""
    while key not in document and "extends" in document:
        document = _toml("training", f"{document['extends']}.toml", extra=recipes)
    return str(document.get(key, ""))


def _tables(_: Any, recipes: Any) -> list[dict[str, Any]]:
    from hpsbench.tables.catalog import list_tables

    return list_tables(recipes)


def _figures(_: Any, recipes: Any) -> list[dict[str, Any]]:
    """What the papers draw or say in their text: `cells` counts the printed numbers among its places."""
    from hpsbench.tables.catalog import list_tables

    return list_tables(recipes, kind="figure")


def _studies(_: Any, recipes: Any) -> list[dict[str, Any]]:
    """Comparisons that no paper prints."""
    from hpsbench.tables.catalog import list_tables

    return list_tables(recipes, kind="study")


def _stores(root: Any, _: Any) -> list[dict[str, Any]]:
    import json

    rows = []
    for folder in sorted((root / "stores").glob("*.zarr")):
        try:
            attributes = json.loads((folder / "zarr.json").read_text(encoding="utf-8")).get("attributes", {})
        except (OSError, ValueError):
            attributes = {}
        sets = sorted(path.name for path in (folder / "features").glob("*") if path.is_dir())
        rows.append(
            {
                "store": folder.name,
                "dataset": attributes.get("dataset", "?"),
                "synthetic": attributes.get("synthetic", "?"),
                "feature sets": sets,
            }
        )
    return rows


def _explain(name: str, recipes: Any, as_json: bool) -> None:
    from hpsbench.protocols.catalog import get_protocol
    from hpsbench.protocols.explain import explain, explain_lines

    protocol = get_protocol(name, recipes)
    if as_json:
        emit_json({"protocol": protocol.id, "lines": [line._asdict() for line in explain_lines(protocol)]})
    else:
        out().print(explain(protocol), markup=False, highlight=False)
