"""All that is said about detections, from one pass over the images' matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.average_precision import class_voc_aps, make_curve, mean_over_classes
from foveal.evaluation.bootstrap import (
    draw_weights,
    interval,
    mean_of_draws,
    weighted_class_aps,
)
from foveal.evaluation.coco_metrics import (
    LARGE,
    SIZES,
    SMALL,
    RangeTable,
    coco_numbers,
    make_range_table,
    twelve,
)
from foveal.evaluation.counting import (
    choose_threshold,
    count_table,
    summarize_counts,
    threshold_of,
)
from foveal.evaluation.error_types import find_confusion, find_errors
from foveal.evaluation.image_results import judge_images
from foveal.evaluation.matching import make_pool, match
from foveal.evaluation.results import (
    Calibration,
    CappedImage,
    ClassResult,
    CocoMetrics,
    Evaluation,
    ImageResult,
    SizeResult,
)
from foveal.structures import Detections, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable

__all__ = ["NAMES", "choose_threshold", "evaluate", "quick_numbers"]

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""What COCO's twelve numbers are called, in COCO's order."""
TINY = 16.0**2
"""Objects under this area, square pixels, have a range of their own."""
BINS = 10
"""Bins of the calibration."""


def limit_of(detections: Sequence[Detections], max_detections: int) -> int:
    """How many detections of an image COCO's numbers should be made of.

    What a detector lets through at most, or as many as any image has: one that was looked at in
    windows has those of all of them, and none is to be left out.

    Args:
        detections: one for each image.
        max_detections: what the detector lets through at one look.
    """
    return max(max_detections, *map(len, detections), 0)


def quick_numbers(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    max_detections: int = 100,
) -> dict[str, float]:
    """COCO's twelve numbers by name, NaN where undefined; what a training run watches.

    Args:
        detections: one for each image, with low scores still in; original pixels.
        targets: one for each image, original pixels.
        classes: the K class names.
        max_detections: how many detections of each image and class take part.

    Raises:
        DataError: detections and targets do not fit together.
    """
    pool = make_pool(detections, targets, classes=len(classes), max_detections=max_detections)
    means, _ = coco_numbers(pool, **_coco_ranges(pool))
    return dict(zip(NAMES, twelve(means), strict=True))


def evaluate(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    max_detections: int = 100,
    score_threshold: float | None = None,
    seed: int = 0,
    resamples: int = 500,
    hardest: int = 24,
) -> Evaluation:
    """Compare detections with what the images are known to show.

    Args:
        detections: one for each image, with low scores still in; original pixels.
        targets: one for each image, original pixels.
        classes: the K class names.
        max_detections: how many detections of each image and class COCO's numbers are made of, the
            best ones. All others are made of all detections: counts, recall, F1, error types,
            Pascal VOC's AP.
        score_threshold: the score from which detections count, chosen on other images; None
            chooses the one of the best F1 on these.
        seed: of the resampling.
        resamples: how often the images are drawn again for the intervals; 0 leaves them NaN.
        hardest: how many of the worst images are kept.

    Raises:
        DataError: not as many detections as targets, or a label outside 0..K-1.
    """
    names = tuple(classes)
    pool = make_pool(detections, targets, classes=len(names), max_detections=None)
    beyond = pool.rank >= max_detections
    coco = (
        make_pool(detections, targets, classes=len(names), max_detections=max_detections)
        if beyond.any()
        else pool
    )
    ranges = _coco_ranges(coco)
    coco_matches = ranges["whole"].matches
    matches = coco_matches if coco is pool else match(pool, ious=coco_matches.ious)
    means, numbers = coco_numbers(coco, **ranges)
    chosen_here = score_threshold is None
    if score_threshold is None:
        score_threshold = threshold_of(pool, matches)
    weights = draw_weights(pool.images, draws=resamples, seed=seed)
    draws = weighted_class_aps(coco, coco_matches, weights)
    vocs = class_voc_aps(pool)
    true, predicted = count_table(pool, matches, score_threshold=score_threshold)
    true_positives = int(
        (matches.true_positives[0] & (pool.scores >= np.float32(score_threshold))).sum()
    )
    precision, recall, f1 = _precision_recall(true_positives, int(predicted.sum()), int(true.sum()))
    return Evaluation(
        classes=names,
        images=pool.images,
        objects=int(true.sum()),
        detections=len(pool.scores),
        max_detections=max_detections,
        coco=means,
        ap_interval=interval(mean_of_draws(draws.mean(axis=2))),
        ap50_interval=interval(mean_of_draws(draws[:, :, 0])),
        voc2007=mean_over_classes(vocs[:, 0]),
        voc2012=mean_over_classes(vocs[:, 1]),
        score_threshold=score_threshold,
        threshold_chosen_here=chosen_here,
        precision=precision,
        recall=recall,
        f1=f1,
        counts=summarize_counts(true.sum(axis=0), predicted.sum(axis=0), weights=weights),
        per_class=_class_results(
            pool,
            matches,
            names,
            numbers=numbers,
            vocs=vocs,
            draws=draws,
            true=true,
            predicted=predicted,
            weights=weights,
            score_threshold=score_threshold,
        ),
        by_size=_by_size(coco, ranges),
        errors=find_errors(pool, matches, score_threshold=score_threshold),
        confusion=find_confusion(pool, matches, names, score_threshold=score_threshold),
        calibration=_calibrate(pool, matches),
        hardest=_hardest(
            pool,
            matches,
            detections,
            classes=tuple(classes),
            score_threshold=score_threshold,
            count=hardest,
        ),
        beyond_limit=int(beyond.sum()),
        beyond_limit_images=len(np.unique(pool.image[beyond])),
        images_without_objects=sum(not len(target.boxes) for target in targets),
        capped=tuple(
            CappedImage(index, image.path)
            for index, image in enumerate(detections)
            if image.capped and np.float32(image.left_out_score) >= np.float32(score_threshold)
        ),
    )


