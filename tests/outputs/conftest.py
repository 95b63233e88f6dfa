"""Detections on a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.geometry.georeference import Georeference
from foveal.structures import Detections

CLASSES = ("ship", "fish <farm> & net")
TRANSFORMS = {
    "plain": (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0),
    "rotated": (8.0, -6.0, 500_000.0, -6.0, -8.0, 4_000_000.0),
    "sheared": (10.0, 4.0, 500_000.0, 0.0, -10.0, 4_000_000.0),
    "south up": (10.0, 0.0, 500_000.0, 0.0, 10.0, 4_000_000.0),
}


def found_on_map(
    folder: Path,
    georeference: Georeference | None,
    boxes: list[list[float]],
    name: str = "scene.tif",
) -> Detections:
    """Boxes of alternating classes in an image of 1000 x 800 pixels."""
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.arange(len(boxes)) % 2,
        classes=CLASSES,
        width=1000,
        height=800,
        path=folder / name,
        georeference=georeference,
    )


@pytest.fixture
def utm() -> Georeference:
    return Georeference("EPSG:32617", TRANSFORMS["plain"])


BOXES = [[10, 20, 30, 25], [0, 0, 1000, 800], [999.25, 400.5, 1000, 401.75]]
