"""Names and shapes of foreign checkpoints, by the naming rules of their programs.

Written as text: `python -m tests.checkpoints.make_shapes`. Those who have a real file can compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "foreign_shapes"

Shapes = dict[str, tuple[int, ...]]


class Kind(NamedTuple):
    """A ResNet: blocks of its stages, convolutions of a block, groups and their width."""

    blocks: tuple[int, int, int, int]
    deep: bool = True
    groups: int = 1
    group_width: int = 64


KINDS = {
    "r18": Kind((2, 2, 2, 2), deep=False),
    "r34": Kind((3, 4, 6, 3), deep=False),
    "r50": Kind((3, 4, 6, 3)),
    "r101": Kind((3, 4, 23, 3)),
    "r152": Kind((3, 8, 36, 3)),
    "x101_32x4d": Kind((3, 4, 23, 3), groups=32, group_width=4),
    "x101_32x8d": Kind((3, 4, 23, 3), groups=32, group_width=8),
    "x101_64x4d": Kind((3, 4, 23, 3), groups=64, group_width=4),
}

NETWORKS = {
    "detectron2": ("r18", "r50", "r101"),
    "mmdetection": ("r18", "r50", "r101", "x101_32x4d", "x101_64x4d"),
    "odtk": ("r18", "r50", "r101", "x101_32x8d"),
    "torchvision": ("r18", "r50", "r101", "x101_32x8d", "x101_64x4d"),
    "yhenon": ("r18", "r50", "r101"),
}

ODTK_NAMES = {
    "r18": "ResNet18FPN",
    "r34": "ResNet34FPN",
    "r50": "ResNet50FPN",
    "r101": "ResNet101FPN",
    "r152": "ResNet152FPN",
    "x101_32x8d": "ResNeXt101_32x8dFPN",
    "mobile": "MobileNetV2FPN",
}
"""What ODTK calls a network, which is a part of its tensors' names."""


class Layers(NamedTuple):
    """Where a program keeps what is behind its backbone; the finest level first."""

    lateral: tuple[str, ...]
    output: tuple[str, ...]
    extra: tuple[str, str]
    """Of P6 and P7."""
    towers: tuple[tuple[str, ...], tuple[str, ...]]
    """The hidden layers of the subnets for classes and boxes."""
    outputs: tuple[str, str]
    """The subnets' last layers."""


def odtk_layers(called: str) -> Layers:
    """Of a network that ODTK calls so."""
    network = f"backbones.{called}"
    towers = tuple(tuple(f"{head}_head.{n}" for n in (0, 2, 4, 6)) for head in ("cls", "box"))
    return Layers(
        lateral=tuple(f"{network}.lateral{level}" for level in (3, 4, 5)),
        output=tuple(f"{network}.smooth{level}" for level in (3, 4, 5)),
        extra=(f"{network}.pyramid6", f"{network}.pyramid7"),
        towers=(towers[0], towers[1]),
        outputs=("cls_head.8", "box_head.8"),
    )


YHENON = Layers(
    lateral=tuple(f"fpn.P{level}_1" for level in (3, 4, 5)),
    output=tuple(f"fpn.P{level}_2" for level in (3, 4, 5)),
    extra=("fpn.P6", "fpn.P7_2"),
    towers=(
        tuple(f"classificationModel.conv{n}" for n in (1, 2, 3, 4)),
        tuple(f"regressionModel.conv{n}" for n in (1, 2, 3, 4)),
    ),
    outputs=("classificationModel.output", "regressionModel.output"),
)

TORCHVISION = Layers(
    lateral=tuple(f"backbone.fpn.inner_blocks.{n}.0" for n in range(3)),
    output=tuple(f"backbone.fpn.layer_blocks.{n}.0" for n in range(3)),
    extra=("backbone.fpn.extra_blocks.p6", "backbone.fpn.extra_blocks.p7"),
    towers=(
        tuple(f"head.classification_head.conv.{n}.0" for n in range(4)),
        tuple(f"head.regression_head.conv.{n}.0" for n in range(4)),
    ),
    outputs=("head.classification_head.cls_logits", "head.regression_head.bbox_reg"),
)
"""Of its first version, and of DeepForest."""


