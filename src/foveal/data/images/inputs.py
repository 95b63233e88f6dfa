"""From whatever a caller calls an image to pixels: a file, a PIL image, an array or a tensor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import cv2
import numpy as np
from PIL import Image, ImageOps

from foveal.data.images.reading import read_image, scale_to_bytes
from foveal.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    ImageLike = Path | str | Image.Image | np.ndarray[Any, Any] | torch.Tensor


def to_pixels(
    image: ImageLike,
    *,
    bands: int = 3,
    band_low: Sequence[float] = (),
    band_high: Sequence[float] = (),
) -> NDArray[np.uint8]:
    """Turn an image of any kind into pixels, by the policy of `foveal.data.images.reading`.

    Args:
        image: a file's path; a PIL image (its orientation is applied); an array [H, W] or
            [H, W, C]; or a tensor [H, W] or [C, H, W]. Arrays and tensors are RGB; they hold uint8,
            uint16 (the high byte counts), or floating point values in 0..1.
        bands: how many the network takes; gray is repeated into three, alpha is dropped.
        band_low, band_high: the values that become 0 and 255, where the network was made for data
            of more than 8 bits; then arrays hold such values.

    Returns:
        [H, W, bands] uint8.

    Raises:
        ImageError: the file can't be read, or the values are none of these.
    """
    if isinstance(image, Path | str):
        return read_image(image, bands=bands, band_low=band_low, band_high=band_high)
    if isinstance(image, Image.Image):
        values, what = _from_pillow(image, bands), "the PIL image"
    elif _is_tensor(image):
        values, what = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        values, what = image, f"the array {list(image.shape)}"
    else:
        raise ImageError(
            f"An image is a {type(image).__name__}. "
            "Expected a path, a PIL image, an array [H, W, C] or a tensor [C, H, W]."
        )
    if values.ndim not in (2, 3) or values.size == 0:
        raise ImageError(
            f"{what}: is no image. Expected an array [H, W, C] or a tensor [C, H, W] with at least "
            "one pixel; pass several images to detect_many."
        )
    values = _with_bands(values if values.ndim == 3 else values[:, :, None], bands, what)
    return np.ascontiguousarray(_to_bytes(values, band_low, band_high, what))


def describe(image: ImageLike, index: int) -> str:
    """What people call an image: its path, or its place in the list."""
    return str(image) if isinstance(image, Path | str) else f"image {index}"


def _is_tensor(image: object) -> TypeGuard[torch.Tensor]:
    """Whether it is PyTorch's; where nobody has loaded PyTorch there are no tensors."""
    loaded = sys.modules.get("torch")
    return loaded is not None and isinstance(image, loaded.Tensor)


def _from_pillow(image: Image.Image, bands: int) -> NDArray[Any]:
    picture = ImageOps.exif_transpose(image)
    deep = picture.mode.startswith("I;16") or picture.mode in ("I", "F")
    if not deep and bands in (1, 3):
        gray = bands == 1 or picture.mode in ("L", "LA", "La", "1")
        picture = picture.convert("L" if gray else "RGB")
    return np.asarray(picture)


def _from_tensor(image: torch.Tensor) -> tuple[NDArray[Any], str]:
    what = f"the tensor {list(image.shape)}"
    values = image.detach().cpu()
    if str(values.dtype) == "torch.bfloat16":  # which numpy does not have
        values = values.float()
    return (values.permute(1, 2, 0) if values.ndim == 3 else values).numpy(), what


def _with_bands(values: NDArray[Any], bands: int, what: str) -> NDArray[Any]:
    found = values.shape[2]
    if found == bands:
        return values
    if bands == 3 and found in (1, 2):  # gray, perhaps with alpha
        return values[:, :, :1].repeat(3, axis=2)
    if bands == 3 and found == 4:
        return values[:, :, :3]
    if bands == 1 and found in (3, 4) and values.dtype == np.uint8:
        color = np.ascontiguousarray(values[:, :, :3])
        return np.asarray(cv2.cvtColor(color, cv2.COLOR_RGB2GRAY))[:, :, None]
    raise ImageError(
        f"{what}: has {found} bands, the model takes {bands}. Expected an array [H, W, {bands}] "
        f"or a tensor [{bands}, H, W]."
    )


def _to_bytes(
    values: NDArray[Any], low: Sequence[float], high: Sequence[float], what: str
) -> NDArray[np.uint8]:
    scaled = scale_to_bytes(values, low, high)
    if scaled is not None:
        return scaled
    if np.issubdtype(values.dtype, np.floating):
        least, most = float(values.min()), float(values.max())
        if least >= 0 and most <= 1:
            return np.asarray(np.rint(values * 255), np.uint8)
        raise ImageError(
            f"{what}: holds {values.dtype} values from {least:.4g} to {most:.4g}. "
            "Expected uint8, or floating point in 0..1, not yet normalized."
        )
    raise ImageError(f"{what}: holds {values.dtype} values. Expected uint8, or float in 0..1.")
