"""YOLO: a text file for each image, a line for each object: class, then shares of the size.

A line is `class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...`, the corners of a
polygon. `data.yaml` (or Darknet's `obj.data`) names the classes and the splits.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from foveal.data.dataset import Dataset
from foveal.data.folders import files_in, folders_in
from foveal.data.formats.image_files import IMAGE_FOLDERS, ImageFinder, images_in
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_lines
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured, report_unreadable
from foveal.data.formats.units import share_fault
from foveal.data.formats.writing import expect_sizes, image_names, parts, place_images
from foveal.data.formats.yolo_forms import Forms
from foveal.data.formats.yolo_header import ALIASES, Header, chosen_splits, inside, read_header
from foveal.errors import DataError
from foveal.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from foveal.data.dataset import Record
    from foveal.data.formats.writing import ImageMode

log = logging.getLogger(__name__)


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a YOLO data set: its data.yaml or obj.data, or the folder that holds one.

    Classes are in the order of the header. An image without a label file has no objects; without a
    split, all splits are read as one. Image sizes come from the images' headers. Of rows with
    keypoints (`kpt_shape` in data.yaml) and of rows with a score the box is read, of polygons and
    rotated boxes the extent.

    Raises:
        DataError: the header names no classes, the split does not exist, no image has a label
            file, or an object can't be right.
        ImageError: an image with objects can't be read.
    """
    policy = policy or IssuePolicy()
    header = read_header(path, images=images)
    finder = ImageFinder(header.file, images=images, more=header.bases)
    pairs = _all_pairs(header, chosen_splits(header, split), finder, policy)
    if pairs and not any(label.is_file() for _, label in pairs):
        every = _all_pairs(header, header.splits, finder, policy)
        labeled = any(label.is_file() for _, label in every)
        other = None if labeled else _other_folder(pairs, finder.root)
        if other is not None:
            pairs = [(image, _label_file(image, finder.root, folder=other)) for image, _ in pairs]
            policy.note(f"Label files are taken from {other}", file=header.file, place=other)
    if pairs and not any(label.is_file() for _, label in pairs):
        _expect_labels(header, pairs, finder, policy)
    else:
        _tell_unpaired(pairs, every=split is None)
    rows = measured([ImageRow(image) for image, _ in pairs], finder, policy)
    columns = ObjectTable("line", written="cxcywh", shares=True)
    segments: list[Any] = []
    forms = Forms(header.keypoints)
    for index, (row, (_, label)) in enumerate(zip(rows, pairs, strict=True)):
        if label.is_file():
            _objects(label, index, row, header, columns, segments, forms, policy)
    if any(segments):
        columns.flags["segmentation"] = segments
        columns.written = None
    forms.report(policy)
    records = assemble(rows, columns, policy)
    policy.close()
    return Dataset(records, header.classes, images or finder.root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/`, `labels/`, `data.yaml`, and a list of images for each split.

    YOLO has no regions to ignore: they are left out, and a warning counts them.

    Raises:
        ImageError: an image does not exist.
    """
    expect_sizes(data.records)
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    (folder / "labels").mkdir(parents=True)
    for record, name in zip(data, names, strict=True):
        file = (folder / "labels" / name).with_suffix(".txt")
        write_text(file, "".join(_lines(record)))
    header: dict[str, Any] = {}
    for part, indices in (parts(data, splits, "") if splits else {}).items():
        header[ALIASES.get(part, part)] = f"{part}.txt"
        text = "".join(f"./images/{names[i]}\n" for i in indices)
        write_text(folder / f"{part}.txt", text)
    header = (header or {"train": "images"}) | {"names": dict(enumerate(data.classes))}
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    write_text(folder / "data.yaml", text)
    ignored = sum(int(record.ignored.sum()) for record in data)
    if ignored:
        log.warning("%d regions to ignore are left out: YOLO has no place for them.", ignored)


def _lines(record: Record) -> Iterator[str]:
    for (x1, y1, x2, y2), label, ignored in zip(
        record.boxes.tolist(), record.labels.tolist(), record.ignored.tolist(), strict=True
    ):
        if not ignored:
            shares = (
                (x1 + x2) / 2 / record.width,
                (y1 + y2) / 2 / record.height,
                (x2 - x1) / record.width,
                (y2 - y1) / record.height,
            )
            yield f"{label} {' '.join(f'{share:.12g}' for share in shares)}\n"


def _pairs(
    header: Header, name: str, finder: ImageFinder, policy: IssuePolicy
) -> Iterator[tuple[Path, Path]]:
    """The images of a split with their label files, which need not exist."""
    for entry in header.splits[name]:
        place = inside(entry, header.file, header.bases)
        if place is None:
            raise DataError(
                f"{header.file}, {name}: {entry!r} does not exist in the data folder "
                f"{header.file.parent}. Expected a folder of images or a .txt that lists them."
            )
        if place.is_dir():
            yield from _pairs_of_folder(place, finder)
        else:
            lines = [(n, line) for n, line in enumerate(read_lines(place), 1) if line]
            images = [finder.find(line, file=place, place=f"line {n}") for n, line in lines]
            # A label goes with an image that is there, so all images are found first.
            found = finder.settle([ImageRow(image) for image in images], policy)
            named = _named_labels([line for _, line in lines], place.parent, finder.root)
            for label, row in zip(named, found, strict=True):
                yield row.path, _label_file(row.path, finder.root, label)


def _all_pairs(
    header: Header, names: Iterable[str], finder: ImageFinder, policy: IssuePolicy
) -> list[tuple[Path, Path]]:
    found = (pair for name in names for pair in _pairs(header, name, finder, policy))
    return list(dict(found).items())


def _expect_labels(
    header: Header, pairs: list[tuple[Path, Path]], finder: ImageFinder, policy: IssuePolicy
) -> None:
    """Tell images without objects from labels that were not found, where no image has a label."""
    others = _all_pairs(header, header.splits, finder, policy)
    if not any(label.is_file() for _, label in others):
        raise DataError(
            f"{header.file}: none of the {len(pairs)} images has a label file. Expected for "
            f"example {pairs[0][1]}."
        )
    log.warning("%s: none of the %d images has a label file.", header.file, len(pairs))


def _pairs_of_folder(folder: Path, finder: ImageFinder) -> Iterator[tuple[Path, Path]]:
    pictures = images_in(folder)
    for image in pictures:
        yield image, _label_file(image, finder.root)
    if not pictures and finder.images:
        swapped = _images_to_labels(str(folder) + os.sep, finder.root)
        labels = Path((swapped or [str(folder)])[0])
        elsewhere: dict[str, list[Path]] = {}
        for image in images_in(finder.images):
            elsewhere.setdefault(image.stem, []).append(image)
        for label in files_in(labels if labels.is_dir() else folder, ".txt"):
            meant = elsewhere.get(label.stem, [])
            if len(meant) > 1:
                raise DataError(
                    f"{label}: several images are called so: {', '.join(map(str, meant))}. "
                    "Expected one. Name the folder that holds it: --images FOLDER (in Python "
                    "images=FOLDER)."
                )
            if meant:
                yield meant[0], label


def _images_to_labels(path: str, root: Path, folder: str = "labels") -> list[str]:
    """`.../images/...` as `.../labels/...`, the last such folder of any usual name first.

    The data folder's own name and those above it stay, whatever they are.
    """
    parts = path.split(os.sep)  # noqa: PTH206 strings are faster
    above = root.parts if path.startswith(f"{root}{os.sep}") else ()
    places = [i for i in range(len(above), len(parts) - 1) if parts[i].lower() in _IMAGES]
    places.sort(key=lambda i: (parts[i] == "images", i), reverse=True)
    return [
        os.sep.join([*parts[:i], name, *parts[i + 1 :]])  # noqa: PTH118
        for i in places
        for name in (folder, *([folder.capitalize()] if parts[i][0].isupper() else []))
    ]


_IMAGES = frozenset(name.lower() for name in IMAGE_FOLDERS)


def _other_folder(pairs: list[tuple[Path, Path]], root: Path) -> str | None:
    """The only folder beside the images', whatever its name, that has label files of theirs."""
    fitting = [
        folder.name
        for folder in folders_in(root)
        if folder.name.lower() not in _IMAGES
        and any(_label_file(image, root, folder=folder.name).is_file() for image, _ in pairs)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _label_file(
    image: Path, root: Path, named: Path | None = None, *, folder: str = "labels"
) -> Path:
    """The label file of an image: in `labels` beside `images`, beside it, or where a list says.

    Where there is none, the likeliest place for it.
    """
    swapped = [Path(place) for place in _images_to_labels(str(image), root, folder)]
    choices = [path.with_suffix(".txt") for path in (*swapped, image)]
    if not image.name.isascii():  # letters with accents as one sign or as two
        forms = [unicodedata.normalize(form, image.stem) for form in ("NFC", "NFD")]
        choices += [path.with_name(f"{stem}.txt") for path in choices for stem in forms]
    for choice in (*choices, *([named] if named else [])):
        for label in (choice, choice.with_suffix(".TXT")):
            if label.is_file():
                return label
    return choices[0]


def _tell_unpaired(pairs: list[tuple[Path, Path]], *, every: bool) -> None:
    """Say how many images have no label file, and where all are read, labels without an image."""
    lacking = [image for image, label in pairs if not label.is_file()]
    if lacking:
        log.warning(
            "%d of %d images %s no label file and %s as without objects, such as %s.",
            len(lacking),
            len(pairs),
            *(("has", "counts") if len(lacking) == 1 else ("have", "count")),
            Path(lacking[0].parent.name, lacking[0].name),
        )
    used = {label for _, label in pairs}
    folders = {label.parent for label in used if label.parent.name.lower() not in _IMAGES}
    folders -= {image.parent for image, _ in pairs}
    alone = [file for folder in sorted(folders) for file in files_in(folder, ".txt")]
    alone = [file for file in alone if file not in used and file.name not in _LISTS]
    if alone and every:
        log.warning(
            "%d label %s without an image %s not read, such as %s.",
            len(alone),
            *(("file", "is") if len(alone) == 1 else ("files", "are")),
            Path(alone[0].parent.name, alone[0].name),
        )


_LISTS = ("classes.txt", "labels.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
"""What lies beside label files and is none."""


def _named_labels(lines: Sequence[str], folder: Path, root: Path) -> list[Path]:
    """Where a list of images says that their label files are: the same way for all of them.

    The names are below the list's folder, if need be without some leading folders, as lists of
    another machine have them; without all folders only where no two images are called the same.
    """
    parts = [
        [part for part in line.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for line in lines
    ]
    fewest = min(map(len, parts), default=0)
    for start in range(fewest):
        tails = [words[start:] for words in parts]
        bare = start and any(len(tail) == 1 for tail in tails)
        if bare and len({tuple(tail) for tail in tails}) < len(tails):
            break
        named = [folder.joinpath(*tail).with_suffix(".txt") for tail in tails]
        swapped = [Path((_images_to_labels(str(path), root) or [str(path)])[0]) for path in named]
        for labels in (named, swapped):
            if any(label.is_file() for label in labels):
                return labels
    return [folder.joinpath(*words).with_suffix(".txt") for words in parts]


def _objects(
    file: Path,
    image: int,
    row: ImageRow,
    header: Header,
    columns: ObjectTable,
    segments: list[Any],
    forms: Forms,
    policy: IssuePolicy,
) -> None:
    lines = [(number, line.split()) for number, line in enumerate(read_lines(file), 1) if line]
    if lines and not (row.width and row.height):
        report_unreadable(row, policy, file=file, place=f"line {lines[0][0]}")
        return
    for number, words in lines:
        place = f"line {number}"
        numbers = [parse_number(word) for word in words]
        if None in numbers:
            message = f"{' '.join(words)[:60]!r}. Expected numbers: class x y width height."
            policy.report(AnnotationIssue("not a box", file, place, message, row.path))
            continue
        key, *values = cast("list[float]", numbers)
        fault = forms.fault(values) or _share_fault(values, policy)
        if fault:
            policy.report(AnnotationIssue("not a box", file, place, fault, row.path))
        elif not (key.is_integer() and 0 <= key < len(header.classes)):
            message = (
                f"class {words[0]} has no name. Expected 0 to {len(header.classes) - 1}, the "
                f"names in {header.file.name}."
            )
            policy.report(AnnotationIssue("unknown class", file, place, message, row.path))
        else:
            values = forms.take(values, file, place)
            box, polygon = _in_pixels(values, row)
            columns.add(image, box, int(key), file=file, number=number)
            segments.append(polygon)


def _share_fault(values: list[float], policy: IssuePolicy) -> str:
    """Why a row's numbers are no shares, "" where they may be or are said to be something else."""
    if policy.boxes is not None:
        return ""
    return share_fault(values[:4] if len(values) % 2 else values)


def _in_pixels(values: list[float], row: ImageRow) -> tuple[tuple[float, ...], Any]:
    """The box in pixels, and the polygon if it was one, as COCO writes it."""
    if len(values) == 4:
        x, y, width, height = values
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        box = (left * row.width, top * row.height, right * row.width, bottom * row.height)
        return box, None
    xs = [value * row.width for value in values[::2]]
    ys = [value * row.height for value in values[1::2]]
    polygon = [number for corner in zip(xs, ys, strict=True) for number in corner]
    return (min(xs), min(ys), max(xs), max(ys)), [polygon]
