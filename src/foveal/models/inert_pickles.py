"""Pickles read as data: nothing that they name is ever looked up, let alone called.

A pickle is a program for a small stack machine. The machine here knows the same operations, and
makes plain values with them. The name of a class or function stays a name. What the program wants
done with it becomes a `StandIn`, which keeps the name, the arguments and the state. Of names, only
those are understood that tensors and arrays are made with: they become a `StoredTensor`, which
says where in the file the values are.

torch's own reader (`weights_only=True`) refuses a file for a single class that it doesn't know,
though it may be among the options of the training, far from the weights. And it makes the storages
that a file claims to have, however large. Loads no torch.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, TypeAlias, cast

import numpy as np

MAX_OPERATIONS = 2_000_000
"""Of one pickle. A large detector with its optimizer has a tenth of it; it bounds the memory."""

_MAX_DIMENSIONS = 16
_SMALL = 256
"""Bytes that are read at once; longer ones stay in the file until they are needed."""
_LARGEST_KEY = 2**60
_LARGEST_SIDE = 2**40

Content: TypeAlias = Any
"""A plain value, a `StandIn` or a `StoredTensor`, or a container of them."""


class BrokenPickleError(Exception):
    """A pickle that is cut short, contradicts itself, or is none."""


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A part of a file.

    Attributes:
        offset: where it begins, bytes from the file's beginning.
        length: bytes.
        checksum: CRC-32 of all of them; 0 where there is none.
    """

    offset: int
    length: int
    checksum: int = 0


@dataclass(frozen=True, slots=True)
class Name:
    """What a pickle calls a class, a function or a constant, with periods; it is only text."""

    dotted: str


@dataclass(slots=True, eq=False)
class StandIn:
    """What a pickle would have made by calling something.

    Attributes:
        name: of the class or function.
        arguments: of the call.
        state: what the object was to be filled with; of most classes a dictionary of attributes.
        items: what was appended to it.
        entries: what was set in it, of a kind of dictionary.
    """

    name: str
    arguments: tuple[Content, ...] = ()
    state: Content = None
    items: list[Content] = field(default_factory=list)
    entries: dict[Any, Content] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Storage:
    """The values of one tensor or of several.

    Attributes:
        dtype: torch's or numpy's name of their type, the same of both: float32, int64 ...
        elements: how many the pickle claims there to be.
        data: their bytes, or where in the file they are; None where that is not known yet.
        swapped: whether they are big endian.
        parent: the storage that this is a part of, or sees as another type.
        start: where in the parent it begins, bytes.
    """

    dtype: str
    elements: int
    data: FileBytes | bytes | None = None
    swapped: bool = False
    parent: Storage | None = None
    start: int = 0

    def __post_init__(self) -> None:
        """Check that it can be."""
        if not _is_count(self.elements) or not _is_count(self.start):
            raise BrokenPickleError(f"a storage of {str(self.elements)[:40]} values")
        if self.parent is not None and self.start + self.claimed > self.parent.claimed:
            raise BrokenPickleError("a part that is larger than its storage")

    @property
    def claimed(self) -> int:
        """How many bytes the pickle claims there to be."""
        return self.elements * ITEM_SIZES[self.dtype]


@dataclass(slots=True, eq=False)
class StoredTensor:
    """A tensor whose values are still in the file.

    Attributes:
        storage: where the values are; None of an array that was not filled.
        offset: of the first value in the storage.
        size, stride: as of torch's tensors, in values.
    """

    storage: Storage | None = None
    offset: int = 0
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()


ITEM_SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex128": 16,
    "complex64": 8,
}
"""Bytes of one value."""

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}
_ARRAY_TYPES = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u1": "uint8",
    "b1": "bool",
}
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}


def storage_dtype(kind: Content) -> str | None:
    """The type of value in a storage that a pickle calls `torch.FloatStorage` or so.

    Args:
        kind: the first part of torch's name for a storage.

    Returns:
        None where it is no storage, or one of quantized values.
    """
    name = kind.dotted if isinstance(kind, Name) else ""
    return _STORAGES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None


