"""The two sides that are compared, and the per-frame values of a metric."""

from dataclasses import dataclass

import numpy as np

from hpsbench.evaluation.frames import FramePlan
from hpsbench.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Prediction or target of N rows; rows that no window predicts may hold anything.

    Attributes:
        joints: (N, J, 3) metres, the joints that are scored.
        root: (N, 3) what root alignment takes off, metres; None: the protocol takes nothing off.
        rotations: (N, 24, 3, 3) global joint rotations, or None.
        feet: (N, 4, 3) the foot vertices, or None.
    """

    joints: FloatArray
    root: FloatArray | None
    rotations: FloatArray | None = None
    feet: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """One metric of N rows.

    Attributes:
        value: (N,) float64 in the metric's unit; NaN where the weight is 0.
        weight: (N,) float64; 1 where there is a value, or the number of values behind it.
    """

    value: FloatArray
    weight: FloatArray


def nothing(plan: FramePlan) -> Values:
    """No value in any row."""
    return Values(value=np.full(len(plan), np.nan), weight=np.zeros(len(plan)))
