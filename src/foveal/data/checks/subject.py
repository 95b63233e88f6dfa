"""What the checks look at: data sets that belong together, and what is known of them so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.data.checks.files import file_size, same_content
from foveal.data.checks.near_duplicates import Squares, read_squares
from foveal.data.checks.readiness import headers_of
from foveal.data.statistics import StackedObjects, stack_objects
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.issues import Kind
    from foveal.data.images.headers import Header
    from foveal.data.opening import Reading
    from foveal.data.transforms.preparation import Preparation

OTHER_READING: frozenset[Kind] = frozenset({"boxes read otherwise", "boxes look otherwise"})
"""Kinds of problem that explain other findings: sizes of such boxes say nothing."""


@dataclass(frozen=True, slots=True)
class InputGrid:
    """How the network would see the images.

    Attributes:
        preparation: to the input's size; None leaves images unscaled.
        strides, offset: where anchors stand.
        foreground_iou: from which IoU an anchor reaches an object, where anchors go by it.
        rule: "iou" where an anchor is given to an object by their IoU; "location" where each
            location has one anchor, and its place decides.
        windows: whether the network sees windows of images at one scale.
        preset: the preset whose grid it is, for messages; "" for none.
    """

    preparation: Preparation | None
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    offset: float = 0.5
    foreground_iou: float = 0.5
    rule: Literal["iou", "location"] = "iou"
    windows: bool = False
    preset: str = ""


@dataclass(slots=True)
class Passes:
    """Several passes over the same images, told as one: each image counts when all are done.

    Attributes:
        progress: called with (images looked at, images in all); None tells nobody.
        count: how many passes there will be.
    """

    progress: Callable[[int, int], None] | None
    count: int = 1
    _begun: int = 0

    def next(self) -> Callable[[int, int], None] | None:
        """What the next pass is to call with (images looked at, images in all)."""
        progress, before = self.progress, self._begun
        self._begun += 1
        if progress is None:
            return None
        return lambda done, total: progress((before * total + done) // self.count, total)


@dataclass(frozen=True, eq=False)
class Part:
    """One data set.

    Attributes:
        reading: the data set, with all its boxes, and what reading collected.
        grid: how the network would see it; None where that is not asked.
        passes: tells how far reading the headers is, where that is a pass of its own.
    """

    reading: Reading
    grid: InputGrid | None = None
    passes: Passes | None = None

    @property
    def data(self) -> Dataset:
        """The records."""
        return self.reading.dataset

    @cached_property
    def objects(self) -> StackedObjects:
        """All boxes, bad ones and regions to ignore included."""
        return stack_objects(self.data)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """[N, 2] widths and heights of the images in the annotations; 0 where they are not said."""
        return np.array([(r.width, r.height) for r in self.data], np.int64).reshape(-1, 2)

    @cached_property
    def headers(self) -> list[Header]:
        """Of the image files, in the images' order."""
        return headers_of(self.data, progress=self.passes.next() if self.passes else None)

    @property
    def is_read_otherwise(self) -> bool:
        """Whether reading says already that the boxes may be meant in another way."""
        return any(problem.kind in OTHER_READING for problem in self.reading.problems)

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """[N] which boxes are finite, have an area and are no regions to ignore."""
        boxes = self.objects.boxes
        real = ~self.objects.ignored & (self.objects.labels >= 0) & np.isfinite(boxes).all(axis=1)
        real &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return np.asarray(real, np.bool_)

    def name_object(self, index: int) -> str:
        """How people are told of an object of `objects`: its file and number, counted from 1."""
        record = self.data.records[int(self.objects.images[index])]
        return f"{record.path.name}, object {int(self.objects.numbers[index]) + 1}"

    def name_image(self, record: Record) -> str:
        """How people are told of an image: its path below the data set's folder."""
        path, root = record.path, self.data.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


@dataclass(frozen=True, slots=True)
class Split:
    """Images that are trained on or measured with together.

    Attributes:
        name: what people call it, such as "the validation data".
        members: indices into `Subject.images`, ascending.
    """

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """All that the checks look at.

    Attributes:
        parts: the data set, then the validation data where there is any.
        decode: whether every image is to be decoded.
        workers: processes that decode; 0 does it in this one.
        mirrored: whether mirrored and turned images are near-duplicates too.
        passes: tells how far each pass over the images is.
    """

    parts: tuple[Part, ...]
    decode: bool = False
    workers: int = 0
    mirrored: bool = False
    passes: Passes = field(default_factory=lambda: Passes(None))

    @cached_property
    def images(self) -> list[tuple[int, Record]]:
        """All images of all parts, each with the index of its part."""
        return [(number, record) for number, part in enumerate(self.parts) for record in part.data]

    @cached_property
    def splits(self) -> list[Split]:
        """The parts where there are two, else the splits that the address names, else one."""
        if len(self.parts) > 1:
            count = len(self.parts[0].data)
            names = "the training data", "the validation data"
            ranges = range(count), range(count, len(self.images))
            return [Split(n, tuple(r)) for n, r in zip(names, ranges, strict=True)]
        named = self.parts[0].reading.splits
        if len(named) > 1:
            return [Split(f"split {name}", tuple(indices)) for name, indices in named.items()]
        return [Split("", tuple(range(len(self.images))))]

    @cached_property
    def file_sizes(self) -> list[int | None]:
        """Of each image's file, bytes; None where there is no regular file."""
        return list(map_in_threads(lambda owner: file_size(owner[1].path), self.images))

    @cached_property
    def copies(self) -> list[list[int]]:
        """Groups of indices of images whose files have the same content."""
        known = [(index, size) for index, size in enumerate(self.file_sizes) if size]
        paths = [self.images[index][1].path for index, _ in known]
        groups = same_content(paths, [size for _, size in known])
        return [[known[number][0] for number in group] for group in groups]

    @cached_property
    def squares(self) -> Squares:
        """All images, shrunk to small gray squares."""
        return read_squares([record.path for _, record in self.images], progress=self.passes.next())

    @cached_property
    def patterns(self) -> NDArray[np.float32]:
        """[N, D] what all images look like."""
        return self.squares.patterns

    def name_image(self, index: int) -> str:
        """How people are told of one of `images`."""
        part, record = self.images[index]
        return self.parts[part].name_image(record)
