"""RetinaNet in plain torch functions on a state dict in another system's names.

It knows nothing of foveal's: shapes to make random weights of, and a forward pass, from the facts
about each system.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.checkpoints.importing import Imported
from foveal.detection.box_coding import decode_boxes

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "resnext101_32x8d": (3, 4, 23, 3),
}
LIVE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
FROZEN = LIVE[:4]
BOX_LAYERS = ("box_head.8", "head.regression_head.bbox_reg")
SIZES = [(160, 224), (107, 149)]


def norm_shapes(name: str, channels: int, kinds: tuple[str, ...]) -> Shapes:
    return {f"{name}.{kind}": () if kind == LIVE[4] else (channels,) for kind in kinds}


def resnet_shapes(name: str, *, prefix: str, norms: tuple[str, ...]) -> Shapes:
    """Of a ResNet in torchvision's names, without its last layer."""
    basic = name in ("resnet18", "resnet34")
    groups, per_group = (32, 8) if "x" in name.removeprefix("res") else (1, 64)
    shapes: Shapes = {f"{prefix}conv1.weight": (64, 3, 7, 7)}
    shapes |= norm_shapes(f"{prefix}bn1", 64, norms)
    inputs = 64
    for stage, blocks in enumerate(BLOCKS[name]):
        out = 64 * 2**stage * (1 if basic else 4)
        width = out if basic else per_group * groups * 2**stage
        for block in range(blocks):
            here = f"{prefix}layer{stage + 1}.{block}."
            sides = [(width, inputs, 3), (out, width, 3)]
            if not basic:
                sides = [(width, inputs, 1), (width, width // groups, 3), (out, width, 1)]
            for number, (outputs, ins, side) in enumerate(sides, 1):
                shapes[f"{here}conv{number}.weight"] = (outputs, ins, side, side)
                shapes |= norm_shapes(f"{here}bn{number}", outputs, norms)
            if block == 0 and (stage or not basic):
                shapes[f"{here}downsample.0.weight"] = (out, inputs, 1, 1)
                shapes |= norm_shapes(f"{here}downsample.1", out, norms)
            inputs = out
    return shapes


def c_channels(name: str) -> tuple[int, int, int]:
    """Of C3, C4 and C5."""
    return (128, 256, 512) if name in ("resnet18", "resnet34") else (512, 1024, 2048)


@dataclass(frozen=True)
class Names:
    """Where a system keeps the layers behind its backbone; of lists the finest level first."""

    lateral: list[str]
    output: list[str]
    p6: str
    p7: str
    towers: dict[str, list[str]]
    scores: str
    boxes: str


def layer_shapes(
    names: Names,
    channels: tuple[int, int, int],
    *,
    classes: int,
    width: int,
    p6_from_c5: bool = True,
    anchors: int = 9,
) -> Shapes:
    layers = dict.fromkeys(names.output, (width, width, 3, 3))
    layers |= {name: (width, ins, 1, 1) for name, ins in zip(names.lateral, channels, strict=True)}
    layers[names.p6] = (width, channels[-1] if p6_from_c5 else width, 3, 3)
    layers[names.p7] = (width, width, 3, 3)
    for tower in names.towers.values():
        layers |= dict.fromkeys(tower, (width, width, 3, 3))
    layers[names.scores] = (anchors * classes, width, 3, 3)
    layers[names.boxes] = (anchors * 4, width, 3, 3)
    shapes: Shapes = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def random_state(shapes: Shapes, *, device: str = "cpu") -> State:
    """Weights with which activations stay near 1 and deltas near 0; every value its own."""
    generator = torch.Generator().manual_seed(3)

    def made(name: str, shape: tuple[int, ...]) -> Tensor:
        if device == "meta":
            return torch.empty(shape, device="meta")
        kind = name.rsplit(".", 1)[-1]
        if kind == "num_batches_tracked":
            return torch.tensor(7)
        if kind == "running_var" or (kind == "weight" and len(shape) == 1):
            return torch.rand(shape, generator=generator) + 0.5
        spread = 0.1 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        if name.rsplit(".", 1)[0] in BOX_LAYERS:
            spread *= 0.1  # where boxes can't grow beyond what is decoded
        return torch.randn(shape, generator=generator) * spread

    return {name: made(name, shape) for name, shape in shapes.items()}


def conv(x: Tensor, state: State, name: str, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    groups = x.shape[1] // weight.shape[1]
    padding = weight.shape[-1] // 2
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding, 1, groups)


def batch_norm(x: Tensor, state: State, name: str, eps: float) -> Tensor:
    weight, bias, mean, var = (state[f"{name}.{kind}"][:, None, None] for kind in FROZEN)
    return (x - mean) / (var + eps).sqrt() * weight + bias


def resnet(x: Tensor, state: State, *, prefix: str, eps: float) -> list[Tensor]:
    """C3, C4 and C5; the stride of a bottleneck is in its 3x3."""
    x = batch_norm(conv(x, state, f"{prefix}conv1", 2), state, f"{prefix}bn1", eps).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage in range(1, 5):
        block = 0
        while f"{prefix}layer{stage}.{block}.conv1.weight" in state:
            here, stride = f"{prefix}layer{stage}.{block}.", 2 if block == 0 and stage > 1 else 1
            last = 3 if f"{here}conv3.weight" in state else 2
            y = x
            for number in range(1, last + 1):
                strided = number == (2 if last == 3 else 1)
                y = conv(y, state, f"{here}conv{number}", stride if strided else 1)
                y = batch_norm(y, state, f"{here}bn{number}", eps)
                y = y.relu() if number < last else y
            if f"{here}downsample.0.weight" in state:
                x = conv(x, state, f"{here}downsample.0", stride)
                x = batch_norm(x, state, f"{here}downsample.1", eps)
            x, block = (x + y).relu(), block + 1
        maps.append(x)
    return maps[1:]


def outputs(
    state: State, names: Names, maps: list[Tensor], *, p6_from_c5: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    """Each level's class and box layer as they come, [B, A * V, H, W]."""
    inner = [conv(x, state, name) for x, name in zip(maps, names.lateral, strict=True)]
    for finer in (1, 0):
        coarse = F.interpolate(inner[finer + 1], scale_factor=2, mode="nearest")
        inner[finer] = inner[finer] + coarse
    levels = [conv(x, state, name) for x, name in zip(inner, names.output, strict=True)]
    levels.append(conv(maps[-1] if p6_from_c5 else levels[-1], state, names.p6, 2))
    levels.append(conv(levels[-1].relu(), state, names.p7, 2))
    results: list[list[Tensor]] = []
    for tower, output in (
        (names.towers["scores"], names.scores),
        (names.towers["boxes"], names.boxes),
    ):
        results.append([])
        for x in levels:
            for name in tower:
                x = conv(x, state, name).relu()
            results[-1].append(conv(x, state, output))
    return results[0], results[1]


def padded_input(height: int, width: int) -> tuple[Tensor, Tensor]:
    """An image 0..255, and what the networks see of it: normalized, then filled up with 0."""
    generator = torch.Generator().manual_seed(4)
    image = torch.randint(0, 256, (1, 3, height, width), generator=generator).float()
    mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    return image, F.pad((image / 255 - mean) / std, (0, -width % 32, 0, -height % 32))


def by_anchor(maps: list[Tensor], values: int) -> Tensor:
    """[B, A * V, H, W] of each level as [all anchors, V], row by row, anchor by anchor."""
    return torch.cat(
        [x[0].unflatten(0, (-1, values)).permute(2, 3, 0, 1).reshape(-1, values) for x in maps]
    )


def decoded(anchors: Tensor, deltas: Tensor) -> Tensor:
    """Boxes in continuous pixels, by the formula that all these systems share."""
    sides = anchors[:, 2:] - anchors[:, :2]
    middles = (anchors[:, 2:] + anchors[:, :2]) / 2 + deltas[:, :2] * sides
    sides = sides * deltas[:, 2:].exp()
    return torch.cat([middles - sides / 2, middles + sides / 2], dim=1)


def in_our_order(values: Tensor) -> Tensor:
    """[all anchors, V] with nine a location, ratio by ratio, as scale by scale."""
    return values.unflatten(0, (-1, 3, 3)).transpose(1, 2).flatten(0, 2)


def assert_same(
    imported: Imported,
    image: Tensor,
    *,
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    factors: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
) -> None:
    """The imported model says of an image what the plain one says, [all anchors, ...] each."""
    model = imported.loaded.model
    with torch.inference_mode():
        raw = model(image)
    own_logits, own_deltas = (torch.cat(part, dim=1)[0] for part in (raw.logits, raw.deltas))
    own_anchors = model.anchors(*image.shape[-2:])
    deltas = deltas * torch.tensor(factors)
    assert logits.std() > 0.1, "logits that are all alike would hide a wrong order"
    for own, expected in ((own_logits, logits), (own_deltas, deltas)):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(own_anchors, anchors, rtol=0, atol=1e-4)
    boxes = decode_boxes(own_deltas, own_anchors)
    torch.testing.assert_close(boxes, decoded(anchors, deltas), rtol=0, atol=1e-3)


def save(state: State, path: Path, **more: object) -> Path:
    torch.save(more | {"state_dict": state} if more else state, path)
    return path
