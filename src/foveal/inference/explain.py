"""Why nothing was found: what the network says below the threshold, in words."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.inputs import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.data.images.inputs import ImageLike
    from foveal.errors import ImageError, MissingExtraError
    from foveal.inference.predictor import Predictor
    from foveal.structures import Detections

_UNTRAINED = 0.05
"""Where no score passes it, the network has not learnt anything about such images."""


def explain_nothing(
    predictor: Predictor, images: Sequence[ImageLike], *, max_images: int = 8
) -> str:
    """Say what the network sees in images in which it found nothing.

    Args:
        predictor: with the threshold that nothing passed.
        images: those images; the first that can be read are looked at once more.
        max_images: how many of them at most.

    Returns:
        Several lines: the highest score of each class, the best detection, the sizes of image,
        input and anchors, and what to try.
    """
    probe = replace(predictor, score_threshold=0.0, flip=False, scales=(1.0,), max_detections=100)

    def ignore(index: int, error: ImageError | MissingExtraError) -> None:
        """Broken images are reported where they were first met."""

    predictions = islice(probe.stream(images, on_error=ignore), max_images)
    looked_at = [(each.index, each.detections) for each in predictions]
    scored = [(index, detections) for index, detections in looked_at if len(detections)]
    if not looked_at:
        return "Nothing was found: no image can be read."
    if not scored:
        return (
            "Nothing was found: the network gives no finite score. Its weights are broken, as "
            "after a training that diverged; take an earlier model or train anew."
        )
    index, best = max(scored, key=lambda item: float(item[1].scores[0]))
    highest = np.zeros(len(predictor.classes))
    for _, detections in scored:
        np.maximum.at(highest, detections.labels, detections.scores)
    return "\n".join(
        [
            f"No score reaches the threshold {predictor.score_threshold:g}. "
            f"In {len(looked_at)} of the images, looked at again without it:",
            "  highest scores: " + _highest(highest, predictor.classes),
            "  best detection: " + _best(best, describe(images[index], index)),
            "  sizes: " + _sizes(predictor, best),
            "What may help:",
            *(f"  - {advice}" for advice in _advice(predictor, float(highest.max()))),
        ]
    )


def _highest(highest: np.ndarray, classes: tuple[str, ...]) -> str:
    order = np.argsort(-highest, kind="stable")[:10]
    text = ", ".join(f"{classes[label]} {highest[label]:.3f}" for label in order)
    return text + (f", {len(classes) - 10} more below" if len(classes) > 10 else "")


def _best(detections: Detections, name: str) -> str:
    x0, y0, x1, y1 = (float(value) for value in detections.boxes[0])
    return (
        f"{detections.names[0]} {detections.scores[0]:.3f} in {name}, "
        f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels at ({x0:.0f}, {y0:.0f})"
    )


def _sizes(predictor: Predictor, detections: Detections) -> str:
    placement = predictor.preparation.placement_for(detections.width, detections.height)
    scale = min(placement.scale_x, placement.scale_y)
    scaled = (
        f"the image of {detections.width} x {detections.height} pixels is scaled by {scale:.3g} "
        "for the network"
    )
    if predictor.grid.per_location == 1:  # whose size says little of the objects that it may have
        apart = min(predictor.grid.strides) / scale
        return (
            f"{scaled}, whose finest locations are then {apart:.3g} pixels apart: smaller objects "
            "may lie between them"
        )
    smallest, largest = _object_sides(predictor, scale)
    return (
        f"{scaled}, whose anchors then suit objects of about {smallest:.0f} to {largest:.0f} pixels"
    )


def _object_sides(predictor: Predictor, scale: float) -> tuple[float, float]:
    """The sides of the smallest and the largest anchor, original pixels."""
    roots = np.sqrt(predictor.grid.sides().prod(axis=-1))
    return float(roots.min()) / scale, float(roots.max()) / scale


def _advice(predictor: Predictor, highest: float) -> list[str]:
    classes = ", ".join(predictor.classes[:10]) + (" ..." if len(predictor.classes) > 10 else "")
    advice = []
    if highest > _UNTRAINED:
        advice.append(f"a lower threshold: something appears below {highest:.3g}")
    else:
        advice.append(
            "training it, or for longer: scores as low as these are those of a network that has "
            "never seen such objects"
        )
    preparation = predictor.preparation
    advice.append(
        f"images like those of the training: it knows {classes}, in images scaled to a shorter "
        f"side of {preparation.shorter} pixels and a longer side of at most {preparation.longer}"
    )
    if not predictor.flip and len(predictor.scales) == 1:
        advice.append("other scales, where objects are larger or smaller than in the training")
    return advice
