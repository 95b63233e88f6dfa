"""How good a predictor is on labeled images, in whatever runtime it computes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.data.images.survey import settle_depth
from foveal.evaluation.evaluate import evaluate, limit_of
from foveal.evaluation.profile import make_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from foveal.data.dataset import Dataset
    from foveal.evaluation.results import Evaluation
    from foveal.inference.predictor import Predictor
    from foveal.structures import Detections

log = logging.getLogger(__name__)


def measure(
    predictor: Predictor,
    data: Dataset,
    *,
    score_threshold: float | None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Find objects in labeled images and compare them with the ground truth.

    Where images hold more than 8 bits and the model says nothing of them, one range of values is
    chosen for all and logged.

    Args:
        predictor: with low scores still in its detections, since AP needs them; see
            `foveal.inference.opening.Opened.measuring_predictor`.
        data: the images, with the predictor's classes in its order.
        score_threshold: the score from which detections count, chosen on other images; None takes
            that of the best F1 on these.
        progress: is told (images done, images).

    Raises:
        ImageError: an image can't be read.
    """
    pixel_range, chosen = settle_depth(data.paths, predictor.pixel_range)
    if chosen:
        log.warning("%s", chosen)
    predictor = replace(predictor, pixel_range=pixel_range)
    detections: dict[int, Detections] = {}
    for each in predictor.stream(data.paths, told=set()):
        detections[each.index] = each.detections
        if progress is not None:
            progress(len(detections), len(data))
    found = [detections[index] for index in range(len(data))]
    evaluation = evaluate(
        found,
        data.targets,
        data.classes,
        score_threshold=score_threshold,
        max_detections=limit_of(found, predictor.max_detections),
    )
    # From the model's threshold on, since that is what a server sees.
    profile = make_profile(
        found, classes=len(data.classes), score_threshold=predictor.card.score_threshold
    )
    return replace(evaluation, profile=profile)
