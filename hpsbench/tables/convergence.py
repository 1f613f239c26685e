"""Whether a training went on for long enough: its validation curve hardly moves at the end.

The curve is that of the best epoch so far, whose weights are kept and evaluated. In the last fifth of the epochs it may change
by less than one per cent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LAST = 0.2
"""Share of the epochs at the end that is looked at."""
ENOUGH = 1.0
"""Per cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """How a validation curve ends.

    Attributes:
        converged: None where it cannot be told.
        change: per cent by which the best value still moved in the last fifth; negative: lower, better.
        why_unknown: the reason where `converged` is None.
    """

    converged: bool | None
    change: float | None = None
    why_unknown: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "converged": self.converged,
            "last_fifth_percent": None if self.change is None else round(self.change, 3),
            "why_unknown": self.why_unknown,
        }


def convergence(curve: Sequence[float]) -> Convergence:
    """Judge a validation curve.

    Args:
        curve: error at the end of every epoch, the last one last.

    >>> convergence([90, 80, 70, 65, 64, 63, 62.5, 62, 61.8, 61.7]).converged
    True
    >>> convergence([90, 80, 70, 65, 60, 55, 50, 45, 40, 35]).converged
    False
    >>> convergence([90, 80]).why_unknown
    '2 epochs: a fifth is less than one'
    """
    epochs = len(curve)
    if epochs * LAST < 1:
        return Convergence(
            converged=None,
            why_unknown=f"{epochs} epoch{'' if epochs == 1 else 's'}: a fifth is less than one",
        )
    before = min(curve[: epochs - int(epochs * LAST)])
    change = 100 * (min(before, *curve) - before) / before
    return Convergence(converged=abs(change) < ENOUGH, change=change)
