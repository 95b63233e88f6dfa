"""What a comparison says, in sentences: the same on the screen and in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.evaluation.bootstrap import FEWEST_IMAGES
from foveal.evaluation.comparison import Difference, images_needed
from foveal.evaluation.story import counting_as_false
from foveal.text import UNDEFINED, counted, decimal, listed, plain_number

if TYPE_CHECKING:
    from foveal.evaluation.comparison import Comparison
    from foveal.evaluation.results import Interval

_FEW_IMAGES = 30
_MAX_NAMES = 6
_MOST_NEEDED = 1_000_000


def verdict(comparison: Comparison, names: tuple[str, str]) -> str:
    """Which detector is better by AP, or that no difference can be shown, in a sentence or two.

    Args:
        comparison: of two detectors.
        names: what people call them.
    """
    images = counted(comparison.images, "image")
    if not comparison.images:
        return "There were no images to compare on."
    if not comparison.objects:
        return f"The {images} show no objects: nothing can be compared."
    difference = comparison.ap
    first, second = names
    if difference.better is not None:
        best, worst = (second, first) if difference.better == "second" else (first, second)
        low, high = sorted(map(abs, (difference.interval.low, difference.interval.high)))
        return (
            f"{best} is better than {worst}: its AP is higher by {abs(difference.value):.3f} "
            f"({low:.3f} to {high:.3f}, 95% interval, {images})."
        )
    if difference.interval.low != difference.interval.low:
        return (
            f"No difference can be shown on {images}: objects are in {difference.images:,} of "
            f"them, and of fewer than {FEWEST_IMAGES} nothing can be told from chance."
        )
    if not comparison.different_images and difference.interval.low == difference.interval.high:
        return f"No difference can be shown on {images}: both find the same."
    said = (
        f"No difference can be shown on {images}: the AP of {second} less that of {first} is "
        f"{signed(difference.value)}, and by chance alone it may be anything from "
        f"{signed(difference.interval.low)} to {signed(difference.interval.high)} (95% interval)."
    )
    needed = images_needed(difference)
    if needed is None:
        return said
    if needed > _MOST_NEEDED:
        return f"{said} More images would hardly show one."
    return (
        f"{said} If it is as large as it looks, some {_rounded(needed):,} images like these would "
        "show it, four times in five."
    )


def more_differences(comparison: Comparison, names: tuple[str, str]) -> list[str]:
    """What else is shown, and what is not: AP50, counts, classes and sizes; a sentence each.

    Args:
        comparison: of two detectors.
        names: what people call them.
    """
    if not comparison.objects:
        return []
    said = []
    for what, one in (("AP50", comparison.ap50), ("F1 at the thresholds", comparison.f1)):
        if one.better is None:
            said.append(f"{what}: no difference can be shown ({_numbers(one)}).")
        else:
            said.append(f"{what}: {_name(one, names)} is better ({_numbers(one)}).")
    error = comparison.count_error
    numbers = f"{plain_number(error.first)} and {plain_number(error.second)} objects an image wrong"
    if error.better is None:
        said.append(f"Counts: no difference can be shown ({numbers}).")
    else:
        said.append(f"Counts: {_name(error, names)} is better ({numbers}).")
    for which, name in zip(("first", "second"), names, strict=True):
        better = [one.name for one in comparison.per_class if one.ap.better == which]
        better += [f"objects {one.name}" for one in comparison.by_size if one.ap.better == which]
        if better and len(comparison.per_class) > 1:
            said.append(f"{name} has the better AP for {listed(better, _MAX_NAMES)}.")
    return said


def doubts(comparison: Comparison, names: tuple[str, str]) -> list[str]:
    """What to bear in mind: few images, many intervals, thresholds, limits."""
    said = []
    if 0 < comparison.images < _FEW_IMAGES:
        said.append(
            f"{counted(comparison.images, 'image')} are few: such intervals are rough. Images that "
            "were cut from the same scene count as one."
        )
    if empty := comparison.images_without_objects:
        said.append(
            f"{counting_as_false(empty, comparison.images)} Images that nobody has labeled must be "
            "left out."
        )
    tested = [one.ap for one in comparison.per_class if one.ap.interval.low == one.ap.interval.low]
    if len(tested) >= 10:
        said.append(
            f"Of {len(tested)} classes about {max(1, round(len(tested) / 20))} would seem to "
            "differ by chance: an interval of 95% errs once in 20 times."
        )
    chosen = comparison.thresholds_chosen_here
    if chosen[0] != chosen[1]:
        here, given = (names[0], names[1]) if chosen[0] else (names[1], names[0])
        said.append(
            f"The score threshold of {here} was chosen on these images and that of {given} was "
            f"not, so recall, precision, F1 and counts favor {here} a little. "
            "--score-threshold sets the same for both."
        )
    for name, beyond in zip(names, comparison.beyond_limit, strict=True):
        if beyond:
            said.append(
                f"AP takes at most {counted(comparison.max_detections, 'detection')} of an image "
                f"and class: {beyond:,} of {name} are beyond. --max-detections takes more."
            )
    return said


def signed(value: float, places: int = 3) -> str:
    """The number with its sign."""
    return f"{value:+.{places}f}".replace("-", "−") if value == value else UNDEFINED


def signed_interval(interval: Interval, places: int = 3) -> str:
    """Where an interval of differences begins and ends: −0.012 to +0.021."""
    if interval.low != interval.low or interval.high != interval.high:
        return UNDEFINED
    return f"{signed(interval.low, places)} to {signed(interval.high, places)}"


def shown_as(difference: Difference, names: tuple[str, str]) -> str:
    """Which detector is better, in a word or two."""
    if difference.better is not None:
        return f"{_name(difference, names)} better"
    if difference.interval.low != difference.interval.low:
        return "too few images" if difference.value == difference.value else UNDEFINED
    return "shown" if difference.is_shown else "not shown"


def _name(difference: Difference, names: tuple[str, str]) -> str:
    return names[difference.better == "second"]


def _numbers(one: Difference) -> str:
    return f"{decimal(one.first)} and {decimal(one.second)}"


def _rounded(number: int) -> int:
    """To two figures."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit
