"""From whatever a caller calls an image to pixels: a file, a record, an array and others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image, ImageOps

from foveal.data.images.depth import extent_of, unknown_range
from foveal.data.images.pixels import convert_bands, scale_to_bytes
from foveal.data.images.reading import read_image
from foveal.errors import ImageError
from foveal.structures import RGB, PixelRange

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from foveal.data.dataset import Record

    ImageLike = Path | str | Record | Image.Image | np.ndarray[Any, Any] | torch.Tensor


def to_pixels(image: ImageLike, pixel_range: PixelRange = RGB) -> NDArray[np.uint8]:
    """Turn an image of any kind into pixels, by the policy of `foveal.data.images.reading`.

    Args:
        image: a file's path; a record of a data set, which means its file; a PIL image (its
            orientation is applied); an array [H, W] or [H, W, C]; or a tensor [H, W] or [C, H, W].
            Arrays and tensors are RGB; they hold uint8, uint16 (see `foveal.data.images.depth`), or
            floating point values in 0..1.
        pixel_range: the bands that the network takes; gray is repeated into three, alpha is
            dropped. Where it has limits, the network was made for data of more than 8 bits, and
            arrays hold such values.

    Returns:
        [H, W, bands] uint8.

    Raises:
        ImageError: the file can't be read, or the values are none of these.
    """
    if (path := path_of(image)) is not None:
        return read_image(path, pixel_range)
    if isinstance(image, Image.Image):
        values, what = _from_pillow(image, pixel_range.bands), "the PIL image"
    elif _is_tensor(image):
        values, what = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        values, what = image, f"the array {list(image.shape)}"
    else:
        raise ImageError(
            f"An image is a {type(image).__name__}. Expected a path, a PIL image, an array "
            "[H, W, C], a tensor [C, H, W] or a record of a data set."
        )
    if values.ndim not in (2, 3) or values.size == 0:
        raise ImageError(
            f"{what}: is no image. Expected an array [H, W, C] or a tensor [C, H, W] with at least "
            "one pixel; pass several images to detect_many."
        )
    values = values if values.ndim == 3 else values[:, :, None]
    values = _with_bands(values, pixel_range.bands, what)
    if isinstance(image, Image.Image):
        return np.ascontiguousarray(_of_any_depth(values, pixel_range, what))
    return np.ascontiguousarray(_to_bytes(values, pixel_range, what))


def describe(image: ImageLike, index: int) -> str:
    """What people call an image: its path, or its position in the list."""
    path = path_of(image)
    return f"image {index}" if path is None else str(path)


def path_of(image: ImageLike) -> Path | None:
    """The file that is meant; None for an image in memory."""
    from foveal.data.dataset import Record

    if isinstance(image, Record):
        return image.path
    return Path(image) if isinstance(image, Path | str) else None


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
    converted = convert_bands(values, bands, alpha=True)
    if converted is not None:
        return converted
    raise ImageError(
        f"{what}: has {values.shape[2]} bands, the model takes {bands}. Expected an array "
        f"[H, W, {bands}] or a tensor [{bands}, H, W]."
    )


def _of_any_depth(values: NDArray[Any], pixel_range: PixelRange, what: str) -> NDArray[np.uint8]:
    """A PIL image's values, whose type says less of their range than an array's."""
    scaled = scale_to_bytes(values, pixel_range)
    if scaled is None:
        raise unknown_range(what, values, extent_of(values))
    return scaled


def _to_bytes(values: NDArray[Any], pixel_range: PixelRange, what: str) -> NDArray[np.uint8]:
    """An array's values: of the types whose range is known, unless the range is stated."""
    if pixel_range.low or pixel_range.deep or values.dtype in (np.uint8, np.uint16):
        scaled = scale_to_bytes(values, pixel_range)
        if scaled is not None:
            return scaled
    if np.issubdtype(values.dtype, np.floating):
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return np.asarray(np.rint(values * 255), np.uint8)
        raise ImageError(
            f"{what}: holds {values.dtype} values from {low:.4g} to {high:.4g}. "
            "Expected uint8, or floating point in 0..1, not yet normalized."
        )
    raise ImageError(f"{what}: holds {values.dtype} values. Expected uint8, or float in 0..1.")
