"""KITTI: a text file for each image with 15 columns an object, of which the rectangle is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.dataset import Dataset
from foveal.data.folders import files_in, folders_in
from foveal.data.formats.class_names import (
    CLASS_FILES,
    IGNORE,
    Labels,
    class_file,
    class_source,
    found_classes,
    write_class_file,
)
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_lines
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.splits import names_of_split, take_split, tell_other_name
from foveal.data.formats.writing import expect_line_names, image_names, parts, place_images, text_of
from foveal.errors import DataError
from foveal.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.data.dataset import Record
    from foveal.data.formats.splits import names_of_split, take_split, tell_other_name
from foveal.data.formats.writing import ImageMode

DONT_CARE = "DontCare"
LABEL_FOLDERS = ("label_2", "labels", "label")
_COLUMNS = 15
_UNKNOWN = (-10.0, -1.0, -1.0, -1.0, -1000.0, -1000.0, -1000.0, -10.0)
"""Alpha, dimensions, location and rotation, as KITTI writes them where they are not known."""


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a KITTI folder: `label_2` beside `image_2`, in it or in the split's own folder.

    A split is a folder (`training`) or a list of names in ImageSets. Classes are those of
    `labels.txt` where there is one, else the names found in all label files, sorted. `DontCare`
    marks regions to ignore whatever the class. Corners are edges in continuous pixels; sizes come
    from the images' headers. Kept as flags: `truncated`, `occluded`, and as `kitti` alpha, the
    three dimensions, the location and the rotation.

    Raises:
        DataError: there are no label files, the split does not exist, or an object can't be right.
    """
    policy = policy or IssuePolicy()
    folder = label_folder(path, split)
    everything = _label_files(folder)
    files = _files_of_split(path, folder, everything, split)
    texts = {file: _split_lines(file) for file in dict.fromkeys([*files, *everything])}
    names = (words[0] for lines in texts.values() for _, words in lines)
    root = path if folder == path else folder.parent
    classes = class_file(root) or class_file(path) or found_classes(names)
    classes = tuple(name for name in classes if name != DONT_CARE)
    source = class_source(root) or class_source(path)
    labels = Labels(classes, policy, source=source)
    finder = ImageFinder(root, images=images, more=[root / "image_2", root / "images", folder])
    pictures = [finder.find_called(f.stem, ending=".png", file=f, place="name") for f in files]
    found = [ImageRow(p, image_id=f.stem) for p, f in zip(pictures, files, strict=True)]
    rows = measured(found, finder, policy)
    columns = ObjectTable("line", flags={"truncated": [], "occluded": [], "kitti": []})
    for image, (file, row) in enumerate(zip(files, rows, strict=True)):
        for number, words in texts[file]:
            _object(words, image, row, file, number, columns, labels, policy)
    records = assemble(rows, columns, policy)
    policy.close()
    return Dataset(records, classes, images or path)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `image_2/`, `label_2/`, `labels.txt`, and `ImageSets/` where there are splits.

    Regions to ignore are written as `DontCare`, without their class. What KITTI knows of a third
    dimension is written as not known where a data set does not say it.

    Raises:
        ImageError: an image does not exist.
        DataError: a class name has a blank.
    """
    expect_line_names(data.classes, blanks=False, format_name="KITTI")
    names = image_names(data.records)
    place_images(data.records, names, folder / "image_2", images=images)
    (folder / "label_2").mkdir(parents=True)
    for record, name in zip(data, names, strict=True):
        text = "".join(_lines(record, data.classes))
        write_text((folder / "label_2" / name).with_suffix(".txt"), text)
    write_class_file(folder, data.classes)
    for part, indices in (parts(data, splits, "") if splits else {}).items():
        (folder / "ImageSets").mkdir(exist_ok=True)
        text = "".join(f"{Path(names[i]).stem}\n" for i in indices)
        write_text(folder / "ImageSets" / f"{part}.txt", text)


def _lines(record: Record, classes: tuple[str, ...]) -> Iterator[str]:
    count = len(record)
    truncated = record.flags.get("truncated", (0.0,) * count)
    occluded = record.flags.get("occluded", (0,) * count)
    rest = record.flags.get("kitti", (_UNKNOWN,) * count)
    for i, box in enumerate(record.boxes):
        name = DONT_CARE if record.ignored[i] else classes[record.labels[i]]
        alpha, *space = rest[i]
        before = [f"{float(truncated[i]):g}", f"{float(occluded[i]):g}", f"{alpha:.6g}"]
        words = [name, *before, *map(text_of, box), *(f"{value:.6g}" for value in space)]
        yield " ".join(words) + "\n"


def label_folder(path: Path, split: str | None = None) -> Path:
    """Where the label files lie.

    Raises:
        DataError: there are none.
    """
    tops = [path / name for name in names_of_split(split)] if split else []
    tops += [path, path / "training", *folders_in(path)]
    for top in tops:
        for folder in (*(top / name for name in LABEL_FOLDERS), top):
            if folder != path / "ImageSets" and _label_files(folder):
                return folder
    raise DataError(f"{path}: no KITTI labels. Expected .txt files in {path / 'label_2'}.")


def _label_files(folder: Path) -> list[Path]:
    return [file for file in files_in(folder, ".txt") if file.name not in CLASS_FILES]


def _files_of_split(
    path: Path, folder: Path, everything: list[Path], split: str | None
) -> list[Path]:
    own: list[str] = [] if folder == path else [folder.name, folder.parent.name]
    name = next((name for name in names_of_split(split or "") if name in own), None)
    if split is None or name is not None:
        tell_other_name(split or "", name or "", path)
        return everything
    lists = path / "ImageSets"

    def list_of(name: str) -> list[Path]:
        file = lists / f"{name}.txt"
        return [file] if file.is_file() else []

    _, found = take_split(split, path, list_of)
    listed = found[0] if found else lists / f"{split}.txt"
    if not found:
        raise DataError(
            f"{path}: no split {split!r}. Expected a folder {split} or {listed.relative_to(path)}."
        )
    by_name = {file.stem: file for file in everything}
    files = []
    for number, line in enumerate(read_lines(listed), 1):
        if line and line not in by_name:
            raise DataError(f"{listed}, line {number}: {folder / line}.txt does not exist.")
        if line:
            files.append(by_name[line])
    return list(dict.fromkeys(files))


def _split_lines(file: Path) -> list[tuple[int, list[str]]]:
    return [(number, line.split()) for number, line in enumerate(read_lines(file), 1) if line]


def _object(
    words: list[str],
    image: int,
    row: ImageRow,
    file: Path,
    number: int,
    columns: ObjectTable,
    labels: Labels,
    policy: IssuePolicy,
) -> None:
    place = f"line {number}"
    values = [value for word in words[1:] if (value := parse_number(word)) is not None]
    if len(words) not in (_COLUMNS, _COLUMNS + 1) or len(values) != len(words) - 1:
        message = (
            f"{' '.join(words)[:60]!r} has {len(words)} columns. Expected a class and 14 numbers: "
            "truncated, occluded, alpha, 4 corners, 3 dimensions, 3 of location, rotation."
        )
        policy.report(AnnotationIssue("not a box", file, place, message, row.path))
        return
    name = IGNORE if words[0] == DONT_CARE else words[0]
    label = labels.of(name, file=file, place=place, image=row.path)
    if label is not None:
        columns.add(
            image,
            values[3:7],
            label,
            file=file,
            number=number,
            ignored=label < 0,
            truncated=values[0],
            occluded=values[1],
            kitti=(values[2], *values[7:14]),
        )
