"""A sheet of small pictures with boxes: what a data set holds, or what training would see of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.data.choosing import draw_images, rarest_first
from foveal.data.dataset import ANY_CLASS, Dataset
from foveal.data.images.encoding import write_image
from foveal.data.images.rasters import open_for_display
from foveal.data.statistics import measure_dataset
from foveal.errors import DataError, FovealError, SettingsError
from foveal.reports.html import write_report
from foveal.reports.image_windows import fullest_windows, window_side
from foveal.reports.parts import (
    Key,
    KeyEntry,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
)
from foveal.structures import Target
from foveal.text import counted, listed
from foveal.visualization import colors
from foveal.visualization.contact_sheets import KeyRow, Tile, draw_contact_sheet
from foveal.visualization.targets import NO_ANCHOR, draw_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.data.dataset import Record
    from foveal.training.shown_batches import ShownBatches, TrainingImage

PAGE, PICTURE = ".html", ".png"
PAGE_SIDE, PICTURE_SIDE = 640, 320
"""Pixels of the longer side of a picture in a page, which enlarges it, and in a sheet of one."""
_REGION = KeyRow(colors.IGNORED, "region to ignore", "dashed")
_MAX_KEY = 16
_MAX_NAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class ContactSheet:
    """Pictures and what is to be known of them.

    Attributes:
        title: what is shown.
        images: how many there are to show.
        lines: sentences.
        tiles: the pictures in order.
        key: what the colors mean.
        classes: for each class, the rarest first, its name, objects, images and pictures.
        left_out: what could not be shown, each with its reason.
    """

    title: str
    images: int
    lines: tuple[str, ...]
    tiles: tuple[Tile, ...]
    key: tuple[KeyRow, ...] = ()
    classes: tuple[tuple[str, int, int, int], ...] = ()
    left_out: tuple[str, ...] = field(default=())


def side_for(path: Path) -> int:
    """The longer side of a picture in a sheet of this name, pixels.

    Raises:
        SettingsError: a sheet can't be written under this name.
    """
    sides = {PAGE: PAGE_SIDE, PICTURE: PICTURE_SIDE}
    ending = path.suffix.lower()
    if ending not in sides:
        raise SettingsError(
            f"--out {path}: expected a name that ends in {PAGE} (a page) or {PICTURE} (a picture)."
        )
    return sides[ending]


def make_data_sheet(
    dataset: Dataset,
    *,
    count: int = 24,
    classes: Sequence[str] = (),
    seed: int = 0,
    side: int = PAGE_SIDE,
) -> ContactSheet:
    """Draw some images of each class, the rarest first, with all their boxes.

    Of images much larger than their objects a part is shown. No more than one image is in memory.

    Args:
        dataset: the records.
        count: at most so many images.
        classes: images that show one of these alone; none takes all.
        seed: draws them; the same again.
        side: of the longer side of each picture, pixels.

    Raises:
        DataError: there is no image, or no class of such a name.
        FovealError: no image can be read; the first one's reason.
    """
    tiles: list[tuple[int, Tile]] = []
    messages: list[str] = []
    first: FovealError | None = None
    order = rarest_first(dataset)
    ranks: dict[int | None, int] = {label: rank for rank, label in enumerate(order)}
    pictures = np.zeros(len(dataset.classes), np.int64)
    deep = many = 0
    for choice in draw_images(dataset, classes=classes, seed=seed):
        if len(tiles) == count:
            break
        record = dataset.records[choice.image]
        try:
            tile, is_deep, bands = _tile_of(
                record, dataset.classes, choice.label, side=side, ranks=order
            )
        except FovealError as error:
            first = first or error
            messages.append(str(error))
            continue
        tiles.append((ranks.get(choice.label, len(ranks)), tile))
        deep, many = deep + is_deep, many + (bands > 3)
        shown = np.unique(record.labels[~record.ignored & (record.labels >= 0)])
        pictures[shown] += 1
    if not tiles:
        if first is not None:
            raise first
        of_classes = f" with objects of {listed(classes, _MAX_NAMES)}" if classes else ""
        raise DataError(
            f"{dataset.name or dataset.root}: has no image{of_classes}. foveal data check says "
            "what was read."
        )
    tiles.sort(key=lambda each: each[0])
    lines = [_drawn(len(tiles), len(dataset), classes, seed), *_told(deep, many)]
    of_classes_, key, absent = _classes(dataset, pictures)
    if absent:
        lines.append(f"Without any object: {absent}.")
    if messages:
        lines.append(f"{counted(len(messages), 'image')} can't be shown, the first: {messages[0]}")
    if any(record.ignored.any() for record in dataset):
        key = (*key, _REGION)
    return ContactSheet(
        dataset.name or str(dataset.root),
        len(dataset),
        tuple(lines),
        tuple(tile for _, tile in tiles),
        key,
        of_classes_,
        tuple(messages),
    )


def make_training_sheet(
    batches: ShownBatches,
    dataset: Dataset,
    *,
    count: int = 24,
    side: int = PAGE_SIDE,
    lines: Iterable[str] = (),
) -> ContactSheet:
    """Draw the first images that training would see, as the network gets them.

    Args:
        batches: made by the run's settings.
        dataset: the training images.
        count: at most so many images.
        side: of the longer side of each picture, pixels.
        lines: further sentences, after those about the batches.

    Raises:
        ImageError: an image can't be read, and is not to be skipped.
    """
    tiles = []
    order = rarest_first(dataset)
    anchors = objects = alone = bands = ignored = 0
    shown_of = np.zeros(len(dataset.classes), np.int64)
    for shown in islice(batches, count):
        tiles.append(_training_tile(shown, dataset.classes, side=side, ranks=order))
        bands = max(bands, shown.image.shape[2])
        counts = ~shown.target.ignored
        shown_of += np.bincount(shown.target.labels[counts], minlength=len(shown_of))
        ignored += int((~counts).sum())
        if shown.anchors is not None:
            anchors += len(shown.anchors)
            objects += int(counts.sum())
            alone += _without_anchors(shown)
    said = [
        f"{counted(len(tiles), 'image')} as training would show them to the network: augmented "
        "and prepared.",
        *batches.describe(),
    ]
    key = _key(dataset.classes, shown_of, order=order)
    if ignored:
        key = (*key, _REGION)
    if objects or anchors:
        said.append(
            f"Here are {counted(anchors, 'anchor')} for {counted(objects, 'object')}; "
            + (f"{alone:,} of the objects have none." if alone else "each object has some.")
        )
    if alone:
        key = (*key, KeyRow(NO_ANCHOR, "no anchor learns it", "dashed"))
    said += _told(0, len(tiles) if bands > 3 else 0)
    title = f"{dataset.name or dataset.root}, as trained"
    return ContactSheet(title, len(dataset), (*said, *lines), tuple(tiles), key)


def show(
    data: Dataset, *, count: int = 12, classes: Sequence[str] = (), seed: int = 0
) -> Image.Image:
    """Some images of a data set with their boxes on one sheet, the rarest classes first.

    Of images much larger than their objects a part is shown.

    Args:
        data: the images.
        count: at most so many images.
        classes: images that show one of these; none takes all.
        seed: draws the images; another draws others.

    Returns:
        An RGB picture, which a notebook shows and `.save(path)` writes.

    Raises:
        DataError: there is no image, or no class of such a name.
        FovealError: no image can be read.

    Examples:
        >>> foveal.show(foveal.read("cells:train"), count=4).save("sheet.png")
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"What is to be shown is {type(data).__name__}. Expected a data set that was read."
        )
    if count < 1:
        raise DataError(f"--count {count} (in Python count): expected 1 or more.")
    sheet = make_data_sheet(data, count=count, classes=classes, seed=seed, side=PICTURE_SIDE)
    return Image.fromarray(draw_sheet(sheet))


