"""Pickles that would run something or fill the memory: nothing is run, and little is taken."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.errors import WeightsError
from foveal.models import inert_pickles
from foveal.models.inert_pickles import InertUnpickler, StandIn
from foveal.models.state_dicts import read_state_dict
from foveal.models.unpickled import plain

MAGIC = 0x1950A86A20F9469CFC6C
FORBIDDEN = {
    "compile",
    "ctypes.dlopen",
    "exec",
    "import",
    "os.exec",
    "os.posix_spawn",
    "os.remove",
    "os.system",
    "pickle.find_class",
    "shutil.rmtree",
    "socket.connect",
    "subprocess.Popen",
}
_seen: set[str] | None = None


def _watch(event: str, _arguments: object) -> None:
    if _seen is not None and event in FORBIDDEN:
        _seen.add(event)


@pytest.fixture(scope="module", autouse=True)
def audited(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("first") / "c.pth"
    for write in WRITERS.values():  # the first reading imports what it needs
        write(b"}.", path)
        with pytest.raises(WeightsError):
            read_state_dict(path)
    sys.addaudithook(_watch)  # which can't be taken away again


@contextmanager
def nothing_runs() -> Iterator[None]:
    global _seen
    _seen = set()
    try:
        yield
    finally:
        found, _seen = _seen, None
    assert not found


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


TOUCH = text("touch MARKER")
WRITE = text("open('MARKER', 'w').close()")

HOSTILE = {
    "os.system": b"cos\nsystem\n" + TOUCH + b"\x85R.",
    "posix.system": b"cposix\nsystem\n" + TOUCH + b"\x85R.",
    "eval": b"cbuiltins\neval\n" + WRITE + b"\x85R.",
    "exec of Python 2": b"c__builtin__\nexec\n(" + WRITE + b"tR.",
    "getattr chain": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
    + text("os")
    + b"tR"
    + text("system")
    + b"tR("
    + TOUCH
    + b"tR.",
    "dotted name": b"\x8c\x08builtins\x8c\x0dopen.__call__\x93("
    + text("MARKER")
    + text("w")
    + b"tR.",
    "popen": b"csubprocess\nPopen\n((" + text("touch") + text("MARKER") + b"ltR.",
    "INST": b"(" + TOUCH + b"ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\n" + TOUCH + b"o.",
    "NEWOBJ": b"csubprocess\nPopen\n(" + TOUCH + b"t\x81.",
    "NEWOBJ_EX": b"csubprocess\nPopen\n(" + TOUCH + b"t}" + text("shell") + b"\x88s\x92.",
    "BUILD": b"cevil\nThing\n)\x81}" + text("__class__") + b"cos\nsystem\nsb.",
    "BUILD of a class": b"cbuiltins\nobject\n}" + text("x") + b"cos\nsystem\nsb.",
    "partial": b"cfunctools\npartial\n(cos\nsystem\n" + TOUCH + b"tR)R.",
    "pickle in a pickle": b"cpickle\nloads\n(C\x20cos\nsystem\n(X\x0c\0\0\0touch MARKERtR.tR.",
    "default of a dictionary": b"ccollections\ndefaultdict\n(cos\nsystem\ntR.",
    "tensor of a type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\neval\nN("
    + WRITE
    + b"tNtR.",
    "rebuilt wrapper": b"ctorch._utils\n_rebuild_wrapper_subclass\n(cos\nsystem\n" + TOUCH + b"tR.",
    "import of a module": b"cevil\nThing\n.",
    "import by name": b"cimportlib\nimport_module\n(" + text("evil") + b"tR.",
    "numpy's runstring": b"cnumpy.testing._private.utils\nrunstring\n(" + WRITE + b"}tR.",
    "hash of a key": b"}cevil\nThing\n)\x81N s.".replace(b" ", b""),
    "extension": b"\x82\x01.",
    "reference to outside": b"(" + text("module") + b"cos\nsystem\n" + TOUCH + TOUCH + b"tQ.",
    "reduce of a tensor's storage": b"ctorch\nload\n(" + text("evil.pth") + b"tR.",
    "removal": b"cshutil\nrmtree\n(" + text("MARKER.d") + b"tR.",
}


def as_pickle(program: bytes, path: Path) -> None:
    path.write_bytes(b"\x80\x02" + program)


def as_zip(program: bytes, path: Path, **records: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program)
        archive.writestr("archive/version", "3\n")
        for name, content in records.items():
            archive.writestr(f"archive/data/{name}", content)


def as_legacy(program: bytes, path: Path, keys: tuple[str, ...] = (), values: bytes = b"") -> None:
    head = [MAGIC, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}]
    parts = [pickle.dumps(part, 2) for part in head]
    path.write_bytes(b"".join(parts) + b"\x80\x02" + program + pickle.dumps(list(keys), 2) + values)


WRITERS = {"pickle": as_pickle, "zip": as_zip, "legacy": as_legacy}


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_in_a_pickle_is_run(
    kind: str, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither bare nor beside weights; and the file is refused, or gives its weights alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    evil = "open('MARKER', 'w').close()\nclass Thing:\n    def __hash__(self): 1 / 0\n"
    Path("evil.py").write_text(evil)
    Path("MARKER.d").mkdir()
    WRITERS[container](HOSTILE[kind], Path("c.pth"))
    with nothing_runs(), pytest.raises(WeightsError, match=r"c\.pth: (holds no|can't be read)"):
        read_state_dict(Path("c.pth"))
    assert not Path("MARKER").exists()
    assert Path("MARKER.d").is_dir()
    assert "evil" not in sys.modules


def test_the_watch_sees_what_runs(tmp_path: Path) -> None:
    """The same programs in Python's own unpickler."""
    with pytest.raises(AssertionError), nothing_runs():
        pickle.loads(b"\x80\x02" + HOSTILE["eval"].replace(b"MARKER", b"/dev/null"[:6]))


