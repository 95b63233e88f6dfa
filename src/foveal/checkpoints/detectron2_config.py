"""The settings of a detectron2 RetinaNet that are not in its weights: its config, and the defaults.

A training leaves a `config.yaml` in its folder. What stands there is read as data.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import WeightsError

BGR_MEAN = (103.53, 116.28, 123.675)
MSRA_STD = (1.0, 1.0, 1.0)
"""Of the backbones that detectron2's published models began from: values 0..255 less the mean."""
RESNEXT_STD = (57.375, 57.12, 58.395)
"""Of its ResNeXt backbones, BGR."""
RGB_MEAN, RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of torchvision's backbones."""

RATIOS = (0.5, 1.0, 2.0)
SIZES = tuple(
    tuple(size * 2 ** (third / 3) for third in range(3))
    for size in (32.0, 64.0, 128.0, 256.0, 512.0)
)


@dataclass(frozen=True, slots=True)
class Detectron2Config:
    """What a config says of a network besides its weights; the defaults are detectron2's.

    Attributes:
        source: what it was read from; None for the defaults.
        stride_in_1x1: whether the first convolution of a bottleneck has the stride; None: not said.
        mean, std: of the bands in the order of `bgr`, 0..255; None: not said.
        bgr: the order of the bands that the network takes.
        shorter, longer: limits of the input's sides, pixels.
        sizes: of the anchors of each level, pixels.
        ratios: height / width, of each level.
        offset: where in its cell an anchor's center lies, in strides.
        box_weights: what the box layer's outputs are divided by.
        score_threshold, top_per_level, nms_iou, max_detections: of decoding.
        num_classes: K; None: not said.
    """

    source: Path | None = None
    stride_in_1x1: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool = True
    shorter: int = 800
    longer: int = 1333
    sizes: tuple[tuple[float, ...], ...] = SIZES
    ratios: tuple[tuple[float, ...], ...] = (RATIOS,) * len(SIZES)
    offset: float = 0.0
    box_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    score_threshold: float = 0.05
    top_per_level: int = 1000
    nms_iou: float = 0.5
    max_detections: int = 100
    num_classes: int | None = None

    def anchors(self) -> list[str]:
        """The anchors as `section.name=value` settings."""
        found = [f"anchors.compat=[{self.offset}, false, false]"]
        scales = {tuple(round(size / sizes[0], 6) for size in sizes) for sizes in self.sizes}
        if len(scales) == 1 and len(set(self.ratios)) == 1:
            if not _close(self.sizes, SIZES):
                found += [
                    f"anchors.sizes={[sizes[0] for sizes in self.sizes]}",
                    f"anchors.scales={[size / self.sizes[0][0] for size in self.sizes[0]]}",
                ]
            if self.ratios[0] != RATIOS:
                found.append(f"anchors.ratios={list(self.ratios[0])}")
            return found
        shapes = [
            [_centered(size, ratio) for size in sizes for ratio in ratios]
            for sizes, ratios in zip(self.sizes, self.ratios, strict=True)
        ]
        return [*found, f"anchors.shapes={shapes}"]


def find_config(path: Path) -> tuple[Detectron2Config, list[str]]:
    """The config that lies beside a checkpoint, and what to say of it.

    Args:
        path: of the checkpoint. A YAML file of its name is looked for, then `config.yaml`.

    Raises:
        WeightsError: it can't be read, or says something that can't be.
    """
    notes: list[str] = []
    for beside in (path.with_suffix(".yaml"), path.with_name("config.yaml")):
        if not beside.is_file():
            continue
        values = _read(beside)
        if _at(values, "MODEL.META_ARCHITECTURE") == "RetinaNet":
            return _from_values(values, beside), notes
        notes.append(f"{beside}: is no config of a detectron2 RetinaNet, and was not used.")
    return Detectron2Config(), notes


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{path}: can't be read as YAML ({first}). It lies beside the checkpoint, where "
            "detectron2 leaves its config: mend it, or take the checkpoint to another folder."
        ) from None


