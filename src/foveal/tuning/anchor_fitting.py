"""Anchors for a data set: by the rule of thumb and by search, measured beside the default."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import tomli_w

from foveal.config import AnchorSettings, AssignmentSettings, PreparationSettings, Settings
from foveal.data.images.reading import image_size
from foveal.data.transforms.preparation import make_preparation
from foveal.errors import DataError
from foveal.tables import html_table
from foveal.text import counted, decimal, percent, sentence
from foveal.tuning.anchor_metrics import (
    AnchorQuality,
    Objects,
    best_ious,
    enlarge,
    measure_anchors,
    reachable_recall,
)
from foveal.tuning.anchor_rule import ClassShape, class_shapes, rule_of_thumb, rule_sizes
from foveal.tuning.anchor_search import search_anchors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record

log = logging.getLogger(__name__)

WANTED_RECALL = 0.98
WORTH_RECALL = 0.005
WORTH_IOU = 0.05
"""What the search must gain, in recall or in mean best IoU, to be preferred to the default."""
FINEST_STRIDE = 2
FINEST_FITTED_STRIDE = 4
"""The finest that is chosen without being asked for: below it a network costs too much."""
WORTH_FINER = 0.05
"""What half the strides must gain in recall, since they cost four times the locations."""
COARSEST_NEEDED = 32
"""The backbone's coarsest stride: a pyramid can't end before it."""
ENLARGEMENTS = (1.25, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True, slots=True)
class AnchorOption:
    """Anchors and how well they fit."""

    name: str
    settings: AnchorSettings
    quality: AnchorQuality


@dataclass(frozen=True, slots=True, eq=False)
class AnchorFit:
    """What was found about anchors for a data set.

    Attributes:
        chosen: the option that training should use.
        default: the anchors given.
        rule: those of the rule of thumb.
        search: those of the search.
        shapes: each class's mean shape.
        reachable: the recall that anchors of any shapes could have at these strides.
        foreground_iou: the IoU that recall is about.
        objects: what the anchors were measured on.
        coarser: the best anchors at the strides given, where finer ones were chosen.
    """

    chosen: AnchorOption
    default: AnchorOption
    rule: AnchorOption
    search: AnchorOption
    shapes: tuple[ClassShape, ...]
    reachable: float
    foreground_iou: float
    objects: Objects
    coarser: AnchorOption | None = None

    @property
    def settings(self) -> AnchorSettings:
        """The anchors that training should use."""
        return self.chosen.settings

    @property
    def options(self) -> tuple[AnchorOption, AnchorOption, AnchorOption]:
        """Default, rule of thumb and search."""
        return self.default, self.rule, self.search

    @property
    def text(self) -> str:
        """The choice in one line."""
        if not len(self.objects):
            return "anchors: the default, since there are no objects to fit them to"
        reached = (
            f"{percent(self.chosen.quality.recall, 1)} of {counted(len(self.objects), 'object')}"
        )
        if self.chosen.quality.recall < WANTED_RECALL:
            reached += " (foveal anchors says what would reach more)"
        apart = ""
        if self.coarser is not None:
            apart = (
                f". Strides from {self.settings.strides[0]} are taken: anchors on strides from "
                f"{self.coarser.settings.strides[0]} reach "
                f"{percent(self.coarser.quality.recall, 1)}"
            )
        if self.chosen is self.default:
            return f"anchors: the default, which reach {reached}; a search finds none better{apart}"
        settings = self.settings
        return (
            f"anchors: fitted to the data, sizes {_numbers(settings.sizes)}, "
            f"scales {_numbers(settings.scales)}, ratios {_numbers(settings.ratios)}; they reach "
            f"{reached}, the default {percent(self.default.quality.recall, 1)}{apart}"
        )

    def to_table(self) -> list[dict[str, str | int | float | list[float]]]:
        """One row for each option, the default, the rule of thumb and the search.

        The columns are anchors (the option), chosen, objects, recall (at `foreground_iou`),
        mean_iou (of each object's best anchor), sizes, scales and ratios.
        """
        return [
            {
                "anchors": option.name,
                "chosen": option is self.chosen,
                "objects": option.quality.total.objects,
                "recall": option.quality.recall,
                "mean_iou": option.quality.total.mean_iou,
                "sizes": list(option.settings.sizes),
                "scales": list(option.settings.scales),
                "ratios": list(option.settings.ratios),
            }
            for option in self.options
        ]

    def __repr__(self) -> str:
        return f"<AnchorFit {self.text}>"

    def _repr_html_(self) -> str:
        """The options beside each other, for a notebook."""
        rows = [
            {
                "anchors": f"{option.name} (chosen)" if option is self.chosen else option.name,
                f"recall at IoU {self.foreground_iou:g}": percent(option.quality.recall, 1),
                "mean best IoU": decimal(option.quality.total.mean_iou, 2),
                "sizes": _numbers(option.settings.sizes),
                "scales": _numbers(option.settings.scales),
                "ratios": _numbers(option.settings.ratios),
            }
            for option in self.options
        ]
        return html_table(sentence(self.text), rows)


@dataclass(frozen=True, slots=True)
class Enlargement:
    """How much larger the input must be for fitted anchors to reach enough objects.

    Attributes:
        factor: on the input's width and height.
        recall: that anchors fitted at that size have.
    """

    factor: float
    recall: float


def fit_anchors(
    dataset: Dataset,
    *,
    anchors: AnchorSettings,
    preparation: PreparationSettings | None,
    assignment: AssignmentSettings | None = None,
    fit_strides: bool = False,
    count_positives: bool = False,
    seed: int = 0,
) -> AnchorFit:
    """Search anchors for a data set's objects as the network will see them, and measure them.

    Args:
        dataset: regions to ignore and boxes without area are left out.
        anchors: the default; its levels, strides and convention are kept.
        preparation: how images are scaled to the network's input; None: not at all.
        assignment: how training assigns anchors; None: the default.
        fit_strides: halve the strides where that lets anchors reach many more objects, unless the
            finest is 4 already.
        count_positives: also assign anchors in a sample of the images; else positives are NaN.
        seed: draws samples of large data sets.
    """
    objects = gather_objects(dataset, preparation)

    def fit(anchors: AnchorSettings) -> AnchorFit:
        return fit_anchors_to(
            objects,
            anchors=anchors,
            assignment=assignment,
            count_positives=count_positives,
            seed=seed,
        )

    found = fit(anchors)
    if not fit_strides or not len(objects) or found.chosen.quality.recall >= WANTED_RECALL:
        return found
    finer = finer_strides(anchors)
    if finer is None or finer.strides[0] < FINEST_FITTED_STRIDE:
        return found
    gained = fit(finer)
    if gained.chosen.quality.recall - found.chosen.quality.recall < WORTH_FINER:
        return found
    return replace(gained, coarser=found.chosen)


def describe_fit(dataset: Dataset, settings: Settings) -> str:
    """How many objects of a data set are reached by anchors that were not fitted to it, in words.

    Nothing is said ("") where the IoU with anchors does not decide what an object gets.

    Args:
        dataset: as for `fit_anchors`.
        settings: the anchors, and how images are scaled.
    """
    if settings.assignment.method != "iou":
        return ""
    objects = gather_objects(dataset, settings.preparation)
    if not len(objects):
        return "The anchors can't be compared with the data, which has no objects."
    quality = measure_anchors(
        objects,
        settings.anchors,
        assignment=settings.assignment,
        count_positives=False,
        seed=0,
    )
    text = (
        f"Its anchors reach {percent(quality.recall, 1)} of {counted(len(objects), 'object')} of "
        "this data"
    )
    if quality.recall >= WANTED_RECALL:
        return f"{text}."
    return f"{text}; --refit-anchors (in Python refit_anchors=True) fits them to it."


def fit_anchors_to(
    objects: Objects,
    *,
    anchors: AnchorSettings,
    assignment: AssignmentSettings | None = None,
    count_positives: bool = False,
    seed: int = 0,
) -> AnchorFit:
    """As `fit_anchors`, for objects that are in input pixels already."""
    rules = assignment or AssignmentSettings()

    def option(name: str, settings: AnchorSettings) -> AnchorOption:
        quality = measure_anchors(
            objects,
            settings,
            assignment=rules,
            count_positives=count_positives,
            seed=seed,
        )
        return AnchorOption(name, settings, quality)

    default = option("default", anchors)
    search = option(
        "search", search_anchors(objects, anchors, foreground_iou=rules.foreground_iou, seed=seed)
    )
    return AnchorFit(
        chosen=search if _is_better(search.quality, default.quality) else default,
        default=default,
        rule=option("rule of thumb", rule_of_thumb(objects, anchors)),
        search=search,
        shapes=class_shapes(objects, base_sizes=rule_sizes(anchors)),
        reachable=reachable_recall(objects, anchors, iou=rules.foreground_iou),
        foreground_iou=rules.foreground_iou,
        objects=objects,
    )


def find_enlargement(fit: AnchorFit, *, wanted: float = WANTED_RECALL) -> Enlargement | None:
    """The smallest of ENLARGEMENTS of the input at which fitted anchors have the wanted recall.

    Each that no bound rules out costs a search. None where none of them would do.
    """
    strides, iou = fit.default.settings, fit.foreground_iou
    for factor in ENLARGEMENTS:
        larger = enlarge(fit.objects, factor)
        if not len(larger) or reachable_recall(larger, strides, iou=iou) < wanted:
            continue
        found = search_anchors(larger, strides, foreground_iou=iou)
        best = best_ious(larger, found).max(axis=(1, 2))
        recall = float((best >= iou).mean())
        if recall >= wanted:
            return Enlargement(factor, recall)
    return None


def fit_finer(
    fit: AnchorFit,
    *,
    wanted: float = WANTED_RECALL,
    assignment: AssignmentSettings | None = None,
    count_positives: bool = False,
    seed: int = 0,
) -> AnchorOption | None:
    """Anchors on finer strides, from 4 and then from 2, that reach the wanted recall.

    Each step halves strides and sizes and keeps the number of levels, as far as the coarsest
    stride stays at 32 or above. A step that no shapes could make good enough costs no search.

    Args:
        fit: at the present strides; its objects are searched again.
        wanted: the recall to reach, with no class below what it has in `fit.default`.
        assignment, count_positives, seed: as for `fit_anchors`.

    Returns:
        The first that reaches it; None where none does, or none is needed.
    """
    settings = fit.default.settings
    if not len(fit.objects) or fit.chosen.quality.recall >= wanted:
        return None
    while (finer := finer_strides(settings)) is not None:
        settings = finer
        if reachable_recall(fit.objects, settings, iou=fit.foreground_iou) < wanted:
            continue
        found = search_anchors(fit.objects, settings, foreground_iou=fit.foreground_iou, seed=seed)
        quality = measure_anchors(
            fit.objects,
            found,
            assignment=assignment,
            count_positives=count_positives,
            seed=seed,
        )
        if quality.recall >= wanted and not _lowers_a_class(quality, fit.default.quality):
            return AnchorOption(f"from stride {settings.strides[0]}", found, quality)
    return None


def finer_strides(settings: AnchorSettings) -> AnchorSettings | None:
    """The same anchors at half the strides and sizes; None below a finest stride of 2.

    A level is added at the coarse end where the pyramid would end before stride 32.
    """
    if settings.strides[0] <= FINEST_STRIDE:
        return None
    strides = [stride // 2 for stride in settings.strides]
    sizes = [size / 2 for size in settings.sizes]
    while strides[-1] < COARSEST_NEEDED:
        strides.append(strides[-1] * 2)
        sizes.append(sizes[-1] * 2)
    return settings.model_copy(
        update={"strides": tuple(strides), "sizes": tuple(sizes), "shapes": ()}
    )


def gather_objects(dataset: Dataset, preparation: PreparationSettings | None) -> Objects:
    """A data set's objects in input pixels, without regions to ignore and boxes without area.

    Args:
        dataset: images whose size the annotations do not say are asked for it; the objects of
            those that can't be read are left out with a warning.
        preparation: how images are scaled; None leaves them as they are, padded to 32 pixels.
    """
    parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
    inputs: list[tuple[int, int]] = []
    placed = _placer(preparation)
    for record in dataset:
        keep = ~record.ignored & (record.labels >= 0)
        keep &= np.isfinite(record.boxes).all(axis=1)
        keep &= (record.boxes[:, 2:] > record.boxes[:, :2]).all(axis=1)
        if not keep.any() or (size := _size_of(record)) is None:
            continue
        scale, shape = placed(*size)
        parts.append((record.boxes[keep].astype(np.float64) * scale, record.labels[keep]))
        inputs.append(shape)
    counts = [len(labels) for _, labels in parts]
    objects = Objects(
        boxes=np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _ in parts)]),
        labels=np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in parts)]),
        images=np.repeat(np.arange(len(parts)), counts),
        inputs=np.repeat(np.array(inputs, np.int64).reshape(-1, 2), counts, axis=0),
        classes=dataset.classes,
    )
    return _in_windows(objects) if preparation and preparation.mode == "windows" else objects


def _in_windows(objects: Objects) -> Objects:
    """The objects of images larger than a window in windows side by side, which hold them wholly.

    Each is moved into the window that has its center, as far as it must be; one that is larger
    than a window is cut.
    """
    sides = objects.inputs.astype(np.float64)
    boxes = objects.boxes
    cells = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / sides)
    size = np.minimum(boxes[:, 2:] - boxes[:, :2], sides)
    corner = np.clip(boxes[:, :2] - cells * sides, 0, sides - size)
    key = np.column_stack([objects.images, cells])
    _, windows = np.unique(key, axis=0, return_inverse=True)
    return replace(objects, boxes=np.hstack([corner, corner + size]), images=windows.reshape(-1))


def anchors_to_toml(settings: AnchorSettings) -> str:
    """The `[anchors]` section of a settings file."""
    return tomli_w.dumps({"anchors": settings.model_dump(mode="json")})


def _is_better(search: AnchorQuality, default: AnchorQuality) -> bool:
    """Whether fitted anchors are worth it: clearly better, and worse for no class."""
    if _lowers_a_class(search, default):
        return False
    gain = search.recall - default.recall
    return gain >= WORTH_RECALL or (gain >= 0 and search.mean_iou - default.mean_iou >= WORTH_IOU)


def _lowers_a_class(quality: AnchorQuality, default: AnchorQuality) -> bool:
    return any(
        found.recall < given.recall
        for found, given in zip(quality.by_class, default.by_class, strict=True)
    )


def _placer(
    preparation: PreparationSettings | None,
) -> Callable[[int, int], tuple[NDArray[np.float64], tuple[int, int]]]:
    """From an image's width and height to the factors on a box and the input's width and height."""
    if preparation is None:
        return lambda width, height: (np.ones(4), (-(-width // 32) * 32, -(-height // 32) * 32))
    prepare = make_preparation(preparation)

    @lru_cache(maxsize=4096)
    def place(width: int, height: int) -> tuple[NDArray[np.float64], tuple[int, int]]:
        placement = prepare.placement_for(width, height)
        input_height, input_width = prepare.size_for(width, height)
        return np.array([placement.scale_x, placement.scale_y] * 2), (input_width, input_height)

    return place


def _size_of(record: Record) -> tuple[int, int] | None:
    if record.width > 0 and record.height > 0:
        return record.width, record.height
    try:
        return image_size(record.path)
    except DataError as error:
        log.warning("%s Its objects are left out when anchors are fitted.", error)
        return None


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
