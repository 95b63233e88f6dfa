"""Two detectors on the same images: what differs, and how sure that is.

The images are drawn with replacement, the same ones for both detectors (a paired bootstrap): what
makes an image hard is hard for both, and falls out of the difference. So a difference can be shown
that is far smaller than either detector's own interval.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.errors import DataError
from foveal.evaluation.bootstrap import (
    draw_weights,
    expanded_interval,
    mean_of_draws,
    weighted_class_aps,
)
from foveal.evaluation.coco_metrics import IOUS, SIZES, RangeTable, make_range_table
from foveal.evaluation.counting import count_table, threshold_of
from foveal.evaluation.error_types import find_errors
from foveal.evaluation.image_results import ImageVerdicts, judge_images
from foveal.evaluation.matching import make_pool, match
from foveal.evaluation.results import Errors, ImageResult, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.evaluation.matching import MatchTable
    from foveal.structures import Detections, Target

RESAMPLES = 500
"""How often the images are drawn again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of two detectors, the second's less the first's, and the interval of that.

    Attributes:
        first, second: the number of each; NaN where it is undefined.
        interval: where 95 % of the differences lie when the images are drawn anew, the same for
            both; NaN where too few images speak for the number.
        images: how many images speak for it: those with objects that it is made of.
        higher_is_better: False for errors; None where neither direction is better.
    """

    first: float
    second: float
    interval: Interval
    images: int
    higher_is_better: bool | None = True

    @property
    def value(self) -> float:
        """The second detector's number less the first's."""
        return self.second - self.first

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes 0: the difference is more than chance makes of it."""
        return self.interval.low > 0 or self.interval.high < 0

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Which detector is shown to be the better one in this."""
        if not self.is_shown or self.higher_is_better is None:
            return None
        return "second" if (self.interval.low > 0) == self.higher_is_better else "first"


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """One class.

    Attributes:
        name: the class name.
        images: how many images show it.
        objects: how many objects, regions to ignore left out.
        ap, ap50: AP of each detector.
        count_error: mean of |predicted - true|, objects an image, at each detector's threshold.
    """

    name: str
    images: int
    objects: int
    ap: Difference
    ap50: Difference
    count_error: Difference


@dataclass(frozen=True, slots=True)
class SizeDifference:
    """Objects whose size (square root of the area) lies in a range.

    Attributes:
        name: for example "16 to 32 px".
        low, high: the size in original pixels, low included; high is infinite in the last range.
        objects: how many.
        ap: mean over the classes with objects of this size.
    """

    name: str
    low: float
    high: float
    objects: int
    ap: Difference


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """An image of which two detectors say different things, each at its threshold.

    Attributes:
        first, second: what was right and wrong of each.
        only_first, only_second: objects that one found and the other did not.
    """

    first: ImageResult
    second: ImageResult
    only_first: int
    only_second: int

    @property
    def index(self) -> int:
        """Of the image in the data set."""
        return self.first.index


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that a comparison says.

    Attributes:
        classes: the K class names.
        images: how many images.
        objects: how many objects, regions to ignore left out.
        detections: how many detections each has.
        max_detections: how many detections of an image and class AP is made of.
        beyond_limit: how many detections of each AP leaves out for that.
        score_thresholds: of each, the score from which its detections count.
        thresholds_chosen_here: whether each was chosen on these images, and not given.
        resamples: how often the images were drawn again.
        ap, ap50, ap75: COCO's, the mean over the classes that have objects.
        recall, precision, f1: at each detector's threshold and the IoU 0.5.
        count_error: mean of |predicted - true|, objects an image, all classes together.
        count_bias: mean of predicted - true, objects an image; nearer to 0 is better.
        per_class: one for each class, in the classes' order.
        by_size: small to large.
        errors: of each, what error types cost how much.
        most_different: the images of which they say the most different things, the most first.
        different_images: in how many images they differ at all.
        images_without_objects: how many images have no annotation, not even a region.
    """

    classes: tuple[str, ...]
    images: int
    objects: int
    detections: tuple[int, int]
    max_detections: int
    beyond_limit: tuple[int, int]
    score_thresholds: tuple[float, float]
    thresholds_chosen_here: tuple[bool, bool]
    resamples: int
    ap: Difference
    ap50: Difference
    ap75: Difference
    recall: Difference
    precision: Difference
    f1: Difference
    count_error: Difference
    count_bias: Difference
    per_class: tuple[ClassDifference, ...]
    by_size: tuple[SizeDifference, ...]
    errors: tuple[Errors, Errors]
    most_different: tuple[ImageDifference, ...]
    different_images: int
    images_without_objects: int = 0


