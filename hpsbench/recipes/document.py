"""Pages about datasets, made from their recipes: `python -m hpsbench.recipes.document docs/datasets`."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpsbench.bodies.joints import get_joint_set
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.damage import OUTCOMES, RAW, Damages, read_damages
from hpsbench.recipes.schema import Expected, FieldFacts, Recipe, Split
from hpsbench.recipes.view_rules import FixedBox, GivenBox, SmoothBox, TightBox, ViewRule

_FOOT = "<!-- Made from recipes/datasets/{key}.toml by python -m hpsbench.recipes.document; edit that file instead. -->"
INDEX = "README.md"
DAMAGED = "damaged.md"


def dataset_page(recipe: Recipe) -> str:
    """A page in Markdown: how to get the dataset, what comes out, views, counts, defects, how to cite it."""
    sections = [
        f"# {recipe.title}",
        f"Key `{recipe.key}`. {recipe.paper}. Site: <{recipe.homepage}>.",
        "## How to get it",
        _numbered(step.replace("{root}", "R") for step in recipe.access),
        f"Licence: {recipe.licence} (<{recipe.licence_url}>). It is shown once before real data is used.",
        f"`R` is the data root. A folder is taken for the dataset if it holds {_either(recipe.markers)}.",
        f"```\nhpsbench prepare {recipe.key} --root R\nhpsbench verify {recipe.key} --root R\n```",
        "## What is read",
        _table(("split", "files", "how many"), [_split_row(recipe, name) for name in recipe.splits]),
        _beside(recipe),
        "## What comes out",
        f"The clip store `R/stores/{recipe.key}.zarr`, in which every row is an annotated frame; in Python "
        f"`hpsbench.open_store(\"R/stores/{recipe.key}.zarr\")` opens it.",
        _facts(recipe),
        _table(("field", "unit", "frame", "joints", "note"), [_field_row(n, f) for n, f in recipe.fields.items()]),
        "## Views",
        "A view is a mask and a box for every row of the store: what one code base does with the same annotations. "
        f"`prepare` makes image features for `{recipe.default_view}`.",
        _table(("view", "boxes", "crop", "rows", "source", "note"), [_view_row(n, v) for n, v in recipe.views.items()]),
        "## Counts",
        _counts(recipe),
        "## Known defects",
        _bullets(f"**{defect.id}**: {defect.text}." for defect in recipe.defects),
        f"What damaged files are told: [{DAMAGED}]({DAMAGED}#{recipe.key})." if read_damages(recipe.key) else "",
        "## Citation",
        f"```bibtex\n{recipe.bibtex.strip()}\n```",
        _FOOT.format(key=recipe.key),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def index_page(recipes: Sequence[Recipe]) -> str:
    """The list of all datasets."""
    rows = [
        (
            f"[`{recipe.key}`]({recipe.key}.md)",
            recipe.title,
            ", ".join(recipe.splits),
            ", ".join(recipe.views),
        )
        for recipe in recipes
    ]
    text = (
        "# Datasets\n\nOne page per dataset, made from its recipe. `hpsbench synth DATASET --root R` writes a small "
        f"synthetic one in the same raw layout for trying. [{DAMAGED}]({DAMAGED}) lists what damaged files are told.\n\n"
    )
    table = _table(("key", "dataset", "splits", "views"), rows)
    return f"{text}{table}\n\n{_FOOT.format(key='*')}\n"


def damaged_page(recipes: Sequence[Recipe]) -> str:
    """What `prepare`, `extract` and `verify` say of damaged files, dataset by dataset."""
    known = [(recipe, damages) for recipe in recipes if (damages := read_damages(recipe.key)) is not None]
    sections = [
        "# Damaged files",
        "What the files of each dataset are told when something is wrong with them. `R` is the data root, … stands for what "
        "other libraries say. Nothing that was complete before is lost: after mending the file the same command goes on.",
        _bullets(f"**{name}**: {text}." for name, text in OUTCOMES.items()),
        *(part for recipe, damages in known for part in _damages(recipe, damages)),
        "<!-- Made from recipes/damaged/*.toml by python -m hpsbench.recipes.document; edit those files instead. -->",
    ]
    return "\n\n".join(sections) + "\n"


def _damages(recipe: Recipe, damages: Damages) -> list[str]:
    rows = [
        (line.kind, line.how, line.outcome, f"`{line.says.replace(RAW, f'R/raw/{recipe.key}')}`")
        for line in damages.damage
    ]
    table = _table(("damage", "for example", "outcome", "message"), rows)
    cannot = "; ".join(f"{kind} ({why})" for kind, why in damages.cannot.items())
    return [f"## {recipe.key}", table, *([f"Does not happen here: {cannot}."] if cannot else [])]


def pages(extra: Path | None = None) -> dict[str, str]:
    """File name -> content of every page.

    Args:
        extra: another folder with `datasets/*.toml`.
    """
    recipes = [get_recipe(key, extra) for key in list_recipes(extra)]
    every = {INDEX: index_page(recipes), DAMAGED: damaged_page(recipes)}
    return every | {f"{recipe.key}.md": dataset_page(recipe) for recipe in recipes}


def write_pages(folder: Path, extra: Path | None = None) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(extra).items():
        (folder / name).write_text(text, encoding="utf-8")


def _facts(recipe: Recipe) -> str:
    source, body = recipe.source, recipe.body
    rate = "as each recording has it" if source.fps is None else f"{source.fps:g} frames a second"
    lines = [
        f"Frame rate: {rate}.",
        f"Coordinates: {source.coordinates}; lengths in metres"
        + (f"; the world's {source.up} axis points up." if source.up else "."),
    ]
    if body.model != "none":
        gendered = "of the person's gender" if body.gendered else "neutral"
        lines.append(f"Body model: {body.model.upper()}, {gendered}, {body.num_betas} betas.")
    return _bullets(lines)


def _split_row(recipe: Recipe, name: str) -> tuple[str, ...]:
    split: Split = recipe.splits[name]
    patterns = (
        " or ".join(_code(glob) for glob in split.glob) if split.take == "first" else _codes(split.glob)
    )
    said = []
    if split.told_by == "reader":
        said.append("the files say which split they belong to")
    if split.items == "reader":
        said.append("a file may hold several recordings")
    number = [
        f"{count} {what}"
        for what, count in (("sequences", split.sequences), ("tracks", split.tracks))
        if count
    ]
    return (
        name,
        patterns + (f" ({'; '.join(said)})" if said else ""),
        ", ".join(number) or _elsewhere(recipe, name),
    )


def _elsewhere(recipe: Recipe, split: str) -> str:
    """Where the number of a split's sequences stands that the split itself does not say."""
    counted = any(expected.split in (None, split) for expected in recipe.expected)
    return "see [Counts](#counts)" if counted else "not published"


