"""What a data set holds: classes, sizes, shapes, counts. No image is opened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """One class's objects; means are NaN where there are none.

    Attributes:
        name: the class.
        objects: how many there are, regions to ignore left out.
        images: in how many images they are.
        width, height: means, original pixels.
    """

    name: str
    objects: int
    images: int
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a data set holds; quantiles are empty where there are no objects.

    Attributes:
        name: of the data set.
        images: how many there are.
        without_objects: images that show none.
        objects: how many there are, regions to ignore left out.
        ignored: regions to ignore.
        most_objects: in one image.
        classes: one for each, in the data set's order.
        sides: QUANTILES of the root of the objects' area, original pixels.
        ratios: QUANTILES of height / width.
        image_sizes: (width, height, images), most frequent first; 0 x 0 where not known.
    """

    name: str
    images: int
    without_objects: int
    objects: int
    ignored: int
    most_objects: int
    classes: tuple[ClassStatistics, ...]
    sides: tuple[float, ...]
    ratios: tuple[float, ...]
    image_sizes: tuple[tuple[int, int, int], ...]

    @property
    def objects_per_image(self) -> float:
        """Mean number of objects; 0 without images."""
        return self.objects / self.images if self.images else 0.0


def measure_dataset(dataset: Dataset) -> Statistics:
    """Count and measure the objects of a data set; boxes without area are left out."""
    objects = stack_objects(dataset)
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    real = np.isfinite(sides).all(axis=1) & (sides > 0).all(axis=1) & (objects.labels >= 0)
    kept = real & ~objects.ignored
    sides, labels, images = (
        sides[kept].astype(np.float64),
        objects.labels[kept],
        objects.images[kept],
    )
    per_image = np.bincount(images, minlength=len(dataset))
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(dataset.classes)))
    members = np.split(order, ends[:-1])
    sizes = Counter((record.width, record.height) for record in dataset)
    return Statistics(
        name=dataset.name,
        images=len(dataset),
        without_objects=int((per_image == 0).sum()),
        objects=len(sides),
        ignored=int(objects.ignored.sum()),
        most_objects=int(per_image.max(initial=0)),
        classes=tuple(
            _of_class(name, sides[index], images[index])
            for name, index in zip(dataset.classes, members, strict=bool(dataset.classes))
        ),
        sides=_quantiles(np.sqrt(sides.prod(axis=1))),
        ratios=_quantiles(sides[:, 1] / sides[:, 0]),
        image_sizes=tuple((*size, count) for size, count in sizes.most_common()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class StackedObjects:
    """All boxes of a data set in one array.

    Attributes:
        boxes: [N, 4] float32 xyxy, original pixels.
        labels: [N] int64.
        ignored: [N] bool.
        images: [N] int64, index of the record.
        numbers: [N] int64, index of the box in its record.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]


def stack_objects(dataset: Dataset) -> StackedObjects:
    """All boxes of a data set, regions to ignore and bad boxes included."""
    counts = np.array([len(record) for record in dataset], np.int64)
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    return StackedObjects(
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(r.boxes for r in dataset)]),
        labels=np.concatenate([np.zeros(0, np.int64), *(r.labels for r in dataset)]),
        ignored=np.concatenate([np.zeros(0, np.bool_), *(r.ignored for r in dataset)]),
        images=np.repeat(np.arange(len(counts)), counts),
        numbers=np.arange(total) - np.repeat(starts, counts),
    )


def _of_class(name: str, sides: NDArray[np.float64], images: NDArray[np.int64]) -> ClassStatistics:
    width, height = sides.mean(axis=0).tolist() if len(sides) else (np.nan, np.nan)
    return ClassStatistics(name, len(sides), len(np.unique(images)), width, height)


def _quantiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.quantile(values, QUANTILES).tolist()) if len(values) else ()