def compare(
    first: Sequence[Detections],
    second: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    max_detections: int = 100,
    score_thresholds: tuple[float | None, float | None] = (None, None),
    seed: int = 0,
    resamples: int = RESAMPLES,
    most_different: int = 24,
) -> Comparison:
    """Compare what two detectors found in the same images.

    Args:
        first, second: one for each image, with low scores still in; original pixels.
        targets: one for each image, original pixels.
        classes: the K class names.
        max_detections: how many detections of each image and class AP is made of, the best ones.
        score_thresholds: of each detector, the score from which detections count, chosen on other
            images; None chooses the one of the best F1 on these.
        seed: of the resampling.
        resamples: how often the images are drawn again.
        most_different: how many of the most different images are kept.

    Raises:
        DataError: not as many detections as targets, a label outside 0..K-1, or no draws.
    """
    if resamples < 1:
        raise DataError(f"resamples is {resamples}. Expected 1 or more.")
    names = tuple(classes)
    weights = draw_weights(len(targets), draws=resamples, seed=seed)

    def measure(detections: Sequence[Detections], score_threshold: float | None) -> _Side:
        return _measure(
            detections,
            targets,
            classes=len(names),
            max_detections=max_detections,
            score_threshold=score_threshold,
            weights=weights,
        )

    # numpy gives up the interpreter's lock: two cores take little more than half the time.
    with ThreadPoolExecutor(2) as threads:
        sides = list(threads.map(measure, (first, second), score_thresholds))
    one, other = sides
    pool, counted = one.pool, one.counted
    images = [_images_with(pool, counted & (pool.object_labels == k)) for k in range(len(names))]
    shown = _images_with(pool, counted)
    most, number = _most_different(
        one.verdicts, other.verdicts, first, classes=names, count=most_different
    )
    scores = [_detection_scores(side, weights) for side in sides]
    counts = [_count_errors(side, weights) for side in sides]
    every = pool.images
    return Comparison(
        classes=names,
        images=every,
        objects=int(counted.sum()),
        detections=(len(one.pool.scores), len(other.pool.scores)),
        max_detections=max_detections,
        beyond_limit=(one.beyond_limit, other.beyond_limit),
        score_thresholds=(one.score_threshold, other.score_threshold),
        thresholds_chosen_here=(score_thresholds[0] is None, score_thresholds[1] is None),
        resamples=resamples,
        ap=_of_classes(one.whole, other.whole, levels=slice(None), images=shown),
        ap50=_of_classes(one.whole, other.whole, levels=slice(0, 1), images=shown),
        ap75=_of_classes(one.whole, other.whole, levels=slice(5, 6), images=shown),
        recall=_difference(scores[0]["recall"], scores[1]["recall"], images=shown),
        precision=_difference(scores[0]["precision"], scores[1]["precision"], images=every),
        f1=_difference(scores[0]["f1"], scores[1]["f1"], images=every),
        count_error=_difference(
            counts[0].total, counts[1].total, images=every, higher_is_better=False
        ),
        count_bias=_difference(counts[0].bias, counts[1].bias, images=every, higher_is_better=None),
        per_class=tuple(
            ClassDifference(
                name=name,
                images=images[label],
                objects=int((counted & (pool.object_labels == label)).sum()),
                ap=_of_class(one.whole, other.whole, label, slice(None), images=images[label]),
                ap50=_of_class(one.whole, other.whole, label, slice(0, 1), images=images[label]),
                count_error=_difference(
                    counts[0].of_class(label),
                    counts[1].of_class(label),
                    images=every,
                    higher_is_better=False,
                ),
            )
            for label, name in enumerate(names)
        ),
        by_size=tuple(
            SizeDifference(
                name=name,
                low=low,
                high=high,
                objects=int(ours.counted.sum()),
                ap=_of_classes(
                    ours, theirs, levels=slice(None), images=_images_with(pool, ours.counted)
                ),
            )
            for (name, low, high), ours, theirs in zip(
                SIZES, one.by_size, other.by_size, strict=True
            )
        ),
        errors=(one.errors, other.errors),
        most_different=most,
        different_images=number,
        images_without_objects=sum(not len(target.boxes) for target in targets),
    )


