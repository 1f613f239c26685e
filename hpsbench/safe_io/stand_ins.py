"""What files may ask for: NumPy, SciPy's sparse matrices, chumpy and plain containers, built from plain data.

Nothing of chumpy is needed: its arrays become NumPy arrays. NumPy arrays are built from their bytes by
`numpy.frombuffer`, never by the setters that NumPy's own pickles call, which trust what they are given.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpsbench.safe_io.unpickler import Allowed, AllowListUnpickler, HeldBytes, Pending, checked_key

_PLAIN_DTYPE = re.compile(r"[|<>=]?(b1|\?|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU]\d{0,9}|O\d?)")
_MAX_SPARSE_CELLS = 1 << 32


class PendingDtype(Pending):
    """`numpy.dtype(code, align, copy)`, waiting for its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        super().__init__()
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise TypeError(f"the dtype {str(code)[:40]!r}, which is no plain number, text or object type")
        self.code = code

    def finish(self, state: Any, machine: AllowListUnpickler) -> np.dtype[Any]:
        """`state`: (version, byte order, base, names, fields, item size, alignment, flags)."""
        return with_byte_order(self.code, state)


class PendingArray(Pending):
    """`numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), "b")`, waiting for shape, dtype and bytes."""

    def finish(self, state: Any, machine: AllowListUnpickler) -> NDArray[Any]:
        """`state`: (version, shape, dtype, is Fortran order, bytes or list of objects)."""
        shape, dtype, fortran, data = state[-4:]
        return build_array(data, dtype, shape, "F" if fortran else "C")


class PendingSparse(Pending):
    """A compressed sparse matrix, waiting for its state."""

    def __init__(self, layout: Literal["csc", "csr"]) -> None:
        super().__init__()
        self.layout = layout

    def finish(self, state: Any, machine: AllowListUnpickler) -> Any:
        """`state`: a mapping with `data`, `indices`, `indptr` and `_shape`."""
        from scipy import sparse

        parts = {machine.text(key): value for key, value in state.items()}
        rows, columns = (_count(size) for size in parts["_shape" if "_shape" in parts else "shape"])
        arrays = [parts[name] for name in ("data", "indices", "indptr")]
        major, minor = (columns, rows) if self.layout == "csc" else (rows, columns)
        _check_sparse(*arrays, major=major, minor=minor)
        make = sparse.csc_matrix if self.layout == "csc" else sparse.csr_matrix
        return make(tuple(arrays), shape=(rows, columns))


class PendingChumpy(Pending):
    """A chumpy array, waiting for its terms; it becomes a NumPy array."""

    def __init__(self, compute: Callable[[dict[str, Any]], NDArray[Any]]) -> None:
        super().__init__()
        self.compute = compute

    def finish(self, state: Any, machine: AllowListUnpickler) -> NDArray[Any]:
        """`state`: the object's attributes; the terms of the operation are among them."""
        return self.compute({machine.text(key): value for key, value in state.items()})


