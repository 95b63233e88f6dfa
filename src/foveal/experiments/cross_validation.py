"""What the folds of a cross-validation say, each alone and all together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.experiments.parts import number
from foveal.text import between, counted, decimal

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.detector import Detector
    from foveal.evaluation.results import Evaluation, Interval


@dataclass(frozen=True, slots=True)
class Fold:
    """One run, which learned from all images but these.

    Attributes:
        run: the name of its folder.
        images: the names of the images that it did not learn from.
        metrics: how good it is on those: COCO's numbers, intervals and those of each class.
    """

    run: str
    images: tuple[str, ...]
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """What the folds say, and the model of all images.

    Attributes:
        folder: of all runs.
        classes: the K class names.
        folds: in their order.
        evaluation: of all out-of-fold detections together, with intervals by resampling the images.
        detector: learned from all images; its score threshold is the one of the best F1 of the
            out-of-fold detections.
    """

    folder: Path
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    evaluation: Evaluation
    detector: Detector

    def spread(self, name: str, class_name: str | None = None) -> tuple[float, float]:
        """Mean and standard deviation of a number over the folds that have it.

        Args:
            name: such as AP.
            class_name: of this class alone.

        Returns:
            NaN where no fold has it, and for the deviation where only one has.
        """
        values = [
            number(
                fold.metrics if class_name is None else fold.metrics["per_class"][class_name], name
            )
            for fold in self.folds
        ]
        known = [value for value in values if not math.isnan(value)]
        return (
            statistics.fmean(known) if known else math.nan,
            statistics.stdev(known) if len(known) > 1 else math.nan,
        )


def summary_of(result: CrossValidation) -> dict[str, Any]:
    """What folds.json says of all folds together, as plain values; NaN where undefined."""

    def numbers(name: str, whole: float, interval: Interval, class_name: str | None = None) -> Any:
        mean, deviation = result.spread(name, class_name)
        return {
            "mean": mean,
            "standard_deviation": deviation,
            "out_of_fold": whole,
            "interval": [interval.low, interval.high],
        }

    whole = result.evaluation
    return {
        "images": whole.images,
        "objects": whole.objects,
        "score_threshold": whole.score_threshold,
        "AP": numbers("AP", whole.ap, whole.ap_interval),
        "AP50": numbers("AP50", whole.ap50, whole.ap50_interval),
        "per_class": {
            each.name: {
                "objects": each.objects,
                "AP": numbers("AP", each.coco.ap, each.ap_interval, each.name),
                "AP50": numbers("AP50", each.coco.ap50, each.ap50_interval, each.name),
            }
            for each in whole.per_class
        },
    }


def describe_folds(result: CrossValidation) -> list[str]:
    """What the folds say, in a few lines: the same on the screen and in the report."""
    mean, deviation = result.spread("AP")
    mean50, deviation50 = result.spread("AP50")
    whole, folds = result.evaluation, len(result.folds)
    return [
        f"AP {decimal(mean)} ± {decimal(deviation)} and AP50 {decimal(mean50)} ± "
        f"{decimal(deviation50)}: mean and standard deviation of {folds} folds.",
        f"All {counted(whole.images, 'image')} together, each looked at by a model that did not "
        f"learn from it: AP {decimal(whole.ap)} "
        f"({between(whole.ap_interval.low, whole.ap_interval.high)}, 95 %).",
    ]
