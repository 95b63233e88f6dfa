"""From images with named objects in them, as most tools list them, to a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from foveal.data.dataset import Dataset
from foveal.data.formats.class_names import IGNORE, Labels, found_classes
from foveal.data.formats.parsing import as_number, complete
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from foveal.data.formats.image_files import ImageFinder
    from foveal.data.formats.issues import IssuePolicy
    from foveal.data.formats.records import Written

UNNAMED = "object"
"""The class of objects in a file that names no class at all."""

TRUE = (True, 1, "1", "true", "True", "yes")
"""How tools write that a mark is set."""


class NamedObject(NamedTuple):
    """An object of an image.

    Attributes:
        place: where its image's entry lists it.
        name: of its class.
        box: xyxy in pixels.
        ignored: whether it is a region to ignore.
        drawn_as_box: whether the file writes the box, not a shape of which this is the extent.
    """

    place: str
    name: str
    box: Sequence[float]
    ignored: bool = False
    drawn_as_box: bool = True


class NamedImage(NamedTuple):
    """An entry of an image.

    Attributes:
        file: that lists it.
        name: of the image, as the file writes it.
        place: where in the file, for messages: "image 3".
        entry: what the format's own function reads objects from.
        width, height: in pixels, 0 where the file does not say.
        image_id: the format's own.
    """

    file: Path
    name: Any
    place: str
    entry: Any
    width: int = 0
    height: int = 0
    image_id: int | str | None = None


def gather(
    images: Sequence[NamedImage],
    objects: Callable[[NamedImage, ImageRow], Iterable[NamedObject]],
    finder: ImageFinder,
    policy: IssuePolicy,
    *,
    classes: tuple[str, ...] = (),
    source: Path | None = None,
    more_names: Iterable[str] = (),
    written: Written | None = "xyxy",
) -> Dataset:
    """Find the images, read their objects, and make the data set.

    Args:
        images: every image.
        objects: gives the objects of one, of whose row the size is known where it can be.
        finder: finds the images.
        policy: for problems; it is closed.
        classes: in their order; where there are none, the names found are sorted.
        source: the file that lists the classes, if it is one of its own.
        more_names: further classes, of the data set's other files.
        written: how the files write boxes; None where that says nothing about other readings.

    Raises:
        DataError: an image's name is none, or an object can't be right and the policy is to stop.
    """
    rows = measured(
        [
            ImageRow(
                finder.find(image.name, file=image.file, place=image.place),
                image.width,
                image.height,
                image.image_id,
            )
            for image in images
        ],
        finder,
        policy,
    )
    found = [list(objects(image, row)) for image, row in zip(images, rows, strict=True)]
    if not classes:
        names = {item.name for items in found for item in items} | set(more_names)
        classes = found_classes(names)
        if not classes and "" in names:
            first = next(i for i, items in zip(images, found, strict=True) if items)
            policy.note(
                f"No object has a class: all are called {UNNAMED!r}",
                file=first.file,
                place=first.place,
            )
            classes = (UNNAMED,)
            found = [[item._replace(name=UNNAMED) for item in items] for items in found]
    classes = tuple(dict.fromkeys(name for name in classes if name.strip() and name != IGNORE))
    labels = Labels(classes, policy, source=source)
    unit = images[0].place.partition(" ")[0] if images else "image"
    table = ObjectTable(unit, written=written)
    for number, (image, row, items) in enumerate(zip(images, rows, found, strict=True)):
        for item in items:
            place = f"{image.place}, {item.place}"
            label = labels.of(item.name, file=image.file, place=place, image=row.path)
            if label is not None:
                ignored = item.ignored or label < 0
                where = place.partition(" ")[2]
                table.add(number, item.box, label, file=image.file, number=where, ignored=ignored)
    if not all(item.drawn_as_box for items in found for item in items):
        table.written = None
    records = assemble(rows, table, policy)
    policy.close()
    return Dataset(records, classes, finder.images or finder.root)


def text_of_name(value: Any) -> str:
    """The name of a class; numbers are names too, all else is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def size_of(value: Any, *, file: Path, place: str, side: str) -> int:
    """A side of an image in pixels, 0 where it is not said.

    Raises:
        DataError: it is no size.
    """
    if value in (None, ""):
        return 0
    number = as_number(value)
    if number is None or not 0 <= number < 2**31:
        shown = str(value)[:60]
        raise DataError(f"{file}, {place}: {side} is {shown!r}. Expected pixels of 0 or more.")
    return int(number)


def numbers_of(value: Any, *names: str) -> list[float] | None:
    """The numbers of an object's fields, None where one is missing or none."""
    if not isinstance(value, dict):
        return None
    return complete(as_number(value.get(name)) for name in names)
