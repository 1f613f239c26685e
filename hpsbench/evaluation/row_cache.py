"""Values of a store's rows that several rules share, made once: scoring ten protocols poses no body ten times."""

from collections.abc import Callable, Hashable

import numpy as np

from hpsbench.types import Array, BoolArray, IntArray


class RowCache:
    """Arrays over the rows of a store, filled in as rows are asked for.

    Args:
        rows: number of rows of the store. What no row was asked for takes no memory.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._values: dict[Hashable, Array] = {}
        self._known: dict[Hashable, BoolArray] = {}

    def get(self, key: Hashable, rows: IntArray, make: Callable[[IntArray], Array]) -> Array:
        """Values of some rows.

        Args:
            key: what they are; everything that they depend on besides the row.
            rows: (n,) rows of the store.
            make: called with the places in `rows` whose values are not known yet; returns these values.

        Returns:
            (n, ...).
        """
        known = self._known.setdefault(key, np.zeros(self._rows, bool))
        missing = np.flatnonzero(~known[rows])
        if len(missing) or key not in self._values:
            made = np.asarray(make(missing))
            if key not in self._values:
                self._values[key] = np.empty((self._rows, *made.shape[1:]), made.dtype)
            self._values[key][rows[missing]] = made
            known[rows[missing]] = True
        return self._values[key][rows]
