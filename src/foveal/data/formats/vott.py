"""VoTT 2: its JSON exports, and its projects with a file for each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.data.formats.class_names import IGNORE
from foveal.data.formats.extents import box_of_points
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import file_of_split, is_json_of, json_files, write_json
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
from foveal.data.formats.parsing import expect, read_json
from foveal.data.formats.writing import class_name, image_names, length, parts, place_images, tidy
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_CALLED = "VoTT"
_ASSET = "-asset.json"
_TAGGED = 2
"""The state of an image that has regions; 1 was looked at, 0 was not."""


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a JSON export of VoTT 2, a project (`.vott`) or the `-asset.json` files of a folder.

    In a folder an export goes before a project and that before single files; a split is the name
    of an export. Classes are the tags in the project's order, else the names found, sorted. Of a
    region's several tags the first is read, which is said. Of a polygon the extent is taken. The
    tag `__ignore__` marks regions to ignore whatever the class, and a field `ignored` one of its
    class. Images that nobody looked at are left out, which is said.

    Raises:
        DataError: nothing of VoTT is there, the split does not exist, or an object can't be right.
    """
    file, assets, tags = _assets(path, split)
    policy = policy or IssuePolicy()
    listed = list(_images(assets, policy))
    root = path if path.is_dir() else path.parent
    finder = ImageFinder(file, images=images, more=[root])
    names = {name for asset in assets for name in _names(asset[1])}
    known = [tag for tag in tags if tag != IGNORE]
    return gather(
        listed,
        lambda image, row: _objects(image, row, policy),
        finder,
        policy,
        classes=tuple(dict.fromkeys(known)) if names - {IGNORE, ""} <= set(known) else (),
        written="xywh",
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/` and `annotations-export.json`, or `SPLIT-export.json` for each split.

    A region to ignore has a field `ignored`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    for part, indices in parts(data, splits, "annotations").items():
        assets = {}
        for i in indices:
            record = data.records[i]
            assets[str(i)] = {
                "asset": {
                    "format": names[i].rpartition(".")[2].lower(),
                    "id": str(i),
                    "name": names[i],
                    "path": f"file:images/{names[i]}",
                    "size": {"width": record.width, "height": record.height},
                    "state": _TAGGED if len(record) else 1,
                    "type": 1,
                },
                "regions": list(_written(record, data.classes)),
                "version": "2.2.0",
            }
        document = {
            "name": part,
            "version": "2.2.0",
            "tags": [{"name": name, "color": "#5db300"} for name in data.classes],
            "assets": assets,
        }
        write_json(folder / f"{part}-export.json", document)


def _written(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        left, top = tidy(x1), tidy(y1)
        right, bottom = tidy(x2), tidy(y2)
        region: dict[str, Any] = {
            "id": str(i),
            "type": "RECTANGLE",
            "tags": [class_name(int(record.labels[i]), classes)],
            "boundingBox": {
                "left": left,
                "top": top,
                "width": length(left, x2),
                "height": length(top, y2),
            },
            "points": [
                {"x": x, "y": y}
                for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))
            ],
        }
        yield region | ({"ignored": True} if record.ignored[i] else {})


_Asset = tuple["Path", dict[str, Any], str]
"""The file that lists an image, its entry, and the place in the file."""


def _assets(path: Path, split: str | None) -> tuple[Path, list[_Asset], list[str]]:
    """The file that was chosen, its images, and the tags."""
    if path.is_file():
        files = [path]
    else:
        files = [file for file in json_files(path, ".vott") if is_json_of(file, "vott")]
    if not files:
        raise DataError(
            f"{path}: no VoTT file. Expected NAME-export.json, NAME.vott, or files that end in "
            f"{_ASSET}."
        )
    singles = [file for file in files if file.name.endswith(_ASSET)]
    projects = [file for file in files if file.suffix.lower() == ".vott"]
    exports = [file for file in files if file not in singles and file not in projects]
    if not exports and not projects:
        entries = [(file, _object(read_json(file), file), "asset") for file in singles]
        return files[0], entries, []
    file = file_of_split(exports or projects, path, split, called=_CALLED)
    document = _object(read_json(file), file)
    listed = document.get("assets")
    if isinstance(listed, dict):
        listed = list(listed.values())
    if not isinstance(listed, list):
        if isinstance(document.get("asset"), dict):
            return file, [(file, document, "asset")], []
        raise refusal(file, document, wanted="an object with assets and regions")
    tags = document.get("tags")
    names = [text_of_name(tag.get("name")) for tag in _dicts(tags)]
    found: list[_Asset] = []
    for number, entry in enumerate(listed, 1):
        place = f"asset {number}"
        expect(entry, dict, file=file, place=place, what="the entry")
        if "asset" in entry:
            found.append((file, entry, place))
            continue
        single = _single(file, entry)
        if single is None:
            found.append((file, {"asset": entry, "regions": None}, place))
        else:
            found.append((single, _object(read_json(single), single), "asset"))
    return file, found, names


def _single(file: Path, entry: dict[str, Any]) -> Path | None:
    """The file of an image of a project, which lies beside it or one below."""
    key = entry.get("id")
    if not isinstance(key, str) or not key.isalnum():
        return None
    for single in (
        file.parent / f"{key}{_ASSET}",
        *(below / f"{key}{_ASSET}" for below in file.parent.iterdir() if below.is_dir()),
    ):
        if single.is_file():
            return single
    return None


def _object(value: Any, file: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise refusal(file, value, wanted="an object with assets")
    expect_kind(file, value, "vott", wanted="an object with assets")
    return value


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _names(entry: dict[str, Any]) -> Iterator[str]:
    for region in _dicts(entry.get("regions")):
        tags = region.get("tags")
        yield text_of_name(tags[0]) if isinstance(tags, list) and tags else ""


def _images(assets: Iterable[_Asset], policy: IssuePolicy) -> Iterator[NamedImage]:
    for file, entry, place in assets:
        asset = expect(entry.get("asset"), dict, file=file, place=place, what='"asset"')
        if asset.get("type") in (2, 3) or asset.get("parent"):
            raise DataError(
                f"{file}, {place}: it is a frame of a video. Expected images; export the frames "
                "as images."
            )
        if entry.get("regions") is None:
            policy.note("Images that nobody looked at are left out", file=file, place=place)
            continue
        expect(entry["regions"], list, file=file, place=place, what='"regions"')
        found = asset.get("size")
        size = found if isinstance(found, dict) else {}
        width, height = (
            size_of(size.get(side), file=file, place=place, side=side)
            for side in ("width", "height")
        )
        key = asset.get("id")
        name = asset.get("name") or asset.get("path")
        yield NamedImage(
            file,
            name,
            place,
            entry["regions"],
            width,
            height,
            key if isinstance(key, str) else None,
        )


def _objects(image: NamedImage, row: ImageRow, policy: IssuePolicy) -> Iterator[NamedObject]:
    for number, region in enumerate(image.entry, 1):
        place = f"region {number}"
        where = f"{image.place}, {place}"
        box = _box(region) if isinstance(region, dict) else None
        if box is None:
            message = (
                f"the region is {str(region)[:80]!r}. Expected a boundingBox with its numbers."
            )
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        tags = region.get("tags")
        names = [text_of_name(tag) for tag in tags] if isinstance(tags, list) else []
        if len(names) > 1:
            policy.note(
                "Of a region's several tags the first is read", file=image.file, place=where
            )
        yield NamedObject(place, names[0] if names else "", box, region.get("ignored") in TRUE)


def _box(region: dict[str, Any]) -> Sequence[float] | None:
    numbers = numbers_of(region.get("boundingBox"), "left", "top", "width", "height")
    if numbers is not None:
        left, top, width, height = numbers
        return left, top, left + width, top + height
    points = [numbers_of(point, "x", "y") for point in _dicts(region.get("points"))]
    if not points or None in points:
        return None
    return box_of_points([p[0] for p in points if p], [p[1] for p in points if p])
