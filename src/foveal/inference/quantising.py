"""Prediction in 8 bits: measured on images, and kept only where the detections stay as good."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foveal.errors import DataError, SettingsError
from foveal.evaluation.evaluation import quick_numbers
from foveal.inference.loading import make_predictor
from foveal.models.int8 import InputRange, int8_is_fast
from foveal.models.observation import observe
from foveal.models.quantisation import quantise
from foveal.words import counted

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.inference.predictor import Predictor
    from foveal.models.model_file import LoadedModel

MEASURED = 32
"""Images on which ranges are measured: more change them little."""
CHECKED = 400
"""Images on which both precisions are compared. On 80, rounding alone moves AP by 0.004 either way;
on more, this takes long on a slow CPU."""
MOST_LOST = 0.002
"""AP that 8 bits may cost."""


@dataclass(frozen=True, slots=True)
class QuantisationCheck:
    """How good 8 bits are.

    Attributes:
        float32, int8: AP in each; NaN where the images show no objects.
        images: on how many they were compared.
        kept: whether the model predicts in 8 bits from now on, on CPUs that are fast at it.
        without: the part that stays in float32; "" for none.
    """

    float32: float
    int8: float
    images: int
    kept: bool
    without: str = ""

    def __str__(self) -> str:
        """One sentence for people."""
        compared = (
            f"AP {self.int8:.3f} in 8 bits, {self.float32:.3f} in float32, on "
            f"{counted(self.images, 'image')}"
        )
        if self.kept:
            rest = f" ({self.without} stays in float32)" if self.without else ""
            return f"Prediction in 8 bits on CPUs is on{rest}: {compared}."
        return (
            f"Prediction in 8 bits on CPUs is left out, since it may cost no more than "
            f"{MOST_LOST:g}: {compared}."
        )


def quantise_and_check(loaded: LoadedModel, images: Dataset, check: Dataset) -> QuantisationCheck:
    """Measure what 8-bit prediction needs, and turn it on if the boxes stay.

    If they don't, the first convolution and then the backbone are left in float32. All is done on
    the CPU; a model on a GPU stays there. Where there are fewer than 400 images to check on,
    labelled ones of the others fill up: the same network is compared with itself, so images that
    it was trained on tell as much.

    Args:
        loaded: the model; its weights stay as they are.
        images: like those of use; at 32, spread over them, the ranges are measured.
        check: other images, labelled.

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
        chosen, result = _compare(_on_cpu(loaded), _spread(images, MEASURED), _all(check, images))
    finally:
        quantise(loaded.model, chosen)
    return result


def _on_cpu(loaded: LoadedModel) -> LoadedModel:
    if loaded.model.mean.device.type == "cpu":
        return loaded
    return replace(loaded, model=copy.deepcopy(loaded.model).cpu())


def _compare(
    loaded: LoadedModel, measured: Dataset, checked: Dataset
) -> tuple[dict[str, InputRange], QuantisationCheck]:
    """The ranges to keep, and how good they are."""
    predictor = replace(make_predictor(loaded, device="cpu"), precision="float32")
    seen = observe(loaded.model, lambda: _look(predictor, measured))
    exact = _average_precision(predictor, checked)
    result = QuantisationCheck(exact, math.nan, len(checked), kept=False)
    if not seen.seen:  # the network gives no finite numbers
        return {}, result
    for prefix, part in _candidates(next(iter(seen.seen))):
        ranges = seen.ranges(without=prefix)
        quantise(loaded.model, ranges)
        rough = _average_precision(replace(predictor, precision="int8"), checked)
        if rough >= exact - MOST_LOST:
            return ranges, replace(result, int8=rough, kept=True, without=part)
        if not rough <= result.int8:
            result = replace(result, int8=rough)
    return {}, result


def _candidates(first: str) -> tuple[tuple[str | None, str], ...]:
    """Beginnings of names that stay in float32, and words for them, the fastest first."""
    return (None, ""), (first, "the first convolution"), ("backbone.", "the backbone")


def _look(predictor: Predictor, data: Dataset) -> None:
    """Let the network see the images; without one that can't be read the others tell as much."""
    one_by_one = replace(predictor, batch=1)
    if not sum(1 for _ in one_by_one.stream(data.paths, on_error=lambda _index, _error: None)):
        raise DataError(f"None of {counted(len(data), 'image')} can be read.")


def _all(check: Dataset, others: Dataset) -> Dataset:
    """The images to check on, filled up with labelled ones of the others."""
    chosen = _spread(check, CHECKED)
    known = set(check.paths)
    labelled = [at for at, each in enumerate(others) if len(each) and each.path not in known]
    return chosen.merge(_spread(others.take(labelled), CHECKED - len(chosen)))


def _average_precision(predictor: Predictor, data: Dataset) -> float:
    found = predictor.detect_many(data.paths)
    return quick_numbers(found, data.targets, predictor.classes, most=predictor.most)["AP"]


def _spread(data: Dataset, most: int) -> Dataset:
    """At most so many of the images, evenly spread."""
    count = min(most, len(data))
    return data.take([index * len(data) // count for index in range(count)])
