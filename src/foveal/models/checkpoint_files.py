"""Files of weights, whoever wrote them: of which kind a file is, and what is in it.

Read are safetensors, torch's zip archives, torch's files of before 1.6, and pickles of numpy
arrays. Of all others it is said what they are. Nothing in a file is ever run
(`foveal.models.inert_pickles`), and no more memory is taken than the file is large.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.errors import WeightsError
from foveal.files import readable_path
from foveal.models.inert_pickles import (
    ITEM_SIZES,
    BrokenPickleError,
    Content,
    FileBytes,
    InertUnpickler,
    Storage,
    StoredTensor,
    storage_dtype,
)

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""With which torch's files of before 1.6 begin."""
_PROTOCOL = 1001

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""Of an entry in a zip archive; its last two numbers are the lengths of name and extra field."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KERAS: tuple[tuple[bytes, str], ...] = (
    (
        b"pyramid_classification",
        "is an HDF5 file with the layers of keras-retinanet, whose network foveal's can't be: it "
        "codes boxes by their corners and pads as TensorFlow does. Train anew on its data, whose "
        "CSV files foveal train reads; or predict with it there, and measure what it writes as "
        "COCO results",
    ),
    (
        b"lateral_conv_P3",
        "is an HDF5 file with the layers of KerasHub's RetinaNet, which pads as TensorFlow does. "
        "KerasHub's own models are torchvision's, which foveal import reads from torchvision's "
        "file (foveal models list); one that was trained there can't be read",
    ),
)
"""Layers in files of Keras, and what has such."""

READABLE = (
    "a safetensors file, a checkpoint of torch's, or a pickle of numpy arrays (detectron2's .pkl)"
)

_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (257, b"ustar", "is a tar archive; unpack it first (torch before 0.1.10 wrote such files too)"),
    (0, b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (
        0,
        b"version https://git-lfs",
        "is only a pointer of Git LFS; get the file itself (git lfs pull)",
    ),
    (0, b"<", "is a web page or XML: the download went wrong, or it is an OpenVINO model"),
    (0, b"\x93NUMPY", "is a single numpy array"),
    (0, b"\x89PNG", "is an image"),
    (0, b"\xff\xd8\xff", "is an image"),
    (0, b"{", "is JSON or another text: options, no weights"),
)
"""What files look like that are no weights: where, which bytes, in words."""

