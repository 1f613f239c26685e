"""The pickle machine, without the powers: it builds what the allow-list names and calls nothing else.

The standard library's Python unpickler is used for the opcodes that make plain values. Every opcode that imports,
calls, or sets attributes is replaced: names are looked up in a table (`stand_ins.py`) and never imported, only entries
of that table are called, and attributes are never set.
"""

import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hpsbench.safe_io.bounded import MAX_BYTES, Bounded, BoundedMap, unsafe

_LONG = 4096  # bytes from which a string is worth looking at
_STATE_ENDS = re.compile(rb"(q.|r....)?t(q.|r....)?b", re.DOTALL)  # (BINPUT) TUPLE (BINPUT) BUILD
SCALARS = (type(None), bool, int, float, complex, str, bytes)

if TYPE_CHECKING:

    class _Machine(pickle._Unpickler):
        read: Callable[[int], bytes]
        readinto: Callable[[Any], int]
        memo: dict[int, Any]
        stack: list[Any]
        append: Callable[[Any], None]
        _decode_string: Callable[[bytes], Any]
        pop_mark: Callable[[], list[Any]]
else:
    _Machine = pickle._Unpickler


class Pending:
    """A value whose contents come later in the stream, with the BUILD opcode."""

    def __init__(self) -> None:
        self.slots: list[int] = []  # where the memo keeps it

    def finish(self, state: Any, machine: "AllowListUnpickler") -> Any:
        """The finished value; it takes the place of this one on the stack and in the memo."""
        raise NotImplementedError


class HeldBytes:
    """The bytes of an array that Python 2 wrote as a string: they stay in the file until the array is built."""

    def __init__(self, view: memoryview) -> None:
        self.view = view


class _Memo(dict[int, Any]):
    """The machine's memo; unfinished values learn their places in it."""

    def __setitem__(self, slot: int, value: Any) -> None:
        if isinstance(value, Pending):
            value.slots.append(slot)
        super().__setitem__(slot, value)


class Allowed:
    """What a name of the allow-list stands for.

    Args:
        name: `module.name` as files spell it.
        call: builds the value from the arguments in the file; None where the name may only be mentioned.
        blank: makes the empty object that BUILD fills; None where there is no such thing.
    """

    def __init__(
        self, name: str, call: Callable[..., Any] | None = None, blank: Callable[[], Any] | None = None
    ) -> None:
        self.name = name
        self.call = call
        self.blank = blank


