"""What an evaluation says, in sentences: the same on the screen and in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.text import counted, percent, plain_number

if TYPE_CHECKING:
    from foveal.evaluation.results import Counts, Errors, Evaluation

_FEW_IMAGES = 30
_NAMED = 12

ERROR_TYPES: dict[str, tuple[str, str]] = {
    "wrong_class": ("wrong class", "the place is right, the class is not"),
    "localization": ("inexact box", "the class is right, the box overlaps by less than half"),
    "both": ("class and box", "the class is wrong and the box inexact"),
    "duplicate": ("found twice", "another detection already has the object"),
    "background": ("nothing there", "there is no object where one was detected"),
    "missed": ("missed", "no detection comes near the object"),
}
"""Of each of TIDE's error types a name for people, and what it is."""


def overview(evaluation: Evaluation) -> str:
    """How much was found, and how much of what was found is there."""
    if not evaluation.images:
        return "There were no images to evaluate."
    predicted, true = int(evaluation.counts.predicted.sum()), int(evaluation.counts.true.sum())
    if not evaluation.objects:
        return (
            f"There is no annotated object in {counted(evaluation.images, 'image')}, so that "
            f"quality can't be measured; all that was found is false "
            f"({counted(predicted, 'detection')})."
        )
    where = "chosen on these images" if evaluation.threshold_chosen_here else "chosen before"
    if not predicted:
        return (
            f"Nothing was found among {counted(true, 'object')} at the score threshold "
            f"{evaluation.score_threshold:.2f} ({where})."
        )
    return (
        f"With a score of at least {evaluation.score_threshold:.2f} ({where}), "
        f"there are {counted(predicted, 'detection')} for {counted(true, 'annotated object')} in "
        f"{counted(evaluation.images, 'image')}. "
        f"{percent(evaluation.recall)} of the annotated objects were found, and "
        f"{percent(evaluation.precision)} of the detections are right."
    )


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
    said = []
    if 0 < evaluation.images < _FEW_IMAGES:
        said.append(
            f"There {'is' if evaluation.images == 1 else 'are'} only "
            f"{counted(evaluation.images, 'image')}: another set of as many may well give "
            "other numbers. The intervals say how far they may be off."
        )
    if evaluation.threshold_chosen_here and evaluation.objects:
        said.append(
            "The score threshold was chosen on these very images, so that counts, found, right "
            "and F1 are a little better than on new images. AP does not depend on it."
        )
    without = [one.name for one in evaluation.per_class if not one.objects]
    if without and evaluation.objects:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        said.append(f"No objects, and so no AP, of: {', '.join(without[:_NAMED])}{more}.")
    return said


def costliest(errors: Errors) -> str:
    """Which error type it would pay most to mend."""
    costs = {words: getattr(errors, name).cost for name, (words, _) in ERROR_TYPES.items()}
    known = {words: cost for words, cost in costs.items() if cost == cost and cost > 0}
    if not known:
        return "No type of error costs AP50 that could be won back."
    worst = max(known, key=lambda words: known[words])
    return (
        f'Most would be won by mending the type "{worst}": AP50 would rise by {known[worst]:.3f}.'
    )