class Conv(NamedTuple):
    """A convolution of a backbone: where it is, and its weight's shape."""

    stage: int
    block: int
    number: int
    """1, 2, 3 in the block; 0 is the shortcut."""
    shape: tuple[int, int, int, int]


def convolutions(kind: Kind) -> Iterator[Conv]:
    """All but the stem's."""
    before = 64
    for stage, blocks in enumerate(kind.blocks):
        out = (256 if kind.deep else 64) * 2**stage
        middle = kind.groups * kind.group_width * 2**stage if kind.deep else out
        for block in range(blocks):
            if kind.deep:
                yield Conv(stage, block, 1, (middle, before, 1, 1))
                yield Conv(stage, block, 2, (middle, middle // kind.groups, 3, 3))
                yield Conv(stage, block, 3, (out, middle, 1, 1))
            else:
                yield Conv(stage, block, 1, (out, before, 3, 3))
                yield Conv(stage, block, 2, (out, out, 3, 3))
            if block == 0 and before != out:
                yield Conv(stage, block, 0, (out, before, 1, 1))
            before = out


def detectron2(
    kind: Kind, *, classes: int = 80, width: int = 256, group_norm: bool = False
) -> Shapes:
    """A model of detectron2 with frozen norms; `width` is that of pyramid and subnets."""
    shapes: Shapes = {}
    body = "backbone.bottom_up"
    _with_norm(shapes, f"{body}.stem.conv1", (64, 3, 7, 7), norm=f"{body}.stem.conv1.norm")
    for conv in convolutions(kind):
        name = f"conv{conv.number}" if conv.number else "shortcut"
        place = f"{body}.res{conv.stage + 2}.{conv.block}.{name}"
        _with_norm(shapes, place, conv.shape, norm=f"{place}.norm")
    finest = 128 if not kind.deep else 512
    for level in (3, 4, 5):
        _with_bias(shapes, f"backbone.fpn_lateral{level}", (width, finest * 2 ** (level - 3), 1, 1))
        _with_bias(shapes, f"backbone.fpn_output{level}", (width, width, 3, 3))
    _with_bias(shapes, "backbone.top_block.p6", (width, finest * 4, 3, 3))
    _with_bias(shapes, "backbone.top_block.p7", (width, width, 3, 3))
    step = 3 if group_norm else 2
    for subnet in ("cls", "bbox"):
        for layer in range(4):
            _with_bias(shapes, f"head.{subnet}_subnet.{layer * step}", (width, width, 3, 3))
            if group_norm:
                for part in ("weight", "bias"):
                    shapes[f"head.{subnet}_subnet.{layer * step + 1}.{part}"] = (width,)
    _with_bias(shapes, "head.cls_score", (9 * classes, width, 3, 3))
    _with_bias(shapes, "head.bbox_pred", (36, width, 3, 3))
    return shapes


def mmdetection(kind: Kind, *, classes: int = 80, width: int = 256) -> Shapes:
    """A model of MMDetection, whose batch norms count; `width` as above."""
    shapes = _body(kind, "backbone.", counted=True)
    finest = 128 if not kind.deep else 512
    for level in range(3):
        _with_bias(shapes, f"neck.lateral_convs.{level}.conv", (width, finest * 2**level, 1, 1))
    for level in range(5):
        inside = finest * 4 if level == 3 else width
        _with_bias(shapes, f"neck.fpn_convs.{level}.conv", (width, inside, 3, 3))
    for subnet in ("cls", "reg"):
        for layer in range(4):
            _with_bias(shapes, f"bbox_head.{subnet}_convs.{layer}.conv", (width, width, 3, 3))
    _with_bias(shapes, "bbox_head.retina_cls", (9 * classes, width, 3, 3))
    _with_bias(shapes, "bbox_head.retina_reg", (36, width, 3, 3))
    return shapes


def odtk(kind: Kind, called: str, *, classes: int = 80, width: int = 256) -> Shapes:
    """A model of ODTK, with the classifier that it does not use."""
    body = f"backbones.{called}.features."
    shapes = _body(kind, body, counted=True)
    _with_bias(shapes, f"{body}fc", (1000, 2048 if kind.deep else 512))
    return shapes | behind(odtk_layers(called), c_channels(kind), classes=classes, width=width)


def yhenon(kind: Kind, *, classes: int = 80, width: int = 256) -> Shapes:
    """A model of yhenon's."""
    layers = behind(YHENON, c_channels(kind), classes=classes, width=width)
    return _body(kind, "", counted=True) | layers


def torchvision(
    kind: Kind,
    *,
    classes: int = 91,
    width: int = 256,
    counted: bool = False,
    p6_from_c5: bool = False,
) -> Shapes:
    """A model of torchvision's first version, with frozen norms unless they count."""
    channels = c_channels(kind)
    layers = behind(TORCHVISION, channels, classes=classes, width=width, p6_from_c5=p6_from_c5)
    return _body(kind, "backbone.body.", counted=counted) | layers


def c_channels(kind: Kind) -> tuple[int, int, int]:
    """Of C3, C4 and C5."""
    finest = 512 if kind.deep else 128
    return finest, 2 * finest, 4 * finest


def behind(
    layers: Layers,
    channels: tuple[int, int, int],
    *,
    classes: int,
    width: int,
    p6_from_c5: bool = True,
) -> Shapes:
    """What is behind a backbone with so many channels at C3, C4 and C5."""
    shapes: Shapes = {}
    for name, inside in zip(layers.lateral, channels, strict=True):
        _with_bias(shapes, name, (width, inside, 1, 1))
    for name in layers.output:
        _with_bias(shapes, name, (width, width, 3, 3))
    _with_bias(shapes, layers.extra[0], (width, channels[2] if p6_from_c5 else width, 3, 3))
    _with_bias(shapes, layers.extra[1], (width, width, 3, 3))
    for tower, output, values in zip(layers.towers, layers.outputs, (classes, 4), strict=True):
        for name in tower:
            _with_bias(shapes, name, (width, width, 3, 3))
        _with_bias(shapes, output, (9 * values, width, 3, 3))
    return shapes


def make(source: str, network: str, **changes: Any) -> Shapes:
    """A network of a program, by their names here.

    Args:
        source: a name in `NETWORKS`.
        network: a name in `KINDS`.
        **changes: to the arguments of the program's function, such as `width`.
    """
    named = (ODTK_NAMES[network],) if source == "odtk" else ()
    makers: dict[str, Callable[..., Shapes]] = {
        "detectron2": detectron2,
        "mmdetection": mmdetection,
        "odtk": odtk,
        "torchvision": torchvision,
        "yhenon": yhenon,
    }
    return makers[source](KINDS[network], *named, **changes)


def to_text(shapes: Shapes) -> str:
    """A line for each tensor: its name, and its sides; none for a single number."""
    return "".join(
        f"{name} {' '.join(map(str, sides))}".rstrip() + "\n" for name, sides in shapes.items()
    )


def read_shapes(source: str, network: str) -> Shapes:
    """What stands in a file."""
    lines = (FOLDER / f"{source}_{network}.txt").read_text().splitlines()
    return {name: tuple(map(int, sides)) for name, *sides in map(str.split, lines)}


def _body(kind: Kind, prefix: str, *, counted: bool) -> Shapes:
    """A ResNet in torchvision's names, without its classifier."""
    shapes: Shapes = {}
    _with_norm(shapes, f"{prefix}conv1", (64, 3, 7, 7), norm=f"{prefix}bn1", counted=counted)
    for conv in convolutions(kind):
        place = f"{prefix}layer{conv.stage + 1}.{conv.block}"
        own = f"conv{conv.number}" if conv.number else "downsample.0"
        norm = f"bn{conv.number}" if conv.number else "downsample.1"
        _with_norm(shapes, f"{place}.{own}", conv.shape, norm=f"{place}.{norm}", counted=counted)
    return shapes


def _with_bias(shapes: Shapes, name: str, shape: tuple[int, ...]) -> None:
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]


def _with_norm(
    shapes: Shapes, name: str, shape: tuple[int, ...], *, norm: str, counted: bool = False
) -> None:
    shapes[f"{name}.weight"] = shape
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{norm}.{part}"] = shape[:1]
    if counted:
        shapes[f"{norm}.num_batches_tracked"] = ()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for source, networks in NETWORKS.items():
        for network in networks:
            text = to_text(make(source, network))
            (FOLDER / f"{source}_{network}.txt").write_text(text)