def build_array(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    """An array that owns its memory, from a file's bytes (or, for objects, its list of values).

    Raises:
        TypeError, ValueError: the parts do not fit each other.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    shape = tuple(_count(size) for size in shape)
    count = math.prod(shape)
    order_name: Literal["C", "F"] = "F" if order == "F" else "C"
    if not isinstance(dtype, np.dtype):
        raise TypeError(f"an array whose dtype is a {type(dtype).__name__}")
    if dtype.hasobject:
        return _object_array(data, count).reshape(shape, order=order_name)
    raw = data.encode("latin1") if isinstance(data, str) else data
    raw = raw.view if isinstance(raw, HeldBytes) else raw
    if not isinstance(raw, bytes | bytearray | memoryview) or len(raw) != count * dtype.itemsize:
        found = (
            f"{len(raw):,} bytes" if isinstance(raw, bytes | bytearray | memoryview) else type(raw).__name__
        )
        raise ValueError(f"an array of shape {shape} and dtype {dtype}, but {found} of data")
    if not raw:
        return np.empty(shape, dtype) if dtype.itemsize or not count else np.zeros(shape, "S1")
    return np.frombuffer(raw, dtype).reshape(shape, order=order_name).copy(order="K")


def plain_dtype(code: str) -> np.dtype[Any]:
    """The dtype of a checked code; `O4` and `O8` are the object type of old 32- and 64-bit files."""
    return np.dtype("O") if "O" in code else np.dtype(code)


def with_byte_order(code: str, state: Any) -> np.dtype[Any]:
    """The dtype of a checked code, with the byte order of its pickled state and nothing else of it."""
    order = state[1].decode("latin1") if isinstance(state[1], bytes) else str(state[1])
    if any(part not in (None, ()) for part in state[2:5]):
        raise TypeError(f"the dtype {code!r} with fields, which is not read")
    if order not in ("<", ">", "=", "|"):
        raise TypeError(f"the byte order {order!r}")
    return plain_dtype(code).newbyteorder(order)  # type: ignore[arg-type]


def build_scalar(dtype: Any, data: Any = b"") -> Any:
    """A NumPy scalar from its dtype and bytes."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise TypeError(f"a NumPy scalar of dtype {dtype!s}")
    if dtype.itemsize == 0:
        return dtype.type()
    return build_array(data, dtype, (), "C")[()]


def encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, in which Python 3 writes bytes for Python 2, for the one encoding that it uses."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
        raise TypeError(f"_codecs.encode of {type(text).__name__} with {encoding!r}")
    return text.encode("latin1")


def _object_array(data: Any, count: int) -> NDArray[Any]:
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"an object array of {count} values without a list of as many")
    array = np.empty(count, object)
    for index, value in enumerate(data):
        array[index] = value
    return array


def _count(size: Any) -> int:
    if not isinstance(size, int | np.integer) or size < 0:
        raise ValueError(f"an array size of {size!r}")
    return int(size)


def _check_sparse(
    data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], *, major: int, minor: int
) -> None:
    """Everything that compiled code will rely on: lengths, order and range of the indices."""
    if any(not isinstance(part, np.ndarray) or part.ndim != 1 for part in (data, indices, indptr)):
        raise ValueError("a sparse matrix whose parts are not vectors")
    if data.dtype.kind not in "biufc" or indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        raise ValueError("a sparse matrix whose parts are not numbers")
    if major * minor > _MAX_SPARSE_CELLS or len(indptr) != major + 1 or len(data) != len(indices):
        raise ValueError(
            f"a sparse matrix of {major} x {minor} with {len(indptr)} pointers, {len(data)} values"
        )
    pointers = indptr.astype(np.int64)
    if pointers[0] != 0 or pointers[-1] > len(data) or np.any(np.diff(pointers) < 0):
        raise ValueError("a sparse matrix with pointers out of order")
    if len(indices) and (indices.min() < 0 or indices.max() >= minor):
        raise ValueError("a sparse matrix with indices out of range")


