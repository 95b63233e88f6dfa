"""Which format a path holds, found by looking."""

from __future__ import annotations

from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

from foveal.data.folders import files_below, files_in, files_one_below, folders_in
from foveal.data.format_names import FORMATS
from foveal.data.formats import kitti
from foveal.data.formats.json_kinds import json_kind, kind_of, look_at, refusal
from foveal.data.formats.parsing import head_text, table_rows
from foveal.data.formats.table_columns import recognize
from foveal.data.formats.vector_files import ENDINGS as VECTOR_ENDINGS
from foveal.data.formats.vector_files import is_vector_file
from foveal.data.formats.via import CSV_COLUMN
from foveal.data.images.kinds import has_image_ending
from foveal.errors import DataError
from foveal.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.data.formats.issues import IssuePolicy
    from foveal.data.formats.writing import ImageMode

_LARGE = 1 << 20
_HEAD = 1 << 15
"""Characters that a long file's beginning has at least."""
_LOOKED_AT = 8
"""Files of each kind that are opened in a folder; the first may be empty or something else."""

_MOST_LOOKED_AT = 1000
"""Files of each kind that are opened in a folder where none shows a format."""

_BESIDE = ("classes.csv", "class_mapping.csv", "class-descriptions-boxable.csv", "images.csv")
"""Files beside annotations that hold none."""
_XML = "annotations"
"""A folder of XML files two folders down, in lower case."""


