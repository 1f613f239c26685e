"""torch checkpoints: tensors, numbers and containers; no code of the file's choosing.

`torch.load(weights_only=True)` does the reading; NumPy scalars, dtypes and arrays, in which training code keeps its
scores, are added to its allow-list as the same stand-ins that pickles get.
"""

import io
import re
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

from hpsbench.errors import BrokenFile, HpsbenchError, UnsafeFile
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, broken_if_unreadable, file_size, unsafe
from hpsbench.safe_io.pickles import requested_names
from hpsbench.safe_io.stand_ins import PendingDtype, build_array, build_scalar, plain_dtype, with_byte_order
from hpsbench.safe_io.trust import is_trusted

_KNOWN = re.compile(
    r"torch(\._utils|\.nn\.parameter|\._tensor)?\.\w+|collections\.OrderedDict|numpy\..*|_codecs\.encode"
)
_SCAN_BYTES = 64 * MIB
_PROGRAM_MEMBERS = re.compile(
    r"(.*/)?(archive_format|models/.+\.json|serialized_exported_program\.json|constants\.pkl|code/.+\.py)"
)


_EXPORTED = ("archive_format", "serialized_exported_program.json")


class _Dtype(PendingDtype):
    """`numpy.dtype` for torch's unpickler, which fills objects in place."""

    def __init__(self, code: Any, *rest: Any) -> None:
        super().__init__(code, *rest)
        self.value = plain_dtype(self.code)

    def __setstate__(self, state: Any) -> None:
        self.value = with_byte_order(self.code, state)


class _Array:
    """A NumPy array for torch's unpickler; replaced by the array after loading."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.value = build_array(data, dtype.value, shape, "F" if fortran else "C")


class _ArrayClass:
    """`numpy.ndarray`, where it is only mentioned."""


def load_torch(path: Path, *, max_bytes: int = 8 * MAX_BYTES) -> Any:
    """A torch checkpoint (zip or the older plain format), its tensors on the CPU; nothing in it is run.

    Args:
        path: the file.
        max_bytes: larger files, and archives that unpack to more, are refused.

    Raises:
        UnsafeFile: the file asks for more than tensors, NumPy values and containers (the message names it), or is an
            exported program (`.pt2`, TorchScript), which is code.
        BrokenFile: truncated, damaged, too large, or not a checkpoint.
        MissingData: no such file.
    """
    import torch

    file_size(path, max_bytes)
    with broken_if_unreadable(path, "torch checkpoint"):
        _refuse_programs(path, max_bytes)
        trusted = is_trusted(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if trusted:
                return torch.load(path, map_location="cpu", weights_only=False)
            with torch.serialization.safe_globals(_safe_globals()):
                try:
                    value = torch.load(path, map_location="cpu", weights_only=True)
                except Exception as error:
                    if refusal := _refusal(path, str(error)):
                        raise refusal from error
                    raise
        return _finished(value)


def is_program(path: Path) -> bool:
    """Whether a file is an exported program (`.pt2` or TorchScript) rather than a checkpoint."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(_PROGRAM_MEMBERS.fullmatch(name) for name in archive.namelist())


def check_program(path: Path, *, max_bytes: int = 8 * MAX_BYTES) -> None:
    """Refuse an exported program whose pickles ask for more than tensors, numbers and containers.

    `torch.export.load` unpickles sample inputs and constants without restriction. What an honest program keeps there
    needs none of the names that run a command; a file that wants more is refused even from trusted hands, unless the
    user names the very file with `--trust-pickle`.

    Raises:
        UnsafeFile: the message names what the file asks for; or it is TorchScript, which is not loaded at all.
        BrokenFile: truncated, damaged, too large, or not an exported program.
        MissingData: no such file.
    """
    file_size(path, max_bytes)
    with broken_if_unreadable(path, "exported program"):
        if not zipfile.is_zipfile(path):
            raise BrokenFile(f"{path}: not an exported program (.pt2), which is a zip archive")
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
        if not is_trusted(path) and (wanted := _unknown_names(path)):
            raise unsafe(path, ", ".join(wanted))
    if not any(name.rpartition("/")[2] in _EXPORTED for name in names):
        raise UnsafeFile(
            f"{path}: TorchScript or another kind of program, which is not loaded; export the model again with "
            "torch.export.save, or to ONNX"
        )


