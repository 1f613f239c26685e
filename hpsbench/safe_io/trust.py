"""Which files the user vouches for, file by file (`--trust-pickle FILE`)."""

import os
from collections.abc import Iterable
from pathlib import Path

_VARIABLE = "HPSBENCH_TRUST_PICKLE"


def trust_pickles(paths: Iterable[Path]) -> None:
    """Let the pickles, joblib dumps and torch checkpoints at `paths` run what they ask for.

    The list is kept in the environment, so that worker processes started later have it too.
    """
    wanted = [str(path.resolve()) for path in paths]
    os.environ[_VARIABLE] = os.pathsep.join(sorted({*_listed(), *wanted}))


def is_trusted(path: Path) -> bool:
    """Whether the user named exactly this file."""
    return str(path.resolve()) in _listed()


def _listed() -> set[str]:
    return {entry for entry in os.environ.get(_VARIABLE, "").split(os.pathsep) if entry}
