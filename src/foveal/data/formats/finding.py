"""Which format a path holds, found by looking."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from foveal.data.formats import kitti
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.data.formats.writing import ImageMode
    from foveal.data.problems import BadBoxes, Problem

_LOOKED_AT = 8
"""Files of each kind that are opened in a folder; the first may be empty or something else."""

_BESIDE = ("classes.csv", "class_mapping.csv", "class-descriptions-boxable.csv", "images.csv")
"""Files beside annotations that hold none."""

FORMATS = ("coco", "voc", "yolo", "csv", "kitti", "labelme", "openimages", "cvat")


class Format(Protocol):
    """What each format's module offers."""

    def read(
        self,
        path: Path,
        split: str | None = None,
        *,
        images: Path | None = None,
        bad_boxes: BadBoxes = "drop",
        problems: list[Problem] | None = None,
    ) -> Dataset:
        """Read a data set of this format."""
        ...

    def write(
        self,
        data: Dataset,
        folder: Path,
        *,
        images: ImageMode = "copy",
        splits: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Write a data set into an empty folder."""
        ...


def load_format(name: str) -> Format:
    """The module of a format.

    Raises:
        DataError: there is no format of that name.
    """
    if name not in FORMATS:
        raise DataError(f"There is no format {name!r}. Expected one of {', '.join(FORMATS)}.")
    return cast("Format", import_module(f"foveal.data.formats.{name}"))


def find_format(path: Path) -> str:
    """The format of what lies at a path.

    Raises:
        DataError: nothing is there, nothing is recognised, or several formats are.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist. Expected annotations there: a file or a folder "
            "(a split follows a colon, as in DATA:train)."
        )
    found = list(dict.fromkeys(_in_file(path) if path.is_file() else _in_folder(path)))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{path} holds several formats: {', '.join(found)}. Say which with format=..., or "
            "pass the annotation file's own path."
        )
    raise DataError(f"{path}: no annotations recognised. Looked for: {_LOOKED_FOR}")


_LOOKED_FOR = (
    "coco: a .json with images, annotations and categories, in the folder or one below; "
    "voc: .xml files with <annotation>, in the folder or in Annotations; "
    "yolo: data.yaml or another .yaml with names, obj.data, or labels/*.txt with five numbers a "
    "line; csv: a .csv with or without header; kitti: label_2/*.txt or .txt files with 15 columns; "
    "labelme: .json files with shapes; openimages: a .csv with ImageID and XMin; "
    "cvat: an .xml with <annotations>. Pass format=... to be told what is missing."
)


def _head(file: Path, size: int = 65536) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror or error}.") from error


def _in_file(file: Path) -> Iterator[str]:
    ending = file.suffix.lower()
    if ending == ".json":
        yield "labelme" if _is_labelme(file) else "coco"
    elif ending == ".xml":
        yield "cvat" if b"<annotations" in _head(file) else "voc"
    elif ending in (".yaml", ".yml", ".data"):
        yield "yolo"
    elif ending == ".csv":
        header = _head(file).split(b"\n")[0]
        yield "openimages" if b"ImageID" in header and b"XMin" in header else "csv"


def _is_labelme(file: Path) -> bool:
    """Whether a .json is LabelMe's: it names shapes before it names annotations or images."""
    with file.open("rb") as stream:
        before = b""
        while block := stream.read(1 << 20):
            text = before + block
            if b'"annotations"' in text or b'"categories"' in text:
                return False
            if b'"shapes"' in text or b'"imagePath"' in text:
                return True
            before = block[-32:]
    return False


def _in_folder(folder: Path) -> Iterator[str]:
    for pattern in ("*.yaml", "*.yml", "*.data", "*.csv", "*.json", "*.xml"):
        for file in sorted(folder.glob(pattern))[:_LOOKED_AT]:
            if not file.name.endswith(_BESIDE):
                yield from _in_file(file)
    for pattern in ("[Aa]nnotations/*.xml", "*/[Aa]nnotations/*.xml", "*/*.xml", "*/*.json"):
        for file in sorted(folder.glob(pattern))[:_LOOKED_AT]:
            yield from _in_file(file)
    folders = [folder / top / name for top in ("", "training") for name in kitti.LABEL_FOLDERS]
    for place in (*folders, *folder.glob("labels/*/"), folder):
        for file in sorted(place.glob("*.txt"))[:_LOOKED_AT]:
            yield from _in_label_file(file)


def _in_label_file(file: Path) -> Iterator[str]:
    """YOLO's lines are all numbers; KITTI's begin with a name and go on with 14 numbers."""
    words = _head(file).partition(b"\n")[0].split()
    numbers = [word for word in words if _is_number(word)]
    if len(words) >= 5 and len(numbers) == len(words):
        yield "yolo"
    elif len(words) in (15, 16) and len(numbers) == len(words) - 1:
        yield "kitti"


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
