"""3x3 convolutions with a quarter of the multiplications, for float32 on a CPU.

Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray 2015, arXiv 1509.09308): 4 x 4 outputs
are made of a 6 x 6 window of the input, both brought to a space in which the convolution is 36
products instead of 144. There the channels are mixed by matrix products, which a CPU does at its
full speed. The points of interpolation are 0, plus and minus the root of a half and of two, and
infinity: their rounding error is half that of the usual ones, 1 and 2, and two to seven times that
of the direct sum, whose own depends on the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
"""Outputs on a side of a tile; its window has two more."""
WINDOW = TILE + 2
POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))

MIN_CHANNELS = 80
"""Below, moving the windows costs about as much as the products save."""
MIN_TILES = 64
"""Below, bringing the kernels to the other space costs more than the products save."""
TILES_AT_ONCE = 160
"""Few enough for a block to stay in the cache, enough for products at full speed."""


class Transforms(NamedTuple):
    """The three linear maps, each for both directions at once.

    Attributes:
        window: [36, 36], from a window of the input.
        weight: [36, 9], from a 3x3 kernel.
        tile: [16, 36], to a tile of the output.
    """

    window: Tensor
    weight: Tensor
    tile: Tensor


class Block(NamedTuple):
    """Some tiles: whole images, or rows of tiles of one image."""

    image: int
    images: int
    row: int
    rows: int


class Workspace:
    """Memory for one block's intermediate results, used again for the next block's."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._parts: dict[str, Tensor] = {}

    def copy(self, name: str, patches: Tensor) -> Tensor:
        """[side, side, ...] as a matrix of its side**2 rows."""
        part = self._part(name, patches.shape)
        return part.copy_(patches).view(patches.shape[0] ** 2, -1)

    def product(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        """[M, K] times [K, N]."""
        return torch.mm(left, right, out=self._part(name, (left.shape[0], right.shape[1])))

    def products(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        """[B, M, K] times [B, K, N]."""
        return torch.bmm(left, right, out=self._part(name, (*left.shape[:2], right.shape[2])))

    def _part(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        if name not in self._parts or len(self._parts[name]) < size:
            self._parts[name] = self._like.new_empty(size)
        return self._parts[name][:size].view(shape)


def suits(
    features: Tensor,
    weight: Tensor,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Whether `convolve` can do the work of `torch.nn.functional.conv2d`, and faster.

    The arguments are that function's: features [B, C, H, W], weight [D, C, kernel, kernel].
    """
    outputs, channels, *kernel = weight.shape
    return (
        kernel == [3, 3]
        and groups == 1
        and _is_pair(stride, 1)
        and _is_pair(padding, 1)
        and _is_pair(dilation, 1)
        and min(channels, outputs) >= MIN_CHANNELS
        and features.ndim == 4
        and features.device.type == "cpu"
        and features.dtype is weight.dtype is torch.float32
        and len(features) * _tiles(features.shape[2]) * _tiles(features.shape[3]) >= MIN_TILES
        and not torch.is_autocast_enabled("cpu")
    )


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution with stride 1 and zero padding 1.

    Args:
        features: [B, C, H, W] float32 on the CPU; fastest in channels_last memory.
        weight: [O, C, 3, 3].
        bias: [O].

    Returns:
        [B, O, H, W] in channels_last memory.
    """
    result: Tensor = _Convolution.apply(features, weight, bias)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    # torch declares any arguments, for each function to have its own.
    # pyrefly: ignore[bad-override]
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.has_bias = bias is not None
        transforms = _transforms()
        kernels = _transformed(weight).transpose(1, 2)
        padded = _padded(features)
        batch, _, height, width = features.shape
        rows, columns = _tiles(height), _tiles(width)
        output = torch.empty(
            (batch, len(weight), rows * TILE, columns * TILE),
            dtype=features.dtype,
            memory_format=torch.channels_last,
        )
        outputs = output.permute(0, 2, 3, 1)
        workspace = Workspace(features)
        for block in _blocks(batch, rows, columns):
            windows = workspace.copy("windows", _windows(padded, block, columns))
            values = workspace.product("values", transforms.window, windows)
            products = workspace.products("products", _by_channel(values, weight.shape[1]), kernels)
            tiles = workspace.product("tiles", transforms.tile, products.view(WINDOW**2, -1))
            if bias is not None:
                tiles.view(-1, len(bias)).add_(bias)
            place = _places(outputs, block, columns)
            place.copy_(tiles.view(place.shape))
        if output.shape[2:] == (height, width):
            return output  # not a view, so that what follows may change it in place
        return output[:, :, :height, :width].clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The steps of `forward` in reverse; the windows are made again, to save memory."""
        with torch.autocast("cpu", enabled=False):  # the caller's would take half of it to bf16
            return _Convolution._differentiate(ctx, gradients[0])

    @staticmethod
    def _differentiate(
        ctx: Any, of_output: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, weight = ctx.saved_tensors
        wants_features, wants_weight, _ = ctx.needs_input_grad
        outputs, channels = weight.shape[:2]
        transforms = _transforms()
        kernels = _transformed(weight)
        batch, _, height, width = features.shape
        rows, columns = _tiles(height), _tiles(width)
        gradient = _to_tiles(of_output)
        padded = _padded(features)
        of_padded = torch.zeros_like(padded)
        of_kernels = torch.zeros_like(kernels)
        workspace = Workspace(features)
        for block in _blocks(batch, rows, columns):
            tiles = workspace.copy("tiles", _places(gradient, block, columns))
            products = _by_channel(workspace.product("products", transforms.tile.T, tiles), outputs)
            if wants_weight:
                windows = workspace.copy("windows", _windows(padded, block, columns))
                values = workspace.product("values", transforms.window, windows)
                of_kernels.baddbmm_(products.transpose(1, 2), _by_channel(values, channels))
            if wants_features:
                values = workspace.products("values", products, kernels).view(WINDOW**2, -1)
                windows = workspace.product("windows", transforms.window.T, values)
                _add_windows(of_padded, windows, block, columns)
        of_weight = None
        if wants_weight:
            flat = transforms.weight.T @ of_kernels.view(WINDOW**2, -1)
            of_weight = flat.view(3, 3, outputs, channels).permute(2, 3, 0, 1)
        of_features = None
        if wants_features:
            of_features = of_padded[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2)
        of_bias = of_output.sum((0, 2, 3)) if ctx.has_bias else None
        return of_features, of_weight, of_bias


def _is_pair(value: Any, number: int) -> bool:
    """Whether an argument for height and width, one number or two, is `number` for both."""
    return value == number or (isinstance(value, (tuple, list)) and list(value) == [number] * 2)


def _transformed(weight: Tensor) -> Tensor:
    """Kernels [O, C, 3, 3] as [36, O, C]."""
    outputs, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 0, 1).reshape(9, -1)
    return (_transforms().weight @ flat).view(WINDOW**2, outputs, channels)


def _by_channel(values: Tensor, channels: int) -> Tensor:
    return values.view(WINDOW**2, -1, channels)


def _tiles(side: int) -> int:
    return -(-side // TILE)


def _padded(features: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H', W', C] with the border that windows need, zeros."""
    height, width = features.shape[2:]
    below, right = _tiles(height) * TILE - height + 1, _tiles(width) * TILE - width + 1
    return F.pad(features.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below)).contiguous()


def _to_tiles(features: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H', W', C] of whole tiles."""
    height, width = features.shape[2:]
    below, right = _tiles(height) * TILE - height, _tiles(width) * TILE - width
    moved = features.permute(0, 2, 3, 1)
    return (F.pad(moved, (0, 0, 0, right, 0, below)) if below or right else moved).contiguous()


def _blocks(batch: int, rows: int, columns: int) -> Iterator[Block]:
    images = max(1, TILES_AT_ONCE // (rows * columns))
    if images > 1:
        for image in range(0, batch, images):
            yield Block(image, min(images, batch - image), 0, rows)
        return
    step = -(-rows // max(1, round(rows * columns / TILES_AT_ONCE)))
    for image in range(batch):
        for row in range(0, rows, step):
            yield Block(image, 1, row, min(step, rows - row))


def _windows(padded: Tensor, block: Block, columns: int) -> Tensor:
    """[6, 6, images, rows, columns, C]: a view; neighboring windows share two rows or columns."""
    return _patches(padded, block, columns, WINDOW)


def _places(outputs: Tensor, block: Block, columns: int) -> Tensor:
    """[4, 4, images, rows, columns, C]: a view; tiles don't overlap."""
    return _patches(outputs, block, columns, TILE)


def _patches(features: Tensor, block: Block, columns: int, side: int) -> Tensor:
    image, row, column, channel = features.stride()
    return features.as_strided(
        (side, side, block.images, block.rows, columns, features.shape[3]),
        (row, column, image, TILE * row, TILE * column, channel),
        features.storage_offset() + block.image * image + block.row * TILE * row,
    )


def _add_windows(padded: Tensor, values: Tensor, block: Block, columns: int) -> None:
    """Add windows' values [36, ...] at their places, a group without overlap after the other."""
    windows = _windows(padded, block, columns)
    values = values.view(windows.shape)
    inner, rest = slice(0, TILE), slice(TILE, WINDOW)
    for rows in (inner, rest):
        for places in (inner, rest):
            windows[rows, places].add_(values[rows, places])


@cache
def _transforms() -> Transforms:
    """The maps that follow from the points (Toom and Cook's algorithm, transposed)."""
    size = len(POINTS) + 1
    window = torch.zeros(size, size, dtype=torch.float64)
    weight = torch.zeros(size, 3, dtype=torch.float64)
    tile = torch.zeros(TILE, size, dtype=torch.float64)
    for index, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        window[index, :-1] = _polynomial(others)
        weight[index] = _powers(point, 3) / math.prod(point - other for other in others)
        tile[:, index] = _powers(point, TILE)
    window[-1] = _polynomial(POINTS)
    weight[-1, -1] = tile[-1, -1] = 1
    return Transforms(*(torch.kron(each, each).float() for each in (window, weight, tile)))


def _powers(point: float, count: int) -> Tensor:
    return torch.tensor([point**power for power in range(count)], dtype=torch.float64)


def _polynomial(roots: Any) -> Tensor:
    """Coefficients, the constant first, of the product of (x - root)."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        shifted = F.pad(coefficients, (1, 0))
        shifted[:-1] -= root * coefficients
        coefficients = shifted
    return coefficients
