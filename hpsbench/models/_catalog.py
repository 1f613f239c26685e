"""Which systems there are, what they are, and loading one. Listing imports no system, and no torch."""

import ast
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, MissingCheckpoint, UnknownName, UnsafeFile, UsageError

if TYPE_CHECKING:
    from hpsbench.models._system import System

GROUP = "hpsbench.systems"
_FOLDER = Path(__file__).resolve().parent
_ENDINGS = (".safetensors", ".pt", ".pth", ".pth.tar")
_PROGRAMS = (".pt2", ".onnx")
_FILTERED = re.compile(r"median(\d*):(.+)")
_FITTED = re.compile(r"smplify(\d*):(.+)")
_RECIPES: Mapping[str, str] = {"spin": "spin-head", "mean_pose": "mean-pose", "lstm_kalman": "lstm-kalman"}
"""System -> the training recipe that trains it, where that is not of its name."""


# System -> the one that stands in for it on synthetic data where its checkpoint is absent.
EMBEDDED: Mapping[str, str] = {"spin": "embedded-spin"}


def list_systems() -> list[str]:
    """Names of all systems: one per file in this folder, and the installed entry points `hpsbench.systems`."""
    ours = {module.name for module in pkgutil.iter_modules([str(_FOLDER)]) if not module.name.startswith("_")}
    return sorted(ours | set(_installed()))


def get_system(name: str) -> Any:
    """The class of a system: the object `SYSTEM` of its module.

    An entry point `name = "package.module"` of the group `hpsbench.systems` names a module with `SYSTEM` and `CARD`;
    `name = "package.module:object"` names the class or factory itself, and `CARD` is looked for in its module.

    Raises:
        UnknownName: no such system; the message suggests the nearest.
        UsageError: the entry point's module cannot be imported, or lacks the object.
    """
    module, entry = _module_of(name), _installed().get(name)
    wanted = (entry.attr if entry is not None else None) or "SYSTEM"
    try:
        return getattr(importlib.import_module(module), wanted)
    except (ImportError, AttributeError) as error:
        if entry is None:
            raise
        raise UsageError(
            f"system {name!r} of the installed package behind {entry.value!r} cannot be loaded: {error}"
        ) from error


def read_card(name: str) -> dict[str, Any]:
    """What a system's file says about it (paper, inputs, what it predicts, ...), read without importing it.

    Raises:
        UnknownName: no such system.
        BrokenFile: the file has no literal dictionary `CARD`.
    """
    path = _source_of(name)
    for node in ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "CARD" for t in node.targets
        ):
            try:
                card = ast.literal_eval(node.value)
            except ValueError as error:
                raise BrokenFile(f"{path}: CARD must be a literal dictionary ({error})") from error
            return dict(card)
    raise BrokenFile(f"{path}: a system's file needs a literal dictionary CARD")


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _module_of(name: str) -> str:
    if name not in list_systems():
        raise UnknownName("system", name, choices=list_systems())
    entry = _installed().get(name)
    return entry.module if entry is not None else f"hpsbench.models.{name}"


def _source_of(name: str) -> Path:
    module = _module_of(name)
    if module.startswith("hpsbench.models."):
        return _FOLDER / f"{name}.py"
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise BrokenFile(f"system {name!r}: its entry point names module {module!r}, which is not installed")
    return Path(found.origin)


def load_system(
    path_or_name: str | Path,
    *,
    device: str = "cpu",
    root: Path | None = None,
    trust_code: bool = False,
    options: Mapping[str, Any] | None = None,
) -> "System":
    """Load a system, ready to predict.

    Args:
        path_or_name: a checkpoint (looked for as given, then in `R/checkpoints`); a system's name, whose checkpoint is
            looked for in `R/checkpoints` under the names of its card; `embedded-spin`, the frame-based baseline that
            comes with the package, for synthetic data; a program, `.pt2` or `.onnx`, with a card; an installed system
            that needs no checkpoint; or `package.module:factory`, a function without arguments that makes a system
            (looked for in the working folder too). `median:` before any of these puts a median filter over 5 frames
            behind it, `median9:` one over 9; `smplify:` fits its bodies to the 2D keypoints by temporal SMPLify with one
            step of the optimiser a stage, `smplify6:` with 6.
        device: where it computes.
        root: the data root; None: the environment's `HPSBENCH_ROOT`.
        trust_code: allow `package.module:factory` and `.pt2`, which run code.
        options: of the system of a checkpoint, instead of those that it was made with: `{"batch_mixing": "released"}`.

    Returns:
        A system in evaluation mode; a PyTorch module where it is one.

    Raises:
        MissingCheckpoint: no such file; the message lists where it was looked for.
        UnsafeFile: the file asks for code, or a factory without `trust_code`.
        BrokenFile, UnknownCheckpoint, CheckpointMismatch: as for a checkpoint that is damaged, of no known layout, or
            does not fit; the message names the entries.
    """
    text = str(path_or_name)
    if (filtered := _FILTERED.fullmatch(text)) is not None:
        from hpsbench.models.median_filter import FRAMES, wrap

        frames, model = filtered.groups()
        inner = load_system(model, device=device, root=root, trust_code=trust_code, options=options)
        return wrap(inner, int(frames or FRAMES))
    if (fitted := _FITTED.fullmatch(text)) is not None:
        from hpsbench.models._fitted import STEPS, fit_behind

        steps, model = fitted.groups()
        inner = load_system(model, device=device, root=root, trust_code=trust_code, options=options)
        return fit_behind(inner, _root(root), int(steps or STEPS))
    path = find_checkpoint(text, root)
    if path is not None:
        return _from_file(path, device, trust_code, options)
    if ":" in text and all(part.isidentifier() for part in text.replace(":", ".").split(".")):
        return _from_factory(text, trust_code)
    if text in _installed():
        made = get_system(text)
        if not hasattr(made, "recognise"):  # a class of ours needs a checkpoint; others bring what they need
            return _checked(text, made())
    raise MissingCheckpoint(_missing(text, _root(root)))


