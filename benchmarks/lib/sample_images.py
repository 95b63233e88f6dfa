"""Image files to read, with about the detail of photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def draw_photographs(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write so many JPEGs of coarse and fine random detail and some discs."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        image = np.zeros((height, width, 3), np.float32)
        for cell in (4, 16, 64):
            rough = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3))
            image += cv2.resize(rough.astype(np.float32), (width, height)) / 3
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        for _ in range(30):
            corner = tuple(int(value) for value in rng.integers(0, (width, height)))
            color = tuple(int(value) for value in rng.integers(0, 256, 3))
            cv2.circle(pixels, corner, int(rng.integers(5, 40)), color, -1)
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return paths