def write_sheet(path: Path, sheet: ContactSheet) -> None:
    """Write a sheet as one HTML file that needs no network, or as a picture.

    Args:
        path: its ending says which, .html or .png.
        sheet: what is written.

    Raises:
        SettingsError: another ending.
        FovealError: the file can't be written.
    """
    side_for(path)
    if path.suffix.lower() == PAGE:
        write_report(path, _page(sheet))
    else:
        write_image(path, draw_sheet(sheet))


def draw_sheet(sheet: ContactSheet) -> NDArray[np.uint8]:
    """The sheet as a picture, [H, W, 3] uint8 RGB."""
    return draw_contact_sheet(sheet.tiles, title=sheet.title, lines=sheet.lines, key=sheet.key)


def _page(sheet: ContactSheet) -> Report:
    from foveal import __version__

    sections: list[Section] = []
    if sheet.classes:
        rows = [
            (name, f"{objects:,}", f"{images:,}", f"{pictures:,}")
            for name, objects, images, pictures in sheet.classes
        ]
        columns = ("class, the rarest first", "objects", "images", "images shown")
        sections.append(Section("Classes", [Table(columns, rows)]))
    entries = [KeyEntry(row.color, row.meaning, row.style == "dashed") for row in sheet.key]
    pictures = [Picture(tile.title, tile.image, tile.caption) for tile in sheet.tiles]
    said = " ".join([*sheet.lines[1:], "Click a picture to enlarge it."])
    sections.insert(0, Section("Images", [said, Key(entries), Pictures(pictures)]))
    if len(sheet.left_out) > 1:
        rows_ = [(message,) for message in sheet.left_out]
        sections.append(Section("Not shown", [Table(("why",), rows_)]))
    return Report(
        title=sheet.title,
        subtitle=sheet.lines[0],
        sections=sections,
        footer=f"Made by foveal {__version__}.",
    )


