"""Which ResNet a state dict is of: known by its blocks' number and the shapes in the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from foveal.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

RESNETS: dict[tuple[tuple[int, ...], tuple[int, int]], str] = {
    ((3, 4, 6, 3), (64, 64)): "resnet50",
    ((3, 4, 23, 3), (64, 64)): "resnet101",
    ((3, 8, 36, 3), (64, 64)): "resnet152",
    ((3, 4, 6, 3), (128, 4)): "resnext50_32x4d",
    ((3, 4, 23, 3), (128, 4)): "resnext101_32x4d",
    ((3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
    ((3, 4, 23, 3), (256, 4)): "resnext101_64x4d",
    ((3, 4, 6, 3), (128, 128)): "wide_resnet50_2",
    ((3, 4, 23, 3), (128, 128)): "wide_resnet101_2",
}
"""timm's names by the blocks of each stage and [width, width / groups] of the first 3x3."""

BASIC: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
"""Those whose blocks have two convolutions."""

ALL_RESNETS: tuple[str, ...] = tuple(dict.fromkeys((*BASIC.values(), *RESNETS.values())))


def find_resnet(state: Mapping[str, Tensor], *, prefix: str, where: object) -> str:
    """The name that timm has for the ResNet of a state dict with torchvision's names.

    Args:
        state: with names such as `layer1.0.conv1.weight`.
        prefix: of those names, with its period.
        where: the file, for messages.

    Raises:
        WeightsError: it is none that is known.
    """
    blocks = tuple(
        len(
            {
                key.removeprefix(stage).split(".")[0]
                for key in state
                if key.startswith(stage) and key.endswith(".conv1.weight")
            }
        )
        for stage in (f"{prefix}layer{number}." for number in (1, 2, 3, 4))
    )
    middle = state.get(f"{prefix}layer1.0.conv2.weight")
    shape = () if middle is None else tuple(middle.shape[:2])
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state
    name = RESNETS.get((blocks, shape)) if bottleneck and len(shape) == 2 else BASIC.get(blocks)
    if name is None:
        raise WeightsError(
            f"{where}: its backbone has {blocks} blocks in its stages, and its first 3x3 "
            f"convolution is {list(shape)}. Expected one of {', '.join(ALL_RESNETS)}."
        )
    return name
