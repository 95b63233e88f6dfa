"""How well anchors fit objects: the exact best IoU over all locations, and who is assigned to whom.

An anchor's overlap with a box is a product of one overlap in x and one in y, and each only falls
with the distance between the two centers. So the best location of a shape is the one whose center
is nearest to the box's: one IoU for each object and shape is exact, however many locations there
are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foveal.config import AssignmentSettings
from foveal.detection.anchor_compat import convention_of
from foveal.detection.anchors import AnchorGrid
from foveal.geometry.anchor_reach import center_gaps, level_locations, reachable_ious
from foveal.geometry.arrays import iou_apart
from foveal.structures import Batch, RawOutput
from foveal.tuning.assignment import make_assigner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.config import AnchorSettings
    from foveal.detection.assigner import Assigner

SIZE_LIMITS = (16.0, 32.0, 96.0)
SIZE_NAMES = ("under 16 px", "16 - 32 px", "32 - 96 px", "96 px or more")
MAX_ASSIGNED_IMAGES = 60
"""In how many images, drawn by seed, anchors are assigned to count the positives."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects of a data set in the frame of the network's input; no regions to ignore among them.

    Attributes:
        boxes: [N, 4] float64 xyxy, input pixels, positive area.
        labels: [N] int64, 0..K-1.
        images: [N] int64, which image each lies in.
        inputs: [N, 2] int64, (width, height) of the input that each lies in, padding included.
        classes: the K names.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    inputs: NDArray[np.int64]
    classes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def sides(self) -> NDArray[np.float64]:
        """[N, 2] widths and heights, input pixels."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    def select(self, keep: NDArray[Any]) -> Objects:
        """The objects that a mask [N] or indices [n] pick."""
        return Objects(
            self.boxes[keep],
            self.labels[keep],
            self.images[keep],
            self.inputs[keep],
            self.classes,
        )


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """How well the anchors fit one group of objects; shares are NaN where there are none.

    Attributes:
        name: the class or the range of sizes.
        objects: how many there are.
        recall: share with an anchor of at least the wanted IoU.
        mean_iou: mean of each object's best IoU.
        positives: anchors assigned, per object; of large data sets, in a sample of the images.
        unassigned: share of the objects that no anchor is assigned to, in the same images.
    """

    name: str
    objects: int
    recall: float
    mean_iou: float
    positives: float
    unassigned: float = float("nan")


@dataclass(frozen=True, slots=True)
class AnchorQuality:
    """How well anchors fit objects.

    Attributes:
        total: over all objects.
        positives_by_level: anchors of each level assigned, per object.
        by_class: one group for each class, in the classes' order.
        by_size: four groups by the root of the area at the input size.
    """

    total: GroupQuality
    positives_by_level: tuple[float, ...]
    by_class: tuple[GroupQuality, ...]
    by_size: tuple[GroupQuality, ...]

    @property
    def recall(self) -> float:
        """Share of all objects with an anchor of at least the wanted IoU."""
        return self.total.recall

    @property
    def mean_iou(self) -> float:
        """Mean of each object's best IoU."""
        return self.total.mean_iou


def measure_anchors(
    objects: Objects,
    settings: AnchorSettings,
    *,
    assignment: AssignmentSettings | None = None,
    count_positives: bool = True,
    seed: int = 0,
) -> AnchorQuality:
    """Recall, mean best IoU and positives, overall, by class, by size and by level.

    Args:
        objects: with boxes in input pixels.
        settings: the anchors.
        assignment: how training assigns anchors, and the IoU that recall is about; None: the
            default.
        count_positives: assign anchors too, which takes most of the time; else positives are NaN.
        seed: draws the MAX_ASSIGNED_IMAGES whose positives are counted.
    """
    rules = assignment or AssignmentSettings()
    best = best_ious(objects, settings).max(axis=(1, 2), initial=0.0)
    max_images = MAX_ASSIGNED_IMAGES if count_positives else 0
    drawn = sample_images(objects, max_images=max_images, seed=seed)
    counted = objects.select(drawn)
    counts = assigned_anchors(counted, settings, make_assigner(rules, settings))

    def group(name: str, members: NDArray[np.bool_]) -> GroupQuality:
        if not members.any():
            return GroupQuality(name, 0, np.nan, np.nan, np.nan)
        positives = counts[members[drawn]].sum(axis=1)
        return GroupQuality(
            name,
            int(members.sum()),
            float((best[members] >= rules.foreground_iou).mean()),
            float(best[members].mean()),
            float(positives.mean()) if len(positives) else np.nan,
            float((positives == 0).mean()) if len(positives) else np.nan,
        )

    sizes = size_groups(objects)
    return AnchorQuality(
        total=group("all", np.ones(len(objects), bool)),
        positives_by_level=tuple((counts.sum(axis=0) / (len(counted) or np.nan)).tolist()),
        by_class=tuple(
            group(name, objects.labels == label) for label, name in enumerate(objects.classes)
        ),
        by_size=tuple(group(name, sizes == index) for index, name in enumerate(SIZE_NAMES)),
    )


def size_groups(objects: Objects) -> NDArray[np.int64]:
    """[N] the index into SIZE_NAMES of each object, by the root of its area."""
    roots = np.sqrt(objects.sides.prod(axis=1))
    groups: NDArray[np.int64] = np.searchsorted(np.array(SIZE_LIMITS), roots, side="right")
    return groups


