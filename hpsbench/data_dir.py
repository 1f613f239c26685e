"""Where the shipped facts (`recipes/`, `leaderboards/`) are: the only module that knows."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Folder of the shipped facts called `name`: the wheel's copy first, else the checkout's.

    Raises:
        FileNotFoundError: neither place has it; the message names both.
    """
    shipped, checkout = _PACKAGE / "_data" / name, _PACKAGE.parent / name
    for folder in (shipped, checkout):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no {name!r} folder: looked at {shipped} and {checkout}; is hpsbench installed whole?"
    )