class Format(Protocol):
    """What each format's module offers."""

    def read(
        self,
        path: Path,
        split: str | None = None,
        *,
        images: Path | None = None,
        policy: IssuePolicy | None = None,
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
        raise DataError(
            f"There is no format {name!r}. Expected one of {', '.join(FORMATS)}."
            + suggestion(name, FORMATS)
        )
    return cast("Format", import_module(f"foveal.data.formats.{name}"))


def find_format(path: Path) -> str:
    """The format of what lies at a path.

    Raises:
        DataError: nothing is there, nothing is recognized, or several formats are.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist. Expected annotations there: a file or a folder "
            "(a split follows a colon, as in DATA:train)."
        )
    found = list(dict.fromkeys(_in_file(path) if path.is_file() else _in_folder(path)))
    if path.is_dir():
        if set(found) <= {"geo"}:
            found += list(dict.fromkeys(_in_folders_below(path)))
        # Beside annotations of images, shapes on a map may be anything, such as an outline.
        found = [name for name in dict.fromkeys(found) if name != "geo"] or found[:1]
    if not found and path.is_dir():
        _expect_no_records(path)
        tables = [f for f in files_in(path, ".csv", ".tsv") if not f.name.endswith(_BESIDE)]
        found = ["csv"] if len(tables) == 1 else []  # its reader shows what the columns are
    if not found:
        _refuse_unread_json(path)
    if not found and path.is_file() and path.suffix.lower() in _BY_ENDING:
        found = [_BY_ENDING[path.suffix.lower()]]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{path} holds several formats: {', '.join(found)}. Say which: "
            f"--format {found[0]} (in Python format={found[0]!r}), or name the annotation file."
        )
    raise DataError(f"{path}: no annotations recognized. Looked for: {_LOOKED_FOR}")


_LOOKED_FOR = (
    "coco: a .json with images, annotations and categories, in the folder or one below; "
    "voc: .xml files with <annotation>; "
    "yolo: data.yaml, another .yaml with names, obj.data, or labels/*.txt with five numbers "
    "a line; "
    "csv: a .csv with or without header; kitti: label_2/*.txt or .txt files with 15 columns; "
    "labelme: .json files with shapes; openimages: a .csv with ImageID and XMin; "
    "cvat: an .xml with <annotations>; label_studio: its JSON or JSON-MIN; via: its JSON or CSV; "
    "vott: NAME-export.json, NAME.vott or NAME-asset.json; supervisely: meta.json and folders "
    "called ann; createml: a .json with a list of images; datumaro: a .json with items; "
    "geo: .gpkg, .geojson or .shp. "
    "With --format NAME (in Python format='NAME') you are told what is missing."
)


_IN_JSON = (
    "images, annotations and categories (coco), shapes (labelme), or an export of "
    "Label Studio, VIA, VoTT, Supervisely, CreateML or Datumaro"
)
_JSON = (".json", ".vott", ".jsonl", ".ndjson", ".geojson", ".manifest", ".odgt")
"""Endings of files that hold JSON, one value or one on each line."""


def _refuse_unread_json(path: Path) -> None:
    """Say of JSON that is not read what it is.

    Raises:
        DataError: the file, or one of the folder, is JSON of a tool that is not read; or the file
            is JSON without annotations.
    """
    if path.is_dir():
        listed = (files_in(path, *_JSON), files_one_below(path, *_JSON))
        files = [file for some in listed for file in some[:_LOOKED_AT]]
    else:
        files = [path] if path.suffix.lower() in _JSON else []
    for file in files:
        try:
            value = look_at(file)
        except ValueError:
            continue
        if file == path or kind_of(value) is not None:
            raise refusal(file, value, wanted=_IN_JSON)


_BY_ENDING = {
    ".json": "coco",
    ".xml": "voc",
    ".yaml": "yolo",
    ".yml": "yolo",
    ".data": "yolo",
    ".csv": "csv",
    ".tsv": "csv",
}
"""What a file that was named itself is taken for where its content does not tell."""


def _in_file(file: Path) -> Iterator[str]:
    """The format that a file's content shows."""
    ending = file.suffix.lower()
    if ending in _JSON:
        yield from _in_json(file)
    elif ending == ".xml":
        head = head_text(file)
        if "<annotation" in head:
            yield "cvat" if "<annotations" in head else "voc"
    elif ending in (".yaml", ".yml", ".data"):
        if "names" in head_text(file, _LARGE):
            yield "yolo"
    elif is_vector_file(file):
        yield "geo"
    elif has_image_ending(file.name):
        yield from _beside_image(file)
    elif ending == ".names" or file.name.lower() in ("classes.txt", "labels.txt"):
        yield "yolo"
    elif ending in (".csv", ".tsv", ".txt"):
        yield from _in_csv(file)


def _beside_image(image: Path) -> Iterator[str]:
    """An image is the address of the shapes that lie beside it under its name."""
    beside = files_in(image.parent, *VECTOR_ENDINGS)
    if any(file.stem == image.stem for file in beside):
        yield "geo"


def _in_json(file: Path) -> Iterator[str]:
    """The format that a JSON file's structure shows."""
    try:
        kind = json_kind(file)
    except ValueError:
        return
    if kind is not None and kind.format is not None:
        yield kind.format


def _in_csv(file: Path) -> Iterator[str]:
    head = head_text(file)
    whole = head if len(head) < _HEAD else head.rpartition("\n")[0]
    try:
        rows = table_rows(whole, file)
    except DataError:
        return
    if rows and CSV_COLUMN in rows[0][1]:
        yield "via"
    elif rows and {"ImageID", "XMin"} <= {cell.strip('"') for cell in rows[0][1]}:
        yield "openimages"
    elif recognize(rows):
        yield "csv"


def _in_folder(folder: Path) -> Iterator[str]:
    for endings in ((".yaml", ".yml", ".data"), (".csv", ".tsv"), _JSON, (".xml",)):
        yield from _in_files(f for f in files_in(folder, *endings) if not f.name.endswith(_BESIDE))
    below = folders_in(folder)
    deeper = [inner for outer in below for inner in folders_in(outer)]
    for place in (*below, *(inner for inner in deeper if inner.name.lower() == _XML)):
        yield from _in_files(files_in(place, ".xml"))
    yield from _in_files(files_one_below(folder, *_JSON))
    shapes = (files_in(place, *VECTOR_ENDINGS) for place in (folder, *below, *deeper))
    if any(shapes):
        yield "geo"
    for place in deeper:
        if place.name == "ann":
            yield from _in_files(files_in(place, ".json"))
    labels = [folder / top / name for top in ("", "training") for name in kitti.LABEL_FOLDERS]
    for place in (*labels, *folders_in(folder / "labels"), folder):
        yield from _in_labels(place)


def _in_folders_below(folder: Path) -> Iterator[str]:
    """What lies in folders of any name, one and two below, and anywhere below `Annotations`."""
    below = folders_in(folder)
    for top in (place for place in below if place.name.lower() == _XML):
        for file in files_below(top, ".xml")[:_LOOKED_AT]:
            yield from _in_file(file)
    for place in (*below, *(inner for outer in below for inner in folders_in(outer))):
        for endings in ((".csv", ".tsv"), (".xml",)):
            for file in files_in(place, *endings)[:_LOOKED_AT]:
                if not file.name.endswith(_BESIDE):
                    yield from _in_file(file)
        yield from _in_labels(place)


def _in_labels(folder: Path) -> Iterator[str]:
    """The format of a folder's label files; those of images without objects are empty."""
    files = files_in(folder, ".txt")
    full = list(islice((file for file in files if file.stat().st_size), _LOOKED_AT))
    for file in full:
        yield from _in_label_file(file)
    if files and not full and folder.name == kitti.LABEL_FOLDERS[0]:
        yield "kitti"


def _expect_no_records(folder: Path) -> None:
    """Exports that are not read are said by their names.

    Raises:
        DataError: there are files of that kind.
    """
    for file in (*files_in(folder), *files_one_below(folder)):
        if ".tfrecord" in file.name.lower():
            kind = "TFRecord"
        elif file.name == "_annotations.txt":
            kind = "YOLO v3 Keras TXT"
        else:
            continue
        raise DataError(
            f"{file}: {kind} is not read. Export the data as COCO, Pascal VOC, YOLO or CSV."
        )


def _in_files(files: Iterable[Path]) -> Iterator[str]:
    """The formats of the first files that are of one; strangers before them don't count."""
    known = 0
    for file in islice(files, _MOST_LOOKED_AT):
        found = list(_in_file(file))
        yield from found
        known += bool(found)
        if known == _LOOKED_AT:
            return


def _in_label_file(file: Path) -> Iterator[str]:
    """YOLO's lines are all numbers; KITTI's are a name, which may be a number, and 14 numbers.

    KITTI's hold pixels, YOLO's shares of the image's size.
    """
    words = head_text(file).lstrip().partition("\n")[0].split()
    numbers = [float(word) for word in words[1:] if _is_number(word)]
    if len(words) < 5 or len(numbers) < len(words) - 1:
        return
    if len(words) in (15, 16) and (not _is_number(words[0]) or max(map(abs, numbers)) > 2):
        yield "kitti"
    elif _is_number(words[0]):
        yield "yolo"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