class InertUnpickler:
    """The stack machine, for the pickles of one file.

    Args:
        file: at the first pickle's beginning.
        end: where the pickles end at the latest, bytes from the file's beginning.
        persistent: gives what a pickle refers to from outside, of torch's files the storages;
            None where there is nothing.

    Attributes:
        stand_ins: names of what the file would have made or called, in the order of appearance.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        end: int,
        persistent: Callable[[Content], Content] | None = None,
    ) -> None:
        self.stand_ins: dict[str, None] = {}
        self._reader = _Bounded(file, end)
        self._persistent = persistent
        self._memo: dict[int, Content] = {}
        self._stack: list[Content] = []
        self._below: list[list[Content]] = []
        self._operations = self._table()

    def load(self) -> Content:
        """Read one pickle; the file is then at its end.

        Raises:
            BrokenPickleError: it is cut short, contradicts itself, holds too much, or is none.
        """
        self._memo = {}
        self._stack = []
        self._below = []
        try:
            with warnings.catch_warnings():
                # Of escapes in the texts of protocol 0, which a later Python may refuse.
                warnings.simplefilter("ignore", DeprecationWarning)
                return self._run()
        except BrokenPickleError:
            raise
        except _MALFORMED as error:
            said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise BrokenPickleError(f"cut short or no pickle: {said}") from None

    def _run(self) -> Content:
        operations = pickletools.genops(cast("IO[bytes]", self._reader))
        for count, (operation, argument, position) in enumerate(operations):
            if count >= MAX_OPERATIONS:
                raise BrokenPickleError("it holds more values than any checkpoint")
            name = operation.name
            if name == "STOP":
                return self._stack.pop()
            if name in _LENGTHS:
                self._push_bytes(name, argument, position or 0)
            elif name in _CONSTANTS:
                self._stack.append(argument)
            else:
                self._operations[name](argument)
        raise BrokenPickleError("cut short")

    def _push_bytes(self, name: str, argument: Content, position: int) -> None:
        """Keep short bytes, and of long ones where they are."""
        if len(argument) > _SMALL:
            self._push(FileBytes(position + _LENGTHS[name], len(argument)))
        else:
            self._push(bytes(argument) if isinstance(argument, bytearray) else argument)

    def _table(self) -> dict[str, Callable[[Any], None]]:
        push, pop = self._push, self._pop
        return {
            "PROTO": _ignore,
            "FRAME": _ignore,
            "NONE": lambda _: push(None),
            "NEWTRUE": lambda _: push(True),
            "NEWFALSE": lambda _: push(False),
            "EMPTY_TUPLE": lambda _: push(()),
            "EMPTY_LIST": lambda _: push([]),
            "EMPTY_DICT": lambda _: push({}),
            "EMPTY_SET": lambda _: push([]),
            "MARK": self._mark,
            "POP": self._discard,
            "POP_MARK": lambda _: _ignore(self._to_mark()),
            "DUP": lambda _: push(self._stack[-1]),
            "TUPLE": lambda _: push(tuple(self._to_mark())),
            "TUPLE1": lambda _: push((pop(),)),
            "TUPLE2": lambda _: push(self._last(2)),
            "TUPLE3": lambda _: push(self._last(3)),
            "LIST": lambda _: push(self._to_mark()),
            "DICT": lambda _: push(_dictionary(self._to_mark())),
            "FROZENSET": lambda _: push(tuple(self._to_mark())),
            "APPEND": lambda _: self._append([pop()]),
            "APPENDS": lambda _: self._append(self._to_mark()),
            "ADDITEMS": lambda _: self._append(self._to_mark()),
            "SETITEM": lambda _: self._set(list(self._last(2))),
            "SETITEMS": lambda _: self._set(self._to_mark()),
            "PUT": self._remember,
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "GET": self._recall,
            "BINGET": self._recall,
            "LONG_BINGET": self._recall,
            "GLOBAL": lambda words: self._name(*words.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._last(2)),
            "REDUCE": lambda _: self._call(*self._last(2)),
            "NEWOBJ": lambda _: self._call(*self._last(2)),
            "NEWOBJ_EX": self._call_with_names,
            "INST": self._instance,
            "OBJ": self._object,
            "BUILD": self._build,
            "PERSID": self._refer,
            "BINPERSID": lambda _: self._refer(pop()),
            "READONLY_BUFFER": _ignore,
        }

    def _push(self, value: Content) -> None:
        self._stack.append(value)

    def _pop(self) -> Content:
        return self._stack.pop()

    def _last(self, count: int) -> tuple[Content, ...]:
        if len(self._stack) < count:
            raise IndexError("nothing to take")
        taken = tuple(self._stack[-count:])
        del self._stack[-count:]
        return taken

    def _mark(self, _: object) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Content]:
        taken, self._stack = self._stack, self._below.pop()
        return taken

    def _discard(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _remember(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _recall(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _append(self, values: list[Content]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, StandIn):
            target.items.extend(values)
        else:
            raise TypeError(f"appends to a {type(target).__name__}")

    def _set(self, values: list[Content]) -> None:
        target = self._stack[-1]
        if isinstance(target, StandIn):
            target = target.entries
        if not isinstance(target, dict):
            raise TypeError(f"sets an item of a {type(target).__name__}")
        target.update(_dictionary(values))

    def _name(self, module: Content, name: Content) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name that is no text")
        module = _OLD_MODULES.get(module, module)
        if module.startswith("numpy.core."):  # until numpy 2
            module = f"numpy._core.{module.removeprefix('numpy.core.')}"
        self._stack.append(Name(f"{module}.{name}"))

    def _instance(self, words: str) -> None:
        arguments = self._to_mark()
        self._name(*words.split(" ", 1))
        self._call(self._pop(), tuple(arguments))

    def _object(self, _: object) -> None:
        called, *arguments = self._to_mark()
        self._call(called, tuple(arguments))

    def _call_with_names(self, _: object) -> None:
        called, arguments, named = self._last(3)
        self._push(self._stand_in(called, (arguments, named)))

    def _call(self, called: Content, arguments: Content) -> None:
        if not isinstance(arguments, tuple):
            raise TypeError("a call without a tuple of arguments")
        self._push(self._made(called, arguments))

    def _made(self, called: Content, arguments: tuple[Content, ...]) -> Content:
        known = _KNOWN.get(called.dotted) if isinstance(called, Name) else None
        if isinstance(called, Name) and called.dotted == "torch._tensor._rebuild_from_type_v2":
            function, _type, inner, _state = arguments  # a tensor with attributes
            return self._made(function, inner)
        if known is None:
            return self._stand_in(called, arguments)
        made = known(*arguments)
        return self._stand_in(called, arguments) if made is None else made

    def _stand_in(self, called: Content, arguments: tuple[Content, ...]) -> StandIn:
        name = called.dotted if isinstance(called, Name) else f"a {type(called).__name__}"
        if name == "copyreg._reconstructor" and arguments and isinstance(arguments[0], Name):
            name = arguments[0].dotted
        self.stand_ins[name] = None
        return StandIn(name, arguments)

    def _build(self, _: object) -> None:
        state = self._pop()
        target = self._stack[-1]
        if isinstance(target, _ArrayType):
            target.swapped = isinstance(state, tuple) and _text(state[1]) == ">"
        elif isinstance(target, StoredTensor) and target.storage is None:
            if not self._fill(target, state):
                self._stack[-1] = self._stand_in(Name("numpy.ndarray of objects"), ())
        elif isinstance(target, StandIn):
            target.state = state
        # Attributes of tensors and of ordered dictionaries (versions of modules) mean nothing here.

    def _fill(self, target: StoredTensor, state: Content) -> bool:
        """Make an array whole; False where its values are no numbers."""
        _version, shape, kind, by_column, data = state
        storage = _array_storage(kind, data)
        if storage is None:
            return False
        filled = _array(storage, shape, by_column=bool(by_column))
        target.storage, target.size, target.stride = storage, filled.size, filled.stride
        return True

    def _refer(self, reference: Content) -> None:
        found = self._persistent(reference) if self._persistent is not None else None
        self._push(self._stand_in(Name("a reference to outside"), ()) if found is None else found)


class _Bounded:
    """A file that gives no more than there is, whatever is asked for; for `genops`."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end = file, end

    def tell(self) -> int:
        return self._file.tell()

    def read(self, count: int) -> bytes:
        left = self._end - self._file.tell()
        return self._file.read(max(0, min(count, left)))

    def readline(self) -> bytes:
        left = self._end - self._file.tell()
        return self._file.readline(max(0, min(_LONGEST_LINE, left)))


