"""The search for base sizes, scales and ratios whose anchors overlap a data set's objects best.

Coordinate ascent on the logarithms of all sizes, scales and ratios, from several starts and for
several ways to share the anchors of a location between scales and ratios. The score is the true
best IoU over the locations of the grid (not the IoU of shapes laid on top of one another): the
share of objects above the wanted IoU, softened so that objects just below it pull, a little of the
mean IoU, and a heavy price on every class whose recall falls below that of the anchors to start
from. The cheapest runs decide which few are refined; the best by recall, then by mean IoU, is
returned. Everything is deterministic; a large data set is searched on a seeded sample in which rare
classes keep all their objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.geometry.arrays import iou_apart
from foveal.tuning.anchor_metrics import Objects, best_ious, object_gaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.config import AnchorSettings

SEARCHED_OBJECTS = 4000
MAX_REPAIRED_OBJECTS = 200_000
"""Up to so many objects, classes that lost outside the sample are repaired on all of them."""
MIN_OF_CLASS = 200
"""Objects of each class that the sample keeps, where there are so many."""
SMALLEST_IN_STRIDES = 1.0
"""A level's smallest anchor, in strides: smaller ones lie between their own level's locations."""
LARGEST_IN_STRIDES = 8.0
"""And its largest: more than that is seen better from the next level."""
SOFTNESS = 0.03
"""IoU distance over which an object counts as half within reach."""
MEAN_WEIGHT = 0.1
CLASS_PRICE = 2.0
FINE_STEPS = (0.2, 0.08, 0.03)
COARSE_STEPS = (0.5, 0.25, 0.12)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """Where the search stands: natural logarithms of sizes [L], scales [S] and ratios [R]."""

    sizes: NDArray[np.float64]
    scales: NDArray[np.float64]
    ratios: NDArray[np.float64]

    def moved(self, axis: int, index: int, step: float) -> _Point:
        parts = [self.sizes.copy(), self.scales.copy(), self.ratios.copy()]
        parts[axis][index] += step
        return _Point(*parts)

    def coordinates(self) -> list[tuple[int, int]]:
        return [
            (axis, index)
            for axis, part in enumerate((self.sizes, self.scales, self.ratios))
            for index in range(len(part))
        ]


class _Landscape:
    """The score of any point on a fixed sample of objects."""

    def __init__(
        self,
        objects: Objects,
        settings: AnchorSettings,
        *,
        iou: float,
        chosen: NDArray[np.int64],
        weights: NDArray[np.float64] | None = None,
    ):
        self.objects = objects.select(chosen)
        self.weights = np.full(len(chosen), 1 / len(chosen)) if weights is None else weights
        self.sides = self.objects.sides.astype(np.float32)
        gaps = object_gaps(self.objects, settings).astype(np.float32)
        self.gaps = np.ascontiguousarray(gaps.swapaxes(0, 1))
        self.strides = np.array(settings.strides, np.float64)
        self.iou = iou
        self.members = [self.objects.labels == label for label in np.unique(self.objects.labels)]
        start = best_ious(self.objects, settings).max(axis=(1, 2))
        self.floors = self._class_recalls(start)

    def allowed(self, point: _Point) -> bool:
        """Whether every level's anchors are of its own order of size and grow with the level."""
        smallest = np.exp(point.sizes + point.scales.min())
        largest = np.exp(point.sizes + point.scales.max())
        return bool(
            (smallest >= SMALLEST_IN_STRIDES * self.strides * 0.999).all()
            and (largest <= LARGEST_IN_STRIDES * self.strides * 1.001).all()
            and (np.diff(point.sizes) > 0.2).all()
        )

    def table(self, point: _Point) -> NDArray[np.float32]:
        """[L, S, R, N]: IoU of each shape at its best location."""
        return self.levels(point, slice(None))

    def levels(self, point: _Point, chosen: slice) -> NDArray[np.float32]:
        """[L, S, R, N] of the chosen levels."""
        sizes = np.exp(point.sizes[chosen, None, None] + point.scales[:, None])
        roots = np.exp(point.ratios / 2)
        shapes = np.stack([sizes / roots, sizes * roots], axis=-1).astype(np.float32)
        gaps = self.gaps[chosen, None, None]
        ious = iou_apart(shapes[..., None, :], self.sides, gaps=gaps)
        return ious.astype(np.float32, copy=False)

    def score(self, best: NDArray[np.float32]) -> float:
        """The softened recall, the mean and the price of classes that lost."""
        near = 1 / (1 + np.exp((self.iou - best) / SOFTNESS))
        lost = np.maximum(self.floors - self._class_recalls(best), 0).sum()
        return float(self.weights @ (near + MEAN_WEIGHT * best) - CLASS_PRICE * lost)

    def rank(self, point: _Point) -> tuple[float, float, float]:
        """What the best is chosen by: classes lost, recall, mean IoU."""
        best = self.table(point).max(axis=(0, 1, 2))
        lost = np.maximum(self.floors - self._class_recalls(best), 0).sum()
        return (-float(lost), float(self.weights @ (best >= self.iou)), float(self.weights @ best))

    def _class_recalls(self, best: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.array([(best[members] >= self.iou).mean() for members in self.members])


def search_anchors(
    objects: Objects, settings: AnchorSettings, *, foreground_iou: float = 0.5, seed: int = 0
) -> AnchorSettings:
    """The anchors that fit the objects best, on the settings' levels and strides.

    Args:
        objects: with boxes in input pixels; without any, the settings come back. So they do where
            the strides do not grow from level to level.
        settings: strides and convention are kept, and no class may be reached less than by them.
        foreground_iou: from which IoU an object counts as reached.
        seed: draws the sample where there are more than SEARCHED_OBJECTS objects.
    """
    if not len(objects):
        return settings
    chosen, weights = _sample(objects, seed=seed)
    land = _Landscape(objects, settings, iou=foreground_iou, chosen=chosen, weights=weights)
    starts = [point for point in _starts(land, settings) if land.allowed(point)]
    if not starts:
        return settings
    coarse = [_climb(land, point, COARSE_STEPS, sweeps=2) for point in starts]
    coarse.sort(key=lambda found: -found[0])
    refined = [_climb(land, point, FINE_STEPS, sweeps=8)[1] for _, point in coarse[:3]]
    best = max(refined, key=land.rank)
    if len(land.weights) < len(objects) <= MAX_REPAIRED_OBJECTS:
        whole = _Landscape(objects, settings, iou=foreground_iou, chosen=np.arange(len(objects)))
        if whole.rank(best)[0] < 0:
            best = _climb(whole, best, FINE_STEPS, sweeps=1)[1]
    return _to_settings(best, settings)


def _climb(
    land: _Landscape, point: _Point, steps: tuple[float, ...], *, sweeps: int
) -> tuple[float, _Point]:
    """Move one coordinate at a time, both ways, until no step helps or the sweeps are used up."""
    table = land.table(point)
    score = land.score(table.max(axis=(0, 1, 2)))
    for step in steps:
        for _ in range(sweeps):
            before = score
            for axis, index in point.coordinates():
                for signed in (step, -step):
                    moved = point.moved(axis, index, signed)
                    if not land.allowed(moved):
                        continue
                    changed = _changed(land, table, moved, axis, index)
                    value = land.score(changed.max(axis=(0, 1, 2)))
                    if value > score + 1e-7:
                        point, table, score = moved, changed, value
                        break
            if score - before < 1e-4:
                break
    return score, point


def _changed(
    land: _Landscape, table: NDArray[np.float32], point: _Point, axis: int, index: int
) -> NDArray[np.float32]:
    """The table after one coordinate moved; only what depends on it is computed."""
    changed = table.copy()
    if axis == 0:
        chosen = slice(index, index + 1)
        changed[chosen] = land.levels(point, chosen)
        return changed
    scales, ratios = point.scales, point.ratios
    part = _Point(
        point.sizes,
        scales[index : index + 1] if axis == 1 else scales,
        ratios[index : index + 1] if axis == 2 else ratios,
    )
    found = land.table(part)
    if axis == 1:
        changed[:, index] = found[:, 0]
    else:
        changed[:, :, index] = found[:, :, 0]
    return changed


def _starts(land: _Landscape, settings: AnchorSettings) -> list[_Point]:
    """The settings themselves, and anchors from one to four strides with the data's own ratios."""
    points = [
        _Point(*(np.log(part) for part in (settings.sizes, settings.scales, settings.ratios)))
    ]
    logs = np.log(land.sides[:, 1] / land.sides[:, 0]).astype(np.float64)
    for scales, ratios in ((3, 3), (2, 4), (4, 2)):
        shares = (np.arange(ratios) + 0.5) / ratios
        points += [
            _Point(
                np.log(land.strides * strides),
                np.arange(scales) * np.log(2) / scales,
                np.quantile(logs, shares),
            )
            for strides in (1.0, 1.5, 2.5, 4.0)
        ]
    return points


def _sample(objects: Objects, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices of the objects to search on, and what share of all each stands for."""
    total = len(objects)
    if total <= SEARCHED_OBJECTS:
        return np.arange(total), np.full(total, 1 / total)
    rng = np.random.default_rng(seed)
    chosen = []
    weights = []
    for label in np.unique(objects.labels):
        members = np.flatnonzero(objects.labels == label)
        wanted = max(SEARCHED_OBJECTS * len(members) // total, min(MIN_OF_CLASS, len(members)))
        chosen.append(np.sort(rng.choice(members, wanted, replace=False)))
        weights.append(np.full(wanted, len(members) / wanted / total))
    return np.concatenate(chosen), np.concatenate(weights)


def _to_settings(point: _Point, settings: AnchorSettings) -> AnchorSettings:
    """Rounded to what one reads, the smallest scale 1."""
    smallest = point.scales.min()
    return settings.model_copy(
        update={
            "shapes": (),
            "sizes": tuple(float(round(size, 2)) for size in np.exp(point.sizes + smallest)),
            "scales": tuple(float(round(x, 4)) for x in np.sort(np.exp(point.scales - smallest))),
            "ratios": tuple(float(round(x, 4)) for x in np.sort(np.exp(point.ratios))),
        }
    )
