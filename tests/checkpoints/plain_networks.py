"""RetinaNets of other programs as plain functions of their own tensors, and of nothing of ours.

Written from what is known of their names, strides, orders and anchors. Images are RGB, 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tests.checkpoints.make_shapes import (
    TORCHVISION,
    YHENON,
    Kind,
    Layers,
    Shapes,
    odtk_layers,
)
from torch import Tensor

State = dict[str, Tensor]

STRIDES = (8, 16, 32, 64, 128)
CLAMP = math.log(1000 / 16)
RATIOS = (0.5, 1.0, 2.0)
OCTAVES = tuple(2 ** (third / 3) for third in range(3))
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet's pixels, RGB."""

Box = tuple[float, float, float, float]


class Output(NamedTuple):
    """All levels in one, in the program's order: logits [A, K], deltas and anchors [A, 4]."""

    logits: Tensor
    deltas: Tensor
    anchors: Tensor

    def boxes(self) -> Tensor:
        """Decoded in float64, [A, 4] xyxy."""
        deltas, anchors = self.deltas.double(), self.anchors.double()
        sides = anchors[:, 2:] - anchors[:, :2]
        centers = (anchors[:, 2:] + anchors[:, :2]) / 2 + deltas[:, :2] * sides
        half = sides * deltas[:, 2:].clamp(max=CLAMP).exp() / 2
        return torch.cat([centers - half, centers + half], 1)


GAINS = {
    **dict.fromkeys(("retina_reg", "bbox_pred", "bbox_reg", "box_head.8"), 0.001),
    **dict.fromkeys(("regressionModel.output", "lateral", "inner_blocks"), 0.1),
    **dict.fromkeys(YHENON.lateral, 0.1),
}
"""Of layers whose output is to be smaller, by a part of their names."""


@cache
def _normal_values() -> Tensor:
    """Normally distributed values; each tensor has those from somewhere on: they are dear."""
    return torch.randn(2**23, generator=torch.Generator().manual_seed(0))


def random_state(shapes: Shapes, *, seed: int = 0, std: float = 1.0) -> State:
    """Tensors of these shapes with which activations keep about their size.

    `std` is that of the network's input.
    """
    generator = torch.Generator().manual_seed(seed)
    pool = _normal_values()

    def normal(shape: tuple[int, ...], spread: float) -> Tensor:
        count = math.prod(shape)
        start = int(torch.randint(len(pool) - count, (), generator=generator))
        return pool[start : start + count].reshape(shape) * spread

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 4:
            factor = next((value for part, value in GAINS.items() if part in name), 2.0)
            return normal(shape, math.sqrt(factor / math.prod(shape[1:])))
        if name.endswith("running_var"):
            return torch.rand(shape, generator=generator) + 0.5
        if name.endswith("weight"):
            weights = torch.rand(shape, generator=generator) / 2 + 0.5
            # What a block adds is small, or the sum of many grows from stage to stage.
            return weights * 0.3 if name.endswith(("bn3.weight", "conv3.norm.weight")) else weights
        if name.endswith("num_batches_tracked"):
            return torch.tensor(1000)
        return normal(shape, 0.1)

    state = {name: tensor(name, shape) for name, shape in shapes.items()}
    next(value for value in state.values() if value.ndim == 4).div_(std)
    return state


def batch_norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, eps=eps)