_TENSORFLOW = "is called as TensorFlow's are, which are not read; train anew on its data"
_BY_ENDING = {
    ".onnx": "is called as ONNX models are, which can only predict: foveal predict takes those "
    "that foveal export wrote. Take the weights that it was made of",
    ".engine": "is called as TensorRT's engines are, which run on one kind of GPU alone. Take the "
    "weights that it was made of",
    **dict.fromkeys((".pb", ".tflite", ".index", ".data-00000-of-00001"), _TENSORFLOW),
}
"""What files are by their names, where their bytes tell nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointFile:
    """What a file of weights holds.

    Attributes:
        container: the kind of file, in words.
        content: of pickles and torch's files, with `StoredTensor`s.
        tensors: of safetensors; None where the content has them.
        metadata: of safetensors.
        stand_ins: names of classes and functions that the file asks for; none was looked up.
    """

    container: str
    content: Content = None
    tensors: dict[str, Tensor] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    stand_ins: tuple[str, ...] = ()


def expect_file(path: Path) -> None:
    """See whether there is a file of weights at all.

    Raises:
        WeightsError: there is none.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file. Expected weights: {READABLE}.")


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read a file of weights of any kind that can be read; tensors of pickles stay in the file.

    Raises:
        WeightsError: the file is missing, cut short, or something else.
    """
    expect_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            size = path.stat().st_size
            if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                return _read_zip(path, file)
            if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
                return _read_safetensors(path)
            if head.startswith(_HDF5):
                raise _unreadable(path, _keras_kind(file))
            if head[:1] in (b"\x80", b"}", b"("):
                return _read_pickles(path, file)
            if head and path.suffix == ".safetensors":
                return _read_safetensors(path)  # which says what is wrong
            raise _unreadable(path, _kind(head, path.suffix.lower()))
    except (BrokenPickleError, SafetensorError, OSError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _unreadable(path, f"is broken: {said}") from None


def load_tensors(path: Path, stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """Read the values of tensors out of the file.

    Args:
        path: of the file.
        stored: where they are, by any name; those that share a storage share memory.

    Returns:
        The tensors by the same names.

    Raises:
        WeightsError: the file can't be read, or claims to hold more than it does.
    """
    try:
        with path.open("rb") as file:
            reading = _Reading(file, path.stat().st_size)
            return {name: reading.tensor(tensor) for name, tensor in stored.items()}
    except (BrokenPickleError, OSError) as error:
        raise _unreadable(path, f"is broken: {error}") from None


class _Reading:
    """Storages of one file, each read once."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self.file = file
        self.left = size
        self.done: dict[int, Tensor] = {}

    def tensor(self, stored: StoredTensor) -> Tensor:
        storage = stored.storage
        assert storage is not None, "an array that was not filled"
        flat = self.bytes_of(storage).view(getattr(torch, storage.dtype))
        return flat.as_strided(stored.size, stored.stride, stored.offset)

    def bytes_of(self, storage: Storage) -> Tensor:
        """All bytes of a storage, [N] uint8."""
        if id(storage) not in self.done:
            self.done[id(storage)] = self.read(storage)
        return self.done[id(storage)]

    def read(self, storage: Storage) -> Tensor:
        if storage.parent is not None:
            part = self.bytes_of(storage.parent)[storage.start :][: storage.claimed]
            # Values of a type begin at a multiple of their size.
            return part if part.data_ptr() % ITEM_SIZES[storage.dtype] == 0 else part.clone()
        length = storage.claimed
        self.left -= length
        there = (
            storage.data.length if isinstance(storage.data, FileBytes) else len(storage.data or b"")
        )
        if length > there or self.left < 0:
            raise BrokenPickleError(f"a tensor of {length:,} bytes, more than there are")
        values = torch.empty(length, dtype=torch.uint8)
        memory = values.numpy().data
        if isinstance(storage.data, FileBytes):
            self.file.seek(storage.data.offset)
            if self.file.readinto(memory) != length:
                raise BrokenPickleError("cut short")
            checksum = storage.data.checksum if length == storage.data.length else 0
            if checksum and zlib.crc32(memory) != checksum:
                raise BrokenPickleError("a checksum does not fit; get the file again")
        else:
            memory[:] = (storage.data or b"")[:length]
        if storage.swapped:
            size = ITEM_SIZES[storage.dtype]
            values = values.view(-1, size).flip(1).reshape(-1)
        return values


