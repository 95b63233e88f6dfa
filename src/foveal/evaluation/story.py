"""What an evaluation says, in sentences and numbers: the same on the screen and in the report.

A plain word stands beside each of the field's terms: "Found 84%, recall".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.text import UNDEFINED, between, counted, decimal, listed, percent, plain_number

if TYPE_CHECKING:
    from foveal.evaluation.results import (
        ClassResult,
        Counts,
        Errors,
        ErrorType,
        Evaluation,
        Interval,
    )

NOTHING = 0.0005
"""An AP below this is written as 0.000."""
_USELESS = 0.01
"""With an AP50 below this no other number means anything."""
_WHY_NOTHING = (
    "Nothing else here says anything, least of all a threshold or the type of the errors. The "
    "likeliest reasons: the training was too short, or on too few images (its last lines say what "
    "was measured); the boxes are not where the objects are (foveal data show DATA draws them); or "
    "these images or classes are others than those that the detector was trained on."
)

COCO_LIMIT = 100
"""Detections of an image and class that COCO's numbers are made of."""
_FEW_IMAGES = 30
_MAX_NAMES = 12
_MAX_CAPPED = 3


@dataclass(frozen=True, slots=True)
class Headline:
    """A number that matters, in words.

    Attributes:
        name: a plain word or two.
        value: as it is written.
        detail: the field's term, the interval, or what the number is made of.
        meaning: a sentence for readers who are new to it; "" where there is none.
    """

    name: str
    value: str
    detail: str
    meaning: str

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        detail = f", {self.detail}" if self.detail else ""
        return f"{self.name} {self.value}{detail}. {self.meaning}".rstrip()


@dataclass(frozen=True, slots=True)
class BenchmarkNumber:
    """One of COCO's or Pascal VOC's numbers: its name as in `metrics.json`, value and meaning."""

    name: str
    value: float
    meaning: str


@dataclass(frozen=True, slots=True)
class ErrorName:
    """What people call one of TIDE's error types.

    Attributes:
        field: its name in `foveal.evaluation.results.Errors`.
        name: in plain words.
        term: TIDE's name.
        meaning: what went wrong.
    """

    field: str
    name: str
    term: str
    meaning: str

    def find(self, errors: Errors) -> ErrorType:
        """How often errors of this type occur, and what they cost."""
        found: ErrorType = getattr(errors, self.field)
        return found


ERROR_NAMES = (
    ErrorName("wrong_class", "wrong class", "classification", "the box is right, the class is not"),
    ErrorName(
        "localization",
        "inexact box",
        "localization",
        "the class is right, the box overlaps by less than half",
    ),
    ErrorName("both", "class and box", "both", "the class is wrong and the box inexact"),
    ErrorName("duplicate", "found twice", "duplicate", "another detection already has the object"),
    ErrorName(
        "background", "nothing there", "background", "there is no object where one was detected"
    ),
    ErrorName("missed", "missed", "missed", "no detection comes near the object"),
)
"""TIDE's six error types, in its order."""

_COCO = {
    "ap": ("AP", "mean over the overlaps (IoU) 0.50 to 0.95"),
    "ap50": ("AP50", "a box counts from an overlap of 0.50"),
    "ap75": ("AP75", "a box counts from an overlap of 0.75"),
    "ap_small": ("APs", "small objects, under 32 x 32 px"),
    "ap_medium": ("APm", "medium objects, from 32 x 32 to 96 x 96 px"),
    "ap_large": ("APl", "large objects, over 96 x 96 px"),
    "ar_1": ("AR1", "recall with 1 detection an image"),
    "ar_10": ("AR10", "recall with at most 10 detections"),
    "ar_100": ("AR100", "recall with at most 100 detections"),
    "ar_small": ("ARs", "recall of small objects"),
    "ar_medium": ("ARm", "recall of medium objects"),
    "ar_large": ("ARl", "recall of large objects"),
}


def images_in_words(images: int, without_objects: int) -> str:
    """How many images there are, and how many of them show nothing that is annotated."""
    empty = f" ({without_objects:,} without annotated objects)" if without_objects else ""
    return counted(images, "image") + empty


