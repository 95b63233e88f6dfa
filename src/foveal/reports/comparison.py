"""The report of a comparison: what differs, how sure that is, and where it is to be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.rasters import open_raster
from foveal.errors import FovealError
from foveal.evaluation.comparison_story import (
    doubts,
    more_differences,
    shown_as,
    signed,
    signed_interval,
    verdict,
)
from foveal.evaluation.story import ERROR_NAMES, images_in_words
from foveal.outputs.result_folder import ResultFolder
from foveal.reports.errors import part_of, picture_of, window_side
from foveal.reports.html import write_report
from foveal.reports.image_windows import LARGEST_SIDE, fullest_windows
from foveal.reports.parts import (
    Chart,
    Charts,
    Folded,
    Key,
    KeyEntry,
    Number,
    Numbers,
    Part,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
)
from foveal.structures import Detections, Target
from foveal.text import UNDEFINED, counted, decimal, listed, percent, plain_number
from foveal.visualization import charts, colors

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.data.images.rasters import Raster
    from foveal.evaluation.comparison import Comparison, Difference, ImageDifference
    from foveal.evaluation.results import ImageResult
    from foveal.inference.contestants import Contestant

PAGE, NUMBERS = "compare.html", "compare.json"
"""The files of a comparison."""
_MAX_DRAWN = 30
_MAX_NAMES = 8
_MIB = 1024 * 1024


def check_comparison_folder(folder: Path, *, overwrite: bool) -> ResultFolder:
    """See whether a comparison may be written into a folder; nothing is changed.

    Args:
        folder: it need not exist.
        overwrite: whether an earlier comparison may be replaced.

    Raises:
        FovealError: it may not; the message says what to pass.
    """
    results = ResultFolder(folder, "compare", (NUMBERS, PAGE))
    results.check(overwrite=overwrite)
    return results


def write_comparison_report(
    path: Path,
    comparison: Comparison,
    contestants: tuple[Contestant, Contestant],
    *,
    dataset: Dataset,
    pictures: int = 12,
) -> None:
    """Write a comparison as one HTML file that needs no network.

    Args:
        path: of the HTML file.
        comparison: of the two.
        contestants: what is known of each.
        dataset: the images.
        pictures: at most so many of the images where they differ most are drawn.

    Raises:
        FovealError: the file can't be written.
    """
    from foveal import __version__

    names = (contestants[0].name, contestants[1].name)
    sections = (
        _summary(comparison, names),
        _differences(comparison, names),
        _counting(comparison, names),
        _errors(comparison, names),
        _pictures(comparison, names, dataset, limit=pictures),
        _speed(contestants),
    )
    report = Report(
        title=f"{names[0]} beside {names[1]}",
        subtitle=(
            f"{images_in_words(comparison.images, comparison.images_without_objects)}, "
            f"{counted(comparison.objects, 'object')}, "
            f"classes: {listed(comparison.classes, _MAX_NAMES)}"
        ),
        sections=[section for section in sections if section is not None],
        footer=f"Made by foveal {__version__}.",
    )
    write_report(path, report)


def _summary(comparison: Comparison, names: tuple[str, str]) -> Section:
    def number(title: str, one: Difference, meaning: str) -> Number:
        return Number(
            title,
            signed(one.value),
            f"{signed_interval(one.interval)} (95% interval)"
            if one.interval.low == one.interval.low
            else "",
            meaning,
        )

    parts: list[Part] = [verdict(comparison, names)]
    if comparison.objects:
        parts.append(
            Numbers(
                [
                    number(
                        "AP",
                        comparison.ap,
                        f"{decimal(comparison.ap.first)} and {decimal(comparison.ap.second)}: how "
                        "well objects are found, at overlaps from half to exact.",
                    ),
                    number(
                        "AP50",
                        comparison.ap50,
                        f"{decimal(comparison.ap50.first)} and {decimal(comparison.ap50.second)}: "
                        "a box counts from an overlap of one half.",
                    ),
                    number(
                        "F1",
                        comparison.f1,
                        f"{decimal(comparison.f1.first)} and {decimal(comparison.f1.second)}: "
                        "recall and precision in one, at the score thresholds.",
                    ),
                ]
            )
        )
        parts.append(
            f"Each number is that of {names[1]} less that of {names[0]}. The images were drawn "
            f"anew {comparison.resamples:,} times, the same ones for both: where 95% of the "
            "differences lie on one side of 0, the difference is shown."
        )
        parts += more_differences(comparison, names)
    return Section("Summary", [*parts, *doubts(comparison, names)])


def _differences(comparison: Comparison, names: tuple[str, str]) -> Section | None:
    if not comparison.objects:
        return None
    rows: list[tuple[str, str, Difference]] = [
        ("AP", f"{comparison.objects:,}", comparison.ap),
        ("AP50", f"{comparison.objects:,}", comparison.ap50),
        ("AP75", f"{comparison.objects:,}", comparison.ap75),
    ]
    rows += [
        (f"AP, {one.name}", f"{one.objects:,}", one.ap) for one in comparison.by_size if one.objects
    ]
    if len(comparison.classes) > 1:
        rows += [
            (f"AP, {one.name}", f"{one.objects:,}", one.ap)
            for one in comparison.per_class
            if one.objects
        ]
    if len(rows) <= _MAX_DRAWN:
        drawn, left = rows, ""
    else:
        # Of many classes those whose difference is largest beside what chance makes of it.
        general = rows[: 3 + sum(one.objects > 0 for one in comparison.by_size)]
        drawn = (
            general + sorted(rows[len(general) :], key=_strangeness)[: _MAX_DRAWN - len(general)]
        )
        left = f" Of {len(rows)} rows {len(drawn)} are drawn; the table has all."
    chart = Chart(
        "What differs",
        charts.draw_differences(
            [name for name, _, _ in drawn],
            [one.value for *_, one in drawn],
            [(one.interval.low, one.interval.high) for *_, one in drawn],
            x="difference of AP",
        ),
        f"To the right: {names[1]} is better; to the left: {names[0]}. A bar that reaches 0 shows "
        f"no difference.{left}",
        size="wide",
    )
    columns = ("", "objects", *names, "difference", "95% interval", "")
    table = Table(
        columns,
        [
            (
                name,
                objects,
                decimal(one.first),
                decimal(one.second),
                signed(one.value),
                signed_interval(one.interval),
                shown_as(one, names),
            )
            for name, objects, one in rows
        ],
        "A dash: undefined. An interval needs objects in six images at least. Sizes are the "
        "square root of the area, original pixels.",
    )
    parts: list[Part] = [Charts([chart]), table]
    if len(comparison.classes) > 1:
        parts.append(
            Folded(
                "AP50 of each class",
                Table(
                    ("class", "objects", "images", *names, "difference", "95% interval", ""),
                    [
                        (
                            one.name,
                            f"{one.objects:,}",
                            f"{one.images:,}",
                            decimal(one.ap50.first),
                            decimal(one.ap50.second),
                            signed(one.ap50.value),
                            signed_interval(one.ap50.interval),
                            shown_as(one.ap50, names),
                        )
                        for one in comparison.per_class
                    ],
                ),
            )
        )
    return Section("Differences", parts)


def _strangeness(row: tuple[str, str, Difference]) -> float:
    """Falls with the difference beside its interval's width; rows without one come last."""
    one = row[2]
    width = one.interval.high - one.interval.low
    return -abs(one.value) / max(width, 1e-9) if width == width else 1.0


