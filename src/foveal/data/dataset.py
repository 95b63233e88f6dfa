"""A data set: records of images and their boxes, whatever format they were read from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from foveal.errors import DataError
from foveal.structures import PixelRange, Sample, Target, expect_names
from foveal.text import UNDEFINED, as_text, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from foveal.data.image_sizes import Sizes

ANY_CLASS = -1
"""Label of a region to ignore that concerns every class (KITTI's DontCare)."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One image's annotations; the image itself is not opened.

    Attributes:
        path: absolute path of the image.
        width, height: the original image's size in pixels, 0 where the annotations do not say.
        boxes: [N, 4] float32 xyxy, original pixels.
        labels: [N] int64 indices into the data set's classes; ANY_CLASS for a region to ignore
            that concerns every class.
        ignored: [N] bool, regions to ignore (COCO crowd, VOC difficult, classes named as such).
        areas: [N] float64 in pixels, where the annotations state areas that are not the boxes'.
        flags: further columns, each with N entries ("difficult", "truncated", "crowd",
            "segmentation", ...), kept so that writing loses nothing.
        image_id: the format's own id of the image.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64] | None = None
    flags: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    image_id: int | str | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, keep: NDArray[np.bool_]) -> Record:
        """The record with the objects that a mask [N] picks."""
        chosen = np.flatnonzero(keep)
        return replace(
            self,
            boxes=self.boxes[chosen],
            labels=self.labels[chosen],
            ignored=self.ignored[chosen],
            areas=None if self.areas is None else self.areas[chosen],
            flags={name: tuple(column[i] for i in chosen) for name, column in self.flags.items()},
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records and the names of their classes; every operation gives a new data set.

    Attributes:
        records: one for each image, images without objects included.
        classes: the K class names; a label is an index into them.
        root: the folder that the images were read from.
        name: what people call the data set, used in messages.

    Examples:
        >>> data = foveal.read("cells")
        >>> data.only(["infected"]).classes
        ('infected',)
        >>> data.rename({"normal": "cell", "infected": "cell"}).classes
        ('cell', 'platelet')
        >>> learned, held_out = data.split(0.25)
        >>> len(learned), len(held_out)
        (9, 3)
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    root: Path
    name: str = ""

    def __post_init__(self) -> None:
        expect_names(self.classes)
        if self.records and not isinstance(self.records[0], Record):
            raise DataError(
                f"The records of a data set are {type(self.records[0]).__name__}. Expected "
                "Record, as reading a data set gives them."
            )

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        """The image with its target (original pixels), or the data set of a slice.

        The image is RGB, or has its own bands where they are more than three; values of more than
        8 bits give their high byte.

        Raises:
            ImageError: the image can't be read.
        """
        if isinstance(index, slice):
            return replace(self, records=self.records[index])
        from foveal.data.images.reading import image_info, read_image

        record = self.records[index]
        image = read_image(record.path, PixelRange(max(3, image_info(record.path).bands)))
        return Sample(image, self.target(index), name=record.path.name)

    def target(self, index: int) -> Target:
        """What image `index` shows, in original pixels, without opening the image.

        A region to ignore that concerns every class is given once for each class, so that labels
        are always 0..K-1.
        """
        record = self.records[index]
        columns = (record.boxes, record.labels, record.ignored, record.areas)
        if (record.labels == ANY_CLASS).any():
            order, labels = _for_every_class(record.labels, len(self.classes))
            areas = None if record.areas is None else record.areas[order]
            return Target(record.boxes[order], labels, record.ignored[order], areas)
        # pyrefly: ignore[bad-argument-type]
        return Target(*(None if column is None else column.copy() for column in columns))

    @property
    def paths(self) -> list[Path]:
        """Of all images."""
        return [record.path for record in self]

    @property
    def targets(self) -> list[Target]:
        """What each image shows; see `target`."""
        return [self.target(index) for index in range(len(self))]

    def take(self, indices: Sequence[int]) -> Dataset:
        """The data set of the images at these indices, in their order."""
        return replace(self, records=tuple(self.records[i] for i in indices))

    def split(
        self, fraction: float, *, seed: int = 0, together: Sequence[Sequence[int]] = ()
    ) -> tuple[Dataset, Dataset]:
        """Hold out a fraction of the images: (the rest, the fraction held out).

        Which images are held out follows from the seed and each image's path below the root, not
        from their order: the same folder gives the same split on every machine. Both parts keep
        the order, and neither is empty when there are two images or more.

        Args:
            fraction: between 0 and 1.
            seed: other seeds hold out other images.
            together: groups of indices, each of which stays in one part, such as images that look
                alike. Groups with more images than are wanted are held out only where there is
                nothing else, and one that has most of the images is divided.

        Raises:
            DataError: the fraction is not between 0 and 1.
        """
        if not 0 < fraction < 1:
            raise DataError(
                f"A fraction to hold out of {fraction} makes no split. Expected 0 < fraction < 1."
            )
        count = len(self)
        held = min(max(round(fraction * count), 1), count - 1) if count > 1 else 0
        keys = [
            blake2b(as_text(f"{seed}/{self._key(r)}").encode(), digest_size=8).digest()
            for r in self
        ]
        order = sorted(range(count), key=lambda i: (keys[i], i))
        groups = {index: group for group in together for index in group}
        chosen: set[int] = set()
        for index in order:
            group = groups.get(index, (index,))
            if index not in chosen and len(chosen) + len(group) <= held:
                chosen.update(group)
        if not chosen and held:
            smallest = min((groups[index] for index in order), key=len)
            chosen.update(smallest if 2 * len(smallest) <= count else order[:held])
        rest = self.take([i for i in range(count) if i not in chosen])
        return rest, self.take(sorted(chosen))

    def _key(self, record: Record) -> str:
        if record.path.is_relative_to(self.root):
            return record.path.relative_to(self.root).as_posix()
        return record.path.name

    def fit_sizes(self, sizes: Sizes = "scale") -> Dataset:
        """The data set with the sizes of its image files, whose headers are read.

        Args:
            sizes: what is done where they are not those of the annotations. "scale" scales the
                boxes, as when images were shrunk after they were labeled. "stored" turns boxes
                that were drawn on the images as they are stored, before their orientation (EXIF)
                is applied. "stop" makes it an error.

        Raises:
            DataError: sizes disagree, and what was asked for does not mend all of them.
        """
        from foveal.data.checks.readiness import headers_of
        from foveal.data.image_sizes import fit_sizes

        return fit_sizes(self, headers_of(self), sizes)

    def only(self, classes: Iterable[str]) -> Dataset:
        """The data set with these classes alone, in this order; every image stays.

        Objects of other classes become background; regions to ignore of every class stay.

        Raises:
            DataError: a class is not in the data set.
        """
        names = tuple(dict.fromkeys([classes] if isinstance(classes, str) else classes))
        self._expect(names)
        return self._relabel([names.index(c) if c in names else None for c in self.classes], names)

    def rename(self, names: Mapping[str, str]) -> Dataset:
        """The data set with classes renamed; classes that get the same name become one.

        Raises:
            DataError: a class to rename is not in the data set.
        """
        self._expect(names)
        renamed = [names.get(name, name) for name in self.classes]
        classes = tuple(dict.fromkeys(renamed))
        return self._relabel([classes.index(name) for name in renamed], classes)

    def ignoring(self, classes: Iterable[str]) -> Dataset:
        """The data set whose objects of these classes mark regions to ignore, whatever the class.

        The classes themselves are gone afterwards.

        Raises:
            DataError: a class is not in the data set.
        """
        names = {classes} if isinstance(classes, str) else set(classes)
        self._expect(names)
        kept = tuple(name for name in self.classes if name not in names)
        new = [kept.index(name) if name in kept else ANY_CLASS for name in self.classes]
        return self._relabel(new, kept)

    def aligned(self, classes: Sequence[str]) -> Dataset:
        """The data set with exactly these classes, in this order, as a model knows them.

        Raises:
            DataError: there are objects of other classes.
        """
        names = tuple(classes)
        if self.classes == names:
            return self
        labels = {label for record in self for label in set(record.labels.tolist()) if label >= 0}
        strange = sorted({self.classes[label] for label in labels} - set(names))
        if strange:
            raise DataError(
                f"{self.name or self.root} has objects of {', '.join(strange)}, the model knows "
                f"{', '.join(names)}. Expected no others. {_advise(strange, names)}"
            )
        return self._relabel(
            [names.index(name) if name in names else None for name in self.classes], names
        )

    def merge(self, other: Dataset) -> Dataset:
        """Both data sets as one; classes are matched by name, new ones come last.

        Raises:
            DataError: an image is in both.
        """
        classes = tuple(dict.fromkeys(self.classes + other.classes))
        moved = other._relabel([classes.index(name) for name in other.classes], classes)
        paths = {record.path for record in self}
        for record in moved:
            if record.path in paths:
                raise DataError(
                    f"{record.path} is in both {self.name or 'the first data set'} and "
                    f"{other.name or 'the second'}. Expected data sets without common images: "
                    "take it out of one, or name one of them alone."
                )
        return replace(
            self,
            records=self.records + moved.records,
            classes=classes,
            root=_common_root(self.root, other.root),
            name=" + ".join(name for name in (self.name, other.name) if name),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle columns instead of thousands of small arrays, so that workers start sooner."""
        return _unpack, (_pack(self.records), self.classes, self.root, self.name)

    def summary(self) -> str:
        """One line: images, objects by class, regions to ignore."""
        labels = np.concatenate([r.labels[~r.ignored] for r in self] or [np.zeros(0, np.int64)])
        counts = np.bincount(labels, minlength=len(self.classes))
        ignored = sum(int(record.ignored.sum()) for record in self)
        objects = ", ".join(
            f"{int(n)} {name}" for name, n in zip(self.classes, counts, strict=True)
        )
        empty = sum(bool(record.ignored.all()) for record in self)
        line = f"{counted(len(self), 'image')}, {counted(len(labels), 'object')} "
        line += f"({objects or 'no classes'})"
        line += f", {counted(empty, 'image')} without objects" if empty else ""
        return line + (f", {counted(ignored, 'region')} to ignore" if ignored else "")

    def to_table(self) -> list[dict[str, str | int | float | bool]]:
        """One row for each box, as `pandas.DataFrame(data.to_table())` takes it.

        The columns are image (its path), xmin, ymin, xmax, ymax (original pixels), label (the class
        name, "*" for a region to ignore of every class) and ignored. Images without boxes have no
        row.
        """
        names = (*self.classes, "*")  # ANY_CLASS, -1, is the last one
        return [
            {
                "image": str(record.path),
                "xmin": xmin,
                "ymin": ymin,
                "xmax": xmax,
                "ymax": ymax,
                "label": names[label],
                "ignored": ignored,
            }
            for record in self
            for (xmin, ymin, xmax, ymax), label, ignored in zip(
                record.boxes.tolist(), record.labels.tolist(), record.ignored.tolist(), strict=True
            )
        ]

    def __repr__(self) -> str:
        return f"<Dataset {self.name or self.root}: {self.summary()}>"

    def _repr_html_(self) -> str:
        """What each class has, for a notebook; no image is opened."""
        from foveal.data.statistics import measure_dataset
        from foveal.tables import html_table

        statistics = measure_dataset(self)
        rows = [
            {
                "class": one.name,
                "objects": f"{one.objects:,}",
                "images": f"{one.images:,}",
                "mean width x height, px": f"{one.width:.0f} x {one.height:.0f}"
                if one.objects
                else UNDEFINED,
            }
            for one in statistics.classes
        ]
        title = f"{self.name or self.root}: {counted(len(self), 'image')}"
        notes = []
        if statistics.without_objects:
            notes.append(f"{counted(statistics.without_objects, 'image')} without objects")
        if statistics.ignored:
            notes.append(f"{counted(statistics.ignored, 'region')} to ignore")
        return html_table(title, rows, note=", ".join(notes))

    def _expect(self, names: Iterable[str]) -> None:
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise DataError(
                f"{self.name or self.root} has no class {', '.join(map(repr, unknown))}. "
                f"Its classes are {', '.join(map(repr, self.classes)) or 'none'}."
            )

    def _relabel(self, new: Sequence[int | None], classes: tuple[str, ...]) -> Dataset:
        """Give class i the label new[i]; None drops its objects, ANY_CLASS ignores them."""
        gone = -2
        table = np.array([gone if n is None else n for n in new] + [ANY_CLASS], np.int64)
        records = []
        for record in self:
            labels = table[record.labels]  # ANY_CLASS, -1, is the table's last entry
            ignored = record.ignored | (labels == ANY_CLASS)
            changed = replace(record, labels=labels, ignored=ignored)
            keep = labels != gone
            records.append(changed if keep.all() else changed.select(keep))
        return replace(self, records=tuple(records), classes=classes)


def _pack(records: Sequence[Record]) -> dict[str, Any]:
    """The records as columns of the whole data set."""
    stated = [record.areas is not None for record in records]
    areas = [record.areas for record in records if record.areas is not None]
    flags = [record.flags for record in records]
    return {
        "paths": [str(record.path) for record in records],
        "sizes": np.array([(r.width, r.height, len(r)) for r in records], np.int64).reshape(-1, 3),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(r.boxes for r in records)]),
        "labels": np.concatenate([np.zeros(0, np.int64), *(r.labels for r in records)]),
        "ignored": np.concatenate([np.zeros(0, np.bool_), *(r.ignored for r in records)]),
        "stated": stated,
        "areas": np.concatenate([np.zeros(0, np.float64), *areas]),
        "flags": flags if any(flags) else None,
        "ids": [record.image_id for record in records],
    }


def _unpack(columns: dict[str, Any], classes: tuple[str, ...], root: Path, name: str) -> Dataset:
    """The data set of packed columns; its arrays are views of them, which can't be written to."""
    boxes, labels, ignored, areas = (columns[k] for k in ("boxes", "labels", "ignored", "areas"))
    for column in (boxes, labels, ignored, areas):
        column.setflags(write=False)
    records = []
    start = area = 0
    for i, (width, height, count) in enumerate(columns["sizes"].tolist()):
        end = start + count
        stated = columns["stated"][i]
        records.append(
            Record(
                Path(columns["paths"][i]),
                width,
                height,
                boxes[start:end],
                labels[start:end],
                ignored[start:end],
                areas[area : area + count] if stated else None,
                columns["flags"][i] if columns["flags"] else {},
                columns["ids"][i],
            )
        )
        start, area = end, area + count * stated
    return Dataset(tuple(records), classes, root, name)


def _for_every_class(
    labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Repeat each ANY_CLASS entry once for each class: (indices of the sources, new labels)."""
    repeats = np.where(labels == ANY_CLASS, classes, 1)
    order = np.repeat(np.arange(len(labels)), repeats)
    first = np.repeat(np.cumsum(repeats) - repeats, repeats)
    numbers = np.arange(len(order)) - first
    return order, np.where(labels[order] == ANY_CLASS, numbers, labels[order])


_ADVISED = 6
"""Classes for which an option is written out."""


def _advise(strange: Sequence[str], known: Sequence[str]) -> str:
    """What to do about classes that a model does not know: the options, then the methods."""
    folded = {name.casefold(): name for name in known}
    renames = []
    for name in strange:
        near = get_close_matches(name.casefold(), folded, 1)
        renames.append(shlex.quote(f"{name}={folded[near[0]] if near else 'CLASS'}"))
    rename, ignore, only = (
        f" {option} ".join(words) if len(words) <= _ADVISED else f"{words[0]} and so on"
        for option, words in (
            ("--rename", renames),
            ("--ignore", [shlex.quote(name) for name in strange]),
            ("--only", [shlex.quote(name) for name in known]),
        )
    )
    return (
        f"Give them a name that it knows: --rename {rename} (in Python dataset.rename(...)); make "
        f"them regions to ignore: --ignore {ignore} (dataset.ignoring(...)); or leave them out: "
        f"--only {only} (dataset.only(...))."
    )


def _common_root(first: Path, second: Path) -> Path:
    """The deepest folder that holds both, or the first where there is none."""
    for folder in (first, *first.parents):
        if second.is_relative_to(folder):
            return folder
    return first
