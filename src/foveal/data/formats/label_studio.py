"""Label Studio's JSON and JSON-MIN: tasks with shapes in percent of the image's size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from foveal.data.formats.class_names import class_file, class_source, write_class_file
from foveal.data.formats.extents import (
    Box,
    box_of_points,
    box_turned_about_its_corner,
    ellipse_box,
)
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.image_urls import is_address
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import annotation_files, file_of_split, write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import (
    TRUE,
    NamedImage,
    NamedObject,
    gather,
    numbers_of,
    size_of,
    text_of_name,
)
from foveal.data.formats.parsing import as_number, expect, read_json
from foveal.data.formats.writing import (
    class_name,
    expect_line_names,
    expect_sizes,
    image_names,
    parts,
    place_images,
    tidy,
)
from foveal.data.images.kinds import IMAGE_ENDINGS
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_CALLED = "Label Studio"
_IMAGE_FIELDS = ("image", "img", "image_url", "url", "photo", "picture", "ocr", "captioning")
"""What the examples of Label Studio call the image in a task's data."""

_ROOT = "/data/local-files/?d="
"""How Label Studio names files of a local storage."""


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read an export as JSON or JSON-MIN, or the file of a folder that holds the split.

    Of several annotations of a task the one marked as ground truth is read, else the first that
    was not cancelled; tasks without one are left out; both are said. Of turned rectangles, ellipses
    and polygons the extent is taken; brushes, points and lines have none. Classes are those of
    `labels.txt` or `classes.txt` where there is one, else the names found in all the folder's
    files, sorted. `__ignore__` marks regions to ignore whatever the class, and the text "ignored"
    of a region one of its class.

    Raises:
        DataError: the file is no such export, or an object can't be right.
    """
    files = annotation_files(path, "label_studio", called=_CALLED)
    file = file_of_split(files, path, split, called=_CALLED)
    root = path if path.is_dir() else path.parent
    policy = policy or IssuePolicy()
    tasks = {each: _tasks(each) for each in files}
    return gather(
        list(_images(tasks[file], file, policy)),
        lambda image, row: _objects(image, row, policy),
        ImageFinder(file, images=images),
        policy,
        classes=class_file(root),
        source=class_source(root),
        more_names=_names(listed for each, listed in tasks.items() if each != file),
        written=None,
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/`, `tasks.json` or one .json for each split, and `labels.txt`.

    Images are named as files of a local storage (`/data/local-files/?d=images/a.jpg`), so that the
    tasks can be imported. A region to ignore has the text "ignored".

    Raises:
        ImageError: an image does not exist, or its size is not known.
        DataError: a class name does not fit into a line.
    """
    expect_line_names(data.classes, blanks=True, format_name=_CALLED)
    expect_sizes(data.records)
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    for part, indices in parts(data, splits, "tasks").items():
        document = [
            {
                "id": i + 1,
                "data": {"image": f"{_ROOT}images/{_quoted(names[i])}"},
                "annotations": [
                    {
                        "id": i + 1,
                        "was_cancelled": False,
                        "ground_truth": False,
                        "result": list(_written(data.records[i], data.classes)),
                    }
                ],
            }
            for i in indices
        ]
        write_json(folder / f"{part}.json", document)
    write_class_file(folder, data.classes)


def _quoted(name: str) -> str:
    """A file's name in an address; one that is not UTF-8 by its bytes."""
    return quote(name, errors="surrogateescape")