def _counting(comparison: Comparison, names: tuple[str, str]) -> Section | None:
    if not comparison.images:
        return None
    fractions = (
        ("found (recall)", comparison.recall),
        ("right (precision)", comparison.precision),
        ("F1", comparison.f1),
    )
    rows = [
        (
            name,
            percent(one.first, 1),
            percent(one.second, 1),
            signed(one.value),
            signed_interval(one.interval),
            shown_as(one, names),
        )
        for name, one in fractions
    ]
    errors = [("count error an image", comparison.count_error), ("bias", comparison.count_bias)]
    if len(comparison.classes) > 1:
        errors += [(f"count error, {one.name}", one.count_error) for one in comparison.per_class]
    rows += [
        (
            name,
            plain_number(one.first),
            plain_number(one.second),
            signed(one.value, 2),
            signed_interval(one.interval, 2),
            shown_as(one, names),
        )
        for name, one in errors
    ]
    one, other = comparison.score_thresholds
    text = (
        f"Counted are detections from the score {one:.2f} on ({names[0]}) and {other:.2f} "
        f"({names[1]}). The count error is the mean distance of the predicted from the true number "
        "of objects in an image; a bias above zero means that too many are counted."
    )
    return Section("Counting", [text, Table(("", *names, "difference", "95% interval", ""), rows)])


