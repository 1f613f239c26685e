"""Files that would run a command when loaded, and a hand-made writer of joblib dumps."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest


class Command:
    """Pickles as a call of `os.system` that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def command(mark: Path) -> Command:
    """Asks for `posix.system`; afterwards nothing may have run."""
    return Command(mark)


@pytest.fixture(autouse=True)
def nothing_ran(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    yield
    if "trusted" not in request.keywords:
        assert not (tmp_path / "ran").exists(), "the file ran its command"


class NumpyArrayWrapper:
    """joblib's description of an array, with the attributes that its files show."""

    def __init__(self, array: np.ndarray, alignment: int | None) -> None:
        self.subclass = np.ndarray
        self.shape = array.shape
        self.order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self.dtype = array.dtype
        self.allow_mmap = not array.dtype.hasobject
        if alignment:
            self.numpy_array_alignment_bytes = alignment


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class JoblibWriter(pickle._Pickler):
    """Writes arrays as joblib does: the description in the pickle, the bytes right after it."""

    def __init__(self, file: Any, alignment: int | None, protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        self.target = file
        self.alignment = alignment

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is not NumpyArrayWrapper:
            return super().save_global(obj, name)
        if self.proto >= 4:
            self.save("joblib.numpy_pickle")
            self.save("NumpyArrayWrapper")
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + b"joblib.numpy_pickle\nNumpyArrayWrapper\n")
        return self.memoize(obj)

    dispatch: ClassVar[dict[Any, Any]] = {**pickle._Pickler.dispatch, type: save_global}

    def save(self, obj: Any, *rest: Any, **named: Any) -> None:
        if type(obj) is not np.ndarray:
            return super().save(obj, *rest, **named)
        super().save(NumpyArrayWrapper(obj, self.alignment))
        if self.proto >= 4:
            self.framer.commit_frame(force=True)
        if obj.dtype.hasobject:
            pickle.dump(obj, self.target, protocol=2)
            return None
        if self.alignment:
            padding = self.alignment - (self.target.tell() + 1) % self.alignment
            self.target.write(bytes([padding]) + b"\xff" * padding)
        self.target.write(obj.tobytes("F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"))
        return None


@pytest.fixture
def write_joblib(tmp_path: Path) -> Callable[..., Path]:
    def write(value: Any, *, alignment: int | None = 16, protocol: int = 4, name: str = "db.pt") -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            JoblibWriter(file, alignment, protocol).dump(value)
        return path

    return write
