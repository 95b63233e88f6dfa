"""The two ways in which pixels move: resizing along the axes, and one affine warp.

OpenCV resizes and warps at most four bands at once; here there may be any number.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_BANDS_AT_ONCE = 4
_MARGIN = 2
"""Pixels kept around the part of an image that a linear warp reads."""


def resize_into(image: NDArray[np.uint8], out: NDArray[np.uint8], *, filtered: bool = True) -> None:
    """Resize [H, W, C] into the size of `out`: linearly, without aliasing where it shrinks.

    By a whole factor OpenCV's mean of the pixels is fastest; by any other, torch's filtered
    interpolation, which takes a third of the time of OpenCV's INTER_AREA. Where PyTorch is not
    loaded Pillow's takes its place, which gives the same to a rounding of one gray level.

    Args:
        image: [H, W, C].
        out: [h, w, C], where the resized image goes.
        filtered: False interpolates between the four nearest pixels however much the image
            shrinks, as torchvision's detectors do; fine patterns alias.
    """
    (old_height, old_width), (height, width) = image.shape[:2], out.shape[:2]
    if (old_height, old_width) == (height, width):
        out[...] = image
    elif not filtered:
        _interpolate(image, out)
    elif height >= old_height and width >= old_width:
        _resize_by_opencv(image, out, cv2.INTER_LINEAR)
    elif old_height % height == 0 and old_width % width == 0:
        _resize_by_opencv(image, out, cv2.INTER_AREA)
    elif "torch" in sys.modules:
        _resize_by_torch(image, out)
    else:
        _resize_by_pillow(image, out)


def _resize_by_opencv(image: NDArray[np.uint8], out: NDArray[np.uint8], how: int) -> None:
    size = out.shape[1::-1]
    _by_bands(lambda part, into, _: cv2.resize(part, size, dst=into, interpolation=how), image, out)


def _interpolate(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Between the nearest pixels, computed in float32: of 8 bits OpenCV rounds the weights too."""
    size = out.shape[1::-1]
    _by_bands(
        lambda part, *_: cv2.resize(part.astype(np.uint16), size, interpolation=cv2.INTER_LINEAR),
        image,
        out,
    )


def _resize_by_torch(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    import torch
    from torch.nn.functional import interpolate

    writable = image if image.flags.writeable else image.copy()  # torch warns of what is not
    pixels = torch.from_numpy(writable)[None].permute(0, 3, 1, 2)  # seen as channels_last
    resized = interpolate(pixels, size=out.shape[:2], mode="bilinear", antialias=True)
    out[...] = resized[0].permute(1, 2, 0).numpy()


def _resize_by_pillow(image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """The same filter as PyTorch's, which was made after it; some values differ by one.

    It takes about four times as long, but needs no PyTorch: an exported model predicts without.
    """
    size = out.shape[1::-1]
    if image.shape[2] == 3:
        out[...] = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        return
    for band in range(image.shape[2]):
        part = Image.fromarray(np.ascontiguousarray(image[:, :, band]))
        out[:, :, band] = np.asarray(part.resize(size, Image.Resampling.BILINEAR))


def paint(out: NDArray[np.uint8], fill: NDArray[np.uint8]) -> None:
    """Set every pixel of [H, W, C] to `fill` [C], a row at a time."""
    out[...] = np.tile(fill, (out.shape[1], 1))


def mirror_into(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    *,
    transpose: bool,
    mirror_x: bool,
    mirror_y: bool,
) -> None:
    """Transpose [H, W, C], then mirror it left-right and top-bottom, into `out`."""
    moved: Any = cv2.transpose(image) if transpose else image
    if mirror_x or mirror_y:
        moved = cv2.flip(moved, -1 if mirror_x and mirror_y else int(mirror_x))
    out[...] = moved.reshape(out.shape)


def warp_into(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    *,
    fill: NDArray[np.uint8],
) -> None:
    """Warp [H, W, C] into `out` by linear interpolation, without aliasing where it shrinks.

    An image that shrinks to half or less is first reduced by a whole factor, by area.

    Args:
        image: [H, W, C].
        out: [h, w, C], where the warped image goes.
        matrix: [2, 3] from continuous pixels of `image` to those of `out`, invertible.
        fill: [C], the value of places that the image does not cover.
    """
    image, matrix = _visible_part(image, out.shape, matrix)
    if image.size == 0:
        paint(out, fill)
        return
    image, matrix = _reduced(image, matrix)
    height, width = out.shape[:2]
    centered = matrix.copy()  # OpenCV counts from a pixel's center
    centered[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    _by_bands(
        lambda part, into, bands: cv2.warpAffine(
            part, centered, (width, height), dst=into, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(int(value) for value in fill[bands]),
        ),
        image,
        out,
    )  # fmt: skip


def _by_bands(
    function: Callable[[NDArray[np.uint8], NDArray[np.uint8] | None, slice], Any],
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Let an OpenCV function fill `out`, four bands at a time."""
    bands = image.shape[2]
    if bands <= _BANDS_AT_ONCE:
        result = function(image, out, slice(0, bands))
        if not np.shares_memory(result, out):
            out[...] = result.reshape(out.shape)
        return
    for start in range(0, bands, _BANDS_AT_ONCE):
        part = slice(start, start + _BANDS_AT_ONCE)
        result = function(np.ascontiguousarray(image[:, :, part]), None, part)
        out[:, :, part] = result.reshape(out[:, :, part].shape)


def _visible_part(
    image: NDArray[np.uint8], shape: tuple[int, ...], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Only the part of the image that can be seen in the output, and the matrix from there."""
    height, width = shape[:2]
    inverse = np.linalg.inv(matrix[:, :2])
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    places = (corners - matrix[:, 2]) @ inverse.T
    left, top = (math.floor(value) - _MARGIN for value in places.min(axis=0))
    right, bottom = (math.ceil(value) + _MARGIN for value in places.max(axis=0))
    left, top = max(0, left), max(0, top)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    return image[top : max(top, bottom), left : max(left, right)], moved


def _reduced(
    image: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The image shrunk by the largest whole factor that leaves something to the warp."""
    factor = int(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if factor < 2:
        return image, matrix
    height, width = (max(1, side // factor) for side in image.shape[:2])
    small = np.empty((height, width, image.shape[2]), np.uint8)
    resize_into(image, small)
    scaled = matrix.copy()
    scaled[:, 0] *= image.shape[1] / width
    scaled[:, 1] *= image.shape[0] / height
    return small, scaled
