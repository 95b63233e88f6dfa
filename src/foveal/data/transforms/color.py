"""Random changes of color: all of brightness, contrast, saturation and hue as one 3x4 matrix."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_BLUR_SIGMA = (0.4, 1.6)
"""Smallest and largest standard deviation of a blur, input pixels."""
_QUANTILES = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])
"""A standard normal value for each of 256 equally likely bytes."""
_QUANTILES /= _QUANTILES.std()


def color_matrix(
    *, brightness: float, contrast: float, saturation: float, hue: float, mean: float
) -> NDArray[np.float32]:
    """One matrix for four changes of an RGB image.

    Args:
        brightness: factor on all values.
        contrast: factor on the distance from `mean`.
        saturation: factor on the distance from the pixel's own gray; 0 gives a gray image.
        hue: turn of the color circle with luma kept, 1 is the full circle.
        mean: the image's mean luma, 0..255.

    Returns:
        [3, 4]: new = matrix @ (r, g, b, 1).
    """
    angle = 2 * math.pi * hue
    cos, sin = math.cos(angle), math.sin(angle)
    turn = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    fade = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    linear = brightness * contrast * (fade @ turn)
    shift = np.full((3, 1), brightness * (1 - contrast) * mean)
    return np.hstack([linear, shift]).astype(np.float32)


def change_colors(
    image: NDArray[np.uint8],
    generator: Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> None:
    """Change [H, W, C] in place by random factors of 1 +- the given share; hue of +- turns.

    Where C is not 3, each band has its own brightness and contrast, and there is no saturation
    or hue.
    """
    bands = image.shape[2]
    draws = generator.uniform(-1, 1, (max(4, 2 * bands)))
    if not (brightness or contrast or saturation or hue) or image.size == 0:
        return
    means = image[::8, ::8].mean(axis=(0, 1))
    if bands == 3:
        matrix = color_matrix(
            brightness=1 + brightness * draws[0],
            contrast=1 + contrast * draws[1],
            saturation=1 + saturation * draws[2],
            hue=hue * draws[3],
            mean=float(means @ _LUMA),
        )
        result = cv2.transform(image, matrix, dst=image)
        if not np.shares_memory(result, image):
            image[...] = result
        return
    levels = np.arange(256)[:, None]
    factors = 1 + contrast * draws[:bands]
    table = (1 + brightness * draws[-bands:]) * (means + (levels - means) * factors)
    tables = np.rint(np.clip(table, 0, 255)).astype(np.uint8)
    for band in range(bands):
        image[:, :, band] = tables[:, band][image[:, :, band]]


def blur(image: NDArray[np.uint8], generator: Generator, *, share: float) -> None:
    """Blur [H, W, C] in place, with this probability, by a random small Gaussian."""
    drawn, sigma = generator.random(), generator.uniform(*_BLUR_SIGMA)
    if drawn < share:
        image[...] = cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)


def add_noise(image: NDArray[np.uint8], generator: Generator, *, deviation: float) -> None:
    """Add normal noise of a random standard deviation up to `deviation` to [H, W, C], in place."""
    if not deviation or image.size == 0:
        return
    table = np.rint(_QUANTILES * generator.uniform(0, deviation)).astype(np.int16)
    grains = np.frombuffer(generator.bytes(image.size), np.uint8)
    noise = cv2.LUT(grains.reshape(1, -1), table).reshape(image.shape)
    image[...] = cv2.add(image, noise, dtype=cv2.CV_8U).reshape(image.shape)
