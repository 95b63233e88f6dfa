"""The report's sections on what went wrong: the hardest images, error types, curves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.rasters import open_raster
from foveal.errors import FovealError
from foveal.evaluation.story import ERROR_NAMES, costliest, found_nothing, largest_classes
from foveal.reports import image_windows
from foveal.reports.image_windows import LARGEST_SIDE
from foveal.reports.parts import (
    Chart,
    Charts,
    Key,
    KeyEntry,
    Part,
    Picture,
    Pictures,
    Section,
    Table,
)
from foveal.reports.results import MAX_CLASSES
from foveal.structures import RGB, PixelRange, Target
from foveal.text import counted, decimal
from foveal.visualization import charts, colors
from foveal.visualization.boxes import draw_comparison

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.data.images.rasters import Raster
    from foveal.evaluation.results import Confusion, Evaluation, ImageResult
    from foveal.structures import Detections

_PICTURE_SIDE = 480
_MAX_MATRIX_NAMES = 40
"""Of more classes the most frequent confusions are listed instead of drawn."""
_MAX_CONFUSIONS = 20


def pictures_section(
    evaluation: Evaluation,
    dataset: Dataset | None,
    *,
    limit: int,
    pixel_range: PixelRange = RGB,
) -> Section | None:
    """The images with the most errors: true positives, false negatives and false positives.

    Args:
        evaluation: names the images.
        dataset: where they are; None shows none.
        limit: at most so many images are shown.
        pixel_range: as for `foveal.data.images.reading.read_image`.
    """
    if dataset is None or not evaluation.hardest or limit <= 0:
        return None
    pictures: list[Picture] = []
    messages = []
    hardest = evaluation.hardest[:limit]
    in_windows = 0
    for result in hardest:
        record = dataset.records[result.index]
        side = window_side(result, record.width, record.height)
        try:
            with (
                open_raster(record.path, pixel_range) as raster,
                raster.for_display() as shown,
            ):
                if side is None:
                    pictures.append(_whole(result, shown, record.path.name))
                else:
                    most = max(1, limit // len(hardest))
                    pictures += _windows(result, shown, record.path.name, side=side, most=most)
                    in_windows += 1
        except FovealError as error:
            messages.append(str(error))
    key = Key(
        [
            KeyEntry(colors.TRUE_POSITIVE, "found (true positive)"),
            KeyEntry(
                colors.FALSE_NEGATIVE,
                "missed (false negative): an object without a detection",
                dashed=True,
            ),
            KeyEntry(
                colors.FALSE_POSITIVE, "false (false positive): a detection without an object"
            ),
            KeyEntry(colors.IGNORED, "region to ignore", dashed=True),
        ]
    )
    text = (
        f"{counted(len(hardest) - len(messages), 'image')} with the most errors, worst first. Some "
        "errors may be missing or wrong annotations: look before you trust either. Click a picture "
        "to enlarge it."
    )
    if in_windows:
        text += (
            f" Of {in_windows:,} of them, which are much larger than their objects, the parts with "
            "the most errors are shown."
        )
    parts: list[Part] = [
        text,
        key,
        Pictures(pictures),
        *(f"Not shown: {message}" for message in messages),
    ]
    return Section("Hardest images", parts)


def errors_section(evaluation: Evaluation) -> Section | None:
    """Which error types there are, what they cost, and which classes are confused."""
    if not evaluation.objects and not evaluation.detections:
        return None
    errors = [(words, words.find(evaluation.errors)) for words in ERROR_NAMES]
    costs = {words.name: error.cost for words, error in errors}
    rows = [
        (
            words.name if words.name == words.term else f"{words.name} ({words.term})",
            words.meaning,
            decimal(error.cost),
            f"{error.number_at_threshold:,}",
            f"{error.number:,}",
        )
        for words, error in errors
    ]
    columns = ("type of error", "meaning", "AP50 lost", "at the threshold", "at any score")
    caption = (
        "AP50 takes detections of any score, so an error with a low score costs little: a missed "
        "object costs nothing if a detection below the threshold shows it. In brackets: the names "
        "of TIDE (Bolya et al. 2020)."
    )
    table = Table(columns, rows, caption, text_columns=2)
    parts: list[Part] = [
        *([] if found_nothing(evaluation) else [costliest(evaluation.errors)]),
        Charts(_error_charts(evaluation, costs)),
        table,
    ]
    if len(evaluation.confusion.names) > _MAX_MATRIX_NAMES:
        parts += _frequent_confusions(evaluation.confusion)
    return Section("Errors", parts)


def curves_section(evaluation: Evaluation) -> Section | None:
    """Precision and recall, F1 over the threshold, calibration."""
    largest = largest_classes(evaluation, count=MAX_CLASSES)
    chosen = [(label, one) for label, one in largest if one.objects]
    if not chosen:
        return None
    precision = [
        charts.Line(one.name, one.curve.recall, one.curve.precision, label) for label, one in chosen
    ]
    f1 = [
        charts.Line(one.name, one.curve.thresholds, one.curve.f1_at, label) for label, one in chosen
    ]
    calibration = evaluation.calibration
    shown = [
        Chart(
            "Precision and recall",
            charts.draw_precision_recall(precision),
            "A lower score threshold finds more objects (to the right) with more errors (down).",
        ),
        Chart(
            "F1 over the score threshold",
            charts.draw_f1(f1, score_threshold=evaluation.score_threshold),
            "F1 balances recall and precision; the threshold in use is marked.",
        ),
        Chart(
            "Are scores probabilities?",
            charts.draw_calibration(
                calibration.mean_scores, calibration.precisions, calibration.numbers
            ),
            f"On the dashed line they are; mean distance {decimal(calibration.error)}.",
        ),
    ]
    parts: list[Part] = [Charts(shown)]
    if len(chosen) < sum(one.objects > 0 for one in evaluation.per_class):
        parts.insert(0, f"The {len(chosen)} classes with the most objects.")
    return Section("Curves", parts)


def _error_charts(evaluation: Evaluation, costs: dict[str, float]) -> list[Chart]:
    """Costs by error type, AP by size, and the confusion matrix."""
    shown = [
        Chart(
            "What each type of error costs",
            charts.draw_error_costs(costs),
            "How much higher AP50 would be if only this type were mended.",
        )
    ]
    if evaluation.by_size:
        shown.append(
            Chart(
                "AP by size of the object",
                charts.draw_by_size(
                    [one.name for one in evaluation.by_size],
                    [one.ap for one in evaluation.by_size],
                    [one.objects for one in evaluation.by_size],
                ),
                "Size is the square root of the area in the original image; in brackets: objects.",
            )
        )
    if 1 < len(evaluation.confusion.names) <= _MAX_MATRIX_NAMES:
        shown.append(
            Chart(
                "Which class is taken for which",
                charts.draw_confusion(evaluation.confusion.names, evaluation.confusion.matrix),
                "Last column: missed objects. Last row: detections where there is no object.",
                size="wide" if len(evaluation.confusion.names) > 12 else "normal",
            )
        )
    return shown


def _frequent_confusions(confusion: Confusion) -> list[Part]:
    """The pairs of classes that are taken for one another most often; not the background."""
    numbers = confusion.matrix[:-1, :-1].copy()
    np.fill_diagonal(numbers, 0)
    if not numbers.any():
        return ["No class is taken for another."]
    order = np.argsort(-numbers, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    pairs_in_all = int((numbers > 0).sum())
    pairs = zip(*np.unravel_index(order, numbers.shape), strict=True)
    rows = [
        (confusion.names[true], confusion.names[predicted], f"{numbers[true, predicted]:,}")
        for true, predicted in pairs
        if numbers[true, predicted]
    ]
    caption = (
        f"Which class is taken for which most often, at the score threshold: {len(rows)} of "
        f"{counted(pairs_in_all, 'pair')}."
    )
    return [Table(("true class", "predicted as", "objects"), rows, caption, text_columns=2)]


def window_side(result: ImageResult, width: int, height: int) -> int | None:
    """The side of the parts to show of an image much larger than its objects; None: all of it."""
    return image_windows.window_side(_boxes_of_errors(result), width, height)


def _boxes_of_errors(result: ImageResult) -> NDArray[np.float32]:
    return np.concatenate([result.false_positives.boxes, result.false_negatives.boxes])


def _whole(result: ImageResult, raster: Raster, name: str) -> Picture:
    """The whole image; shrunk where it is larger than any screen."""
    image = raster.overview(LARGEST_SIDE).pixels
    window = np.asarray((0, 0, raster.width, raster.height), np.float32)
    return picture_of(part_of(result, window, scale=image.shape[1] / raster.width), image, name)


def _windows(
    result: ImageResult, raster: Raster, name: str, *, side: int, most: int
) -> list[Picture]:
    """The parts of an image with the most errors, worst first; no more than they is read."""
    boxes = _boxes_of_errors(result)
    pictures = []
    for left, top, right, bottom in image_windows.fullest_windows(
        boxes, side, raster.width, raster.height, most=most
    ):
        image = raster.read(left, top, right, bottom).pixels
        part = part_of(result, np.asarray((left, top, right, bottom), np.float32))
        where = f"{name}: from {left:,}, {top:,} to {right:,}, {bottom:,}"
        pictures.append(picture_of(part, image, where))
    return pictures


def part_of(result: ImageResult, window: NDArray[np.float32], *, scale: float = 1.0) -> ImageResult:
    """What of an image's boxes overlaps a window [4] xyxy, in pixels of the window scaled."""

    def moved(boxes: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        beside = (boxes[:, :2] >= window[2:]) | (boxes[:, 2:] <= window[:2])
        inside = np.asarray(~beside.any(axis=1))
        return inside, (boxes[inside] - np.tile(window[:2], 2)) * np.float32(scale)

    def detected(detections: Detections) -> Detections:
        inside, boxes = moved(detections.boxes)
        return replace(detections.select(inside), boxes=boxes, width=0, height=0)

    inside, boxes = moved(result.false_negatives.boxes)
    return replace(
        result,
        true_positives=detected(result.true_positives),
        false_positives=detected(result.false_positives),
        false_negatives=result.false_negatives.select(inside).transformed(boxes),
        ignored=moved(result.ignored.reshape(-1, 4))[1],
    )


def picture_of(result: ImageResult, image: NDArray[np.uint8], name: str) -> Picture:
    """An image [H, W, C] uint8 with what was found, missed and falsely detected in it.

    Args:
        result: boxes in pixels of the image.
        image: its pixels.
        name: the picture's title.
    """
    ignored = len(result.ignored)
    regions = Target(result.ignored, np.zeros(ignored, np.int64), np.ones(ignored, np.bool_))
    drawn = draw_comparison(
        image,
        true_positives=result.true_positives,
        false_positives=result.false_positives,
        false_negatives=Target.concatenate([result.false_negatives, regions]),
        min_side=_PICTURE_SIDE,
    )
    caption = (
        f"{len(result.true_positives)} found, {len(result.false_negatives)} missed, "
        f"{len(result.false_positives)} false"
    )
    return Picture(name, drawn, caption)