def _read_safetensors(path: Path) -> CheckpointFile:
    with readable_path(path) as name, safe_open(name, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return CheckpointFile("safetensors file", None, tensors, file.metadata() or {})


def _read_zip(path: Path, file: BufferedReader) -> CheckpointFile:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise BrokenPickleError(f"a zip archive that is cut short ({error})") from None
    main = next((name for name in entries if name.rpartition("/")[2] == "data.pkl"), None)
    prefix = "" if main is None else main.removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries or any("/code/" in name for name in entries):
        raise _unreadable(
            path,
            "is a TorchScript archive, a program that would have to be run. Save the state dict "
            "instead, with the program that made it",
        )
    if main is None:
        raise _unreadable(path, _zip_kind(list(entries)))
    order = entries.get(f"{prefix}byteorder")
    if order is not None:
        place = _record(file, order)
        file.seek(place.offset)
        if file.read(min(place.length, 10)).strip() not in (b"little", b""):
            raise _unreadable(path, "holds big endian numbers")

    def storage(reference: Content) -> Storage | None:
        _what, kind, key, _location, elements, *_rest = reference
        dtype = storage_dtype(kind)
        if dtype is None:
            return None
        name = f"{prefix}data/{_key(key)}"
        if name not in made:
            if name not in entries:
                raise BrokenPickleError(f"the values in {name} are not there")
            made[name] = Storage(dtype, elements, _record(file, entries[name]))
        return _as(made[name], dtype, elements)

    made: dict[str, Storage] = {}
    place = _record(file, entries[main])
    reading = InertUnpickler(file, end=place.offset + place.length, persistent=storage)
    file.seek(place.offset)
    content = reading.load()
    return CheckpointFile("torch file", content, stand_ins=tuple(reading.stand_ins))


def _key(key: Content) -> str:
    """The name of a storage in a torch file."""
    if isinstance(key, str | int):
        return str(key)
    raise BrokenPickleError("a storage without a name")


def _as(storage: Storage, dtype: str, elements: Content) -> Storage:
    """The storage, as another type where it is asked for as one."""
    if storage.dtype == dtype and storage.elements == elements:
        return storage
    return Storage(dtype, elements, parent=storage)


def _record(file: BufferedReader, entry: zipfile.ZipInfo) -> FileBytes:
    """Where in the file the bytes of an entry of an archive are, which are not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise BrokenPickleError(
            f"{entry.filename} is compressed, as torch never writes; zip without compression"
        )
    back = file.tell()
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    file.seek(back)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise BrokenPickleError(f"{entry.filename} is not where it should be")
    *_others, name, extra = _LOCAL_HEADER.unpack(header)
    return FileBytes(entry.header_offset + len(header) + name + extra, entry.file_size, entry.CRC)


def _read_pickles(path: Path, file: BufferedReader) -> CheckpointFile:
    """A file of torch before 1.6, which is five pickles and the values; or a single pickle."""
    size = path.stat().st_size
    made: dict[str, Storage] = {}

    def storage(reference: Content) -> Content:
        what, kind, key, *rest = reference
        if what == "module":  # a class and its source
            return kind
        dtype = storage_dtype(kind)
        if dtype is None:
            return None
        _location, elements, view = (*rest, None)[:3]
        whole = _as(made.setdefault(_key(key), Storage(dtype, elements)), dtype, elements)
        if view is None:
            return whole
        _view, offset, length = view
        return Storage(dtype, length, parent=whole, start=offset * ITEM_SIZES[dtype])

    reading = InertUnpickler(file, end=size, persistent=storage)
    first = reading.load()
    if first != _MAGIC_NUMBER:
        return CheckpointFile("pickle", first, stand_ins=tuple(reading.stand_ins))
    version, system = reading.load(), reading.load()
    if version != _PROTOCOL or not isinstance(system, dict):
        raise BrokenPickleError("a torch file of an unknown version")
    if system.get("little_endian") is False:
        raise _unreadable(path, "holds big endian numbers")
    content = reading.load()
    keys = reading.load()
    for key in keys if isinstance(keys, list) else ():
        known = made.get(_key(key))
        if known is None:  # of a kind that is not read, and its length is not known
            break
        count = file.read(8)
        if len(count) < 8 or struct.unpack("<q", count)[0] != known.elements:
            raise BrokenPickleError("cut short")
        known.data = FileBytes(file.tell(), known.claimed)
        if known.data.offset + known.data.length > size:
            raise BrokenPickleError("cut short")
        file.seek(known.claimed, 1)
    return CheckpointFile(
        "torch file of before version 1.6", content, stand_ins=tuple(reading.stand_ins)
    )


def _zip_kind(names: list[str]) -> str:
    inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors"))]
    if inside:
        return f"is a zip archive around {inside[0]}; unpack it first"
    if any(name.endswith(".weights.h5") for name in names):
        return "is a model of Keras, which is not read"
    if names and all(name.endswith(".npy") for name in names):
        return "is a file of numpy arrays (.npz); save a state dict instead"
    if any(name.endswith(("models/model.json", "/archive_format")) for name in names):
        return "is a program of torch.export, which is not read; save its state dict instead"
    shown = ", ".join(names[:3])
    return f"is a zip archive of something else ({shown or 'it is empty'})"


def _keras_kind(file: BufferedReader) -> str:
    """What an HDF5 file is of, told by the names in it, which stand there as they are."""
    longest = max(len(name) for name, _ in _KERAS)
    before = b""
    while part := file.read(2**20):
        for name, words in _KERAS:
            if name in before + part:
                return words
        before = part[-longest:]
    return "is an HDF5 file, as Keras writes, without the layers of a RetinaNet that is known"


def _kind(head: bytes, ending: str) -> str:
    if not head:
        return "is empty"
    text = head.lstrip()
    for place, start, words in _KINDS:
        if head[place:].startswith(start) or (place == 0 and text.startswith(start)):
            return words
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    return "is of no kind that is known, or cut off at its beginning"


def _unreadable(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path}: can't be read as weights: it {what}. Expected {READABLE}.")