def counting_as_false(empty: int, images: int) -> str:
    """What becomes of detections in so many of the images, which have no annotated object."""
    return (
        f"{empty:,} of {counted(images, 'image')} {'has' if empty == 1 else 'have'} no annotated "
        "object: whatever is found there counts as false."
    )


def found_nothing(evaluation: Evaluation) -> bool:
    """Whether there are objects and next to none was found where it is: AP50 is below 0.01."""
    return bool(evaluation.objects) and evaluation.ap50 < _USELESS


def _not_learned(evaluation: Evaluation) -> str:
    much = "nothing" if evaluation.ap50 < NOTHING else "next to nothing"
    return f"The detector has learned {much} that holds here: AP50 is {decimal(evaluation.ap50)}."


def overview(evaluation: Evaluation) -> str:
    """How many objects were detected, and how many detections are true."""
    if not evaluation.images:
        return "There were no images to evaluate."
    images = counted(evaluation.images, "image")
    predicted, true = int(evaluation.counts.predicted.sum()), int(evaluation.counts.true.sum())
    if not evaluation.objects:
        detected = (
            f"All that was found is false ({counted(predicted, 'detection')})."
            if predicted
            else "Nothing was found either."
        )
        return f"There is no annotated object in {images}, so quality can't be measured. {detected}"
    where = "chosen on these images" if evaluation.threshold_chosen_here else "chosen before"
    if not predicted:
        text = (
            f"Nothing was found among {counted(true, 'object')} at the score threshold "
            f"{evaluation.score_threshold:.2f} ({where})."
        )
        return (
            f"{text} {_not_learned(evaluation)} {_WHY_NOTHING}"
            if found_nothing(evaluation)
            else text
        )
    if found_nothing(evaluation):
        return (
            f"{_not_learned(evaluation)} There are {counted(predicted, 'detection')} for "
            f"{counted(true, 'annotated object')} in {images}. {_WHY_NOTHING}"
        )
    return (
        f"With a score of at least {evaluation.score_threshold:.2f} ({where}), "
        f"there are {counted(predicted, 'detection')} for {counted(true, 'annotated object')} in "
        f"{images}. {percent(evaluation.recall)} of the annotated objects were found, and "
        f"{percent(evaluation.precision)} of the detections are right."
    )


def headlines(evaluation: Evaluation) -> list[Headline]:
    """The numbers that matter: recall, precision, AP50, AP, count error; the defined ones only."""
    counts = evaluation.counts
    relative = percent(counts.relative_error)
    of_the_true = "" if relative == UNDEFINED else f", {relative} of the true number"
    numbers = [
        Headline(
            "Found",
            percent(evaluation.recall),
            "recall",
            "Of the objects that are there, this part was found.",
        ),
        Headline(
            "Right",
            percent(evaluation.precision),
            "precision",
            "Of the detections, this part is an object of the stated class.",
        ),
        Headline(
            "AP50",
            decimal(evaluation.ap50),
            _interval(evaluation.ap50_interval),
            "Quality over all score thresholds; a box may be off by a good deal. 1 is perfect.",
        ),
        Headline(
            "AP",
            decimal(evaluation.ap),
            _interval(evaluation.ap_interval),
            "The same, where boxes must also fit tightly: COCO's main number.",
        ),
        Headline(
            "Count error",
            plain_number(counts.mean_absolute_error),
            f"objects an image{of_the_true}",
            bias_in_words(counts),
        ),
    ]
    return [number for number in numbers if number.value != UNDEFINED]


def bias_in_words(counts: Counts) -> str:
    """Whether too many are counted, or too few; nothing where it is not known."""
    if counts.bias != counts.bias:
        return ""
    if abs(counts.bias) < 0.005:
        return "On average neither too many nor too few."
    direction = "too many" if counts.bias > 0 else "too few"
    return f"On average {plain_number(abs(counts.bias))} {direction} an image."


