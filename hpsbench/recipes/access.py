"""Where raw data is, whether it is synthetic, and whether its licence was accepted."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsbench.errors import AccessStepMissing, BrokenFile, MissingData, MissingRawFiles
from hpsbench.recipes.schema import Recipe

SYNTHETIC_MARK = "hpsbench-synthetic.json"
SYNTHETIC_FORMAT = "hpsbench-synthetic"
LICENCES = Path(".hpsbench") / "licences.json"


@dataclass(frozen=True, slots=True)
class RawRoot:
    """The folder of a raw dataset.

    Attributes:
        path: the folder.
        synthetic: what its mark says (`dataset`, `size`, `seed`) if the data was made by `hpsbench synth`, else None.
    """

    path: Path
    synthetic: dict[str, Any] | None

    @property
    def is_synthetic(self) -> bool:
        """Whether the data was made by `hpsbench synth`."""
        return self.synthetic is not None


def raw_places(recipe: Recipe, root: Path) -> list[Path]:
    """Where a raw dataset is looked for, in order."""
    return [root / "raw" / recipe.key, root / recipe.key, root]


def find_raw(recipe: Recipe, root: Path) -> RawRoot:
    """The first of the places that holds the dataset's marker files.

    Raises:
        MissingData: the data root itself is not there.
        MissingRawFiles: no place has them; the message says where it looked and how to get the data.
        BrokenFile: the folder's synthetic mark is damaged or of another dataset.
    """
    if not root.is_dir():
        raise MissingData(
            f"no data root at {root}; create the folder, or name another with --root or HPSBENCH_ROOT"
        )
    for place in raw_places(recipe, root):
        if _has_markers(place, recipe):
            return RawRoot(place, _synthetic_mark(place, recipe))
    raise MissingRawFiles(missing_text(recipe, root))


def missing_text(recipe: Recipe, root: Path) -> str:
    """What is missing, where it was looked for, and the steps to get it."""
    places = "".join(f"\n  {place}{_nearby(place, recipe)}" for place in raw_places(recipe, root))
    steps = "".join(
        f"\n  {n}. {step.replace('{root}', str(root))}" for n, step in enumerate(recipe.access, start=1)
    )
    wanted = recipe.markers[0] + (" or similar" if len(recipe.markers) > 1 else "")
    return (
        f"{recipe.key}: no raw files found. Looked for {wanted} in{places}\n"
        f"They cannot be downloaded for you:{steps}\n"
        f"Or make synthetic ones: hpsbench synth {recipe.key} --root {root}"
    )


def _nearby(place: Path, recipe: Recipe) -> str:
    """A hint where the files lie one folder too deep, as archives often unpack."""
    if not place.is_dir():
        return " (no such folder)"
    for child in sorted(place.iterdir()):
        if child.is_dir() and child.name not in {"raw", recipe.key} and _has_markers(child, recipe):
            return f" (found one folder deeper, in {child.name}: move its contents up)"
    return ""


def _has_markers(place: Path, recipe: Recipe) -> bool:
    return place.is_dir() and any(next(place.glob(pattern), None) is not None for pattern in recipe.markers)


def _synthetic_mark(place: Path, recipe: Recipe) -> dict[str, Any] | None:
    path = place / SYNTHETIC_MARK
    if not path.exists():
        return None
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not valid JSON ({error}); write the synthetic data again") from error
    if not isinstance(mark, dict) or mark.get("format") != SYNTHETIC_FORMAT or mark.get("version") != 1:
        raise BrokenFile(
            f"{path}: expected format {SYNTHETIC_FORMAT!r}, version 1; write the synthetic data again"
        )
    if mark.get("dataset") != recipe.key:
        raise BrokenFile(f"{path}: marks synthetic data of {mark.get('dataset')!r}, not of {recipe.key!r}")
    return mark


def licence_text(recipe: Recipe) -> str:
    """What a user is shown before real data is used for the first time."""
    return (
        f"{recipe.title}\nLicence: {recipe.licence}\nFull terms: {recipe.licence_url}\n"
        "The clip store and image features made from it are derived data under the same terms.\n"
        f"Cite: {recipe.paper}"
    )


def licence_accepted(recipe: Recipe, root: Path) -> bool:
    """Whether the licence, as this recipe words it, was accepted for this data root."""
    entry = _read_licences(root).get(recipe.key)
    return isinstance(entry, dict) and entry.get("licence_sha256") == _licence_sha256(recipe)


def accept_licence(recipe: Recipe, root: Path) -> None:
    """Remember that the licence was accepted, in `<root>/.hpsbench/licences.json`."""
    path = root / LICENCES
    accepted = _read_licences(root)
    accepted[recipe.key] = {"licence_sha256": _licence_sha256(recipe), "licence_url": recipe.licence_url}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(accepted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def require_licence(recipe: Recipe, root: Path, raw: RawRoot, *, accept: bool) -> None:
    """Let synthetic data pass; otherwise the licence must have been accepted, or is now.

    Raises:
        AccessStepMissing: it was not; the message shows the licence and how to accept it.
    """
    if raw.is_synthetic or licence_accepted(recipe, root):
        return
    if accept:
        accept_licence(recipe, root)
        return
    raise AccessStepMissing(
        f"{licence_text(recipe)}\nThe licence has not been accepted for {root}. "
        f"Run 'hpsbench prepare {recipe.key}' in a terminal, or add --accept-licence."
    )


def _licence_sha256(recipe: Recipe) -> str:
    return hashlib.sha256(f"{recipe.licence}\n{recipe.licence_url}".encode()).hexdigest()


def _read_licences(root: Path) -> dict[str, Any]:
    path = root / LICENCES
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(
            f"{path}: not valid JSON ({error}); remove it, and accept the licences again"
        ) from error
    if not isinstance(content, dict):
        raise BrokenFile(f"{path}: expected a JSON object; remove it, and accept the licences again")
    return content
