"""YOLO's header: `data.yaml`, Darknet's `obj.data`, or a list of classes alone."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.data.folders import files_in, folders_in
from foveal.data.formats.image_files import IMAGE_FOLDERS, split_of
from foveal.data.formats.parsing import expect, head_text, read_lines, read_yaml
from foveal.data.formats.splits import split_folders
from foveal.data.images.kinds import IMAGE_ENDINGS
from foveal.errors import DataError
from foveal.text import suggestion

log = logging.getLogger(__name__)

LISTS = (".txt", ".names")
"""Endings of files that list the classes alone, one in a line."""
_LARGE = 1 << 20
SPLITS = ("train", "val", "test")
ALIASES = {"valid": "val", "validation": "val"}


@dataclass(frozen=True, slots=True)
class Header:
    """What data.yaml says: class names, folders or lists of images by split, where they lie.

    Attributes:
        file: the header, or the list of classes.
        classes: their names in the order of their ids.
        splits: folders and lists of images by the split's name.
        bases: folders that entries are relative to, before the header's own.
        keypoints: how many each object has and of how many numbers, where it has any.
    """

    file: Path
    classes: tuple[str, ...]
    splits: dict[str, list[str]]
    bases: list[Path]
    keypoints: tuple[int, int] | None = None


def header_file(folder: Path) -> Path | None:
    """The file of a folder that names classes and splits.

    Raises:
        DataError: several files may be it.
    """
    for name in ("data.yaml", "data.yml", "dataset.yaml", "obj.data"):
        if (folder / name).is_file():
            return folder / name
    others = files_in(folder, ".yaml", ".yml", ".data")
    others = [file for file in others if "names" in head_text(file, _LARGE)] or others[:1]
    if len(others) > 1:
        listed = ", ".join(map(str, others))
        raise DataError(f"{folder} has several headers: {listed}. Expected one: name it itself.")
    return others[0] if others else None


def read_header(path: Path, *, images: Path | None = None) -> Header:
    """Read data.yaml or obj.data; for a folder without one, its classes.txt.

    Args:
        path: the header, the list of classes, or their folder.
        images: a folder that may be read besides the header's.

    Raises:
        DataError: there is none, or it does not name the classes.
    """
    if path.is_file() and path.suffix.lower() in LISTS:
        return _without_header(_above_labels(path.parent), path)
    file = path if path.is_file() else header_file(path)
    if file is None:
        return _without_header(_above_labels(path))
    return _darknet(file) if file.suffix == ".data" else _yaml(file, images)


def _above_labels(folder: Path) -> Path:
    """The data set's folder, where the one of its label files was named."""
    inner = folder.name.lower() == "labels" and folder.parent != folder
    return folder.parent if inner and not files_in(folder, *IMAGE_ENDINGS) else folder


def _without_header(folder: Path, named: Path | None = None) -> Header:
    """The classes of a list beside the label files, and the splits that are folders.

    Images lie in `images` with the splits below it, in `images` below the splits, in the splits'
    own folders, or in the folder itself.
    """
    listed = [named] if named else _class_lists(folder)
    if not listed:
        raise DataError(
            f"{folder}: no class names. Expected a data.yaml with names, or a classes.txt with "
            f"one name in each line, there or in labels.{_names_above(folder)}"
        )
    lists = {file: tuple(line for line in read_lines(file) if line) for file in listed}
    file, classes = next(iter(lists.items()))
    for other, names in lists.items():
        if names != classes:
            raise DataError(
                f"{file} and {other} list different classes. Expected one list: remove one, or "
                "write a data.yaml with names."
            )
    _expect_classes(file, classes, "")
    splits: dict[str, list[str]] = {}
    top = next((name for name in IMAGE_FOLDERS if (folder / name).is_dir()), ".")
    for name in (*SPLITS, *ALIASES):
        for place in (f"{top}/{name}", f"{name}/images", name):
            if (folder / place).is_dir():
                splits.setdefault(ALIASES.get(name, name), []).append(place)
                break
    return Header(folder / file.name, classes, splits or {"all": [top]}, [folder])


def _names_above(folder: Path) -> str:
    """Advice, where the folder of one split was named and the folder above names the classes."""
    above = folder.absolute().parent
    if folder.name not in (*SPLITS, *ALIASES):
        return ""
    headers = [above / "data.yaml", *_class_lists(above)]
    named = next((file for file in headers if file.is_file()), None)
    return f" {named} has them: give {f'{folder.parent}:{folder.name}'!r}." if named else ""