def cautions(evaluation: Evaluation) -> list[str]:
    """What the numbers must not be taken for."""
    sentences = _limits(evaluation)
    if not evaluation.objects:
        return sentences
    if evaluation.images < _FEW_IMAGES:
        sentences.append(
            f"There {'is' if evaluation.images == 1 else 'are'} only "
            f"{counted(evaluation.images, 'image')}: another set of as many may well give "
            "other numbers. The intervals say how far they may be off."
        )
    if evaluation.threshold_chosen_here:
        sentences.append(
            "The score threshold was chosen on these very images, so counts, recall, precision "
            "and F1 are a little better than on new images. AP does not depend on it."
        )
    if empty := evaluation.images_without_objects:
        sentences.append(
            f"{counting_as_false(empty, evaluation.images)} That is right where there is nothing; "
            "images that nobody has labeled must be left out."
        )
    without = [one.name for one in evaluation.per_class if not one.objects]
    if without:
        sentences.append(f"No objects, and so no AP, of: {listed(without, _MAX_NAMES)}.")
    return sentences


def _limits(evaluation: Evaluation) -> list[str]:
    """What limits left out: of what the detector gave, and of what COCO's numbers are made of."""
    sentences = []
    if evaluation.capped:
        names = [image.name for image in evaluation.capped]
        sentences.append(
            f"In {len(names):,} of {counted(evaluation.images, 'image')} the detector's limit of "
            "detections was reached by detections that count "
            f"({listed(names, _MAX_CAPPED)}): counts and recall are too low there. Predict with a "
            "higher limit: --max-detections N (in Python predictor(max_detections=N))."
        )
    if evaluation.beyond_limit:
        limit = evaluation.max_detections
        sentences.append(
            f"COCO's numbers are made of the {limit:,} best detections of an image and class: "
            f"{evaluation.beyond_limit:,} of {counted(evaluation.detections, 'detection')}, in "
            f"{counted(evaluation.beyond_limit_images, 'image')}, are left out of them "
            "(--max-detections N takes more). Counts, recall, F1 and Pascal VOC's numbers take all."
        )
    return sentences


def costliest(errors: Errors) -> str:
    """Which error type it would pay most to mend."""
    costs = {one.name: one.find(errors).cost for one in ERROR_NAMES}
    known = {name: cost for name, cost in costs.items() if cost > 0}
    if not known:
        return "No type of error costs AP50 that could be won back."
    worst = max(known, key=lambda name: known[name])
    return (
        f'Most would be won by mending the type "{worst}": AP50 would rise by {known[worst]:.3f}.'
    )


def benchmark_numbers(
    result: Evaluation | ClassResult, *, max_detections: int
) -> list[BenchmarkNumber]:
    """COCO's twelve numbers and Pascal VOC's two, of all classes or of one.

    Args:
        result: of all classes, or of one.
        max_detections: the limit of detections an image; recall at a limit other than COCO's 100
            is one number more.
    """
    coco = result.coco
    numbers = [
        BenchmarkNumber(name, getattr(coco, field), meaning)
        for field, (name, meaning) in _COCO.items()
    ]
    if max_detections not in (1, 10, 100):
        meaning = f"recall with at most {counted(max_detections, 'detection')}"
        numbers.append(BenchmarkNumber(f"AR{max_detections}", coco.ar_max, meaning))
    return [
        *numbers,
        BenchmarkNumber("VOC2007", result.voc2007, "AP at an overlap of 0.50, by 11 points"),
        BenchmarkNumber("VOC2012", result.voc2012, "AP at an overlap of 0.50, by the area"),
    ]


def limit_of_coco(evaluation: Evaluation) -> str:
    """How many detections COCO's numbers are made of, which COCO fixes at 100."""
    limit = evaluation.max_detections
    own = "" if limit == COCO_LIMIT else f"; COCO's own limit is {COCO_LIMIT}"
    return f"COCO's numbers take at most {counted(limit, 'detection')} of an image and class{own}."


def largest_classes(evaluation: Evaluation, *, count: int) -> list[tuple[int, ClassResult]]:
    """Label and result of the classes with the most objects, in the classes' order."""
    numbered = list(enumerate(evaluation.per_class))
    chosen = sorted(numbered, key=lambda pair: -pair[1].objects)[:count]
    return sorted(chosen, key=lambda pair: pair[0])


def _interval(interval: Interval) -> str:
    words = between(interval.low, interval.high)
    return "" if words == UNDEFINED else f"{words} (95% interval)"
