"""Loss terms, one per file: `term(step)` gives a value and how much took part. A recipe names them under `[losses]`."""

import importlib
from collections.abc import Callable, Iterable

from hpsbench.training.step import Part, Step

Term = Callable[[Step], Part]


def get_terms(names: Iterable[str]) -> dict[str, Term]:
    """The functions of some terms, in the order given; their files are imported here."""
    return {name: importlib.import_module(f"{__name__}.{name}").term for name in names}
