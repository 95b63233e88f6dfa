"""Two steps of the network as operators of their own, while it is exported to ONNX.

PyTorch describes a clamp and the reshaping at the heads' end by dozens of symbolic expressions each
when sizes are free; that takes half of the export's time. As operators with a given shape they take
none, and each becomes the ONNX operators that stand here.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foveal.exporting.network import AnchorRows, Clamp6, ExportedNetwork, replace_modules

if TYPE_CHECKING:
    from collections.abc import Callable


def with_own_operators(network: ExportedNetwork) -> ExportedNetwork:
    """The same network with these operators in it."""
    changed = copy.deepcopy(network)
    replace_modules(changed, Clamp6, lambda _: _OwnClamp6())
    replace_modules(changed, AnchorRows, lambda _: _OwnAnchorRows())
    return changed


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What each operator becomes in ONNX, for `torch.onnx.export`."""
    from onnxscript import opset18 as op

    def clip(features: Any) -> Any:
        least: Any = op.Constant(value_float=0.0)
        most: Any = op.Constant(value_float=6.0)
        return op.Clip(features, least, most)

    def rows(outputs: Any, values: int) -> Any:
        moved = op.Transpose(outputs, perm=[0, 2, 3, 1])
        shape: Any = op.Constant(value_ints=[0, -1, values])
        return op.Reshape(moved, shape)

    return {
        torch.ops.foveal.clamp6.default: clip,
        torch.ops.foveal.anchor_rows.default: rows,
    }


class _OwnClamp6(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        clamped: Tensor = _clamp6(features)
        return clamped


class _OwnAnchorRows(nn.Module):
    def forward(self, outputs: Tensor, values: int) -> Tensor:
        rows: Tensor = _anchor_rows(outputs, values)
        return rows


@torch.library.custom_op("foveal::clamp6", mutates_args=())
def _clamp6(features: Tensor) -> Tensor:
    return features.clamp(0, 6)


@_clamp6.register_fake
def _shape_of_clamped(features: Tensor) -> Tensor:
    return torch.empty_like(features)


@torch.library.custom_op("foveal::anchor_rows", mutates_args=())
def _anchor_rows(outputs: Tensor, values: int) -> Tensor:
    return outputs.permute(0, 2, 3, 1).reshape(outputs.shape[0], -1, values).contiguous()


@_anchor_rows.register_fake
def _shape_of_rows(outputs: Tensor, values: int) -> Tensor:
    batch, channels, height, width = outputs.shape
    return outputs.new_empty((batch, height * width * (channels // values), values))