def _numbers(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a chumpy array of {type(value).__name__}, which is no array of numbers")
    return array


def _chumpy_value(terms: dict[str, Any]) -> NDArray[Any]:
    return _numbers(terms["x"])


def _chumpy_select(terms: dict[str, Any]) -> NDArray[Any]:
    """`a.ravel()[idxs]`, in the preferred shape where there is one."""
    indices = np.asarray(terms["idxs"])
    if indices.dtype.kind not in "iub":
        raise ValueError("chumpy.reordering.Select with indices that are no integers")
    chosen: NDArray[Any] = _numbers(terms["a"]).ravel()[indices].copy()
    shape = terms.get("preferred_shape")
    return chosen if shape is None else chosen.reshape(_shape(shape))


def _chumpy_reshape(terms: dict[str, Any]) -> NDArray[Any]:
    return _numbers(terms["a"]).reshape(_shape(terms["newshape"])).copy()


def _chumpy_transpose(terms: dict[str, Any]) -> NDArray[Any]:
    axes = terms.get("axes")
    return np.ascontiguousarray(np.transpose(_numbers(terms["a"]), None if axes is None else _shape(axes)))


def _chumpy_concatenate(terms: dict[str, Any]) -> NDArray[Any]:
    parts = [_numbers(terms[_text(name)]) for name in terms["dterms"]]
    return np.concatenate(parts, axis=int(terms["axis"]))


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _shape(sizes: Any) -> tuple[int, ...]:
    """A shape as chumpy keeps it: a number or a row of them; -1 may stand for the rest."""
    values: Iterable[Any] = np.atleast_1d(np.asarray(sizes, dtype=np.int64))
    return tuple(int(value) for value in values)


def _reconstructor(wanted: Any, base: Any, state: Any = None) -> Any:
    """`copy_reg._reconstructor`, in which protocols 0 and 1 write `object.__new__(class)`."""
    if not isinstance(wanted, Allowed) or wanted.blank is None or state is not None:
        raise TypeError(f"copyreg._reconstructor of {getattr(wanted, 'name', type(wanted).__name__)}")
    if getattr(base, "name", "").rpartition(".")[2] != "object":
        raise TypeError("copyreg._reconstructor on another base than object")
    return wanted.blank()


def _reconstruct(kind: Any, *_: Any) -> PendingArray:
    if getattr(kind, "name", None) not in ("numpy.ndarray", "numpy.memmap"):
        raise TypeError(f"an array of the class {getattr(kind, 'name', kind)}")
    return PendingArray()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> NDArray[Any]:
    if axes is not None:
        raise TypeError("an array buffer with an axis order")
    return build_array(bytes(data), dtype, shape, order)


def _ordered_dict(pairs: Sequence[Any] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((checked_key(key), value) for key, value in pairs)


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        raise TypeError("builtins.bytes with arguments")
    return b""


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(data if isinstance(data, bytes) else encode_latin1(data, encoding))


def _members(items: Any = ()) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise TypeError(f"a container built from a {type(items).__name__}")
    return [checked_key(item) for item in items]


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    return complex(float(real), float(imaginary))


def _default_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _table() -> dict[tuple[str, str], Allowed]:
    entries: dict[tuple[str, str], Allowed] = {}

    def allow(modules: Sequence[str], name: str, call: Any = None, blank: Any = None) -> None:
        for module in modules:
            entries[module, name] = Allowed(f"{module}.{name}", call, blank)

    for name in ("ndarray", "memmap"):
        allow(["numpy"], name)
    allow(["numpy.core.memmap", "numpy._core.memmap"], "memmap")
    allow(["numpy"], "dtype", PendingDtype)
    arrays = ["numpy.core.multiarray", "numpy._core.multiarray"]
    allow(arrays, "_reconstruct", _reconstruct)
    allow(arrays, "scalar", build_scalar)
    allow(["numpy.core.numeric", "numpy._core.numeric"], "_frombuffer", _from_buffer)
    allow(["_codecs"], "encode", encode_latin1)

    for layout in ("csc", "csr"):
        places = [f"scipy.sparse.{layout}", f"scipy.sparse._{layout}"]
        for name in (f"{layout}_matrix", f"{layout}_array"):
            allow(places, name, blank=lambda layout=layout: PendingSparse(layout))

    chumpy = {
        ("chumpy.ch", "chumpy", "ch"): {"Ch": _chumpy_value},
        ("chumpy.reordering", "reordering"): {
            "Select": _chumpy_select,
            "Reshape": _chumpy_reshape,
            "transpose": _chumpy_transpose,
            "Concatenate": _chumpy_concatenate,
        },
    }
    for places_of, operations in chumpy.items():
        for name, compute in operations.items():
            allow(list(places_of), name, blank=lambda compute=compute: PendingChumpy(compute))

    builtins = ["builtins", "__builtin__"]
    allow(builtins, "object")
    for name in ("list", "dict", "int", "float", "str"):
        allow(builtins, name)
    allow(builtins, "set", lambda items=(): set(_members(items)))
    allow(builtins, "frozenset", lambda items=(): frozenset(_members(items)))
    allow(builtins, "bytes", _bytes)
    allow(builtins, "bytearray", _bytearray)
    allow(builtins, "complex", _complex)
    allow(["collections"], "OrderedDict", _ordered_dict, OrderedDict)
    allow(["collections"], "defaultdict", _default_dict)
    allow(["copy_reg", "copyreg"], "_reconstructor", _reconstructor)
    return entries


ALLOWED = _table()
