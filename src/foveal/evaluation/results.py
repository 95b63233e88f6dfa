"""What an evaluation says: frozen results that the command line, the report and tests read.

Every number is a plain float; NaN where it is undefined (a class without objects has no AP), which
`metrics.json` writes as null. AP and AR are in 0..1, higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.tables import html_table
from foveal.text import between, counted, decimal

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from foveal.structures import DetectionProfile, Detections, Target


@dataclass(frozen=True, slots=True)
class Interval:
    """Where 95 % of the resampled values lie; both NaN where the number itself is undefined."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """COCO's twelve numbers, of all classes or of one.

    Attributes:
        ap: mean over the IoU thresholds 0.50, 0.55 ... 0.95 (and over the classes with objects).
        ap50, ap75: at the IoU 0.5 and 0.75.
        ap_small, ap_medium, ap_large: objects under 32^2, from 32^2 to 96^2, and over 96^2 px.
        ar_1, ar_10, ar_100: recall with at most 1, 10 and 100 detections an image.
        ar_small, ar_medium, ar_large: recall by size, with `max_detections` detections an image.
        ar_max: recall with `max_detections` detections an image; `ar_100` where that is 100.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    ar_max: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision, recall and F1 of one class at the IoU 0.5; empty arrays where it has no objects.

    Attributes:
        recall: [101] 0, 0.01 ... 1, where COCO samples the precision.
        precision: [101] best precision at that recall or a higher one; 0 where it is not reached.
        thresholds: [101] score thresholds 0, 0.01 ... 1.
        precision_at, recall_at, f1_at: [101] what keeping the detections from each threshold on
            gives; the precision is NaN where nothing is kept, F1 is 0 there.
        best_f1: the highest F1.
        best_threshold: the threshold that gives it.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    precision_at: NDArray[np.float64]
    recall_at: NDArray[np.float64]
    f1_at: NDArray[np.float64]
    best_f1: float
    best_threshold: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Predicted against true number of objects in each image, at the chosen threshold.

    Attributes:
        true, predicted: [I] int64, objects in each image, without what lies in regions to ignore.
        bias: mean of predicted - true, objects an image.
        mean_absolute_error: mean of |predicted - true|, objects an image.
        relative_error: sum of |predicted - true| / sum of true; NaN where there are no objects.
        r2: explained share of the variance of the true counts; NaN where they are equal.
        bias_interval, mean_absolute_error_interval: 95 %, by resampling the images.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    bias: float
    mean_absolute_error: float
    relative_error: float
    r2: float
    bias_interval: Interval
    mean_absolute_error_interval: Interval


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class.

    Attributes:
        name: the class name.
        images: how many images show it.
        objects: how many objects, regions to ignore left out.
        coco: the twelve numbers.
        voc2007, voc2012: Pascal VOC's AP at the IoU 0.5, by 11 points and by area.
        ap_interval, ap50_interval: 95 %, by resampling the images.
        precision, recall, f1: at the chosen threshold, IoU 0.5.
        curve: precision, recall and F1.
        counts: in each image, at the chosen threshold.
    """

    name: str
    images: int
    objects: int
    coco: CocoMetrics
    voc2007: float
    voc2012: float
    ap_interval: Interval
    ap50_interval: Interval
    precision: float
    recall: float
    f1: float
    curve: Curve
    counts: Counts


@dataclass(frozen=True, slots=True)
class ErrorType:
    """One type of error.

    Attributes:
        cost: how much AP50 mending this kind alone would give, 0..1 (TIDE, section 2.3).
        number: how many such errors; of detections above any score, or of objects for "missed".
        number_at_threshold: the same among the detections kept by the chosen threshold.
    """

    cost: float
    number: int
    number_at_threshold: int


@dataclass(frozen=True, slots=True)
class Errors:
    """What error types cost how much AP50 (Bolya et al. 2020, "TIDE").

    Attributes:
        wrong_class: right place (IoU at least 0.5), wrong class.
        localization: right class, IoU from 0.1 to 0.5.
        both: wrong class and IoU from 0.1 to 0.5 only.
        duplicate: right class and place, but a better detection has the object.
        background: no object near (IoU under 0.1).
        missed: an object that no detection finds and no other error accounts for.
        false_positive, false_negative: the cost of all false detections, of all objects not found.
        ap50: the mean over the classes from which the costs are counted.
    """

    wrong_class: ErrorType
    localization: ErrorType
    both: ErrorType
    duplicate: ErrorType
    background: ErrorType
    missed: ErrorType
    false_positive: float
    false_negative: float
    ap50: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether scores are probabilities: of detections scored about 0.8, are 80 % right (IoU 0.5)?

    Attributes:
        edges: [bins + 1] of the score, 0 to 1.
        numbers: [bins] int64, detections in each bin.
        mean_scores: [bins], NaN where a bin is empty.
        precisions: [bins] share that is right, NaN where a bin is empty.
        error: expected calibration error, the mean of |score - precision| over detections.
    """

    edges: NDArray[np.float64]
    numbers: NDArray[np.int64]
    mean_scores: NDArray[np.float64]
    precisions: NDArray[np.float64]
    error: float


