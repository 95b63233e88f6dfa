"""What must hold when files are read: sound ones as they are written, any without harm."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.pictures import place_picture
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, kept
from tests.data.formats.fuzzing.watch import listening, watching

from foveal.data.dataset import ANY_CLASS, Dataset
from foveal.data.formats import read, split_address
from foveal.data.formats.detect import find_format
from foveal.errors import FovealError


class Failure(AssertionError):
    """A property does not hold. `kind` is the same for the same fault."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


def lay_out(written: Written, folder: Path) -> None:
    """Write the files and images of a data set into a folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, picture in written.pictures.items():
        place_picture(folder / name, picture.width, picture.height)
    for name, content in written.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def small_files(folder: Path) -> dict[str, bytes]:
    """The small annotation files of a folder, by their paths in it, for messages."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size < 4000:
            content = path.read_bytes()
            if not content.startswith(b"\x89PNG"):
                found[str(path.relative_to(folder))] = content
    return found


def address_of(written: Written, folder: Path) -> str:
    separator = "" if written.address.startswith(":") or not written.address else "/"
    return f"{folder}{separator}{written.address}"


def read_as_written(written: Written, folder: Path, name: str) -> None:
    """A sound file is read as it is written, or reading says what it does otherwise."""
    lay_out(written, folder)
    address = address_of(written, folder)
    with listening() as said, watching(folder) as outside:
        try:
            data = read(address, name)
        except FovealError as error:
            raise Failure(f"refused: {_words_of(error, written, folder)}", str(error)) from error
    if outside:
        raise Failure("read outside", str(outside))
    expect_sound(data, folder)
    _expect_same(data, written, folder, said)
    _expect_own_format(split_address(address)[0], name)


def _words_of(error: FovealError, written: Written, folder: Path) -> str:
    """What an error says without names and numbers, the same for the same fault."""
    text = str(error)
    for name in sorted([*written.files, *written.pictures], key=len, reverse=True):
        text = text.replace(f"{folder}/{name}", "FILE").replace(name, "NAME")
    text = text.replace(str(folder), "FOLDER")
    return re.sub(r"'[^']*'|\"[^\"]*\"|\[.*\]|\(.*?\)|-?\d[\d.e+-]*", "_", text)[:110]


def _expect_own_format(path: Path, name: str) -> None:
    try:
        found = find_format(path)
    except FovealError as error:
        if "--format" not in str(error) and "format=" not in str(error):
            raise Failure("format not found", str(error)) from error
        return
    if found != name:
        raise Failure("another format", f"{found} instead of {name}")


def _expect_same(data: Dataset, written: Written, folder: Path, said: list[str]) -> None:
    if written.classes is not None and data.classes != written.classes:
        raise Failure("classes differ", f"{data.classes} instead of {written.classes}")
    found = {str(record.path): record for record in data}
    expected = {str(folder / name): picture for name, picture in written.pictures.items()}
    if found.keys() != expected.keys() or len(found) != len(data):
        raise Failure("images differ", f"{sorted(found)} instead of {sorted(expected)}")
    to_tell = written.told
    for path, picture in expected.items():
        record = found[path]
        if (record.width, record.height) != (picture.width, picture.height):
            raise Failure("sizes differ", f"{path}: {record.width} x {record.height}")
        objects, told = _expected_objects(picture)
        to_tell |= told
        names = [data.classes[k] if k != ANY_CLASS else None for k in record.labels.tolist()]
        if len(objects) != len(record):
            raise Failure("number of objects differs", f"{path}: {len(record)}, not {len(objects)}")
        if names != [item.name for item in objects]:
            raise Failure("names differ", f"{names} instead of {[item.name for item in objects]}")
        if record.ignored.tolist() != [item.ignored for item in objects]:
            raise Failure("ignored differ", f"{path}: {record.ignored.tolist()}")
        wanted = np.array([item.box for item in objects], np.float64).reshape(-1, 4)
        if not np.allclose(record.boxes, wanted, rtol=1e-5, atol=2e-3):
            raise Failure("boxes differ", f"{record.boxes.tolist()} instead of {wanted.tolist()}")
    if to_tell and not said:
        raise Failure("silent", "boxes are clipped or left out without a word")


def _expected_objects(picture: Picture) -> tuple[list[Item], bool]:
    objects, any_told = [], False
    for item in picture.items:
        box, told = kept(item, picture.width, picture.height)
        any_told |= told
        if box is not None:
            objects.append(Item(box, item.name, item.ignored))
    return objects, any_told