_LONGEST_LINE = 100_000

_MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RecursionError,
)
"""What a pickle causes that is cut short, or whose operations don't fit together."""

_LENGTHS = {
    "BINBYTES": 5,
    "SHORT_BINBYTES": 2,
    "BINBYTES8": 9,
    "BYTEARRAY8": 9,
    "BINSTRING": 5,
    "SHORT_BINSTRING": 2,
}
"""How many bytes of such an operation stand before its data."""

_CONSTANTS = frozenset(
    (
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    )
)


def _ignore(_: object) -> None:
    pass


def _dictionary(values: Sequence[Content]) -> dict[Any, Content]:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def _key(key: Content) -> Any:
    """A key whose hash costs nothing; of a tuple of tuples of ... it could take forever."""
    if isinstance(key, str | bytes | bool | None):
        return key
    if isinstance(key, int) and abs(key) < _LARGEST_KEY:
        return key
    return key if isinstance(key, Name) else StandIn("a key", (key,))


def _text(value: Content) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_count(value: Content) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclass(slots=True, eq=False)
class _ArrayType:
    """numpy's type of an array, such as f4."""

    code: str
    swapped: bool = False


def _array_storage(kind: Content, data: Content) -> Storage | None:
    """The storage of an array; None where its values are no numbers."""
    dtype = _ARRAY_TYPES.get(kind.code) if isinstance(kind, _ArrayType) else None
    if dtype is None:
        return None
    if isinstance(data, str):  # of Python 2
        data = data.encode("latin-1")
    if not isinstance(data, bytes | FileBytes):
        raise BrokenPickleError("an array without data")
    length = data.length if isinstance(data, FileBytes) else len(data)
    elements, rest = divmod(length, ITEM_SIZES[dtype])
    if rest:
        raise BrokenPickleError(f"an array of {dtype} in {length} bytes")
    return Storage(dtype, elements, data, kind.swapped)


