"""Boxes in another convention or unit than their format's: seen by how they lie in the images.

Files hold corners where sides are expected, shares of the image's size where pixels are, and the
like. One such box may be a slip; all of them are a custom. A reading is doubted where many boxes
can't be as it has them (inverted, or out of the image) and nearly all can be in another, or where
all numbers of images of hundreds of pixels are between 0 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Convention = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
Unit = Literal["pixels", "shares", "percent"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
UNITS: tuple[Unit, ...] = get_args(Unit)
_WORDS = {
    "xyxy": "two corners (x1, y1, x2, y2)",
    "xywh": "a corner and sides (x, y, width, height)",
    "cxcywh": "a center and sides (x, y, width, height)",
    "yxyx": "two corners with y before x (y1, x1, y2, x2)",
}
_UNIT_WORDS = {
    "pixels": "in pixels",
    "shares": "as shares of the image's size (0 to 1)",
    "percent": "in percent of the image's size",
}

TELLING = 0.1
"""Share of impossible boxes from which another reading is thought of."""
CERTAIN = 0.15
"""Share of impossible boxes from which reading stops rather than warns."""
CONVINCING = 0.98
"""Share of boxes that the other reading must make possible."""
FEWEST = 5
"""Impossible boxes that tell something; fewer do where no box at all is possible."""
_FEWEST_OF_ALL = 3
_CARELESS = 0.1
"""How far a box may leave its image and be possible, as a share of its side."""
_SMALLEST_FOR_SHARES = 16
_SMALLEST_FOR_PERCENT = 200
"""Sides of images in pixels: in smaller ones small numbers may be pixels."""
_FEWEST_FOR_PERCENT = 20
_SPREAD = 15.0
"""Deviation of the centers in percent from which boxes lie all over the image, not in a corner."""


_LARGEST_SHARE = 2.0
"""A number above it is no share of the image's size gone astray but pixels or percent."""


def share_fault(numbers: Sequence[float]) -> str:
    """Why numbers can't be shares of an image's size, as a sentence; "" where they may be."""
    largest = max(map(abs, numbers), default=0.0)
    if not _LARGEST_SHARE < largest < math.inf:
        return ""
    units = "pixels" if largest > 100 else "percent, or --boxes pixels"
    return (
        f"{largest:g} is not a share of the image's size. Expected numbers from 0 to 1. Divide "
        f"pixels by width and height, or say --boxes {units} (in Python boxes=...)."
    )