def _drawn(shown: int, images: int, classes: Sequence[str], seed: int) -> str:
    of_classes = f" that show {listed(classes, _MAX_NAMES)}" if classes else ""
    if shown == images:
        return f"All {counted(images, 'image')}, the rarest classes first."
    return (
        f"{shown:,} of {counted(images, 'image')}{of_classes}, drawn by seed {seed}, the rarest "
        "classes first."
    )


def _told(deep: int, many: int) -> list[str]:
    """What is to be known of pixels that are not shown as they are."""
    lines = []
    if deep:
        lines.append(
            f"{counted(deep, 'image')} {'has' if deep == 1 else 'have'} values of more than 8 "
            "bits, each spread here between its own percentiles."
        )
    if many:
        lines.append(
            f"{counted(many, 'image')} {'has' if many == 1 else 'have'} more than three bands: "
            "the first three are shown as red, green and blue."
        )
    return lines


def _classes(
    dataset: Dataset, pictures: NDArray[np.int64]
) -> tuple[tuple[tuple[str, int, int, int], ...], tuple[KeyRow, ...], str]:
    """Each class with its numbers, the key of their colors, and the classes without objects."""
    statistics = measure_dataset(dataset).classes
    order = rarest_first(dataset)
    rows = tuple(
        (one.name, one.objects, one.images, int(pictures[label]))
        for label in order
        for one in [statistics[label]]
    )
    key = _key(dataset.classes, [each.objects for each in statistics], order=order)
    absent = [name for label, name in enumerate(dataset.classes) if label not in set(order)]
    return rows, key, listed(absent, _MAX_NAMES)


def _key(
    names: Sequence[str], objects: Sequence[int] | NDArray[np.int64], *, order: Sequence[int]
) -> tuple[KeyRow, ...]:
    """The color of each class, in this order, and how many objects there are of it."""
    key = [
        KeyRow(
            colors.class_color(label), f"{names[label]}: {counted(int(objects[label]), 'object')}"
        )
        for label in order[:_MAX_KEY]
    ]
    if len(order) > _MAX_KEY:
        key.append(KeyRow(colors.IGNORED, f"and {len(order) - _MAX_KEY} more classes"))
    return tuple(key)