def _errors(comparison: Comparison, names: tuple[str, str]) -> Section | None:
    if not comparison.objects:
        return None
    one, other = comparison.errors
    rows = [
        (
            words.name,
            words.meaning,
            decimal(words.find(one).cost),
            decimal(words.find(other).cost),
            signed(words.find(other).cost - words.find(one).cost),
            f"{words.find(one).number_at_threshold:,}",
            f"{words.find(other).number_at_threshold:,}",
        )
        for words in ERROR_NAMES
    ]
    columns = (
        *("type of error", "meaning", f"AP50 lost, {names[0]}", f"AP50 lost, {names[1]}"),
        *("difference", f"at the threshold, {names[0]}", f"at the threshold, {names[1]}"),
    )
    caption = (
        "How much higher AP50 would be if only this type were mended (TIDE, Bolya et al. 2020), "
        "and how many there are at the score threshold. These have no intervals."
    )
    return Section("Errors", [Table(columns, rows, caption, text_columns=2)])


def _pictures(
    comparison: Comparison, names: tuple[str, str], dataset: Dataset, *, limit: int
) -> Section | None:
    chosen = comparison.most_different[:limit]
    if not chosen:
        return None
    pictures: list[Picture] = []
    messages = []
    for one in chosen:
        record = dataset.records[one.index]
        try:
            with open_raster(record.path) as raster, raster.for_display() as shown:
                pictures += _pair(one, shown, record.path.name, names)
        except FovealError as error:
            messages.append(str(error))
    key = Key(
        [
            KeyEntry(colors.TRUE_POSITIVE, "found"),
            KeyEntry(colors.FALSE_NEGATIVE, "missed", dashed=True),
            KeyEntry(colors.FALSE_POSITIVE, "false: there is no object"),
            KeyEntry(colors.IGNORED, "region to ignore", dashed=True),
        ]
    )
    text = (
        f"They say different things of {counted(comparison.different_images, 'image')}, each at "
        f"its score threshold. {counted(len(chosen) - len(messages), 'image')} with the most "
        "objects that one alone finds, and false detections that it alone has more, are drawn "
        "twice. Images much larger than their objects are shown in part. Click a picture to "
        "enlarge it."
    )
    return Section(
        "Images",
        [
            text,
            key,
            Pictures(pictures, paired=True),
            *(f"Not shown: {message}" for message in messages),
        ],
    )


def _pair(one: ImageDifference, raster: Raster, file: str, names: tuple[str, str]) -> list[Picture]:
    """The same image twice, or the part of a large one with the most errors of both."""
    both = _together(one)
    side = window_side(both, raster.width, raster.height)
    where, scale = "", 1.0
    if side is None:
        image = raster.overview(LARGEST_SIDE).pixels
        scale = image.shape[1] / raster.width
        window = np.asarray((0, 0, raster.width, raster.height), np.float32)
    else:
        boxes = np.concatenate([both.false_positives.boxes, both.false_negatives.boxes])
        ((left, top, right, bottom),) = fullest_windows(
            boxes, side, raster.width, raster.height, most=1
        )
        image = raster.read(left, top, right, bottom).pixels
        window = np.asarray((left, top, right, bottom), np.float32)
        where = f", from {left:,}, {top:,} to {right:,}, {bottom:,}"
    return [
        picture_of(part_of(result, window, scale=scale), image, f"{name}: {file}{where}")
        for name, result in zip(names, (one.first, one.second), strict=True)
    ]


def _together(one: ImageDifference) -> ImageResult:
    """The errors of both in one."""
    first, second = one.first, one.second
    return replace(
        first,
        false_positives=Detections.concatenate([first.false_positives, second.false_positives]),
        false_negatives=Target.concatenate([first.false_negatives, second.false_negatives]),
    )


def _speed(contestants: tuple[Contestant, Contestant]) -> Section:
    first, second = contestants
    rows = [
        ("file", *(one.path.name or str(one.path) for one in contestants)),
        (
            "size of the file",
            *(
                UNDEFINED if one.bytes is None else f"{one.bytes / _MIB:,.1f} MiB"
                for one in contestants
            ),
        ),
        ("computed by", *(one.runtime or UNDEFINED for one in contestants)),
        (
            "an image takes",
            *(
                UNDEFINED if one.milliseconds is None else f"{one.milliseconds:,.1f} ms"
                for one in contestants
            ),
        ),
    ]
    caption = (
        "Both looked at the same images in turn, on this machine, at this moment: the median of "
        "three rounds, with reading the files and making the boxes. Results in a file have no time."
    )
    return Section(
        "Speed and size", [Table(("", first.name, second.name), rows, caption, text_columns=3)]
    )
