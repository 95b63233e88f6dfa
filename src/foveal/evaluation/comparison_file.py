"""A comparison as `compare.json`: what programs read, null where undefined."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from foveal.evaluation.story import ERROR_NAMES
from foveal.files import write_file
from foveal.text import without_nan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foveal.evaluation.comparison import Comparison, Difference, ImageDifference

SCHEMA_VERSION = 1
"""Rises where a field goes or means something else; new fields leave it."""


def write_comparison(
    path: Path,
    comparison: Comparison,
    detectors: Sequence[Mapping[str, Any]],
    *,
    verdict: str,
    image_names: Sequence[str],
) -> None:
    """Write a comparison as JSON, at once.

    Args:
        path: of the file.
        comparison: of two detectors.
        detectors: what is known of each, as JSON values.
        verdict: the sentence that sums it up.
        image_names: of all images.

    Raises:
        FovealError: the file can't be written.
    """
    document = to_document(comparison, detectors, verdict=verdict, image_names=image_names)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    write_file(path, text + "\n")


def to_document(
    comparison: Comparison,
    detectors: Sequence[Mapping[str, Any]],
    *,
    verdict: str,
    image_names: Sequence[str],
) -> dict[str, Any]:
    """A comparison as plain JSON values; what is undefined is None. Arguments as above."""
    both = tuple(
        {
            **known,
            "detections": comparison.detections[side],
            "beyond_limit": comparison.beyond_limit[side],
            "score_threshold": comparison.score_thresholds[side],
            "threshold_chosen_here": comparison.thresholds_chosen_here[side],
            "errors": {
                kind.field: {
                    "cost": kind.find(comparison.errors[side]).cost,
                    "number_at_threshold": kind.find(comparison.errors[side]).number_at_threshold,
                }
                for kind in ERROR_NAMES
            },
        }
        for side, known in enumerate(detectors)
    )
    values = {
        "schema": "foveal-compare",
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "first": both[0],
        "second": both[1],
        "images": comparison.images,
        "objects": comparison.objects,
        "classes": list(comparison.classes),
        "max_detections": comparison.max_detections,
        "resamples": comparison.resamples,
        "AP": _difference(comparison.ap),
        "AP50": _difference(comparison.ap50),
        "AP75": _difference(comparison.ap75),
        "recall": _difference(comparison.recall),
        "precision": _difference(comparison.precision),
        "F1": _difference(comparison.f1),
        "count_error": _difference(comparison.count_error),
        "count_bias": _difference(comparison.count_bias),
        "per_class": {
            one.name: {
                "images": one.images,
                "objects": one.objects,
                "AP": _difference(one.ap),
                "AP50": _difference(one.ap50),
                "count_error": _difference(one.count_error),
            }
            for one in comparison.per_class
        },
        "by_size": [
            {
                "name": one.name,
                "low": one.low,
                "high": one.high,
                "objects": one.objects,
                "AP": _difference(one.ap),
            }
            for one in comparison.by_size
        ],
        "different_images": comparison.different_images,
        "most_different": [_image(one, image_names) for one in comparison.most_different],
    }
    cleaned = without_nan(values)
    assert isinstance(cleaned, dict)
    return cleaned


def _difference(one: Difference) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "difference": one.value,
        "interval": [one.interval.low, one.interval.high],
        "images": one.images,
        "shown": one.is_shown,
        "better": one.better,
    }


def _image(one: ImageDifference, names: Sequence[str]) -> dict[str, Any]:
    return {
        "index": one.index,
        "image": names[one.index],
        "only_first": one.only_first,
        "only_second": one.only_second,
        "errors_first": one.first.errors,
        "errors_second": one.second.errors,
    }