def _beside(recipe: Recipe) -> str:
    rows = [
        (name, _codes(files.glob), f"{'needed; ' if files.required else ''}{files.note}")
        for name, files in recipe.files.items()
    ]
    excluded = f"Passed over: {_codes(recipe.exclude)}.\n\n" if recipe.exclude else ""
    table = _table(("beside them", "files", "what for"), rows) if rows else ""
    return (excluded + table).strip()


def _field_row(name: str, facts: FieldFacts) -> tuple[str, ...]:
    joints = " or ".join(f"`{held}` ({len(get_joint_set(held))})" for held in facts.joint_sets)
    note = facts.note + (" (NaN where it is missing)" if facts.optional else "")
    return f"`{name}`", facts.unit or "", facts.frame or "", joints, note


def _view_row(name: str, view: ViewRule) -> tuple[str, ...]:
    scale = "" if view.crop_scale is None else f"{view.crop_scale:.4g}"
    return f"`{name}`", _box(view), scale, rows_in_words(view), view.source, view.note


def _box(view: ViewRule) -> str:
    """The box rule in words."""
    box = view.box
    if isinstance(box, SmoothBox):
        text = f"{box.factor:g} x diagonal of keypoints above {box.threshold:g}, median {box.median}, sigma {box.sigma:g}"
        return (
            text
            + (", ends held" if box.ends == "hold" else "")
            + (", at its own rate" if box.over == "thinned" else "")
        )
    if isinstance(box, TightBox):
        return _tight(box)
    if isinstance(box, GivenBox):
        text = f"{box.factor:g} x longer side of the given box"
        return text + (f", without any: {_tight(box.otherwise)}" if box.otherwise else "")
    if isinstance(box, FixedBox):
        return "always centre ({:g}, {:g}), {:g} x {:g}".format(*box.cxcywh)
    return "none"


