"""Pickles, those of Python 2 included, through the allow-list."""

import contextlib
import io
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MAX_BYTES, broken_if_unreadable, file_size, mapped
from hpsbench.safe_io.stand_ins import ALLOWED
from hpsbench.safe_io.trust import is_trusted
from hpsbench.safe_io.unpickler import SCALARS, AllowListUnpickler


def load_pickle(path: Path, *, encoding: str = "latin1", max_bytes: int = MAX_BYTES) -> Any:
    """What a pickle holds, as plain values; nothing in it is run.

    NumPy arrays and scalars (old and new module names), SciPy `csc` and `csr` matrices, plain containers; chumpy
    arrays become NumPy arrays. Files vouched for with `--trust-pickle` are loaded by Python's own `pickle`.

    Args:
        path: the file.
        encoding: of Python 2's byte strings: `latin1` (text, as the dataset tools do) or `bytes`.
        max_bytes: larger files are refused.

    Raises:
        UnsafeFile: the file asks for something else; the message names it.
        BrokenFile: truncated, damaged, too large, or not a pickle.
        MissingData: no such file.
    """
    file_size(path, max_bytes)
    with broken_if_unreadable(path, "pickle"):
        if is_trusted(path):
            with path.open("rb") as file:
                return pickle.load(file, encoding=encoding)
        with mapped(path) as content:
            value = AllowListUnpickler(content, path, ALLOWED, encoding, max_bytes).load()
        check_plain(value, path)
        return value


def check_plain(value: Any, path: Path, extra: tuple[type, ...] = ()) -> None:
    """Walk through a loaded value: only plain types, in object arrays too.

    Raises:
        BrokenFile: something else is in it, such as an object that was begun and never filled.
    """
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, SCALARS) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif isinstance(item, np.ndarray) and item.dtype.hasobject:
            waiting.extend(item.ravel())
        elif not _is_leaf(item, extra):
            name = getattr(item, "name", type(item).__name__)
            raise BrokenFile(f"{path}: holds an unfinished or foreign value ({name}), not plain data")


def _is_leaf(item: Any, extra: tuple[type, ...]) -> bool:
    if isinstance(item, (np.ndarray, np.generic, np.dtype, bytearray, *extra)):
        return True
    return type(item).__module__.startswith("scipy.sparse")


def requested_names(stream: bytes, *, pickles: int = 1) -> list[str]:
    """Every `module.name` that a pickle would import, in order; nothing is loaded.

    Args:
        stream: the bytes; the scan ends where they stop being a pickle.
        pickles: how many pickles, one after the other, to look through.
    """
    names: list[str] = []
    file = io.BytesIO(stream)
    with contextlib.suppress(
        Exception
    ):  # broken or not a pickle: what was found so far is all there is to say
        for _ in range(pickles):
            for name in _names(file):
                names.append(name)
    return names


def _names(file: io.BytesIO) -> Iterator[str]:
    texts: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield ".".join(str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)
        elif opcode.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if argument is None else argument] = texts[-1] if texts else ""
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
            texts.append(memo.get(argument or 0, ""))