@dataclass(frozen=True, slots=True)
class SizeResult:
    """Objects whose size (square root of the area) lies in a range.

    Attributes:
        name: for example "16 to 32 px".
        low, high: the size in original pixels, low included; high is infinite in the last range.
        objects: how many.
        ap, ap50: mean over the classes with objects of this size.
        ar: recall, mean over the IoU thresholds, with `max_detections` detections an image.
    """

    name: str
    low: float
    high: float
    objects: int
    ap: float
    ap50: float
    ar: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Which class is taken for which, at the chosen threshold and IoU 0.5, whatever the class.

    Attributes:
        names: the K class names, then "background".
        matrix: [K + 1, K + 1] int64; the row is the true class, the column the predicted one; the
            last column counts objects not found, the last row detections of nothing.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What went right and wrong in one image, at the chosen threshold (same class, IoU 0.5).

    Boxes are in original pixels.

    Attributes:
        index: of the image in the data set.
        path: its file, where the detections know it.
        true_positives: detections that found an object.
        false_positives: detections that did not.
        false_negatives: objects that were not found; no regions to ignore.
        ignored: [N, 4] float32 xyxy, regions to ignore.
    """

    index: int
    path: Path | None
    true_positives: Detections
    false_positives: Detections
    false_negatives: Target
    ignored: NDArray[np.float32]

    @property
    def errors(self) -> int:
        """Number of errors: false positives and false negatives."""
        return len(self.false_positives) + len(self.false_negatives)


@dataclass(frozen=True, slots=True)
class CappedImage:
    """An image where a limit left out detections that reach the threshold: counts are too low.

    Attributes:
        index: of the image in the data set.
        path: its file, where the detections know it.
    """

    index: int
    path: Path | None

    @property
    def name(self) -> str:
        """What people call the image."""
        return f"image {self.index}" if self.path is None else self.path.name


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that an evaluation says.

    Attributes:
        classes: the K class names.
        images: how many images.
        objects: how many objects, regions to ignore left out.
        detections: how many detections there are.
        max_detections: how many detections of an image and class COCO's numbers are made of.
        coco: COCO's twelve numbers, the means over the classes that have objects.
        ap_interval, ap50_interval: 95 %, by resampling the images.
        voc2007, voc2012: Pascal VOC's mean AP at the IoU 0.5.
        score_threshold: the score from which detections count.
        threshold_chosen_here: whether it was chosen on these images (then counts, F1 and the
            confusion matrix are a little optimistic) and not given.
        precision, recall, f1: of all classes together, at the threshold and IoU 0.5.
        counts: all classes together.
        per_class: one result for each class, in the classes' order.
        by_size: finer ranges of size, small to large.
        errors: what error types cost how much.
        confusion: which class is taken for which.
        calibration: whether scores are probabilities.
        hardest: the images with most errors, worst first; only images with an error.
        beyond_limit: how many detections COCO's numbers leave out, because `max_detections` of
            their image and class are better.
        beyond_limit_images: in how many images.
        images_without_objects: how many images have no annotation, not even a region to ignore:
            all that is found there is false.
        capped: the images where the predictor's own limit left out detections that count.
        profile: what a model's detections look like from its own score threshold on; None where
            other programs' results were measured.

    Examples:
        >>> result = foveal.load("run").evaluate("cells:test")
        >>> result.images
        4
        >>> 0 <= result.ap50 <= 1
        True
        >>> [row["class"] for row in result.to_table()]
        ['normal', 'infected', 'platelet']
    """

    classes: tuple[str, ...]
    images: int
    objects: int
    detections: int
    max_detections: int
    coco: CocoMetrics
    ap_interval: Interval
    ap50_interval: Interval
    voc2007: float
    voc2012: float
    score_threshold: float
    threshold_chosen_here: bool
    precision: float
    recall: float
    f1: float
    counts: Counts
    per_class: tuple[ClassResult, ...]
    by_size: tuple[SizeResult, ...]
    errors: Errors
    confusion: Confusion
    calibration: Calibration
    hardest: tuple[ImageResult, ...]
    beyond_limit: int = 0
    beyond_limit_images: int = 0
    images_without_objects: int = 0
    capped: tuple[CappedImage, ...] = ()
    profile: DetectionProfile | None = None

    @property
    def ap(self) -> float:
        """COCO's AP."""
        return self.coco.ap

    @property
    def ap50(self) -> float:
        """AP at the IoU 0.5."""
        return self.coco.ap50

    @property
    def ap75(self) -> float:
        """AP at the IoU 0.75."""
        return self.coco.ap75

    @property
    def ap_small(self) -> float:
        """AP of objects under 32^2 px."""
        return self.coco.ap_small

    @property
    def ap_medium(self) -> float:
        """AP of objects from 32^2 to 96^2 px."""
        return self.coco.ap_medium

    @property
    def ap_large(self) -> float:
        """AP of objects over 96^2 px."""
        return self.coco.ap_large

    def to_table(self) -> list[dict[str, str | int | float]]:
        """One row for each class, as `pandas.DataFrame(evaluation.to_table())` takes it.

        The columns are class, images, objects, AP, AP_low and AP_high (95 %), AP50, AP75, and at
        the score threshold precision, recall, F1 and predicted (how many were counted); NaN where
        a number is undefined.
        """
        return [
            {
                "class": one.name,
                "images": one.images,
                "objects": one.objects,
                "AP": one.coco.ap,
                "AP_low": one.ap_interval.low,
                "AP_high": one.ap_interval.high,
                "AP50": one.coco.ap50,
                "AP75": one.coco.ap75,
                "precision": one.precision,
                "recall": one.recall,
                "F1": one.f1,
                "predicted": int(one.counts.predicted.sum()),
            }
            for one in self.per_class
        ]

    def __repr__(self) -> str:
        return f"<Evaluation {self._in_words()}>"

    def _in_words(self) -> str:
        ap, ap50 = (
            f"{name} {decimal(value)}"
            + (f" ({between(interval.low, interval.high)})" if interval.low == interval.low else "")
            for name, value, interval in (
                ("AP", self.ap, self.ap_interval),
                ("AP50", self.ap50, self.ap50_interval),
            )
        )
        return (
            f"{ap}, {ap50} on {counted(self.images, 'image')} with "
            f"{counted(self.objects, 'object')}; F1 {decimal(self.f1)} from the score "
            f"{self.score_threshold:.2f} on"
        )

    def _repr_html_(self) -> str:
        """The numbers of each class, for a notebook."""
        rows = [
            {
                "class": one.name,
                "objects": f"{one.objects:,}",
                "counted": f"{int(one.counts.predicted.sum()):,}",
                "AP": decimal(one.coco.ap),
                "95% interval": between(one.ap_interval.low, one.ap_interval.high),
                "AP50": decimal(one.coco.ap50),
                "precision": decimal(one.precision),
                "recall": decimal(one.recall),
                "F1": decimal(one.f1),
            }
            for one in self.per_class
        ]
        note = "In brackets: 95% intervals, by resampling the images. "
        note += f"Counted, precision, recall and F1: from the score {self.score_threshold:.2f} on."
        return html_table(self._in_words(), rows, note=note)
