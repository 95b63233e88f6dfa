"""Validation: how good a model is on images that it does not learn from, by all processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.near_duplicates import find_near_duplicates
from foveal.distributed import broadcast, parallel_map
from foveal.evaluation.evaluate import choose_threshold, evaluate, limit_of, quick_numbers
from foveal.text import counted
from foveal.training.early_signs import Sightings
from foveal.training.outlook import images_without_objects
from foveal.training.reporters import telling_how_far

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.evaluation.results import Evaluation
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import Detections
    from foveal.training.reporters import Reporter
    from foveal.training.validation_loss import ImageLoss, ValidationLoss

_MOST_LOOKED_AT = 20_000
_PIXELS_LOOKED_AT = 16_000_000_000
"""So many images, of so many pixels together, are compared before a run: a minute at most."""
_LARGEST_LOOKED_AT = 64_000_000
"""Pixels of an image; those of larger ones, scenes, are not read for it."""

Detect = Callable[["RetinaNet", list[Path]], "list[Detections]"]
"""A model's detections in images, in the images' order, low scores among them."""


def split_off_validation(
    data: Dataset, *, fraction: float, seed: int, reporter: Reporter
) -> tuple[Dataset, Dataset]:
    """Split data into training and validation images, and say so.

    Args:
        data: all images.
        fraction: of the images that validate, 0..1.
        seed: of the random choice.
        reporter: gets a sentence that says how many are held out.
    """
    alike = _find_alike(data, reporter) if len(data) > 1 else []
    training, validation = data.split(fraction, seed=seed, together=alike)
    text = (
        f"No validation data was given: {len(validation)} of {counted(len(data), 'image')} "
        f"held out (seed {seed})."
    )
    if alike:
        text += (
            f" {sum(map(len, alike)):,} images look like another one, in "
            f"{counted(len(alike), 'group')}: each group is in one part."
        )
    held = {record.path for record in validation}
    if any(len({data.records[i].path in held for i in group}) > 1 for group in alike):
        reporter.warn(
            f"{max(map(len, alike)):,} of {counted(len(data), 'image')} look alike, so that those "
            "held out are much like those that are learned from: validation will praise what was "
            "learned by heart. Give other images: --valid DATA (in Python fit(valid=...))."
        )
    reporter.say(text)
    return training, validation


def _find_alike(data: Dataset, reporter: Reporter) -> list[tuple[int, ...]]:
    """The images of which another one is a near-duplicate, mirrored or not, in groups.

    Images too large to be looked at in no time are left out, and so is all of it where there are
    very many: the start of a run is not to wait for it.
    """
    pixels = np.array([record.width * record.height for record in data], np.int64)
    small = np.flatnonzero(pixels <= _LARGEST_LOOKED_AT)
    if len(small) > _MOST_LOOKED_AT or pixels[small].sum() > _PIXELS_LOOKED_AT:
        reporter.say(
            f"{counted(len(data), 'image')} are too many to look for near-duplicates before a run, "
            "so that some may be learned from and held out: foveal data check DATA finds them."
        )
        return []
    if large := len(data) - len(small):
        reporter.say(
            f"{counted(large, 'image')} of more than {_LARGEST_LOOKED_AT // 1_000_000} megapixels "
            f"{'was' if large == 1 else 'were'} not looked at for near-duplicates before a run: "
            "foveal data check DATA does."
        )
    found = find_near_duplicates(
        data.take(small.tolist()), mirrored=True, progress=telling_how_far(reporter)
    )
    return [tuple(small[list(group.indices)].tolist()) for group in found]


class Validation:
    """Measures models on the same images, and remembers the detections of the best of them.

    Args:
        data: the images, with the model's classes.
        detect: finds the objects.
        max_detections: of an image at most, or of one of its windows.
        loss: computes the losses while `detect` looks for objects; None leaves them out.

    Attributes:
        images: how many are looked at.
        without_objects: how many of them show none.
        seen: what the last model that was measured detects; None before the first.
    """

    def __init__(
        self,
        data: Dataset,
        detect: Detect,
        *,
        max_detections: int,
        loss: ValidationLoss | None = None,
    ) -> None:
        self.images = len(data)
        self.without_objects = images_without_objects(data)
        self.seen: Sightings | None = None
        self._paths = data.paths
        self._targets = data.targets
        self._classes = data.classes
        self._detect = detect
        self._max_detections = max_detections
        self._loss = loss
        self._best: tuple[dict[str, float], list[Detections]] | None = None

    def __call__(self, model: RetinaNet) -> dict[str, float]:
        """The model's numbers, AP among them; the same in all processes."""
        detections, losses = self._detect_all(model)
        self.seen = Sightings.of(detections)
        found = quick_numbers(
            detections,
            self._targets,
            self._classes,
            max_detections=limit_of(detections, self._max_detections),
        )
        if self._loss is not None:
            found = found | self._loss.mean(losses)
        numbers = broadcast(found)
        if self._best is None or not numbers["AP"] < self._best[0]["AP"]:
            self._best = numbers, detections
        return numbers

    def detections_of(self, model: RetinaNet, numbers: Mapping[str, float]) -> list[Detections]:
        """The model's detections in each image.

        Args:
            model: is asked only if it is not the best one that was measured here.
            numbers: what it was measured to have, by which that is known.
        """
        if self._best is not None and _same(self._best[0], numbers):
            return self._best[1]
        return self._detect_all(model)[0]

    def choose_threshold(self, detections: Sequence[Detections]) -> float:
        """The score threshold of the best F1, for each image's detections."""
        return choose_threshold(detections, self._targets, self._classes)

    def evaluate(self, detections: Sequence[Detections], *, score_threshold: float) -> Evaluation:
        """Measure each image's detections in full, where those of such a score count."""
        return evaluate(
            detections,
            self._targets,
            self._classes,
            score_threshold=score_threshold,
            max_detections=limit_of(detections, self._max_detections),
        )

    def _detect_all(self, model: RetinaNet) -> tuple[list[Detections], list[ImageLoss]]:
        """The detections in all images, and their losses where these are computed."""

        def work(indices: list[int]) -> list[tuple[Detections, ImageLoss | None]]:
            if self._loss is not None:
                self._loss.begin(indices, [self._targets[index] for index in indices])
            detections = self._detect(model, [self._paths[index] for index in indices])
            losses = [None] * len(indices) if self._loss is None else self._loss.take()
            return list(zip(detections, losses, strict=True))

        both = parallel_map(range(len(self._paths)), work)
        return [each for each, _ in both], [loss for _, loss in both if loss is not None]


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether all numbers are equal; NaN, an undefined one, equals itself here."""
    return one.keys() == other.keys() and all(
        value == other[name] or (math.isnan(value) and math.isnan(other[name]))
        for name, value in one.items()
    )
