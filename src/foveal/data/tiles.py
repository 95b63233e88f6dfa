"""Data sets of large images cut into tiles with their labels, for other tools, and put together.

`tiles.json` in the folder of the tiles keeps where each lies in its image, so that what is labeled
or found on tiles can be brought back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.data.formats import expect_new_folder
from foveal.data.formats import write as write_dataset
from foveal.data.formats.writing import image_names
from foveal.data.images.cutting import TileWriter
from foveal.errors import DataError
from foveal.files import write_text, writing
from foveal.geometry.arrays import intersections
from foveal.geometry.overlaps import keep_greedily, overlapping_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

PLACEMENTS = "tiles.json"
"""The file that says where tiles lie."""

Cut = Literal["ignore", "drop"]
"""What becomes of objects of which a tile shows too little."""

_VERSION = 1
_OBJECT, _PIECE = "scene_object", "scene_piece"
"""Flags of objects on tiles: the object's number in its image; and whether it is marked to be
ignored because the tile shows too little of it."""
_SAME = 0.5
"""Share of the smaller of two boxes from which those of two tiles are the same object."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How images are cut.

    Attributes:
        size: side of a tile, pixels; images that are smaller are one tile of their own size.
        overlap: pixels that neighbors share at least.
        min_visibility: an object of which a smaller share is inside a tile is cut.
        cut: whether cut objects become regions to ignore, or are left out.
        empty: the share of the tiles without objects that is kept.
        seed: which ones those are.
    """

    size: int
    overlap: int = 0
    min_visibility: float = 0.25
    cut: Cut = "ignore"
    empty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1 << 15:
            raise DataError(f"--size {self.size} (in Python size): expected 16 to 32768 pixels.")
        if not 0 <= self.overlap < self.size:
            raise DataError(
                f"--overlap {self.overlap} (in Python overlap): expected 0 to {self.size - 1} "
                "pixels, less than the size."
            )
        for option, value in (("min-visibility", self.min_visibility), ("empty", self.empty)):
            if not 0 <= value <= 1:
                raise DataError(f"--{option} {value}: expected a share from 0 to 1.")

    def starts(self, length: int) -> list[int]:
        """Where tiles begin along a side; the last one ends with the image."""
        if length <= self.size:
            return [0]
        step = self.size - self.overlap
        count = -(-(length - self.size) // step) + 1
        return [min(number * step, length - self.size) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image that is a file of its own.

    Attributes:
        scene: the image that it is a part of.
        scene_width, scene_height: of that image, pixels.
        left, top: where it begins, pixels.
        width, height: pixels.
    """

    scene: Path
    scene_width: int
    scene_height: int
    left: int
    top: int
    width: int
    height: int

    def to_scene(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring boxes [N, 4] xyxy from the tile's pixels into those of its image."""
        origin = np.array([self.left, self.top] * 2, np.float64)
        moved = np.asarray(boxes, np.float64).reshape(-1, 4) + origin
        return moved.astype(np.float32)


@dataclass(slots=True)
class TilingCounts:
    """What cutting a data set did.

    Attributes:
        scenes: images that were cut.
        tiles: tiles that were written.
        empty: those of them without objects.
        left_out: tiles without objects that were left out.
        without_data: tiles of nothing but pixels without data, left out.
        objects: objects on tiles; one on several tiles counts on each.
        cut: objects of which a tile shows too little: ignored there, or left out.
    """

    scenes: int = 0
    tiles: int = 0
    empty: int = 0
    left_out: int = 0
    without_data: int = 0
    objects: int = 0
    cut: int = 0


def tile(
    data: Dataset,
    folder: str | os.PathLike[str],
    plan: TilePlan,
    *,
    format: str = "coco",  # noqa: A002
    splits: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TilingCounts:
    """Cut the images of a data set into tiles with their labels, whole or not at all.

    Images on the map become GeoTIFFs on the map, with the values and bands of their files; deep
    values stay as they are. Images are read in windows, so none is in memory whole.

    Args:
        data: the data set.
        folder: where it goes; it may not hold anything yet.
        plan: how it is cut.
        format: of the labels, one of FORMATS.
        splits: the indices of the images of each split; without it all images are one.
        progress: called with (images done, images in all).

    Raises:
        DataError: the folder is not empty, or the format can't hold the data.
        ImageError: an image can't be read.
        MissingExtraError: what reads or writes an image is not installed.
    """
    dest = expect_new_folder(folder)
    part = dest.with_name(f".{dest.name}.{os.getpid()}.tiles")
    counts = TilingCounts()
    records: list[Record] = []
    tiles: dict[str, Tile] = {}
    owners: list[int] = []
    names = image_names(data.records)
    with writing(dest, error=DataError):
        (part / "cut").mkdir(parents=True)
        try:
            for number, record in enumerate(data.records):
                for cut, place in _cut(record, names[number], part / "cut", plan, counts):
                    records.append(cut)
                    owners.append(number)
                    tiles[cut.path.name] = place
                if progress is not None:
                    progress(number + 1, len(data))
            cut_data = Dataset(tuple(records), data.classes, part, data.name)
            of_splits = None if splits is None else _of_tiles(splits, owners)
            write_dataset(cut_data, part / "out", format, images="hard_link", splits=of_splits)
            write_text(part / "out" / PLACEMENTS, _document(tiles, dest))
            if dest.exists():
                dest.rmdir()
            (part / "out").rename(dest)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return counts


def placements_of(data: Dataset) -> dict[Path, Tile]:
    """Where the tiles of a data set lie: by the paths of its images.

    Raises:
        DataError: there is no list of tiles, or an image is not in it.
    """
    folders = dict.fromkeys(parent for record in data for parent in list(record.path.parents)[:5])
    file = next((f / PLACEMENTS for f in folders if (f / PLACEMENTS).is_file()), None)
    if file is None:
        raise DataError(
            f"{data.name or data.root}: no {PLACEMENTS} in the folder of its images or above. "
            "Expected tiles as `foveal data tile` writes them."
        )
    by_name = read_placements(file)
    strange = [record.path.name for record in data if record.path.name not in by_name]
    if strange:
        raise DataError(
            f"{file} does not list {len(strange):,} of the images, such as {strange[0]}. Expected "
            "the images under the names that `foveal data tile` gave them."
        )
    return {record.path: by_name[record.path.name] for record in data}


def read_placements(file: Path) -> dict[str, Tile]:
    """The tiles that `tiles.json` lists, by the names of their files.

    Raises:
        DataError: it is no such list.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']}")
        scenes = [
            (Path(os.path.normpath(file.parent / s["path"])), int(s["width"]), int(s["height"]))
            for s in document["scenes"]
        ]
        return {
            str(entry["file"]): Tile(
                *scenes[entry["scene"]],
                *(int(entry[key]) for key in ("left", "top", "width", "height")),
            )
            for entry in document["tiles"]
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise DataError(
            f"{file} is no list of tiles ({why[:100]}). Expected what `foveal data tile` writes; "
            "cut the tiles again."
        ) from error


def untile(data: Dataset) -> Dataset:
    """Put the labels of tiles together: one record for each image that they were cut from.

    The pieces of one object are one box again. Objects that were labeled on the tiles, and have no
    number, are the same where boxes of one class on two tiles cover half of the smaller; of those
    the largest is taken.

    Args:
        data: tiles, as `tile` wrote them, in any format.

    Raises:
        DataError: it is not known where a tile lies.
    """
    tiles = placements_of(data)
    groups: dict[Path, list[Record]] = defaultdict(list)
    for record in data:
        groups[tiles[record.path].scene].append(record)
    whole = [_together(scene, group, tiles) for scene, group in groups.items()]
    root = Path(os.path.commonpath([scene.parent for scene in groups])) if groups else data.root
    return Dataset(tuple(whole), data.classes, root, data.name)


# Cutting --------------------------------------------------------------------------------------


def _cut(
    record: Record, name: str, folder: Path, plan: TilePlan, counts: TilingCounts
) -> Iterator[tuple[Record, Tile]]:
    """Write the tiles of an image and give their records and places."""
    random = np.random.default_rng([plan.seed, *record.path.name.encode()])
    counts.scenes += 1
    with TileWriter(record.path) as writer:
        width, height = writer.width, writer.height
        for top in plan.starts(height):
            bottom = min(top + plan.size, height)
            row = record.select((record.boxes[:, 3] > top) & (record.boxes[:, 1] < bottom))
            numbers = np.flatnonzero((record.boxes[:, 3] > top) & (record.boxes[:, 1] < bottom))
            for left in plan.starts(width):
                right = min(left + plan.size, width)
                place = Tile(record.path, width, height, left, top, right - left, bottom - top)
                piece, cut = _piece(row, numbers, place, plan)
                is_empty = not (~piece.ignored).any()
                if is_empty and random.random() >= plan.empty:
                    counts.left_out += 1
                    continue
                stem = os.path.splitext(name)[0]  # noqa: PTH122
                path = folder / f"{stem}_{top}_{left}{writer.ending}"
                if not writer.write(path, left, top, right, bottom, even_empty=not is_empty):
                    counts.without_data += 1
                    continue
                counts.tiles += 1
                counts.empty += is_empty
                counts.objects += int((~piece.ignored).sum())
                counts.cut += cut
                yield replace(piece, path=path, width=right - left, height=bottom - top), place


def _piece(
    record: Record, numbers: NDArray[np.int64], place: Tile, plan: TilePlan
) -> tuple[Record, int]:
    """What a tile shows of an image's objects, in its pixels; and how many it shows too little of.

    Args:
        record: the objects.
        numbers: of the objects in the image.
        place: the tile.
        plan: how much of an object it has to show.
    """
    origin = np.array([place.left, place.top] * 2, np.float64)
    whole = record.boxes.astype(np.float64) - origin
    shown = np.clip(whole, 0, [place.width, place.height] * 2)
    sides = np.maximum(shown[:, 2:] - shown[:, :2], 0)
    inside = (sides > 0).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        visible = sides.prod(axis=1) / (whole[:, 2:] - whole[:, :2]).prod(axis=1)
    little = inside & (visible < plan.min_visibility * (1 - 1e-6)) & ~record.ignored
    keep = np.asarray(inside & ~little if plan.cut == "drop" else inside, np.bool_)
    piece = record.select(keep)
    flags = {name: column for name, column in piece.flags.items() if name not in _OUTLINES}
    flags |= {
        _OBJECT: tuple(numbers[keep].tolist()),
        _PIECE: tuple(little[keep].tolist()),
    }
    piece = replace(
        piece,
        boxes=shown[keep].astype(np.float32),
        ignored=piece.ignored | little[keep],
        areas=None if piece.areas is None else piece.areas * visible[keep],
        flags=flags,
        image_id=None,
    )
    return piece, int(little.sum())


_OUTLINES = frozenset({"segmentation", "geometry", "wkt", "wkt_geom"})
"""Flags in the image's pixels, which a tile would have to cut."""


def _of_tiles(splits: Mapping[str, Sequence[int]], owners: Sequence[int]) -> dict[str, list[int]]:
    """The tiles of each split's images."""
    chosen = {name: frozenset(indices) for name, indices in splits.items()}
    return {
        name: [tile for tile, owner in enumerate(owners) if owner in indices]
        for name, indices in chosen.items()
    }


def _document(tiles: Mapping[str, Tile], folder: Path) -> str:
    scenes = list(dict.fromkeys((t.scene, t.scene_width, t.scene_height) for t in tiles.values()))
    index = {scene[0]: number for number, scene in enumerate(scenes)}
    document = {
        "version": _VERSION,
        "written_by": "foveal data tile",
        "scenes": [
            {"path": Path(os.path.relpath(path, folder)).as_posix(), "width": w, "height": h}
            for path, w, h in scenes
        ],
        "tiles": [
            {
                "file": name, "scene": index[t.scene], "left": t.left, "top": t.top,
                "width": t.width, "height": t.height,
            }
            for name, t in tiles.items()
        ],
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


# Putting together -----------------------------------------------------------------------------


def _together(scene: Path, records: Sequence[Record], tiles: Mapping[Path, Tile]) -> Record:
    """The record of an image whose tiles have these."""
    first = tiles[records[0].path]
    boxes = np.concatenate([tiles[r.path].to_scene(r.boxes) for r in records])
    labels = np.concatenate([r.labels for r in records])
    ignored = np.concatenate([r.ignored for r in records])
    owners = np.repeat(np.arange(len(records)), [len(r) for r in records])
    numbers = np.array([_number(value) for r in records for value in _column(r, _OBJECT)], np.int64)
    pieces = np.array([_truth(value) for r in records for value in _column(r, _PIECE)], np.bool_)
    known = np.flatnonzero(numbers >= 0)
    _, group = np.unique(numbers[known], return_inverse=True)
    order = known[np.argsort(group, kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(np.sort(group)) > 0]) if len(known) else known
    low = np.minimum.reduceat(boxes[order, :2], starts) if len(known) else boxes[:0, :2]
    high = np.maximum.reduceat(boxes[order, 2:], starts) if len(known) else boxes[:0, 2:]
    really = ignored & ~pieces
    marked = np.logical_or.reduceat(really[order], starts) if len(known) else really[:0]
    new = np.flatnonzero(numbers < 0)
    new = new[_largest(boxes[new], labels[new], owners[new])]
    chosen = np.concatenate([order[starts], new]).astype(np.int64)
    return Record(
        scene,
        first.scene_width,
        first.scene_height,
        np.concatenate([np.concatenate([low, high], axis=1), boxes[new]]).astype(np.float32),
        labels[chosen],
        np.concatenate([marked, ignored[new]]),
        None,
        _joined_flags(records, chosen),
    )


def _column(record: Record, name: str) -> Sequence[Any]:
    """A flag of a record, also where COCO keeps it among the attributes."""
    nothing = (None,) * len(record)
    if name in record.flags:
        return record.flags[name]
    if f"original_{name}" in record.flags:
        return record.flags[f"original_{name}"]
    attributes = record.flags.get("attributes", nothing)
    return [each.get(name) if isinstance(each, dict) else None for each in attributes]


def _joined_flags(
    records: Sequence[Record], chosen: NDArray[np.int64]
) -> dict[str, tuple[Any, ...]]:
    """The flags of the chosen objects, without those of tiles."""
    names = dict.fromkeys(name for record in records for name in record.flags)
    flags = {}
    for name in names:
        if name in (_OBJECT, _PIECE, "crowd"):
            continue
        column = [v for r in records for v in r.flags.get(name, (None,) * len(r))]
        picked = [column[i] for i in chosen.tolist()]
        if name == "attributes":
            picked = [_without_marks(value) for value in picked]
        if any(value is not None for value in picked):
            flags[name] = tuple(picked)
    return flags


def _without_marks(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: v for key, v in value.items() if key not in (_OBJECT, _PIECE)} or None


def _number(value: Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return -1


def _truth(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "1.0", "yes")


def _largest(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which of the boxes of many tiles stay: of those that show the same object the largest.

    Args:
        boxes: [N, 4] xyxy, the image's pixels.
        labels: [N].
        owners: [N] the tile that each is of.

    Returns:
        [M] int64 indices, ascending.
    """
    area = (boxes[:, 2:].astype(np.float64) - boxes[:, :2]).prod(axis=1)
    order = np.lexsort((boxes[:, 0], -area))  # the largest first, of equal ones the left one
    boxes, labels, owners, area = boxes[order], labels[order], owners[order], area[order]
    keep = np.ones(len(order), np.bool_)
    larger = []
    smaller = []
    for one, other in overlapping_pairs(boxes, keep):
        shared = intersections(boxes[one].astype(np.float64), boxes[other].astype(np.float64))
        same = shared >= _SAME * np.minimum(area[one], area[other])
        same &= owners[one] != owners[other]
        same &= _of_one_class(labels[one], labels[other])
        larger.append(np.minimum(one, other)[same])
        smaller.append(np.maximum(one, other)[same])
    if larger:
        keep = keep_greedily(keep, np.concatenate(larger), np.concatenate(smaller))
    return np.sort(order[keep])


def _of_one_class(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (one == ANY_CLASS) | (other == ANY_CLASS))
