"""An evaluation as `metrics.json`: what people and programs compare, null where undefined."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from foveal.errors import DataError
from foveal.evaluation.coco_metrics import twelve
from foveal.evaluation.evaluate import NAMES
from foveal.files import write_file
from foveal.structures import DetectionProfile
from foveal.text import without_nan

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.evaluation.results import (
        ClassResult,
        CocoMetrics,
        Counts,
        Errors,
        ErrorType,
        Evaluation,
        Interval,
    )

_FLAT_LIST = re.compile(r"\[\n\s+([^][{}\"]*?)\n\s+\]")
"""A list of numbers over several lines; no string of JSON holds a line break."""


def write_metrics(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as JSON, at once: a reader never sees half of it.

    Raises:
        FovealError: the file can't be written; what was there before is still there.
    """
    text = json.dumps(to_metrics(evaluation), ensure_ascii=False, indent=2, allow_nan=False)
    text = _FLAT_LIST.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)
    write_file(path, text + "\n")


def to_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain JSON values; what is undefined is None."""
    values = {
        **_coco(evaluation.coco),
        f"AR{evaluation.max_detections}": evaluation.coco.ar_max,
        "AP_interval": _interval(evaluation.ap_interval),
        "AP50_interval": _interval(evaluation.ap50_interval),
        "VOC2007": evaluation.voc2007,
        "VOC2012": evaluation.voc2012,
        "images": evaluation.images,
        "images_without_objects": evaluation.images_without_objects,
        "objects": evaluation.objects,
        "detections": evaluation.detections,
        "max_detections": evaluation.max_detections,
        "beyond_limit": evaluation.beyond_limit,
        "beyond_limit_images": evaluation.beyond_limit_images,
        "capped_images": [
            {"index": image.index, "image": image.name} for image in evaluation.capped
        ],
        "score_threshold": evaluation.score_threshold,
        "threshold_chosen_here": evaluation.threshold_chosen_here,
        "precision": evaluation.precision,
        "recall": evaluation.recall,
        "f1": evaluation.f1,
        "counts": _counts(evaluation.counts),
        "per_class": {result.name: _class(result) for result in evaluation.per_class},
        "by_size": [
            {
                "name": size.name,
                "low": size.low,
                "high": size.high,
                "objects": size.objects,
                "AP": size.ap,
                "AP50": size.ap50,
                "AR": size.ar,
            }
            for size in evaluation.by_size
        ],
        "errors": _errors(evaluation.errors),
        "confusion": {
            "names": list(evaluation.confusion.names),
            "matrix": evaluation.confusion.matrix.tolist(),
        },
        "calibration": {
            "error": evaluation.calibration.error,
            "edges": evaluation.calibration.edges.tolist(),
            "numbers": evaluation.calibration.numbers.tolist(),
            "mean_scores": evaluation.calibration.mean_scores.tolist(),
            "precisions": evaluation.calibration.precisions.tolist(),
        },
        "profile": None if evaluation.profile is None else asdict(evaluation.profile),
    }
    cleaned = without_nan(values)
    assert isinstance(cleaned, dict)
    return cleaned


def read_profile(path: Path) -> DetectionProfile:
    """What a model's detections looked like when it was measured.

    Args:
        path: `metrics.json` as `write_metrics` wrote it.

    Raises:
        DataError: the file can't be read, or holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        said = content["profile"]
        counts = {name: tuple(map(int, said[name])) for name in ("scores", "sizes", "classes")}
        return DetectionProfile(int(said["images"]), float(said["score_threshold"]), **counts)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error}).") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: does not say how a model's detections look. Expected the metrics.json of "
            "foveal evaluate MODEL DATA --out FOLDER, of this version."
        ) from None


def _coco(numbers: CocoMetrics) -> dict[str, float]:
    return dict(zip(NAMES, twelve(numbers), strict=True))


def _interval(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _class(result: ClassResult) -> dict[str, Any]:
    return {
        **_coco(result.coco),
        "AP_interval": _interval(result.ap_interval),
        "AP50_interval": _interval(result.ap50_interval),
        "VOC2007": result.voc2007,
        "VOC2012": result.voc2012,
        "images": result.images,
        "objects": result.objects,
        "precision": result.precision,
        "recall": result.recall,
        "f1": result.f1,
        "best_f1": result.curve.best_f1,
        "best_threshold": result.curve.best_threshold,
        "counts": _counts(result.counts),
    }


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        "true": int(counts.true.sum()),
        "predicted": int(counts.predicted.sum()),
        "bias": counts.bias,
        "bias_interval": _interval(counts.bias_interval),
        "mean_absolute_error": counts.mean_absolute_error,
        "mean_absolute_error_interval": _interval(counts.mean_absolute_error_interval),
        "relative_error": counts.relative_error,
        "r2": counts.r2,
        "true_in_each_image": counts.true.tolist(),
        "predicted_in_each_image": counts.predicted.tolist(),
    }


def _errors(errors: Errors) -> dict[str, Any]:
    def kind(one: ErrorType) -> dict[str, float]:
        return {
            "cost": one.cost,
            "number": one.number,
            "number_at_threshold": one.number_at_threshold,
        }

    return {
        "wrong_class": kind(errors.wrong_class),
        "localization": kind(errors.localization),
        "both": kind(errors.both),
        "duplicate": kind(errors.duplicate),
        "background": kind(errors.background),
        "missed": kind(errors.missed),
        "false_positive": errors.false_positive,
        "false_negative": errors.false_negative,
        "AP50": errors.ap50,
    }