def nested(levels: int, leaf: bytes = b")") -> bytes:
    """Tuples of two times the same tuple: 2 ** levels leaves if one walks through."""
    return leaf + b"".join(b"q\x00h\x00\x86" for _ in range(levels))


def tensor(size: bytes, stride: bytes, elements: bytes, key: bytes = b"0") -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key.decode())
    storage += text("cpu") + elements + b"tQ"
    parts = storage + b"K\x00" + size + stride + b"\x89)t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + parts + b"R"


def named(*values: bytes) -> bytes:
    return b"}(" + b"".join(text(f"w{n}") + value for n, value in enumerate(values)) + b"u."


HUGE = b"\x8a\x06" + (10**13).to_bytes(6, "little")  # LONG1
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01"
FLOAT32 = (
    b"cnumpy\ndtype\n(X\x02\0\0\0f4K\x00K\x01tR(K\x03X\x01\0\0\0<NNN"
    + 2 * b"J\xff\xff\xff\xff"
    + b"K\x00tb"
)

GREEDY = {
    "bytearray": b"cbuiltins\nbytearray\n(" + HUGE + b"tR.",
    "tensor of a size": b"ctorch\nFloatTensor\n(" + HUGE + b"tR.",
    "storage without values": named(tensor(HUGE + b"\x85", b"K\x01\x85", HUGE)),
    "view of one value": named(tensor(HUGE + b"\x85", b"K\x00\x85", b"K\x01")),
    "view beyond the end": named(tensor(b"K\x02\x85", HUGE + b"\x85", b"K\x02")),
    "negative size": named(tensor(b"J\xff\xff\xff\xff\x85", b"K\x01\x85", b"K\x01")),
    "negative storage": named(tensor(b"K\x01\x85", b"K\x01\x85", b"J\xff\xff\xff\xff")),
    "bytes that are claimed": b"\x8e" + struct.pack("<Q", 2**40) + b"ab.",
    "text that is claimed": b"\x8d" + struct.pack("<Q", 2**62) + b"ab.",
    "number that is claimed": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"ab.",
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"N.",
    "memo": b"Nr\xff\xff\xff\xff.",
    "shape of an array": named(ARRAY + HUGE + b"\x85" + FLOAT32 + b"\x89C\x04abcdtb"),
    "array of objects": named(
        ARRAY + HUGE + b"\x85" + FLOAT32.replace(b"f4", b"O8") + b"\x89]Natb"
    ),
    "tuples as a key": b"}" + nested(60) + b"Ns.",
    "tuples of tuples": nested(60, b"(K\x01t") + b".",
    "lists without end": b"]q\x00h\x00a.",
    "lists within lists": b"]" * 2000 + b"a" * 1999 + b".",
    "rebuilt within rebuilt": b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00" * 1
    + b"".join(b"(h\x00N" for _ in range(2000))
    + b")"
    + b"Nt" * 2000
    + b"R.",
    "modules without end": b"cA\nB\n)\x81q\x01}"
    + text("_modules")
    + b"}(" + text("a") + b"h\x01" + text("b") + b"h\x01u" + b"sb.",
}  # fmt: skip


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("kind", GREEDY)
def test_memory_and_time_stay_small(kind: str, container: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    WRITERS[container](GREEDY[kind], path)
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(WeightsError, match=r"c\.pth: (holds no|can't be read)"):
            read_state_dict(path)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 5


def test_a_storage_larger_than_its_record(tmp_path: Path) -> None:
    program = named(tensor(b"M\xe8\x03\x85", b"K\x01\x85", b"M\xe8\x03"))
    as_zip(program, tmp_path / "c.pth", **{"0": bytes(40)})
    with pytest.raises(WeightsError, match="4,000 bytes, more than there are"):
        read_state_dict(tmp_path / "c.pth")
    values = struct.pack("<q", 1000) + bytes(40)
    as_legacy(program, tmp_path / "c.pth", keys=("0",), values=values)
    with pytest.raises(WeightsError, match="cut short"):
        read_state_dict(tmp_path / "c.pth")


def test_the_same_bytes_many_times(tmp_path: Path) -> None:
    """Each array would be as large as the file."""
    first = ARRAY + b"M\xe8\x03\x85" + FLOAT32 + b"\x89B" + struct.pack("<I", 4000) + bytes(4000)
    again = ARRAY + b"M\xe8\x03\x85" + FLOAT32 + b"\x89h\x07tb"
    as_pickle(named(first + b"q\x07tb", *[again] * 50), tmp_path / "c.pkl")
    with pytest.raises(WeightsError, match="more than there are"):
        read_state_dict(tmp_path / "c.pkl")


def test_an_archive_that_is_compressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(WeightsError, match="is compressed, as torch never writes"):
        read_state_dict(tmp_path / "c.pth")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", b"\x80\x02}.")
    with pytest.raises(WeightsError, match="is a TorchScript archive, a program"):
        read_state_dict(tmp_path / "c.pt")