def convolve(state: State, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(
        x, weight, state.get(f"{name}.bias"), stride, weight.shape[2] // 2, groups=groups
    )


def resnet(
    state: State,
    x: Tensor,
    kind: Kind,
    *,
    stem: tuple[str, str],
    names: Callable[[int, int, int], tuple[str, str]],
    stride_in_1x1: bool,
    eps: float = 1e-5,
) -> list[Tensor]:
    """C3, C4 and C5. `names` gives those of convolution and norm by stage, block and number."""
    x = F.relu(batch_norm(state, stem[1], convolve(state, stem[0], x, 2), eps))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, blocks in enumerate(kind.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            strided = 2 if kind.deep and not stride_in_1x1 else 1
            last = 3 if kind.deep else 2
            y = x
            for number in range(1, last + 1):
                conv, norm = names(stage, block, number)
                groups = kind.groups if kind.deep and number == 2 else 1
                y = convolve(state, conv, y, stride if number == strided else 1, groups)
                y = batch_norm(state, norm, y, eps)
                y = F.relu(y) if number < last else y
            conv, norm = names(stage, block, 0)
            shortcut = x
            if f"{conv}.weight" in state:
                shortcut = batch_norm(state, norm, convolve(state, conv, x, stride), eps)
            x = F.relu(y + shortcut)
        maps.append(x)
    return maps[1:]


def pyramid(
    state: State,
    maps: Sequence[Tensor],
    *,
    lateral: Sequence[str],
    output: Sequence[str],
    extra: Sequence[str],
    relu_before_p7: bool = True,
    p6_from_c5: bool = True,
) -> list[Tensor]:
    inner = [convolve(state, name, x) for name, x in zip(lateral, maps, strict=True)]
    for finer in (1, 0):
        above = inner[finer + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        inner[finer] = inner[finer] + above
    levels = [convolve(state, name, x) for name, x in zip(output, inner, strict=True)]
    p6 = convolve(state, extra[0], maps[2] if p6_from_c5 else levels[2], 2)
    p7 = convolve(state, extra[1], F.relu(p6) if relu_before_p7 else p6, 2)
    return [*levels, p6, p7]


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float], bgr: bool) -> Tensor:
    """The network's input [1, 3, H, W], padded with zeros to multiples of 32."""
    x = images.flip(0) if bgr else images
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    height, width = x.shape[1:]
    return F.pad(x, (0, -width % 32, 0, -height % 32))[None]


def by_anchor(x: Tensor, values: int) -> Tensor:
    """[1, A * values, H, W] as [H * W * A, values]: the anchor is the outer part of a channel."""
    rows = [x[0, first : first + values] for first in range(0, x.shape[1], values)]
    return torch.stack(rows).permute(2, 3, 0, 1).reshape(-1, values)


def grid_anchors(
    levels: Sequence[Tensor],
    boxes: Callable[[int], Sequence[Box]],
    *,
    divided: tuple[int, int] | None = None,
) -> Tensor:
    """Each level's boxes, which are given for its stride, from the corners of its cells on.

    The cells are as large as the stride; or the input's height and width are `divided` by their
    numbers, without a remainder.
    """
    anchors = []
    for stride, level in zip(STRIDES, levels, strict=True):
        rows, columns = level.shape[2:]
        high, wide = (divided[0] // rows, divided[1] // columns) if divided else (stride, stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corners = torch.stack([x * wide, y * high] * 2, -1).reshape(-1, 1, 4)
        around = torch.tensor(boxes(stride), dtype=torch.float64)
        anchors.append((corners + around).reshape(-1, 4))
    return torch.cat(anchors).float()


def around(width: float, height: float, center: float = 0.0) -> Box:
    """A box around a point that lies so far right and down of the corner."""
    return center - width / 2, center - height / 2, center + width / 2, center + height / 2


def with_ratio(side: float, ratio: float) -> tuple[float, float]:
    """Width and height of a box whose area is that of a square, and height / width the ratio."""
    return side / math.sqrt(ratio), side * math.sqrt(ratio)


def detectron2(
    state: State,
    images: Tensor,
    kind: Kind,
    *,
    stride_in_1x1: bool,
    mean: Sequence[float] = (103.53, 116.28, 123.675),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    bgr: bool = True,
) -> Output:
    """detectron2: size outermost, ratio innermost; a ReLU before P7; group norm after a bias."""
    body = "backbone.bottom_up"

    def names(stage: int, block: int, number: int) -> tuple[str, str]:
        name = f"{body}.res{stage + 2}.{block}.{f'conv{number}' if number else 'shortcut'}"
        return name, f"{name}.norm"

    stem = f"{body}.stem.conv1"
    x = normalized(images, mean, std, bgr)
    maps = resnet(
        state, x, kind, stem=(stem, f"{stem}.norm"), names=names, stride_in_1x1=stride_in_1x1
    )
    levels = pyramid(
        state,
        maps,
        lateral=[f"backbone.fpn_lateral{level}" for level in (3, 4, 5)],
        output=[f"backbone.fpn_output{level}" for level in (3, 4, 5)],
        extra=["backbone.top_block.p6", "backbone.top_block.p7"],
        relu_before_p7=True,
    )
    normed = "head.cls_subnet.1.weight" in state

    def subnet(name: str, output: str, x: Tensor) -> Tensor:
        for layer in range(4):
            x = convolve(state, f"head.{name}_subnet.{layer * (3 if normed else 2)}", x)
            if normed:
                place = f"head.{name}_subnet.{layer * 3 + 1}"
                x = F.group_norm(x, 32, state[f"{place}.weight"], state[f"{place}.bias"])
            x = F.relu(x)
        return convolve(state, f"head.{output}", x)

    classes = len(state["head.cls_score.bias"]) // 9
    return Output(
        torch.cat([by_anchor(subnet("cls", "cls_score", x), classes) for x in levels]),
        torch.cat([by_anchor(subnet("bbox", "bbox_pred", x), 4) for x in levels]),
        grid_anchors(
            levels,
            lambda stride: [
                around(*with_ratio(4 * stride * octave, ratio))
                for octave in OCTAVES
                for ratio in RATIOS
            ],
        ),
    )


def mmdetection(
    state: State,
    images: Tensor,
    kind: Kind,
    *,
    caffe: bool,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bgr: bool | None = None,
) -> Output:
    """MMDetection: ratio outermost, scale innermost; no ReLU before P7."""
    mean = mean or (MEAN[::-1] if caffe else MEAN)
    std = std or ((1.0, 1.0, 1.0) if caffe else STD)
    x = normalized(images, mean, std, caffe if bgr is None else bgr)
    maps = resnet(
        state,
        x,
        kind,
        stem=("backbone.conv1", "backbone.bn1"),
        names=torchvisions_names("backbone."),
        stride_in_1x1=caffe,
    )
    levels = pyramid(
        state,
        maps,
        lateral=[f"neck.lateral_convs.{level}.conv" for level in range(3)],
        output=[f"neck.fpn_convs.{level}.conv" for level in range(3)],
        extra=["neck.fpn_convs.3.conv", "neck.fpn_convs.4.conv"],
        relu_before_p7=False,
    )

    def subnet(name: str, output: str, x: Tensor) -> Tensor:
        for layer in range(4):
            x = F.relu(convolve(state, f"bbox_head.{name}_convs.{layer}.conv", x))
        return convolve(state, f"bbox_head.{output}", x)

    classes = len(state["bbox_head.retina_cls.bias"]) // 9
    return Output(
        torch.cat([by_anchor(subnet("cls", "retina_cls", x), classes) for x in levels]),
        torch.cat([by_anchor(subnet("reg", "retina_reg", x), 4) for x in levels]),
        grid_anchors(
            levels,
            lambda stride: [
                around(*with_ratio(4 * stride * octave, ratio))
                for ratio in RATIOS
                for octave in OCTAVES
            ],
        ),
    )


ODTK_SIDES = {
    8: ((8, 8), (6, 12), (11, 6)),
    16: ((16, 16), (11, 22), (23, 12)),
    32: ((32, 32), (23, 46), (45, 22)),
    64: ((64, 64), (45, 90), (91, 46)),
    128: ((128, 128), (91, 182), (181, 90)),
}
"""Width and height of the anchors of ODTK's published ResNets, before scaling."""


def odtk(
    state: State,
    images: Tensor,
    kind: Kind | None,
    *,
    called: str,
    new: bool,
    maps: Sequence[Tensor] | None = None,
) -> Output:
    """ODTK: scale outermost, ratio innermost, in the middle of cells; new ones are a pixel longer.

    `maps` are the backbone's where it is no ResNet.
    """
    if maps is None:
        assert kind is not None
        maps = torchvisions_resnet(state, images, kind, f"backbones.{called}.features.")

    def boxes(stride: int) -> list[Box]:
        anchors = []
        for scale in (4 * octave for octave in OCTAVES):
            for ratio, sides in zip((1.0, 2.0, 0.5), ODTK_SIDES[stride], strict=True):
                width, height = with_ratio(stride, ratio) if new else sides
                x1, y1, x2, y2 = around(width * scale, height * scale, stride / 2)
                anchors.append((x1, y1, x2 + new, y2 + new))
        return anchors

    layers = odtk_layers(called)
    levels = pyramid(state, maps, lateral=layers.lateral, output=layers.output, extra=layers.extra)
    return Output(*subnets(state, layers, levels), grid_anchors(levels, boxes))


YHENON_FACTORS = (0.1, 0.1, 0.2, 0.2)


def yhenon(state: State, images: Tensor, kind: Kind) -> Output:
    """yhenon: ratio outermost, scale innermost, in the middle of cells; deltas times factors."""
    maps = torchvisions_resnet(state, images, kind, "")
    levels = pyramid(state, maps, lateral=YHENON.lateral, output=YHENON.output, extra=YHENON.extra)
    logits, deltas = subnets(state, YHENON, levels)
    anchors = grid_anchors(
        levels,
        lambda stride: [
            around(*with_ratio(4 * stride * octave, ratio), stride / 2)
            for ratio in RATIOS
            for octave in OCTAVES
        ],
    )
    return Output(logits, deltas * torch.tensor(YHENON_FACTORS), anchors)


def torchvision(
    state: State, images: Tensor, kind: Kind, *, eps: float, p6_from_c5: bool = False
) -> Output:
    """torchvision: ratio outermost, scale innermost, in whole pixels; cells divide the input."""
    maps = torchvisions_resnet(state, images, kind, "backbone.body.", eps=eps)
    levels = pyramid(
        state,
        maps,
        lateral=TORCHVISION.lateral,
        output=TORCHVISION.output,
        extra=TORCHVISION.extra,
        p6_from_c5=p6_from_c5,
    )
    height, width = (-(-side // 32) * 32 for side in images.shape[1:])

    def boxes(stride: int) -> list[Box]:
        sides = [int(4 * stride * octave + 1e-6) for octave in OCTAVES]
        kinds = [with_ratio(side, ratio) for ratio in RATIOS for side in sides]
        return [(-round(w / 2), -round(h / 2), round(w / 2), round(h / 2)) for w, h in kinds]

    anchors = grid_anchors(levels, boxes, divided=(height, width))
    return Output(*subnets(state, TORCHVISION, levels), anchors)


def torchvisions_resnet(
    state: State, images: Tensor, kind: Kind, prefix: str, *, eps: float = 1e-5
) -> list[Tensor]:
    """C3, C4 and C5 of a ResNet in torchvision's names, of RGB as ImageNet has it."""
    return resnet(
        state,
        normalized(images, MEAN, STD, bgr=False),
        kind,
        stem=(f"{prefix}conv1", f"{prefix}bn1"),
        names=torchvisions_names(prefix),
        stride_in_1x1=False,
        eps=eps,
    )


def torchvisions_names(prefix: str) -> Callable[[int, int, int], tuple[str, str]]:
    """The names of convolution and norm by stage, block and number."""

    def names(stage: int, block: int, number: int) -> tuple[str, str]:
        place = f"{prefix}layer{stage + 1}.{block}"
        if not number:
            return f"{place}.downsample.0", f"{place}.downsample.1"
        return f"{place}.conv{number}", f"{place}.bn{number}"

    return names


def subnets(state: State, layers: Layers, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [A, K] and deltas [A, 4] of all levels."""
    found = []
    count = len(state[f"{layers.outputs[1]}.bias"]) // 4
    for tower, output in zip(layers.towers, layers.outputs, strict=True):
        values = len(state[f"{output}.bias"]) // count
        parts = []
        for x in levels:
            for name in tower:
                x = F.relu(convolve(state, name, x))
            parts.append(by_anchor(convolve(state, output, x), values))
        found.append(torch.cat(parts))
    return found[0], found[1]
