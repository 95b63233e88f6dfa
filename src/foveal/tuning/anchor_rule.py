"""The rule of thumb in use: each class's mean ratio, closest base size and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from foveal.config import AnchorSettings
    from foveal.tuning.anchor_metrics import Objects


@dataclass(frozen=True, slots=True)
class ClassShape:
    """One class's mean shape in input pixels, and the anchor that the rule of thumb gives it.

    Attributes:
        name: the class.
        objects: how many there are.
        height, width: means, input pixels.
        ratio: mean height / mean width.
        base_size: the base size closest to the mean width.
        scale: mean width / base_size.
    """

    name: str
    objects: int
    height: float
    width: float
    ratio: float
    base_size: float
    scale: float


def rule_sizes(settings: AnchorSettings) -> tuple[float, ...]:
    """The base sizes of the rule of thumb: twice the strides, 16 to 256 for 8 to 128."""
    return tuple(2.0 * stride for stride in settings.strides)


def class_shapes(objects: Objects, *, base_sizes: tuple[float, ...]) -> tuple[ClassShape, ...]:
    """Each class's mean shape, and the base size and scale that the rule of thumb gives it.

    Classes without objects are left out.
    """
    shapes = []
    for label, name in enumerate(objects.classes):
        sides = objects.sides[objects.labels == label]
        if len(sides):
            width, height = sides.mean(axis=0).tolist()
            shapes.append(shape_of(name, height, width, base_sizes=base_sizes, objects=len(sides)))
    return tuple(shapes)


def shape_of(
    name: str, height: float, width: float, *, base_sizes: tuple[float, ...], objects: int = 1
) -> ClassShape:
    """What the rule of thumb says of a class with this mean height and width, input pixels."""
    base = min(base_sizes, key=lambda size: abs(size - width))
    return ClassShape(name, objects, height, width, height / width, base, width / base)


def rule_of_thumb(objects: Objects, settings: AnchorSettings) -> AnchorSettings:
    """Anchors from each class's mean ratio and scale, at most three of each.

    Where classes ask for more, those nearest to one another are merged, weighted by their objects.
    """
    base_sizes = rule_sizes(settings)
    shapes = class_shapes(objects, base_sizes=base_sizes)
    if not shapes:
        return settings
    weights = [shape.objects for shape in shapes]
    return settings.model_copy(
        update={
            "shapes": (),
            "sizes": base_sizes,
            "scales": _merged([shape.scale for shape in shapes], weights, max_values=3),
            "ratios": _merged([shape.ratio for shape in shapes], weights, max_values=3),
        }
    )


def _merged(values: list[float], weights: list[int], *, max_values: int) -> tuple[float, ...]:
    """Values merged on a logarithmic scale, nearest first, until few are left and they differ."""
    order = np.argsort(values)
    logs = [float(np.log(values[i])) for i in order]
    mass = [float(weights[i]) for i in order]
    while len(logs) > 1:
        gaps = np.diff(logs)
        nearest = int(gaps.argmin())
        if len(logs) <= max_values and gaps[nearest] > 0.05:
            break
        pair = slice(nearest, nearest + 2)
        merged = float(np.average(logs[pair], weights=mass[pair]))
        logs[pair], mass[pair] = [merged], [sum(mass[pair])]
    return tuple(float(round(np.exp(value), 4)) for value in logs)