def _array(storage: Storage, shape: Content, *, by_column: bool) -> StoredTensor:
    size = _sizes(shape)
    if math.prod(size) != storage.elements:
        raise BrokenPickleError(
            f"an array claims the shape {list(size)} and has {storage.elements:,} values"
        )
    order = size if by_column else size[::-1]
    strides = [math.prod(order[:place]) for place in range(len(order))]
    return StoredTensor(storage, 0, size, tuple(strides if by_column else strides[::-1]))


def _sizes(shape: Content) -> tuple[int, ...]:
    if isinstance(shape, int):
        shape = (shape,)
    if (
        not isinstance(shape, (tuple, list))
        or len(shape) > _MAX_DIMENSIONS
        or not all(_is_count(side) and side < _LARGEST_SIDE for side in shape)
    ):
        raise BrokenPickleError(f"a shape that is none: {str(shape)[:60]}")
    return tuple(shape)


def _tensor(
    storage: Content, offset: Content, size: Content, stride: Content, *_rest: Content
) -> StoredTensor | None:
    """A tensor out of its storage, if that holds it; None of quantized and sparse ones."""
    if not isinstance(storage, Storage):
        return None
    size, stride = _sizes(size), _sizes(stride)
    if len(size) != len(stride) or not _is_count(offset):
        raise BrokenPickleError("a tensor that contradicts itself")
    count = math.prod(size)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if count and (last >= storage.elements or count > storage.elements):
        raise BrokenPickleError(
            f"a tensor claims the shape {list(size)} and its storage has "
            f"{storage.elements:,} values"
        )
    return StoredTensor(storage, offset, size, stride)


