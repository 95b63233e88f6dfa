"""Prediction in 8 bits: measured on images, and kept only where the detections stay as good."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal.errors import DataError, SettingsError
from foveal.evaluation.evaluation import quick_numbers
from foveal.inference.loading import make_predictor
from foveal.models.int8 import InputRange, int8_is_fast
from foveal.models.quantisation import measure_ranges, quantise
from foveal.words import counted

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.errors import ImageError
    from foveal.inference.predictor import Predictor
    from foveal.models.model_file import LoadedModel

MEASURED = 32
"""Images on which ranges are measured: more change them little."""
CHECKED = 300
"""Images on which both precisions are compared, so that this ends soon on a slow CPU."""
MOST_LOST = 0.002
"""AP that 8 bits may cost."""


@dataclass(frozen=True, slots=True)
class QuantisationCheck:
    """How good 8 bits are.

    Attributes:
        float32, int8: AP in each; NaN where the images show no objects.
        images: on how many they were compared.
        kept: whether the model predicts in 8 bits from now on, on CPUs that are fast at it.
    """

    float32: float
    int8: float
    images: int
    kept: bool

    def __str__(self) -> str:
        """One sentence for people."""
        compared = (
            f"AP {self.int8:.3f} in 8 bits, {self.float32:.3f} in float32, on "
            f"{counted(self.images, 'image')}"
        )
        if self.kept:
            return f"Prediction in 8 bits on CPUs is on: {compared}."
        return (
            f"Prediction in 8 bits on CPUs is left out, since it may cost no more than "
            f"{MOST_LOST:g}: {compared}."
        )


def quantise_and_check(loaded: LoadedModel, images: Dataset, check: Dataset) -> QuantisationCheck:
    """Measure what 8-bit prediction needs, and turn it on if the boxes stay.

    All is done on the CPU; a model on a GPU stays there.

    Args:
        loaded: the model; its weights stay as they are.
        images: like those of use; 32, spread over them, are looked at, and no labels.
        check: other images, labelled, of which 300 are compared.

    Raises:
        SettingsError: this machine can't predict in 8 bits.
        DataError: there are no images that can be read.
        ImageError: an image to check on can't be read.
    """
    if not int8_is_fast():
        raise SettingsError(
            "Prediction in 8 bits needs an x86 processor with VNNI instructions, and a PyTorch "
            "that was built for them. This machine lacks them; predict in float32 here."
        )
    if not len(images) or not len(check):
        raise DataError("There are no images to measure or to check on. Expected at least one.")
    before = loaded.model.quantisation
    chosen = before.ranges if before is not None and before.is_current() else {}
    try:
        ranges, exact, rough, count = _compare(_on_cpu(loaded), images, check)
        kept = rough >= exact - MOST_LOST
        chosen = ranges if kept else {}
    finally:
        quantise(loaded.model, chosen)
    return QuantisationCheck(exact, rough, count, kept)


def _on_cpu(loaded: LoadedModel) -> LoadedModel:
    if loaded.model.mean.device.type == "cpu":
        return loaded
    return replace(loaded, model=copy.deepcopy(loaded.model).cpu())


def _compare(
    loaded: LoadedModel, images: Dataset, check: Dataset
) -> tuple[dict[str, InputRange], float, float, int]:
    """Ranges, AP in float32 and with them, and on how many images."""
    predictor = replace(make_predictor(loaded, device="cpu"), precision="float32")
    seen = _spread(images, MEASURED).paths
    one_by_one = replace(predictor, batch=1)
    ranges = measure_ranges(
        loaded.model, lambda: deque(one_by_one.stream(seen, on_error=_leave_out), maxlen=0)
    )
    if not ranges:
        raise DataError(f"None of {counted(len(seen), 'image')} can be read, so nothing is known.")
    quantise(loaded.model, ranges)
    shown = _spread(check, CHECKED)
    exact, rough = (
        _average_precision(asked, shown)
        for asked in (predictor, replace(predictor, precision="int8"))
    )
    return ranges, exact, rough, len(shown)


def _average_precision(predictor: Predictor, data: Dataset) -> float:
    found = predictor.detect_many(data.paths)
    return quick_numbers(found, data.targets, predictor.classes, most=predictor.most)["AP"]


def _leave_out(_index: int, _error: ImageError) -> None:
    """Without one image the others tell as much."""


def _spread(data: Dataset, most: int) -> Dataset:
    """At most so many of the images, evenly spread."""
    count = min(most, len(data))
    return data.take([index * len(data) // count for index in range(count)])