def _from_file(path: Path, device: str, trust_code: bool, options: Mapping[str, Any] | None) -> "System":
    from hpsbench.safe_io import is_program

    if path.suffix in _PROGRAMS or is_program(path):
        from hpsbench.models._programs import load_program

        if options:
            raise UsageError(f"{path}: a program has no options to choose, got {', '.join(options)}")
        return load_program(path, device=device, trust_code=trust_code)
    from hpsbench.models._checkpoints import load_checkpoint

    return load_checkpoint(path, device=device, options=options)


def find_checkpoint(path_or_name: str | Path, root: Path | None = None) -> Path | None:
    """The file that `load_system` would read, or None."""
    text = str(path_or_name)
    if text in EMBEDDED.values():
        from hpsbench.features import embedded

        return embedded.REGRESSOR if embedded.REGRESSOR.is_file() else None
    return next((place for place in _places(text, _root(root)) if place.is_file()), None)


def _root(root: Path | None) -> Path | None:
    if root is not None:
        return Path(root)
    return Path(os.environ["HPSBENCH_ROOT"]) if os.environ.get("HPSBENCH_ROOT") else None


def _places(text: str, root: Path | None) -> list[Path]:
    """Where a checkpoint may lie, in this order."""
    places = [Path(text)]
    if root is None or Path(text).is_absolute():
        return places
    folder = root / "checkpoints"
    places.append(folder / text)
    if (system := _system_of(text)) is not None:
        places += [folder / name for name in _card_checkpoints(read_card(system))]
        places += [folder / f"{system}{ending}" for ending in _ENDINGS]
    return list(dict.fromkeys(places))


def _system_of(text: str) -> str | None:
    """The system that is meant, also where it is written as its training recipe is: `mean-pose`."""
    return next((name for name in (text, text.replace("-", "_")) if name in list_systems()), None)


def _card_checkpoints(card: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in card.get("checkpoint", ())]


def _missing(text: str, root: Path | None) -> str:
    looked = ", ".join(str(place) for place in _places(text, root))
    where = (
        "" if root is not None else " (no data root given: use --root or HPSBENCH_ROOT to look there as well)"
    )
    system = _system_of(text)
    if system is None:
        known = ", ".join(list_systems())
        return f"no checkpoint {text!r}; looked at {looked}{where}. It is no system's name either ({known})."
    get, recipe = read_card(system).get("get"), _RECIPES.get(system, system)
    train = f"'hpsbench train {recipe}{'' if root is None else f' --root {root}'}'"
    how = f"Get {get}, and put it there." if get else f"Train one: {train}."
    if get and data_dir("recipes").joinpath("training", f"{recipe}.toml").is_file():
        how += f" Or train one: {train}."
    trained = (
        []
        if root is None
        else sorted(root.glob(f"runs/{recipe}-s*/best.safetensors"), key=lambda path: path.stat().st_mtime)
    )
    if trained:
        how += f" Trained ones are named by their file: --model {trained[-1]}"
    return f"no checkpoint of system {system!r}; looked at {looked}{where}. {how}"


def _from_factory(text: str, trust_code: bool) -> "System":
    if not trust_code:
        raise UnsafeFile(
            f"{text} is code that would be run; pass --trust-code (trust_code=True) if you trust it"
        )
    module, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last, so that nothing here stands in for an installed package
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot find {name!r} in {module!r}: {error}") from error
    return _checked(text, factory())


def _checked(text: str, made: Any) -> "System":
    for attribute in ("name", "inputs", "context", "predict"):
        if not hasattr(made, attribute):
            raise UsageError(f"{text} made a {type(made).__name__} without {attribute!r}; it is no system")
    system: System = made
    return system