def _safe_globals() -> list[Any]:
    """Stand-ins for NumPy's names, under the module names of old and new NumPy."""
    arrays = ("numpy.core.multiarray", "numpy._core.multiarray")
    return [
        (_Dtype, "numpy.dtype"),
        (_ArrayClass, "numpy.ndarray"),
        *((_scalar, f"{module}.scalar") for module in arrays),
        *((_array, f"{module}._reconstruct") for module in arrays),
        _Array,
    ]


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype):
        raise TypeError(f"a NumPy scalar whose dtype is a {type(dtype).__name__}")
    return build_scalar(dtype.value, data)


def _array(kind: Any, *_: Any) -> _Array:
    if kind is not _ArrayClass:
        raise TypeError(f"a NumPy array of the class {kind}")
    return _Array()


def _finished(value: Any, done: dict[int, Any] | None = None) -> Any:
    """The loaded value with stand-ins replaced, containers in place."""
    done = {} if done is None else done
    if isinstance(value, _Array | _Dtype):
        return value.value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict | list):
        done[id(value)] = value
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            value[key] = _finished(value[key], done)
    elif type(value) is tuple:
        done[id(value)] = tuple(_finished(item, done) for item in value)
    return done.get(id(value), value)


def _refuse_programs(path: Path, max_bytes: int) -> None:
    """Tell exported programs, the tar layout and zip bombs from checkpoints."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        total = sum(info.file_size for info in members)
        if total > max_bytes:
            raise BrokenFile(
                f"{path}: unpacks to {total / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here"
            )
        if any(_PROGRAM_MEMBERS.fullmatch(info.filename) for info in members):
            wanted = _unknown_names(path)
            asks = f" (this one asks for {', '.join(wanted)})" if wanted else ""
            raise UnsafeFile(
                f"{path}: an exported program (.pt2 or TorchScript), which runs code when loaded{asks}. If you "
                "trust whoever made it, pass --trust-code"
            )
    elif tarfile.is_tarfile(path):
        if wanted := _unknown_names(path):
            raise unsafe(path, ", ".join(wanted))
        raise BrokenFile(
            f"{path}: in the tar layout of torch before 0.1.10; load and save it with a newer torch"
        )


def _refusal(path: Path, message: str) -> HpsbenchError | None:
    """What the file asked for, if that is why torch refused it."""
    if unknown := _unknown_names(path):
        return unsafe(path, ", ".join(unknown))
    asked = re.search(r"GLOBAL (\S+)", message)
    return unsafe(path, asked.group(1)) if asked and asked.group(1) in _names(path) else None


def _unknown_names(path: Path) -> list[str]:
    """Names in the file's pickles that no checkpoint needs, each once."""
    return [name for name in _names(path) if not _KNOWN.fullmatch(name)]


def _names(path: Path) -> list[str]:
    """All names in the file's pickles, each once."""
    names: dict[str, None] = {}
    with path.open("rb") as file:
        for stream in _pickles(file):
            names.update((name, None) for name in requested_names(stream, pickles=5))
    return list(names)


def _pickles(file: IO[bytes], depth: int = 0) -> list[bytes]:
    """The pickle streams of a file: of an archive, those of its members, nested archives included."""
    is_zip = zipfile.is_zipfile(file)
    file.seek(0)
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            parts = [archive.open(info).read(_SCAN_BYTES) for info in archive.infolist()]
    elif depth == 0 and tarfile.is_tarfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            opened = (tar.extractfile(info) for info in tar.getmembers() if info.isfile())
            parts = [part.read(_SCAN_BYTES) for part in opened if part]
    else:
        file.seek(0)
        return [file.read(_SCAN_BYTES)]
    streams = [part for part in parts if part.startswith((b"\x80", b"c", b"("))]
    if depth < 2:
        for part in parts:
            if part.startswith(b"PK\x03\x04"):
                streams.extend(_pickles(io.BytesIO(part), depth + 1))
    return streams