def _from_values(values: Any, path: Path) -> Detectron2Config:
    default = Detectron2Config()
    reader = _Reader(values, path)
    sizes = reader.lists("MODEL.ANCHOR_GENERATOR.SIZES", SIZES)
    ratios = reader.lists("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", (RATIOS,))
    levels = max(len(SIZES), len(sizes), len(ratios))
    sizes = sizes * levels if len(sizes) == 1 else sizes
    ratios = ratios * levels if len(ratios) == 1 else ratios
    if not len(sizes) == len(ratios) == len(SIZES) or not all((*sizes, *ratios)):
        raise reader.wrong("MODEL.ANCHOR_GENERATOR.SIZES", f"anchors for {len(SIZES)} levels")
    order = reader.value("INPUT.FORMAT", "BGR")
    if order not in ("BGR", "RGB"):
        raise reader.wrong("INPUT.FORMAT", "'BGR' or 'RGB'")
    return Detectron2Config(
        source=path,
        stride_in_1x1=bool(reader.value("MODEL.RESNETS.STRIDE_IN_1X1", True)),
        mean=reader.numbers("MODEL.PIXEL_MEAN", BGR_MEAN, count=3),
        std=reader.numbers("MODEL.PIXEL_STD", MSRA_STD, count=3),
        bgr=order == "BGR",
        shorter=int(reader.number("INPUT.MIN_SIZE_TEST", default.shorter)),
        longer=int(reader.number("INPUT.MAX_SIZE_TEST", default.longer)),
        sizes=sizes,
        ratios=ratios,
        offset=reader.number("MODEL.ANCHOR_GENERATOR.OFFSET", default.offset),
        box_weights=reader.numbers(
            "MODEL.RETINANET.BBOX_REG_WEIGHTS", default.box_weights, count=4
        ),
        score_threshold=reader.number("MODEL.RETINANET.SCORE_THRESH_TEST", default.score_threshold),
        top_per_level=int(reader.number("MODEL.RETINANET.TOPK_CANDIDATES_TEST", 1000)),
        nms_iou=reader.number("MODEL.RETINANET.NMS_THRESH_TEST", default.nms_iou),
        max_detections=int(reader.number("TEST.DETECTIONS_PER_IMAGE", default.max_detections)),
        num_classes=int(reader.number("MODEL.RETINANET.NUM_CLASSES", 80)),
    )


class _Reader:
    """Values of a config by their names, each of the kind that is expected."""

    def __init__(self, values: Any, path: Path) -> None:
        self.values, self.path = values, path

    def value(self, name: str, default: Any) -> Any:
        found = _at(self.values, name)
        return default if found is None else found

    def number(self, name: str, default: float) -> float:
        found = self.value(name, default)
        if not _is_number(found):
            raise self.wrong(name, "a number")
        return float(found)

    def numbers(self, name: str, default: Sequence[float], *, count: int) -> tuple[float, ...]:
        found = _sequence(self.value(name, default))
        if found is None or len(found) != count or not all(_is_number(each) for each in found):
            raise self.wrong(name, f"{count} numbers")
        return tuple(map(float, found))

    def lists(
        self, name: str, default: tuple[tuple[float, ...], ...]
    ) -> tuple[tuple[float, ...], ...]:
        found = _sequence(self.value(name, default))
        parts = None if found is None else [_sequence(part) for part in found]
        if not parts or any(
            part is None or not all(_is_number(each) and each > 0 for each in part)
            for part in parts
        ):
            raise self.wrong(name, "lists of positive numbers")
        return tuple(tuple(map(float, part)) for part in parts if part is not None)

    def wrong(self, name: str, expected: str) -> WeightsError:
        found = _at(self.values, name)
        return WeightsError(
            f"{self.path}: {name} is {found!r}. Expected {expected}, as detectron2 writes it. Mend "
            "it, or take the checkpoint to another folder."
        )


def _at(values: Any, name: str) -> Any:
    """What stands under a name such as MODEL.RESNETS.DEPTH; None where there is nothing."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _sequence(found: Any) -> list[Any] | None:
    """A list, also one that is written as text, "(1.0, 2.0)", as detectron2 does with tuples."""
    if isinstance(found, str) and len(found) < 1000:
        try:
            found = ast.literal_eval(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return list(found) if isinstance(found, (list, tuple)) else None


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _close(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> bool:
    return [len(part) for part in first] == [len(part) for part in second] and all(
        math.isclose(one, other, rel_tol=1e-9)
        for here, there in zip(first, second, strict=True)
        for one, other in zip(here, there, strict=True)
    )


def _centered(size: float, ratio: float) -> list[float]:
    width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
    return [-width / 2, -height / 2, width / 2, height / 2]