def _tight(box: TightBox) -> str:
    seen = {
        "confidence": f"confidence above {box.threshold:g}",
        "x-or-y": "x or y other than 0",
        "x-and-y": "x and y other than 0",
    }[box.seen]
    return f"{box.factor:g} x longer side of the keypoints with {seen}"


def rows_in_words(view: ViewRule) -> str:
    """What decides which rows a view keeps, such as `more than 6 of 12 joints seen; with a box`."""
    said = []
    if view.cameras:
        said.append(f"camera {', '.join(view.cameras)}")
    if view.without:
        said.append(f"without remark {', '.join(view.without)}")
    if view.thin is not None:
        where = f" in {', '.join(view.thin.splits)}" if view.thin.splits else ""
        frames = "frame" if view.thin.counted == "numbers" else "accepted frame"
        first = f" from {view.thin.first}" if view.thin.counted == "numbers" else ""
        whole = " of the whole dataset" if view.thin.counted == "dataset" else ""
        said.append(f"every {view.thin.every}. {frames}{first}{whole}{where}")
    flags = [*(["valid"] if view.valid else []), *view.flags]
    if flags:
        said.append(" and ".join(f"`{flag}`" for flag in flags))
    if view.inside is not None:
        said.append(f"{len(view.inside.joints)} joints inside the image")
    if view.visible is not None:
        said.append(f"more than {view.visible.more_than} of {len(view.visible.joints)} joints seen")
    if view.min_frames:
        said.append(f"tracks of at least {view.min_frames}")
    if view.boxless == "drop" and view.box.rule not in ("none", "fixed"):
        said.append("with a box")
    return "; ".join(said) or "all"


def _counts(recipe: Recipe) -> str:
    """What the complete dataset should give; `verify` compares."""
    rows = [_count_row(expected) for expected in recipe.expected]
    parts = [_table(("what", "number", "source"), rows)] if rows else []
    for lengths in recipe.lengths:
        total = f"{sum(lengths.rows.values()):,} rows in {len(lengths.rows)} recordings"
        parts.append(f"`verify` also compares the rows of single recordings ({total}; {lengths.source}).")
    if not parts:
        return "Nobody has published counts that `verify` could compare with."
    uncertain = any(not expected.certain for expected in recipe.expected)
    parts.append("`verify` compares them with a store of real data" + (
        "; a `?` marks a number reported in passing, which is a warning and no error if it differs." if uncertain else "."
    ))  # fmt: skip
    return "\n\n".join(parts)


def _count_row(expected: Expected) -> tuple[str, ...]:
    what = " ".join(part for part in (expected.split, expected.what) if part)
    if expected.view:
        what += f" in view `{expected.view}`"
    if expected.where:
        held = "; ".join(f"{column} {' or '.join(values)}" for column, values in expected.where.items())
        what += f" ({held})"
    return what, f"{expected.value:,}" + ("" if expected.certain else " ?"), expected.source


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(_code(text) for text in texts)


def _either(texts: Sequence[str]) -> str:
    return _code(texts[0]) if len(texts) == 1 else f"one of {_codes(texts)}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/datasets"))