@dataclass(frozen=True, slots=True)
class BoxReading:
    """How the four numbers of a box are meant."""

    convention: Convention
    unit: Unit = "pixels"

    def __str__(self) -> str:
        """As the option writes it: xywh, or xywh+shares."""
        return self.convention + (f"+{self.unit}" if self.unit != "pixels" else "")

    def describe(self) -> str:
        """In words."""
        return f"{_WORDS[self.convention]} {_UNIT_WORDS[self.unit]}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a reading of boxes is doubted.

    Attributes:
        own: the format's reading.
        others: readings in which the boxes are possible, the likeliest first.
        impossible: [N] bool, the boxes that can't be as they were read; all false for units.
        certain: whether the reading can't be right.
    """

    own: BoxReading
    others: tuple[BoxReading, ...]
    impossible: NDArray[np.bool_]
    certain: bool

    def explain(self, option: str = "--boxes", keyword: str = "boxes") -> str:
        """What the boxes look like, and the option that reads them so."""
        count = int(self.impossible.sum())
        other = self.others[0]
        why = (
            f"{count:,} of {len(self.impossible):,} boxes can't be {self.own.describe()}, but can "
            "be"
            if count
            else f"the boxes are read {self.own.describe().partition(') ')[2]} and look like"
        )
        more = "".join(f" or {reading}" for reading in self.others[1:2])
        return (
            f"{why} {other.describe()}. Read them so with {option} {other}{more} (in Python "
            f"{keyword}={str(other)!r}); {option} {self.own} keeps them as they are."
        )


def parse_reading(text: str, own: BoxReading = BoxReading("xyxy")) -> BoxReading:
    """The reading that an option names: a convention, a unit, or both with a + between.

    Args:
        text: such as "xywh", "shares" or "cxcywh+percent".
        own: the format's, from which what is not named is taken.

    Raises:
        DataError: a word is neither.
    """
    convention, unit = own.convention, own.unit
    for word in text.lower().split("+"):
        if word in CONVENTIONS:
            convention = word
        elif word in UNITS:
            unit = word
        else:
            raise DataError(
                f"--boxes {text} (in Python boxes={text!r}): there is no reading {word!r}. "
                f"Expected one of {', '.join(CONVENTIONS)}, one of {', '.join(UNITS)}, or two with "
                "a + between, such as xywh+shares."
            )
    return BoxReading(convention, unit)


def reread(
    boxes: NDArray[np.float64],
    limits: NDArray[np.float64],
    *,
    own: BoxReading,
    other: BoxReading,
) -> NDArray[np.float64]:
    """Boxes as another reading of the same numbers has them.

    Args:
        boxes: [N, 4] xyxy in pixels, as `own` has them.
        limits: [N, 4] width, height, width, height of each one's image.
        own, other: the readings.

    Returns:
        [N, 4] xyxy in pixels; not finite where a size is needed and not known.
    """
    if own == other:
        return boxes
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        numbers = _written(boxes / _scale(limits, own.unit), own.convention)
        return _corners(numbers, other.convention) * _scale(limits, other.unit)


def _scale(limits: NDArray[np.float64], unit: Unit) -> NDArray[np.float64] | float:
    if unit == "pixels":
        return 1.0
    return limits if unit == "shares" else limits / 100


def _corners(numbers: NDArray[np.float64], convention: Convention) -> NDArray[np.float64]:
    first, second = numbers[:, :2], numbers[:, 2:]
    if convention == "xywh":
        return np.concatenate([first, first + second], axis=1)
    if convention == "cxcywh":
        return np.concatenate([first - second / 2, first + second / 2], axis=1)
    return numbers[:, [1, 0, 3, 2]] if convention == "yxyx" else numbers


def _written(corners: NDArray[np.float64], convention: Convention) -> NDArray[np.float64]:
    first, second = corners[:, :2], corners[:, 2:]
    if convention == "xywh":
        return np.concatenate([first, second - first], axis=1)
    if convention == "cxcywh":
        return np.concatenate([(first + second) / 2, second - first], axis=1)
    return corners[:, [1, 0, 3, 2]] if convention == "yxyx" else corners


def doubt(
    boxes: NDArray[np.float64], limits: NDArray[np.float64], *, own: BoxReading
) -> Doubt | None:
    """Whether boxes look as if they were meant otherwise; None where they don't.

    Args:
        boxes: [N, 4] xyxy in pixels, as `own` has them.
        limits: [N, 4] width, height, width, height of each one's image; 0 where not known.
        own: the format's reading.
    """
    known = (limits > 0).all(axis=1) & np.isfinite(boxes).all(axis=1)
    whole = bool(known.all())
    some, bounds = (boxes, limits) if whole else (boxes[known], limits[known])
    if not len(some):
        return None
    return _other_unit(some, bounds, own) or _other_convention(some, bounds, own)


def _other_unit(
    boxes: NDArray[np.float64], limits: NDArray[np.float64], own: BoxReading
) -> Doubt | None:
    """Whether numbers that are read as pixels are shares or percent."""
    if own.unit != "pixels" or boxes.min() < -1 or np.percentile(boxes, 95) > 150:
        return None
    numbers = _written(boxes, own.convention)
    nothing = np.zeros(len(boxes), np.bool_)
    is_share = (numbers > -0.01).all(axis=1) & (numbers < 1.01).all(axis=1)
    if is_share.mean() >= CONVINCING and (limits[is_share] >= _SMALLEST_FOR_SHARES).all():
        if (numbers[is_share] % 1 == 0).all():
            return None  # 0 and 1 alone: placeholders
        others = _fitting(boxes, limits, own, "shares")
        return Doubt(own, others, nothing, certain=True) if others else None
    if len(boxes) < _FEWEST_FOR_PERCENT or (limits < _SMALLEST_FOR_PERCENT).any():
        return None
    others = _fitting(boxes, limits, own, "percent")
    if not others or others[0].convention != own.convention:
        return None
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    ends = boxes[:, 2:].max(axis=0)
    if (centers.std(axis=0) < _SPREAD).any() or (ends < 75).any():
        return None
    return Doubt(own, others[:1], nothing, certain=False)


def _other_convention(
    boxes: NDArray[np.float64], limits: NDArray[np.float64], own: BoxReading
) -> Doubt | None:
    """Whether boxes that can't be can be in another convention."""
    impossible = ~_possible(boxes, limits)
    count, share = int(impossible.sum()), float(impossible.mean())
    if count < FEWEST and not (count >= _FEWEST_OF_ALL and share == 1):
        return None
    if share < TELLING:
        return None
    others = _fitting(boxes, limits, own, own.unit)
    if not others and own.unit == "pixels":
        others = _fitting(boxes, limits, own, "percent")
    others = tuple(reading for reading in others if reading != own)
    return Doubt(own, others, impossible, certain=share >= CERTAIN) if others else None


def _fitting(
    boxes: NDArray[np.float64], limits: NDArray[np.float64], own: BoxReading, unit: Unit
) -> tuple[BoxReading, ...]:
    """The readings of a unit in which nearly all boxes are possible, the format's own first."""
    conventions = sorted(CONVENTIONS, key=lambda name: name != own.convention)
    fitting = []
    for convention in conventions:
        other = BoxReading(convention, unit)
        again = reread(boxes, limits, own=own, other=other)
        if _possible(again, limits).mean() >= CONVINCING:
            fitting.append(other)
    return tuple(fitting)


def _possible(boxes: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes have an area and lie in their image, but for what a careless hand may leave."""
    slack = 1 + 0.01 * limits[:, 2:] + _CARELESS * np.abs(boxes[:, 2:] - boxes[:, :2])
    inside = (boxes[:, :2] >= -slack) & (boxes[:, 2:] <= limits[:, 2:] + slack)
    return np.asarray((inside & (boxes[:, 2:] > boxes[:, :2])).all(axis=1))