def _coco_ranges(pool: MatchTable) -> dict[str, RangeTable]:
    return {
        "whole": make_range_table(pool),
        "small": make_range_table(pool, high=SMALL),
        "medium": make_range_table(pool, low=SMALL, high=LARGE),
        "large": make_range_table(pool, low=LARGE),
    }


def _class_results(
    pool: MatchTable,
    matches: Matches,
    names: Sequence[str],
    *,
    numbers: Sequence[CocoMetrics],
    vocs: NDArray[np.float64],
    draws: NDArray[np.float64],
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    weights: NDArray[np.float32],
    score_threshold: float,
) -> tuple[ClassResult, ...]:
    true_positives, false_positives = matches.true_positives[0], matches.false_positives[0]
    results = []
    for label, name in enumerate(names):
        order = pool.of_class(label)
        scores = pool.scores[order]
        objects, detections = int(true[label].sum()), int(predicted[label].sum())
        hits = int((true_positives[order] & (scores >= np.float32(score_threshold))).sum())
        precision, recall, f1 = _precision_recall(hits, detections, objects)
        results.append(
            ClassResult(
                name=name,
                images=int((true[label] > 0).sum()),
                objects=objects,
                coco=numbers[label],
                voc2007=float(vocs[label, 0]),
                voc2012=float(vocs[label, 1]),
                ap_interval=interval(draws[:, label].mean(axis=1)),
                ap50_interval=interval(draws[:, label, 0]),
                precision=precision,
                recall=recall,
                f1=f1,
                curve=make_curve(true_positives[order], false_positives[order], scores, objects),
                counts=summarize_counts(true[label], predicted[label], weights=weights),
            )
        )
    return tuple(results)


def _by_size(pool: MatchTable, ranges: dict[str, RangeTable]) -> tuple[SizeResult, ...]:
    tables = (
        make_range_table(pool, high=TINY),
        make_range_table(pool, low=TINY, high=SMALL),
        ranges["medium"],
        ranges["large"],
    )
    return tuple(
        SizeResult(
            name=name,
            low=low,
            high=high,
            objects=int(table.matches.counted.sum()),
            ap=mean_over_classes(table.aps),
            ap50=mean_over_classes(table.ap50s),
            ar=mean_over_classes(table.ars),
        )
        for (name, low, high), table in zip(SIZES, tables, strict=True)
    )


def _calibrate(pool: MatchTable, matches: Matches) -> Calibration:
    counts = ~matches.ignored[0]
    scores, true_positives = (
        pool.scores[counts].astype(np.float64),
        matches.true_positives[0][counts],
    )
    place = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    numbers = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, weights=scores, minlength=BINS)
    hits = np.bincount(place, weights=true_positives, minlength=BINS)
    some = np.where(numbers > 0, numbers, np.nan)
    gaps = np.abs(sums - hits).sum()
    return Calibration(
        edges=np.linspace(0.0, 1.0, BINS + 1),
        numbers=numbers,
        mean_scores=sums / some,
        precisions=hits / some,
        error=float(gaps / len(scores)) if len(scores) else float("nan"),
    )


def _hardest(
    pool: MatchTable,
    matches: Matches,
    detections: Sequence[Detections],
    *,
    classes: tuple[str, ...],
    score_threshold: float,
    count: int,
) -> tuple[ImageResult, ...]:
    """The images with the most errors at the threshold, worst first."""
    verdicts = judge_images(pool, matches, score_threshold=score_threshold)
    errors = verdicts.false_positives_by_image + verdicts.false_negatives_by_image
    worst = np.argsort(-errors, kind="stable")[:count]
    return tuple(
        verdicts.of_image(index, classes=classes, path=detections[index].path)
        for index in worst[errors[worst] > 0].tolist()
    )


def _precision_recall(
    true_positives: int, detections: int, objects: int
) -> tuple[float, float, float]:
    """Precision, recall and F1; NaN without detections, without objects, without objects."""
    undefined = float("nan")
    return (
        true_positives / detections if detections else undefined,
        true_positives / objects if objects else undefined,
        2 * true_positives / (detections + objects) if objects else undefined,
    )