def read_without_harm(
    written: Written, folder: Path, name: str | None, *, collected: bool = False
) -> bool:
    """Whatever a file holds: what is read is sound, or the error is one of ours, in one line.

    Returns:
        Whether it was read.
    """
    lay_out(written, folder)
    return _read_watched(written, folder, name, collected=collected)


def _read_watched(written: Written, folder: Path, name: str | None, *, collected: bool) -> bool:
    with listening(), watching(folder) as outside:
        try:
            data = read(address_of(written, folder), name, problems=[] if collected else None)
        except FovealError as error:
            if "\n" in str(error) or not str(error):
                raise Failure("not one line", str(error)) from error
            data = None
    if outside:
        raise Failure("read outside", str(outside))
    if data is not None:
        expect_sound(data, folder)
    return data is not None


def expect_sound(data: Dataset, folder: Path) -> None:
    """Finite boxes with area inside images whose size is known, labels of classes, paths inside."""
    for record in data:
        path = record.path
        inside = path.is_relative_to(folder) or path.is_relative_to(Path.cwd())
        if not inside or ".." in path.parts:
            raise Failure("path outside", str(path))
        boxes = record.boxes
        if not np.isfinite(boxes).all() or not (boxes[:, 2:] > boxes[:, :2]).all():
            raise Failure("unsound box", str(boxes.tolist()))
        size = (record.width, record.height) * 2
        if all(size) and ((boxes < 0).any() or (boxes > np.array(size)).any()):
            raise Failure("box outside image", f"{boxes.tolist()} in {size}")
        if ((record.labels < ANY_CLASS) | (record.labels >= len(data.classes))).any():
            raise Failure("unsound label", str(record.labels.tolist()))
        if not record.ignored[record.labels == ANY_CLASS].all():
            raise Failure("label of every class that is not ignored", str(record.labels.tolist()))
    if not all(data.classes) or len(set(data.classes)) != len(data.classes):
        raise Failure("unsound classes", str(data.classes))


HOSTILE = (
    "../decoy.jpg", "../../decoy.jpg", "/etc/passwd", "..\\decoy.jpg", "C:\\Windows\\win.ini",
    "file:///etc/passwd", "~/decoy.jpg", "{outer}/decoy.jpg", "file://{outer}/decoy.jpg",
    "images/../../decoy.jpg", "./../decoy.jpg", "%2e%2e/decoy.jpg", "..%2fdecoy.jpg",
    "//{outer}/decoy.jpg", "http://x/../../decoy.jpg", "/proc/self/environ", "link/decoy.jpg",
    "?d=../decoy.jpg", "/data/local-files/?d=../../decoy.jpg", "\\\\host\\share\\x.jpg",
    "loop/loop",
    "s3://../decoy.jpg", "/dev/zero", "../secret/a.txt", "..", "../data/../decoy.jpg", "/",
)  # fmt: skip
"""Names that lead out of the data folder, some of them to a file that is there."""


def read_hostile(dice: Dice, written: Written, folder: Path, name: str) -> None:
    """A data set whose images, lists and folders are named by paths to elsewhere is not followed.

    Links that people made themselves are: what `link` holds is theirs.
    """
    outer = folder.parent
    bad = dice.pick(HOSTILE).format(outer=outer)
    files = {}
    names = sorted({p for picture in written.pictures for p in _spellings(picture)}, key=len)
    target = dice.pick(names[::-1])
    for file, content in written.files.items():
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("utf-16", "ignore")
        quoted = bad.replace("\\", "\\\\") if file.lower().endswith("json") else bad
        files[file] = text.replace(target, quoted).encode()
    if dice.chance(4):  # a file that is named by a list, or called so itself
        listed = dice.pick(("ImageSets/Main/train.txt", "ImageSets/train.txt", "train.txt"))
        files[listed] = f"{bad}\n".encode()
    if dice.chance(4):
        files["data.yaml"] = f"path: {bad}\ntrain: {bad}\nval: images\nnames: [a]\n".encode()
    if dice.chance(8):
        files["obj.data"] = f"classes=1\nnames={bad}\ntrain={bad}\n".encode()
    lay_out(replace(written, files=files), folder)
    (folder / "loop").symlink_to(folder)
    (outer / "decoy.jpg").write_bytes(b"nothing to be read here")
    (outer / "decoy.txt").write_bytes(b"0 0.5 0.5 0.1 0.1\n")
    (outer / "secret").mkdir(exist_ok=True)
    (outer / "secret" / "a.txt").write_bytes(b"nothing to be read here\n")
    _read_watched(replace(written, files=files), folder, name, collected=dice.chance(2))


def _spellings(picture: str) -> tuple[str, ...]:
    last = picture.rpartition("/")[2]
    return picture, last, last.rpartition(".")[0]
