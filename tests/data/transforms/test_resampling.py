"""Resizing with PyTorch and without it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from foveal.data.transforms import resampling
from foveal.data.transforms.resampling import resize_into


def picture(height: int, width: int, bands: int) -> np.ndarray:
    y, x, band = np.mgrid[:height, :width, :bands]
    waves = 127 + 60 * np.sin(x / 7 + band) + 60 * np.cos(y / 5 - band)
    noise = np.random.default_rng(0).integers(-7, 8, (height, width, bands))
    return (waves + noise).astype(np.uint8)


@pytest.mark.parametrize("bands", [1, 3, 4, 6])
@pytest.mark.parametrize("size", [(61, 83), (100, 40), (17, 250)])
def test_pillow_takes_torchs_place(bands: int, size: tuple[int, int], monkeypatch) -> None:
    image = picture(120, 260, bands)
    by_torch, by_pillow = (np.empty((*size, bands), np.uint8) for _ in range(2))
    import torch  # noqa: F401

    resize_into(image, by_torch)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(resampling, "_resize_by_torch", None)
    resize_into(image, by_pillow)
    difference = np.abs(by_torch.astype(int) - by_pillow)
    assert difference.max() <= 1
    assert difference.mean() < 0.25


def test_resizing_loads_no_torch() -> None:
    code = """
import sys
import numpy as np
from foveal.data.transforms.resampling import resize_into
out = np.empty((61, 83, 3), np.uint8)
resize_into(np.full((120, 260, 3), 200, np.uint8), out)
assert (out == 200).all()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