def _class_lists(folder: Path) -> list[Path]:
    """The files that may list the classes: in the folder, in `labels`, else in each split."""
    names = ("classes.txt", "labels.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
    for place in (folder, folder / "labels", folder / "images"):
        there = files_in(place, ".names")
        for file in (*(place / name for name in names), *(there if len(there) == 1 else [])):
            if file.is_file():
                return [file]
    inner = [*folders_in(folder / "labels"), *split_folders(folder)]
    inner += [part / "labels" for part in inner]
    return [place / name for name in names for place in inner if (place / name).is_file()]


def _yaml(file: Path, images: Path | None) -> Header:
    document = expect(read_yaml(file), dict, file=file, place="top level", what="the file")
    names = document.get("names")
    if isinstance(names, dict):
        ids = sorted(names, key=lambda key: (len(str(key)), str(key)))
        if ids != [str(number) for number in range(len(names))]:
            more = f" and {len(ids) - 20} more" if len(ids) > 20 else ""
            raise DataError(f"{file}, names: the ids are {ids[:20]}{more}. Expected 0, 1, 2, ...")
        names = [names[key] for key in ids]
    expect(names, list, file=file, place="names", what="the list of class names")
    for number, name in enumerate(names):
        expect(name, str, file=file, place=f"names, {number}", what="the name")
    _expect_classes(file, tuple(names), str(document.get("nc", "")))
    splits: dict[str, list[str]] = {}
    for key in (*SPLITS, *ALIASES):
        value = document.get(key)
        if value in (None, "", "~", "null"):
            continue
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            expect(entry, str, file=file, place=key, what="the folder or list of images")
        splits.setdefault(ALIASES.get(key, key), []).extend(entries)
    base = document.get("path")
    bases: list[Path] = []
    if base:
        expect(base, str, file=file, place="path", what="the folder of the data set")
        folders = [Path(os.path.normpath(top / base)) for top in _roots(file)]
        bases = [path for path in folders if _may_read(path, file, images)]
        outside = next((path for path in folders if path.is_dir()), None)
        if outside is not None and not any(path.is_dir() for path in bases):
            log.warning(
                "%s: path %s lies outside the data folder and is not read. Say --images %s to read "
                "it (in Python images=...).",
                file, base, outside,
            )  # fmt: skip
    bases += [images] if images else []
    return Header(file, tuple(names), splits, bases, _keypoints(document, file))


def _keypoints(document: dict[str, Any], file: Path) -> tuple[int, int] | None:
    shape = document.get("kpt_shape")
    if shape in (None, "", "~", "null"):
        return None
    numbers = [int(n) for n in shape if str(n).isdecimal()] if isinstance(shape, list) else []
    if len(numbers) != 2 or numbers[0] < 1 or numbers[1] not in (2, 3):
        raise DataError(
            f"{file}, kpt_shape: {str(shape)[:60]}. Expected the number of keypoints and of "
            "numbers for each, such as [17, 3]."
        )
    return numbers[0], numbers[1]


def _darknet(file: Path) -> Header:
    entries = {}
    for number, line in enumerate(read_lines(file), 1):
        key, equals, value = line.partition("=")
        if line and not line.startswith("#") and not equals:
            raise DataError(f"{file}, line {number}: {line[:60]!r}. Expected key = value.")
        entries[key.strip()] = value.strip()
    if "names" not in entries:
        raise DataError(f"{file}: it has no names. Expected names = FILE with the class names.")
    names = inside(entries["names"], file, [])
    if names is None:
        raise DataError(f"{file}, names: {entries['names']} does not exist in {file.parent}.")
    classes = tuple(line for line in read_lines(names) if line)
    _expect_classes(file, classes, entries.get("classes", ""))
    splits = {ALIASES.get(k, k): [v] for k, v in entries.items() if k in (*SPLITS, *ALIASES)}
    return Header(file, classes, splits, [])


def _expect_classes(file: Path, classes: tuple[str, ...], count: str) -> None:
    if count and count != str(len(classes)):
        raise DataError(f"{file}: nc says {count} classes and names lists {len(classes)}.")
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise DataError(f"{file}, names: {', '.join(map(repr, twice))} is there twice.")
    if "" in classes:
        raise DataError(f"{file}, names: class {classes.index('')} has no name.")


def chosen_splits(header: Header, split: str | None) -> list[str]:
    """The split of a name or of its other name, all of them for None.

    Raises:
        DataError: there is no such split.
    """
    if split is None:
        return list(header.splits)
    name = split if split in header.splits else ALIASES.get(split, split)
    if name not in header.splits:
        there = ", ".join(header.splits) or "none"
        raise DataError(
            f"{header.file}: no split {split!r}. Splits there: {there}."
            + suggestion(split, header.splits)
        )
    return [name]


def inside(entry: str, file: Path, bases: list[Path]) -> Path | None:
    """The file or folder that a header's entry names, never outside the data folder.

    An entry that fails as written is tried without its leading folders, as `../train/images` and
    paths of another machine need it; never without the one that says which split it is.
    """
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for base in [*bases, *_roots(file)]:
        path = Path(os.path.normpath(base / entry))
        if path.exists() and (_may_read(path, file) or any(map(path.is_relative_to, bases))):
            return path
    for start in range(len(parts)):
        if start and split_of(parts[start - 1]) and not any(map(split_of, parts[start:])):
            break  # valid/images is not images
        path = file.parent.joinpath(*parts[start:])
        if path.exists():
            return path
    return None


def _roots(file: Path) -> list[Path]:
    """The folders that entries are relative to: the header's and the working folder."""
    working = Path.cwd()
    return [file.parent, working] if working != working.parent else [file.parent]


def _may_read(path: Path, file: Path, images: Path | None = None) -> bool:
    folders = [*_roots(file), *([images] if images else [])]
    return any(path.is_relative_to(folder) for folder in folders)