class AllowListUnpickler(_Machine):
    """Reads one pickle.

    Args:
        file: the stream, with its limits.
        path: named in errors.
        allowed: (module, name) -> what it stands for.
        encoding: of Python 2's byte strings: `latin1` or `bytes`.
        max_bytes: of all arrays together; one stored block may not be blown up by using it again and again.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(
        self,
        file: Bounded,
        path: Path,
        allowed: Mapping[tuple[str, str], Allowed],
        encoding: str = "latin1",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(_Opcodes(file), encoding=encoding)
        self.memo = _Memo()
        self.file = file
        self.path = path
        self.allowed = allowed
        self.encoding = encoding
        self.bytes_left = max_bytes

    def find_class(self, module: str, name: str) -> Any:
        """The table's entry; nothing is ever imported."""
        try:
            return self.allowed[module, name]
        except KeyError:
            raise unsafe(self.path, f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refused: only the program that wrote a persistent id knows what it means."""
        raise unsafe(self.path, f"the persistent object {str(pid)[:80]!r}")

    def get_extension(self, code: int) -> Any:
        """Refused: extension codes are names in disguise."""
        raise unsafe(self.path, f"the copyreg extension {code}")

    def call(self, wanted: Any, arguments: Any) -> Any:
        """Build the value of one table entry from a file's arguments."""
        if not isinstance(wanted, Allowed):
            raise unsafe(self.path, f"a call of a value of type {type(wanted).__name__}")
        if wanted.call is None or not isinstance(arguments, tuple | list):
            raise unsafe(self.path, f"a call of {wanted.name} with {type(arguments).__name__}")
        return self._counted(wanted.call(*arguments))

    def blank(self, wanted: Any) -> Any:
        """The empty object of one table entry."""
        if not isinstance(wanted, Allowed) or wanted.blank is None:
            name = wanted.name if isinstance(wanted, Allowed) else type(wanted).__name__
            raise unsafe(self.path, f"a new object of {name}")
        return wanted.blank()

    def text(self, value: Any) -> str:
        """A name inside an object's state, whatever the encoding asked for."""
        return value.decode("latin1") if isinstance(value, bytes) else str(value)

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], arguments)

    def _newobj(self) -> None:
        arguments = self.stack.pop()
        wanted = self.stack.pop()
        self.append(self.call(wanted, arguments) if arguments else self.blank(wanted))

    def _newobj_ex(self) -> None:
        raise unsafe(
            self.path, f"a new object of {getattr(self.stack[-3], 'name', 'unknown type')} with keywords"
        )

    def _instantiate(self, wanted: Any, arguments: list[Any]) -> None:
        self.append(self.call(wanted, arguments) if arguments else self.blank(wanted))

    def _build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is OrderedDict:
            return
        if not isinstance(target, Pending):
            raise unsafe(self.path, f"changes to a value of type {type(target).__name__}")
        self.stack[-1] = value = self._counted(target.finish(state, self))
        for slot in target.slots:
            self.memo[slot] = value

    def _append(self) -> None:
        value = self.stack.pop()
        self._target(list).append(value)

    def _appends(self) -> None:
        items = self.pop_mark()
        self._target(list).extend(items)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._target(dict, OrderedDict)[checked_key(key)] = value

    def _setitems(self) -> None:
        items = self.pop_mark()
        target = self._target(dict, OrderedDict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        pairs = zip(items[::2], items[1::2], strict=True)
        self.append({checked_key(key): value for key, value in pairs})

    def _additems(self) -> None:
        items = self.pop_mark()
        self._target(set).update(checked_key(item) for item in items)

    def _frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(checked_key(item) for item in items))

    def _bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))

    def _binstring(self) -> None:
        """A byte string of Python 2; not as text if it is long and the last entry of the state of an array."""
        (count,) = struct.unpack("<i", self.read(4))
        file = self.file
        if count >= _LONG and isinstance(file, BoundedMap) and _STATE_ENDS.match(file.ahead(count, 11)):
            self.append(HeldBytes(file.view(count)))
            return
        self.append(self._decode_string(self.read(count)))

    def _counted(self, value: Any) -> Any:
        self.bytes_left -= getattr(value, "nbytes", 0)
        if self.bytes_left < 0:
            raise MemoryError("its arrays are larger than the limit")
        return value

    def _target(self, *types: type) -> Any:
        target = self.stack[-1]
        if type(target) not in types:
            raise unsafe(self.path, f"changes to a value of type {type(target).__name__}")
        return target


class _Opcodes:
    """The stream as the machine wants it: no bytes at the end of the file instead of an error."""

    def __init__(self, file: Bounded) -> None:
        self._file = file
        self.readline = file.readline
        self.readinto = file.readinto

    def read(self, count: int) -> bytes:
        """`count` bytes; single bytes are opcodes and may be missing."""
        return self._file.peek() if count == 1 else self._file.read(count)


def checked_key(key: Any) -> Any:
    """A dictionary key or set member that is cheap to hash: a scalar or a flat tuple of them."""
    parts = key if isinstance(key, tuple) else (key,)
    if all(isinstance(part, SCALARS) for part in parts):
        return key
    raise TypeError(f"a dictionary key or set member of type {type(key).__name__}")


_HANDLERS = {
    "REDUCE": AllowListUnpickler._reduce,
    "NEWOBJ": AllowListUnpickler._newobj,
    "NEWOBJ_EX": AllowListUnpickler._newobj_ex,
    "BUILD": AllowListUnpickler._build,
    "APPEND": AllowListUnpickler._append,
    "APPENDS": AllowListUnpickler._appends,
    "SETITEM": AllowListUnpickler._setitem,
    "SETITEMS": AllowListUnpickler._setitems,
    "DICT": AllowListUnpickler._dict,
    "ADDITEMS": AllowListUnpickler._additems,
    "FROZENSET": AllowListUnpickler._frozenset,
    "BYTEARRAY8": AllowListUnpickler._bytearray8,
    "BINSTRING": AllowListUnpickler._binstring,
}
AllowListUnpickler.dispatch.update(
    (getattr(pickle, opcode)[0], handler) for opcode, handler in _HANDLERS.items()
)