def _tile_of(
    record: Record,
    classes: Sequence[str],
    label: int | None,
    *,
    side: int,
    ranks: Sequence[int],
) -> tuple[Tile, bool, int]:
    """An image's picture; whether its values are deep, and how many bands it has.

    Args:
        record: of the image.
        classes: the K names.
        label: of the class that a part of a large image should show; None shows all of it.
        side: of the picture's longer side, pixels.
        ranks: the labels, the rarest first.

    Raises:
        FovealError: it can't be read, or is not as large as the annotations say.
    """
    finite = np.asarray(np.isfinite(record.boxes).all(axis=1))
    record = record if finite.all() else record.select(finite)
    labels = np.where(record.labels == ANY_CLASS, 0, record.labels)
    names = classes or ("",)
    target = Target(record.boxes, labels, record.ignored | (record.labels == ANY_CLASS))
    with open_for_display(record.path) as raster:
        size = raster.width, raster.height
        if record.width and size != (record.width, record.height):
            raise DataError(
                f"{record.path}: is {size[0]} x {size[1]} pixels, and the annotations say "
                f"{record.width} x {record.height}. Let the boxes follow: --sizes scale."
            )
        caption = f"{_counts(target, names, ranks)}; {size[0]:,} x {size[1]:,} px"
        meant = record.boxes[(labels == label) & ~target.ignored] if label is not None else None
        across = window_side(record.boxes if meant is None else meant, *size)
        if across is None or meant is None:
            pixels = raster.overview(max(side, 1)).pixels
            scale = np.asarray([pixels.shape[1] / size[0], pixels.shape[0] / size[1]] * 2)
            part = target.transformed((target.boxes * scale).astype(np.float32))
        else:
            window = fullest_windows(meant, across, *size, most=1)[0]
            pixels = raster.read(*window).pixels
            corner, end = np.asarray(window, np.float32).reshape(2, 2)
            inside = (record.boxes[:, :2] < end) & (record.boxes[:, 2:] > corner)
            part = target.select(np.flatnonzero(inside.all(axis=1)))
            part = part.transformed(part.boxes - np.tile(corner, 2))
            pixels, part = _shrunk(pixels, part, side)
            left, top, right, bottom = window
            caption = (
                f"{_counts(part, names, ranks)}; from {left:,}, {top:,} to {right:,}, {bottom:,} "
                f"of {size[0]:,} x {size[1]:,} px with {counted(len(record), 'box')}"
            )
        if not finite.all():
            caption += f"; {counted(int((~finite).sum()), 'box')} without finite corners"
        drawn = draw_target(pixels, part, names, side=side)
        return Tile(drawn, record.path.name, caption), raster.is_deep, raster.bands


def _shrunk(
    pixels: NDArray[np.uint8], target: Target, side: int
) -> tuple[NDArray[np.uint8], Target]:
    """Large pixels shrunk before anything else is made of them."""
    height, width = pixels.shape[:2]
    scale = side / max(width, height)
    if scale >= 1:
        return pixels, target
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3].squeeze()))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    by = np.asarray([size[0] / width, size[1] / height] * 2)
    return small, target.transformed((target.boxes * by).astype(np.float32))


def _training_tile(
    shown: TrainingImage, classes: Sequence[str], *, side: int, ranks: Sequence[int]
) -> Tile:
    height, width = shown.image.shape[:2]
    caption = f"step {shown.step}: {_counts(shown.target, classes, ranks)}; {width} x {height} px"
    if shown.anchors is not None:
        caption += f"; {counted(len(shown.anchors), 'anchor')}"
        if alone := _without_anchors(shown):
            caption += f", {counted(alone, 'object')} without one"
    image = draw_target(shown.image, shown.target, classes, side=side, anchors=shown.anchors)
    return Tile(image, Path(shown.name).name, caption)


def _without_anchors(shown: TrainingImage) -> int:
    if shown.anchors is None:
        return 0
    learned = shown.target.ignored.copy()
    learned[shown.anchors.objects] = True
    return int((~learned).sum())


def _counts(target: Target, classes: Sequence[str], ranks: Sequence[int]) -> str:
    """How many objects of which class, the rarest of the data set first."""
    counts = np.bincount(target.labels[~target.ignored], minlength=len(classes))
    names = [f"{counts[label]:,} {classes[label]}" for label in ranks if counts[label]]
    ignored = int(target.ignored.sum())
    return (listed(names, _MAX_NAMES) or "no object") + (
        f", {counted(ignored, 'region')} to ignore" if ignored else ""
    )
