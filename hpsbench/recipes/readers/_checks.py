"""What every reader checks of the arrays of a raw file, and how it says so."""

from typing import Any

import numpy as np

from hpsbench.errors import BrokenFile, UnitError, UsageError
from hpsbench.recipes.sequences import RawSequence
from hpsbench.types import FloatArray

_SMALLEST, _LARGEST = 0.1, 20.0  # metres that a body spans in most frames
_SMALLEST_IMAGE = 2.0  # pixels
_FEW = 8  # frames
_MOST_TURNED = 4 * np.pi  # radians


def check_numbers(values: Any, key: str, raw: RawSequence) -> None:
    """Refuse text, cells, tables and complex numbers where an array of plain numbers (or flags) should be.

    Raises:
        BrokenFile: it is no such array.
    """
    found = np.asarray(values).dtype
    if found.kind not in "biuf":
        kind = {"U": "text", "S": "text", "c": "complex numbers"}.get(found.kind, f"an array of {found}")
        raise BrokenFile(
            f"{raw.path}: {key} should be numbers, found {kind}; the file is damaged or was changed"
        )


def check_shape(values: Any, shape: tuple[int | None, ...], key: str, raw: RawSequence) -> None:
    """Compare a shape; None stands for any length but zero.

    Raises:
        BrokenFile: it is another.
    """
    found = np.shape(values)
    if len(found) == len(shape) and all(
        n > 0 if want is None else n == want for n, want in zip(found, shape, strict=True)
    ):
        return
    wanted = ", ".join("frames" if want is None else str(want) for want in shape)
    raise BrokenFile(
        f"{raw.path}: {key} has shape {found}, expected ({wanted}); is an axis swapped or the file cut?"
    )


def check_finite(values: FloatArray, key: str, raw: RawSequence) -> None:
    """Refuse NaN and infinity where the dataset has none.

    Raises:
        BrokenFile: with the number of rows and the first of them.
    """
    with np.errstate(
        all="ignore"
    ):  # a sum is finite only if every number is; one that overflows is looked at again
        if np.isfinite(np.add.reduce(values, axis=None)):
            return
    bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if bad.any():
        raise BrokenFile(
            f"{raw.path}: {key} is not finite in {int(bad.sum())} of {len(values)} rows, first in row "
            f"{int(np.flatnonzero(bad)[0])}; the file is damaged or was changed"
        )


def check_metres(joints: FloatArray, key: str, unit: str, raw: RawSequence) -> None:
    """Refuse bodies that are no bodies after conversion to metres.

    Args:
        joints: (T, J, 3) metres.
        key: of the file.
        unit: that the file is supposed to be in.
        raw: the file.

    Raises:
        UnitError: a body spans less than 0.1 m or more than 20 m in most frames.
    """
    some = np.ascontiguousarray(joints[:: max(1, len(joints) // 100)].transpose(1, 0, 2))
    span = float(np.median(np.linalg.norm(some.max(axis=0) - some.min(axis=0), axis=-1)))
    if not _SMALLEST < span < _LARGEST:
        raise UnitError(
            f"{raw.path}: read as {unit}, {key} gives bodies that span {span:.3g} m; it is in another unit"
        )


def check_pixels(points: FloatArray, key: str, raw: RawSequence) -> None:
    """Refuse 2D points that are no pixels: shares of the image's width and height, for instance.

    Args:
        points: (T, J, 3) x, y and a flag; only flagged points count.
        key: of the file.
        raw: the file.

    Raises:
        UnitError: there are such points, and none lies further than 2 from the origin.
    """
    for some in (points[:_FEW], points):  # the first frames nearly always show it
        seen = np.abs(some[some[..., 2] > 0][:, :2])
        if seen.size and float(seen.max()) > _SMALLEST_IMAGE:
            return
    if seen.size and 0 < float(seen.max()) <= _SMALLEST_IMAGE:
        raise UnitError(
            f"{raw.path}: {key} reach {float(seen.max()):.3g} at most, where pixels were expected; are they shares of the "
            "image's width and height?"
        )


def check_radians(rotations: FloatArray, key: str, raw: RawSequence) -> None:
    """Refuse axis-angle vectors that are no radians.

    Args:
        rotations: (T, 3 x joints); joint 0 is the root, which motion capture may go on counting round and round.
        key: of the file.
        raw: the file.

    Raises:
        UnitError: in most frames some joint beside the root turns by more than two full turns.
    """
    some = rotations[:: max(1, len(rotations) // 100)].reshape(-1, rotations.shape[1] // 3, 3)
    turned = np.linalg.norm(some, axis=-1)
    if np.median(turned[:, 1:].max(axis=1)) > _MOST_TURNED:
        largest = float(np.median(turned.max(axis=1)))
        raise UnitError(
            f"{raw.path}: read as radians, {key} turns joints by {largest:.3g}; it is in another unit, degrees perhaps"
        )


def option(raw: RawSequence, name: str, kind: type) -> Any:
    """A constant of the reader, from the recipe's `options`.

    Raises:
        UsageError: the recipe lacks it.
    """
    if not isinstance(raw.options.get(name), kind):
        raise UsageError(
            f"the recipe of {raw.name} lacks options.{name} ({kind.__name__}), which its reader needs"
        )
    return raw.options[name]
