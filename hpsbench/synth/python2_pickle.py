"""Pickles as Python 2 wrote them: what the official downloads of 3DPW and SMPL are.

Their `str` values are byte strings (SHORT_BINSTRING, BINSTRING), which Python 3 never writes, and NumPy and SciPy
appear under the module names of that time. Such a file loads with `encoding="latin1"` and fails without it, which a
plain protocol 2 file of Python 3 would hide.
"""

import io
import pickle
import struct
from typing import Any, ClassVar

_OLD_MODULES = {
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "scipy.sparse._csc": "scipy.sparse.csc",
    "builtins": "__builtin__",
    "copyreg": "copy_reg",
}


_PurePickler: Any = vars(pickle)["_Pickler"]  # the C one can't be changed


class _Python2Pickler(_PurePickler):  # type: ignore[misc]
    dispatch: ClassVar[dict[type, Any]] = dict(_PurePickler.dispatch)

    def save_bytes(self, value: bytes) -> None:
        """Write a byte string with the opcodes of Python 2's `str`."""
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_text(self, value: str) -> None:
        """Write text as the latin1 byte string that Python 2 had."""
        raw = value.encode("latin1")
        head = bytes([len(raw)]) if len(raw) < 256 else struct.pack("<i", len(raw))
        self.write((pickle.SHORT_BINSTRING if len(raw) < 256 else pickle.BINSTRING) + head + raw)
        self.memoize(value)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write a class or function under the module name it had in Python 2."""
        name = name or getattr(obj, "__qualname__", obj.__name__)
        module = obj.__module__
        self.write(pickle.GLOBAL + f"{_OLD_MODULES.get(module, module)}\n{name}\n".encode("ascii"))
        self.memoize(obj)

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text
    dispatch[type] = save_global


def dumps(value: object) -> bytes:
    """Pickle `value` (containers, str, numbers, arrays, csc matrices) as Python 2 with protocol 2 would have.

    Example:
        >>> import pickle
        >>> pickle.loads(dumps({"genders": ["m"]}), encoding="bytes")
        {b'genders': [b'm']}
    """
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()
