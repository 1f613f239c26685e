"""A number with its unit, its n and its interval: what a summary holds under each metric's name."""

from collections.abc import Iterator, Mapping
from typing import Any


class Measured(float):
    """One measured value; a float that knows what it is, and can be read like its entry in results.json.

    Attributes:
        unit: `mm`, `mm/frame^2`, `%`, ...
        n: how many values the mean is over (frames, accelerations, steps).
        average: over what the mean is taken: `frame`, `track` or `video`.
        by_average: the same values averaged each way: `frame` (micro), `track`, `video` (macro).
        interval: 95 % interval, or None.
        why_no_interval: the reason where there is none.
        sequences: how many sequences the interval's resampling draws from.

    Example:
        >>> value = Measured(55.8, unit="mm", n=35515)
        >>> f"{value:.1f} {value.unit}", value["n"], value > 50
        ('55.8 mm', 35515, True)
    """

    unit: str
    n: int
    average: str
    by_average: Mapping[str, float]
    interval: tuple[float, float] | None
    why_no_interval: str | None
    sequences: int

    KEYS = ("value", "unit", "n", "average", "by_average", "interval", "why_no_interval", "sequences")

    def __new__(
        cls,
        value: float,
        *,
        unit: str,
        n: int,
        average: str = "frame",
        by_average: Mapping[str, float] | None = None,
        interval: tuple[float, float] | None = None,
        why_no_interval: str | None = None,
        sequences: int = 0,
    ) -> "Measured":
        """Make one; see the class for the arguments."""
        self = super().__new__(cls, value)
        self.unit, self.n, self.average, self.sequences = unit, int(n), average, int(sequences)
        self.by_average = dict(by_average or {})
        self.interval = None if interval is None else (float(interval[0]), float(interval[1]))
        self.why_no_interval = why_no_interval
        return self

    @property
    def value(self) -> float:
        """The plain number."""
        return float(self)

    def to_json(self) -> dict[str, Any]:
        """The entry in results.json."""
        return {
            "value": self.value,
            "unit": self.unit,
            "n": self.n,
            "average": self.average,
            "by_average": dict(self.by_average),
            "interval": None if self.interval is None else list(self.interval),
            "why_no_interval": self.why_no_interval,
            "sequences": self.sequences,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Measured":
        """Back from the entry in results.json; keys of later versions are ignored."""
        known = {key: entry[key] for key in cls.KEYS if key in entry and key != "value"}
        if known.get("interval") is not None:
            known["interval"] = tuple(known["interval"])
        return cls(entry["value"], **known)

    def __getitem__(self, key: str) -> Any:
        if key not in self.KEYS:
            raise KeyError(key)
        return self.to_json()[key]

    def keys(self) -> Iterator[str]:
        """Keys of the entry, so that `dict(value)` is the entry."""
        return iter(self.KEYS)

    def __reduce__(self) -> tuple[Any, ...]:
        return Measured.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        interval = "" if self.interval is None else f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        return f"{self.value:.6g} {self.unit}{interval} (n={self.n})"