def test_too_many_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickles, "MAX_OPERATIONS", 100)
    as_pickle(b"N0" * 99 + b"N.", tmp_path / "c.pkl")
    with pytest.raises(WeightsError, match="more values than any checkpoint"):
        read_state_dict(tmp_path / "c.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_values_are_as_python_has_them(protocol: int, tmp_path: Path) -> None:
    value = {
        "text": "é" * 300,
        "numbers": [1, -7, 2**40, 2**200, 0.5, True, False, None],
        "bytes": b"abc",
        "nested": ({"a": (1,)}, (1, 2), (1, 2, 3), (1, 2, 3, 4), ()),
        3: "three",
    }
    assert unpickled(pickle.dumps(value, protocol), tmp_path) == value


def test_an_escape_that_is_none(tmp_path: Path) -> None:
    """Python warns of it, which is nothing to people who read a file."""
    assert unpickled(rb"S'a\q'" + b"\n.", tmp_path) == r"a\q"


def test_every_operation_is_known() -> None:
    """Of all protocols, but for the registry of extensions and buffers from outside."""
    unpickler = InertUnpickler(io.BytesIO(), end=0)
    known = {*unpickler._operations, *inert_pickles._LENGTHS, *inert_pickles._CONSTANTS, "STOP"}
    every = {operation.name for operation in pickletools.opcodes}
    assert every - known == {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER"}
    assert known <= every


def unpickled(content: bytes, folder: Path) -> Any:
    path = folder / "p.pkl"
    path.write_bytes(content)
    with path.open("rb") as file:
        return InertUnpickler(file, end=len(content)).load()


def test_objects_become_their_attributes(tmp_path: Path) -> None:
    from argparse import Namespace
    from collections import OrderedDict, defaultdict

    value = [
        Namespace(lr=0.02, out=Path("/runs/a"), nothing=None),
        OrderedDict(a=1),
        defaultdict(list, {"b": [2]}),
        {1, 2},
        np.float64(0.5),
        np.datetime64("2020-01-01"),
    ]
    read = unpickled(pickle.dumps(value, 2), tmp_path)
    assert isinstance(read[0], StandIn)
    *known, date = plain(read)
    expected = [{"lr": 0.02, "out": "/runs/a", "nothing": None}, {"a": 1}, {"b": [2]}, [1, 2], 0.5]
    assert known == expected
    assert date == "<numpy._core.multiarray.scalar>"
    twice = (known_list := [1], known_list)
    assert plain(unpickled(pickle.dumps(twice, 2), tmp_path)) == ([1], [1])


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_arrays_of_every_kind(protocol: int, tmp_path: Path) -> None:
    """As detectron2's model zoo has them, written by any version of Python and numpy."""
    rng = np.random.default_rng(0)
    arrays = {
        "conv.weight": rng.normal(size=(4, 3, 5, 5)).astype(np.float32),
        "small": rng.normal(size=3).astype(np.float32),
        "by column": np.asfortranarray(rng.normal(size=(20, 7))),
        "swapped": np.arange(100, dtype=">i4"),
        "half": rng.normal(size=(9, 9)).astype(np.float16),
        "counts": np.arange(200).reshape(2, 100),
        "one": np.array(3.0),
        "none": np.zeros((0, 4), np.float32),
        "flags": np.array([True, False]),
    }
    content = {"model": arrays, "__author__": "x", "objects": np.array([None, "a"], object)}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_state_dict(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert torch.equal(
            read[name], torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        )
        read[name].zero_()  # of memory that may be written to


def test_arrays_of_python_2_and_numpy_1(tmp_path: Path) -> None:
    """Its text and its bytes were one type, and numpy's module had another name."""
    content = pickle.dumps({"conv1_w": np.arange(100, dtype=np.float32)}, 3)
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    place = content.index(b"B" + struct.pack("<I", 400))
    content = content[:place] + b"T" + content[place + 1 :]  # BINSTRING
    (tmp_path / "R-50.pkl").write_bytes(content)
    assert torch.equal(read_state_dict(tmp_path / "R-50.pkl")["conv1_w"], torch.arange(100.0))