def compare_ap(
    first: Sequence[Detections],
    second: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    max_detections: int = 100,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The difference of AP alone, in a quarter of the time; arguments as for `compare`.

    Raises:
        DataError: not as many detections as targets, or a label outside 0..K-1.
    """
    weights = draw_weights(len(targets), draws=resamples, seed=seed)
    pools = [
        make_pool(side, targets, classes=len(classes), max_detections=max_detections)
        for side in (first, second)
    ]
    one, other = (_drawn(pool, make_range_table(pool), weights) for pool in pools)
    images = _images_with(pools[0], one.counted)
    return _of_classes(one, other, levels=slice(None), images=images)


@dataclass(frozen=True, slots=True, eq=False)
class _Range:
    """AP of objects in a range of areas: [K, T], of each draw [R, K, T], and which count, [G]."""

    aps: NDArray[np.float64]
    draws: NDArray[np.float64]
    counted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One detector, measured: all detections in `pool`, the best ones in the ranges."""

    pool: MatchTable
    counted: NDArray[np.bool_]
    score_threshold: float
    beyond_limit: int
    whole: _Range
    by_size: tuple[_Range, ...]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    verdicts: ImageVerdicts
    errors: Errors


def _measure(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    classes: int,
    max_detections: int,
    score_threshold: float | None,
    weights: NDArray[np.float32],
) -> _Side:
    pool = make_pool(detections, targets, classes=classes, max_detections=None)
    beyond = int((pool.rank >= max_detections).sum())
    coco = (
        make_pool(detections, targets, classes=classes, max_detections=max_detections)
        if beyond
        else pool
    )
    table = make_range_table(coco)
    matches = match(pool, ious=IOUS) if beyond else table.matches
    threshold = threshold_of(pool, matches) if score_threshold is None else score_threshold
    true, predicted = count_table(pool, matches, score_threshold=threshold)
    return _Side(
        pool=pool,
        counted=matches.counted,
        score_threshold=threshold,
        beyond_limit=beyond,
        whole=_drawn(coco, table, weights),
        by_size=tuple(
            _drawn(coco, make_range_table(coco, low=low**2, high=high**2), weights)
            for _, low, high in SIZES
        ),
        true=true,
        predicted=predicted,
        verdicts=judge_images(pool, matches, score_threshold=threshold),
        errors=find_errors(pool, matches, score_threshold=threshold),
    )


def _drawn(pool: MatchTable, table: RangeTable, weights: NDArray[np.float32]) -> _Range:
    draws = weighted_class_aps(pool, table.matches, weights)
    return _Range(np.asarray(table.precisions.mean(axis=2)), draws, table.matches.counted)


_Drawn = tuple[float, "NDArray[np.float64]"]
"""A number, and what it is in each draw, [R]."""


def _difference(
    first: _Drawn, second: _Drawn, *, images: int, higher_is_better: bool | None = True
) -> Difference:
    return Difference(
        first[0],
        second[0],
        expanded_interval(second[1] - first[1], images=images),
        images,
        higher_is_better,
    )


def _of_classes(first: _Range, second: _Range, *, levels: slice, images: int) -> Difference:
    """The mean over the classes with objects, and over some thresholds of the IoU."""

    def drawn(side: _Range) -> _Drawn:
        value = mean_of_draws(side.aps[None, :, levels].mean(axis=2))
        return float(value[0]), mean_of_draws(side.draws[:, :, levels].mean(axis=2))

    return _difference(drawn(first), drawn(second), images=images)


def _of_class(
    first: _Range, second: _Range, label: int, levels: slice, *, images: int
) -> Difference:
    def drawn(side: _Range) -> _Drawn:
        return float(side.aps[label, levels].mean()), side.draws[:, label, levels].mean(axis=1)

    return _difference(drawn(first), drawn(second), images=images)


def _detection_scores(side: _Side, weights: NDArray[np.float32]) -> dict[str, _Drawn]:
    """Recall, precision and F1 at the threshold."""
    hits = side.verdicts.true_positives_by_image.astype(np.float64)
    columns = np.stack([hits, side.predicted.sum(axis=0), side.true.sum(axis=0)], axis=1)
    rows = np.concatenate([columns.sum(axis=0)[None], weights @ columns])
    hit, predicted, true = rows.T
    ratios = {
        "recall": _ratio(hit, true),
        "precision": _ratio(hit, predicted),
        "f1": np.where(true > 0, _ratio(2 * hit, predicted + true), np.nan),
    }
    return {name: (float(values[0]), values[1:]) for name, values in ratios.items()}


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


@dataclass(frozen=True, slots=True, eq=False)
class _CountErrors:
    """Errors of the counts: of all classes together, their bias, and [1 + R, K] of each class."""

    total: _Drawn
    bias: _Drawn
    classes: NDArray[np.float64]

    def of_class(self, label: int) -> _Drawn:
        return float(self.classes[0, label]), self.classes[1:, label]


def _count_errors(side: _Side, weights: NDArray[np.float32]) -> _CountErrors:
    images = side.pool.images
    by_class = (side.predicted - side.true).astype(np.float64)
    together = by_class.sum(axis=0)
    columns = np.stack([np.abs(together), together, *np.abs(by_class)], axis=1)
    sums = np.concatenate([columns.sum(axis=0)[None], weights @ columns])
    means = sums / images if images else np.full_like(sums, np.nan)
    return _CountErrors(
        (float(means[0, 0]), means[1:, 0]), (float(means[0, 1]), means[1:, 1]), means[:, 2:]
    )


def _images_with(pool: MatchTable, objects: NDArray[np.bool_]) -> int:
    return len(np.unique(pool.object_image[objects]))


def _most_different(
    first: ImageVerdicts,
    second: ImageVerdicts,
    detections: Sequence[Detections],
    *,
    classes: tuple[str, ...],
    count: int,
) -> tuple[tuple[ImageDifference, ...], int]:
    """The images with the most objects that one alone finds and false positives more; how many."""
    pool = first.pool

    def by_image(objects: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(pool.object_image[objects], minlength=pool.images)

    only_first, only_second = (
        by_image(first.found & ~second.found),
        by_image(second.found & ~first.found),
    )
    more = np.abs(first.false_positives_by_image - second.false_positives_by_image)
    differences = only_first + only_second + more
    most = np.argsort(-differences, kind="stable")[:count]
    chosen = tuple(
        ImageDifference(
            first.of_image(index, classes=classes, path=detections[index].path),
            second.of_image(index, classes=classes, path=detections[index].path),
            int(only_first[index]),
            int(only_second[index]),
        )
        for index in most[differences[most] > 0].tolist()
    )
    return chosen, int((differences > 0).sum())


def images_needed(difference: Difference) -> int | None:
    """How many images like these would show the difference, were it as it looks, in 4 of 5 cases.

    An interval is as wide as one over the root of the number of images; four of five times it
    excludes 0 where the difference is 2.8 standard errors large, and it is 3.92 of them wide.

    Returns:
        None where it is shown already, or where there is no difference or no interval.
    """
    width = difference.interval.high - difference.interval.low
    if difference.is_shown or not width > 0 or not abs(difference.value) > 0:
        return None
    needed = difference.images * (2.8 / 3.92 * width / abs(difference.value)) ** 2
    return math.ceil(needed)
