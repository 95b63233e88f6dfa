"""Validation: how good a model is on images that it does not learn from, by all processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.distributed import agreed, share_out
from foveal.evaluation.evaluate import quick_numbers

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import Detections

Detect = Callable[["RetinaNet", list[Path]], "list[Detections]"]
"""What a model finds in images, in their order."""


class Validation:
    """Measures models on the same images, and remembers what the best of them found.

    Args:
        data: the images, with the model's classes.
        detect: finds the objects.
        max_detections: most detections of an image.

    Attributes:
        targets: what each image shows.
    """

    def __init__(self, data: Dataset, detect: Detect, *, max_detections: int) -> None:
        self._paths = data.paths
        self._classes = data.classes
        self._detect = detect
        self._max_detections = max_detections
        self.targets = data.targets
        self._best: tuple[dict[str, float], list[Detections]] | None = None

    def __call__(self, model: RetinaNet) -> dict[str, float]:
        """The model's numbers, AP among them; the same in all processes."""
        found = self._find(model)
        numbers = agreed(
            quick_numbers(found, self.targets, self._classes, max_detections=self._max_detections)
        )
        if self._best is None or not numbers["AP"] < self._best[0]["AP"]:
            self._best = numbers, found
        return numbers

    def found_by(self, model: RetinaNet, numbers: Mapping[str, float]) -> list[Detections]:
        """What the model finds in each image.

        Args:
            model: is asked only if it is not the best one that was measured here.
            numbers: what it was measured to have, by which that is known.
        """
        if self._best is not None and _same(self._best[0], numbers):
            return self._best[1]
        return self._find(model)

    def _find(self, model: RetinaNet) -> list[Detections]:
        return share_out(self._paths, lambda paths: self._detect(model, paths))


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether all numbers are equal; NaN, an undefined one, equals itself here."""
    return one.keys() == other.keys() and all(
        value == other[name] or (math.isnan(value) and math.isnan(other[name]))
        for name, value in one.items()
    )