def _typed_tensor(
    storage: Content,
    offset: Content,
    size: Content,
    stride: Content,
    _grad: Content,
    _hooks: Content,
    dtype: Content,
    *_rest: Content,
) -> StoredTensor | None:
    """A tensor of a type that has no storage class; its storage is of bytes."""
    name = dtype.dotted.removeprefix("torch.") if isinstance(dtype, Name) else ""
    if not isinstance(storage, Storage) or name not in ITEM_SIZES:
        return None
    typed = Storage(name, storage.claimed // ITEM_SIZES[name], parent=storage)
    return _tensor(typed, offset, size, stride)


def _itself(value: Content = None, *_rest: Content) -> Content:
    return value


def _ordered(pairs: Content = (), *_rest: Content) -> Content:
    if isinstance(pairs, dict):
        return dict(pairs)
    if not isinstance(pairs, (list, tuple)):
        return dict[Content, Content]()  # a default dict's maker of values
    return _dictionary([part for pair in pairs for part in pair])


def _empty_tensor(*_: Content) -> StoredTensor:
    return StoredTensor()


def _listed(values: Content = (), *_rest: Content) -> Content:
    return list(values) if isinstance(values, (list, tuple)) else None


def _encoded(text: Content = "", encoding: Content = "", *_rest: Content) -> Content:
    """Bytes as the protocol before bytes wrote them."""
    known = isinstance(text, str) and encoding in ("latin1", "latin-1")
    return text.encode("latin-1") if known else None


def _byte_array(value: Content = b"", *rest: Content) -> Content:
    return value if isinstance(value, bytes | FileBytes) else _encoded(value, *rest)


def _array_type(code: Content = "", *_rest: Content) -> _ArrayType:
    text = _text(code)
    return _ArrayType(text.lstrip("<>|="), text.startswith(">"))


def _scalar(kind: Content, data: Content = None, *_rest: Content) -> Content:
    storage = _array_storage(kind, data) if data is not None else None
    if storage is None or not isinstance(storage.data, bytes) or storage.elements != 1:
        return None
    kind = np.dtype(storage.dtype).newbyteorder(">" if storage.swapped else "<")
    return np.frombuffer(storage.data, kind)[0].item()


def _from_buffer(
    data: Content, kind: Content, shape: Content, order: Content = "C", *_rest: Content
) -> Content:
    storage = _array_storage(kind, data)
    return None if storage is None else _array(storage, shape, by_column=_text(order) == "F")


_KNOWN: dict[str, Callable[..., Content]] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _ordered,
    "collections.Counter": _ordered,
    "collections.deque": _listed,
    "builtins.dict": _ordered,
    "builtins.list": _listed,
    "builtins.set": _listed,
    "builtins.frozenset": _listed,
    "builtins.bytearray": _byte_array,
    "builtins.bytes": _byte_array,
    "_codecs.encode": _encoded,
    "torch.Size": _itself,
    "torch.device": _itself,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _itself,
    "torch._utils._rebuild_parameter_with_state": _itself,
    "torch.nn.parameter.Parameter": _itself,
    "torch.nn.parameter.Buffer": _itself,
    "numpy._core.multiarray._reconstruct": _empty_tensor,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _array_type,
}
"""What is understood, by name; each gives None where its arguments are not such."""