def anchor_sides(settings: AnchorSettings) -> NDArray[np.float64]:
    """[L, A, 2] width and height of each level's anchors, input pixels."""
    return AnchorGrid(**settings.model_dump()).sides().astype(np.float64)


def best_ious(objects: Objects, settings: AnchorSettings) -> NDArray[np.float64]:
    """[N, L, A]: each object's IoU with each shape at that shape's best location."""
    sides = anchor_sides(settings)
    gaps = object_gaps(objects, settings)
    levels = [
        iou_apart(objects.sides[:, None], sides[level], gaps=gaps[:, None, level])
        for level in range(len(sides))
    ]
    return np.stack(levels, axis=1, dtype=np.float64)


def object_gaps(objects: Objects, settings: AnchorSettings) -> NDArray[np.float64]:
    """[N, L, 2]: distances in x and y from each object to each level's nearest location."""
    convention = convention_of(settings.compat)
    steps, counts = level_locations(
        objects.inputs, settings.strides, divided=convention.divided_stride
    )
    return center_gaps(objects.boxes, steps=steps, counts=counts, offset=convention.offset)


def enlarge(objects: Objects, factor: float) -> Objects:
    """The objects as they would lie in an input so many times as large in either direction."""
    inputs = np.ceil(objects.inputs * factor).astype(np.int64)
    return replace(objects, boxes=objects.boxes * factor, inputs=inputs)


def reachable_recall(objects: Objects, settings: AnchorSettings, *, iou: float = 0.5) -> float:
    """The recall that anchors of any shapes could have at these strides: a bound for every search.

    Args:
        objects: with boxes in input pixels.
        settings: whose strides and convention count.
        iou: from which IoU an object counts.
    """
    if not len(objects):
        return float("nan")
    reachable = reachable_ious(objects.sides, object_gaps(objects, settings))
    return float((reachable >= iou).mean())


def assigned_anchors(
    objects: Objects, settings: AnchorSettings, assigner: Assigner
) -> NDArray[np.int64]:
    """[N, L]: how many anchors of each level training would assign to each object.

    The assignment itself is asked, image by image, on the model's own anchors. A method that goes
    by predictions is told those of a network that has learned nothing: the anchors themselves.
    """
    grid = AnchorGrid(**settings.model_dump())
    counts = np.zeros((len(objects), len(settings.strides)), np.int64)
    order = np.argsort(objects.images, kind="stable")
    starts = np.flatnonzero(np.diff(objects.images[order], prepend=-1))
    for members in np.split(order, starts[1:]) if len(order) else []:
        width, height = (int(side) for side in objects.inputs[members[0]])
        boxes = torch.from_numpy(objects.boxes[members].astype(np.float32))
        found = match_untrained(_batch_of(boxes), (height, width), grid, assigner)[0]
        ends = np.cumsum(_level_lengths(grid, height, width))
        for level, part in enumerate(np.split(found.numpy(), ends[:-1])):
            counts[members, level] = np.bincount(part[part >= 0], minlength=len(members))
    return counts


def match_untrained(
    batch: Batch, size: tuple[int, int], grid: AnchorGrid, assigner: Assigner
) -> torch.Tensor:
    """Which object each anchor of each image gets before anything is learned: [B, A] int64.

    Below 0 it gets none. A method that goes by predictions is told those of a network that has
    learned nothing: the anchors themselves.

    Args:
        batch: its targets, input pixels; the images are not looked at.
        size: height and width of the input, pixels.
        grid: the anchors.
        assigner: the method of assignment.
    """
    images, classes = len(batch.counts), int(batch.labels.max()) + 1 if batch.labels.numel() else 1
    lengths = _level_lengths(grid, *size)
    blank = RawOutput(
        tuple(torch.zeros(images, length, classes) for length in lengths),
        tuple(torch.zeros(images, length, 4) for length in lengths),
    )
    return assigner(blank, grid.tensor(*size), batch).matched


def _level_lengths(grid: AnchorGrid, height: int, width: int) -> list[int]:
    """How many anchors each level has."""
    sizes = grid.level_sizes(height, width)
    return [rows * columns * grid.per_location for rows, columns in sizes]


def _batch_of(boxes: torch.Tensor) -> Batch:
    """One image with these objects [N, 4] of one class, as far as assigning asks."""
    return Batch(
        images=torch.zeros(1, 0, 0, 0, dtype=torch.uint8),
        boxes=boxes[None],
        labels=torch.zeros(1, len(boxes), dtype=torch.int64),
        ignored=torch.zeros(1, len(boxes), dtype=torch.bool),
        counts=torch.tensor([len(boxes)]),
        has_ignored=False,
    )


def sample_images(objects: Objects, *, max_images: int, seed: int) -> NDArray[np.int64]:
    """[n] indices of the objects in at most so many images, drawn by seed, rare classes first."""
    images = np.unique(objects.images)
    if len(images) <= max_images:
        return np.arange(len(objects))
    if max_images == 0:
        return np.zeros(0, np.int64)
    rng = np.random.default_rng(seed)
    frequency = np.bincount(objects.labels, minlength=max(len(objects.classes), 1))
    weight = np.zeros(int(objects.images.max()) + 1)
    np.maximum.at(weight, objects.images, 1 / frequency[objects.labels])
    shuffled = rng.permutation(images)
    rare = shuffled[np.argsort(-weight[shuffled], kind="stable")][: max_images // 4]
    rest = shuffled[~np.isin(shuffled, rare)][: max_images - len(rare)]
    return np.flatnonzero(np.isin(objects.images, np.concatenate([rare, rest])))
