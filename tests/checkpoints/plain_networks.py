"""RetinaNets of other programs as plain functions of their own tensors, and of nothing of ours.

Written from what is known of their names, strides, orders and anchors. Images are RGB, 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tests.checkpoints.make_shapes import Kind, Shapes
from torch import Tensor

State = dict[str, Tensor]

STRIDES = (8, 16, 32, 64, 128)
CLAMP = math.log(1000 / 16)


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


def random_state(shapes: Shapes, *, seed: int = 0, std: float = 1.0) -> State:
    """Tensors of these shapes with which activations keep about their size.

    `std` is that of the network's input.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: tuple[int, ...], spread: float) -> Tensor:
        return torch.randn(shape, generator=generator) * spread

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 4:
            gain = {"retina_reg": 0.001, "bbox_pred": 0.001, "lateral": 0.1}
            factor = next((value for part, value in gain.items() if part in name), 2.0)
            return normal(shape, math.sqrt(factor / math.prod(shape[1:])))
        if name.endswith("running_var"):
            return torch.rand(shape, generator=generator) + 0.5
        if name.endswith("weight"):
            return torch.rand(shape, generator=generator) / 2 + 0.5
        if name.endswith("num_batches_tracked"):
            return torch.tensor(1000)
        return normal(shape, 0.1)

    state = {name: tensor(name, shape) for name, shape in shapes.items()}
    next(value for value in state.values() if value.ndim == 4).div_(std)
    return state


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


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
) -> list[Tensor]:
    """C3, C4 and C5. `names` gives those of convolution and norm by stage, block and number."""
    x = F.relu(batch_norm(state, stem[1], convolve(state, stem[0], x, 2)))
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
                y = batch_norm(state, norm, y)
                y = F.relu(y) if number < last else y
            conv, norm = names(stage, block, 0)
            shortcut = x
            if f"{conv}.weight" in state:
                shortcut = batch_norm(state, norm, convolve(state, conv, x, stride))
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
    relu_before_p7: bool,
) -> list[Tensor]:
    inner = [convolve(state, name, x) for name, x in zip(lateral, maps, strict=True)]
    for finer in (1, 0):
        above = inner[finer + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        inner[finer] = inner[finer] + above
    levels = [convolve(state, name, x) for name, x in zip(output, inner, strict=True)]
    p6 = convolve(state, extra[0], maps[2], 2)
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
    levels: Sequence[Tensor], shapes: Callable[[int], Sequence[tuple[float, float]]]
) -> Tensor:
    """(width, height) of each level's anchors around the corners of its cells."""
    found = []
    for stride, level in zip(STRIDES, levels, strict=True):
        height, width = level.shape[2:]
        half = torch.tensor(shapes(stride), dtype=torch.float64) / 2
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centers = torch.stack([x, y], -1).reshape(-1, 1, 2).double() * stride
        found.append(torch.cat([centers - half, centers + half], -1).reshape(-1, 4))
    return torch.cat(found).float()


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
                (size / math.sqrt(ratio), size * math.sqrt(ratio))
                for size in (4 * stride * 2 ** (third / 3) for third in range(3))
                for ratio in (0.5, 1.0, 2.0)
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

    def names(stage: int, block: int, number: int) -> tuple[str, str]:
        place = f"backbone.layer{stage + 1}.{block}"
        if not number:
            return f"{place}.downsample.0", f"{place}.downsample.1"
        return f"{place}.conv{number}", f"{place}.bn{number}"

    mean = mean or ((103.53, 116.28, 123.675) if caffe else (123.675, 116.28, 103.53))
    std = std or ((1.0, 1.0, 1.0) if caffe else (58.395, 57.12, 57.375))
    x = normalized(images, mean, std, caffe if bgr is None else bgr)
    maps = resnet(
        state,
        x,
        kind,
        stem=("backbone.conv1", "backbone.bn1"),
        names=names,
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
                (4 * stride * scale / math.sqrt(ratio), 4 * stride * scale * math.sqrt(ratio))
                for ratio in (0.5, 1.0, 2.0)
                for scale in (2 ** (third / 3) for third in range(3))
            ],
        ),
    )