def _written(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    across, down = 100 / (record.width or 1), 100 / (record.height or 1)
    for i, box in enumerate(record.boxes):
        x1, y1, x2, y2 = map(tidy, box)
        result: dict[str, Any] = {
            "id": f"region{i + 1}",
            "from_name": "label",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": record.width,
            "original_height": record.height,
            "image_rotation": 0,
            "value": {
                "x": x1 * across,
                "y": y1 * down,
                "width": (x2 - x1) * across,
                "height": (y2 - y1) * down,
                "rotation": 0,
                "rectanglelabels": [class_name(int(record.labels[i]), classes)],
            },
        }
        yield result | ({"meta": {"text": ["ignored"]}} if record.ignored[i] else {})


def _tasks(file: Path) -> list[dict[str, Any]]:
    document = read_json(file)
    if not isinstance(document, list) or not all(isinstance(e, dict) for e in document):
        raise refusal(file, document, wanted="a list of tasks")
    expect_kind(file, document, "label_studio", wanted="a list of tasks")
    return document


def _images(tasks: list[dict[str, Any]], file: Path, policy: IssuePolicy) -> Iterator[NamedImage]:
    """The tasks that were annotated, each once."""
    seen: set[Any] = set()
    for number, task in enumerate(tasks, 1):
        key = task.get("id", number)
        key = key if isinstance(key, (int, str)) else number
        place = f"task {' '.join(str(key).split())[:60]}"
        annotated = _annotation(task, file, place, policy)
        if annotated is None:
            continue
        if key in seen and "data" not in task:
            policy.note(_SEVERAL, file=file, place=place)
            continue
        seen.add(key)
        sizes = [0, 0]
        for result in annotated:
            sizes = [
                size_of(result.get(name), file=file, place=place, side=name)
                for name in ("original_width", "original_height")
            ]
            if all(sizes):
                break
        name = _image_name(task.get("data", task), file, place)
        yield NamedImage(file, name, place, annotated, sizes[0], sizes[1], key)


_SEVERAL = "Of several annotations of a task one is read: ground truth, else the first completed"


def _annotation(
    task: dict[str, Any], file: Path, place: str, policy: IssuePolicy
) -> list[dict[str, Any]] | None:
    """The results of the annotation of a task that counts; None where there is none."""
    if not isinstance(task.get("data"), dict):
        return _results_of_min(task)
    listed = task.get("annotations", task.get("completions"))
    expect(listed or [], list, file=file, place=place, what='"annotations"')
    done = [
        each
        for each in listed or []
        if isinstance(each, dict) and not (each.get("was_cancelled") or each.get("skipped"))
    ]
    if not done:
        policy.note("Tasks without a completed annotation are left out", file=file, place=place)
        return None
    if len(done) > 1:
        policy.note(_SEVERAL, file=file, place=place)
    chosen = next((each for each in done if each.get("ground_truth") in TRUE), done[0])
    results = chosen.get("result") or []
    expect(results, list, file=file, place=place, what='"result"')
    for number, result in enumerate(results, 1):
        expect(result, dict, file=file, place=f"{place}, result {number}", what="the entry")
    return list(results)


def _results_of_min(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of an entry of JSON-MIN, which lists shapes below the name of their control."""
    results: list[dict[str, Any]] = []
    for value in task.values():
        for shape in value if isinstance(value, list) else ():
            if isinstance(shape, dict) and ("original_width" in shape or _labels(shape)):
                results.append({**shape, "value": shape})
                results[-1].pop("id", None)
    return results


def _image_name(data: Any, file: Path, place: str) -> str:
    """The image of a task: the field that is called so, else the one that names an image."""
    fields = data if isinstance(data, dict) else {}
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and value}
    for name in _IMAGE_FIELDS:
        if name in texts:
            return texts[name]
    for value in texts.values():
        if value.partition("?")[0].lower().endswith(IMAGE_ENDINGS) or (
            is_address(value) and value.lower().endswith(IMAGE_ENDINGS)
        ):
            return value
    raise DataError(
        f"{file}, {place}: its data name no image, {str(data)[:60]}. Expected tasks about images, "
        "one each."
    )


def _labels(value: dict[str, Any]) -> list[str]:
    """The classes of a shape, whatever the control: rectanglelabels, labels ..."""
    return [
        text_of_name(label)
        for name, listed in value.items()
        if name.endswith("labels") and isinstance(listed, list)
        for label in listed
    ]


def _choices(values: list[dict[str, Any]]) -> list[str]:
    """The choices made for a region that has no label of its own."""
    listed = [value.get("choices") for value in values]
    return [text_of_name(each) for found in listed if isinstance(found, list) for each in found]


def _names(others: Any) -> set[str]:
    found = set()
    for tasks in others:
        for task in tasks:
            listed = task.get("annotations", task.get("completions"))
            results = [r for a in _dicts(listed) for r in _dicts(a.get("result"))]
            shapes = [r.get("value") for r in results or _results_of_min(task)]
            found |= {label for shape in _dicts(shapes) for label in _labels(shape)}
    return found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _objects(image: NamedImage, row: ImageRow, policy: IssuePolicy) -> Iterator[NamedObject]:
    regions: dict[Any, list[dict[str, Any]]] = {}
    for number, result in enumerate(image.entry):
        key = result.get("id")
        regions.setdefault(key if isinstance(key, str) else number, []).append(result)
    for number, results in enumerate(regions.values(), 1):
        place = f"region {number}"
        where = f"{image.place}, {place}"
        values = [v for result in results if isinstance(v := result.get("value"), dict)]
        shape = next((value for value in values if _is_shape(value)), None)
        if shape is None:
            continue  # choices, texts, relations
        kind = _without_box(shape)
        if kind:
            message = f"{kind} has no box here. Expected a rectangle, ellipse or polygon."
            policy.report(AnnotationIssue("no box", image.file, where, message, row.path))
            continue
        box = _box(shape, row.width, row.height)
        if box is None:
            message = f"the shape is {str(shape)[:80]}. Expected its numbers in percent."
            if not (row.width and row.height):
                message = "neither original_width nor the image says the image's size."
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        labels = [label for value in values for label in _labels(value)]
        labels = list(dict.fromkeys(labels)) or _choices(values)
        if len(labels) > 1:
            policy.note(
                "Of a region's several labels the first is read", file=image.file, place=where
            )
        if any(result.get("image_rotation") for result in results):
            policy.note(
                "Images were turned in Label Studio; boxes are those of the file as it is",
                file=image.file,
                place=where,
            )
        yield NamedObject(place, labels[0] if labels else "", box, _is_ignored(results))


def _is_ignored(results: list[dict[str, Any]]) -> bool:
    for result in results:
        meta = result.get("meta")
        text = meta.get("text") if isinstance(meta, dict) else None
        if isinstance(text, list) and "ignored" in text:
            return True
    return False


def _is_shape(value: dict[str, Any]) -> bool:
    return bool(value.keys() & {"x", "points", "vertices", "rle", "format"})


def _without_box(value: dict[str, Any]) -> str:
    """What a shape is that has no box, empty where it has one."""
    if "rle" in value or "format" in value:
        return "a brush"
    if "vertices" in value:
        return "a line"
    if "points" not in value and not value.keys() & {"height", "radiusX"}:
        return "a point"
    return ""


def _box(value: dict[str, Any], width: int, height: int) -> Box | None:
    """The extent xyxy of a shape in pixels; None where its numbers or the size are missing."""
    if not (width and height):
        return None
    across, down = width / 100, height / 100
    angle = as_number(value.get("rotation") or 0)
    if angle is None:
        return None
    if "points" in value:
        points = value["points"]
        if not isinstance(points, list) or not all(
            isinstance(p, list) and len(p) == 2 for p in points
        ):
            return None
        xs, ys = [as_number(p[0]) for p in points], [as_number(p[1]) for p in points]
        if None in xs or None in ys:
            return None
        return box_of_points(
            [x * across for x in xs if x is not None], [y * down for y in ys if y is not None]
        )
    if "radiusX" in value:
        numbers = numbers_of(value, "x", "y", "radiusX", "radiusY")
        if numbers is None:
            return None
        x, y, rx, ry = numbers
        return ellipse_box(x * across, y * down, rx * across, ry * down, angle)
    numbers = numbers_of(value, "x", "y", "width", "height")
    if numbers is None:
        return None
    x, y, wide, tall = numbers
    box = (x * across, y * down, (x + wide) * across, (y + tall) * down)
    return box_turned_about_its_corner(box, angle)
