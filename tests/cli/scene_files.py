"""Scenes for tests of commands: larger than the network's input by far, and quick to look at."""

from __future__ import annotations

import warnings
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.cli.conftest import small_settings

from foveal.checkpoints import model_file
from foveal.models.build import build_model
from foveal.structures import ModelCard

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

CLASSES = ("ship", "buoy")
WINDOWS = ("--tile", 64, "--overlap", 16)


def write_scene(
    path: Path, *, width: int = 800, height: int = 200, seed: int = 0, left: float | None = 4e5
) -> Path:
    """A GeoTIFF of noise and bright squares; without a place on the map where `left` is None."""
    rasterio = pytest.importorskip("rasterio")
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.transform import Affine

    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 120, (3, height, width), dtype=np.uint8)
    for x, y in generator.integers(0, (width - 12, height - 12), (40, 2)):
        pixels[:, y : y + 12, x : x + 12] = 250
    shape = {"width": width, "height": height, "count": 3, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    place = {}
    if left is not None:
        place = {"crs": "EPSG:32631", "transform": Affine(0.1, 0, left, 0, -0.1, 5e6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **tiles, **place) as file:
            file.write(pixels)
    return path


def leave_charts_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports hold what charts show, not drawn: drawing takes longer than looking at a scene.

    Reports still differ where a chart would. tests/visualization and tests/reports draw charts.
    """
    for module in ("charts", "density"):
        monkeypatch.setattr(f"foveal.visualization.{module}.to_svg", _contents)


def _contents(axes: Axes) -> Markup:
    """A digest of a chart's values, as an empty image."""
    from markupsafe import Markup

    digest = blake2b(digest_size=8)
    for image in (*axes.images, *axes.collections):
        digest.update(np.ma.filled(np.ma.asarray(image.get_array(), float), -1).tobytes())
    for line in axes.lines:
        digest.update(np.asarray(line.get_xydata(), float).tobytes())
    for patch in axes.patches:
        corners = patch.get_patch_transform().transform(patch.get_path().vertices)
        digest.update(np.asarray(corners, float).tobytes())
    for text in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label):
        digest.update(text.get_text().encode())
    return Markup('<svg data-contents="{}"></svg>').format(digest.hexdigest())


def write_model(path: Path, *, bands: int = 3, seed: int = 0) -> Path:
    """A network of random weights that finds things, not too many."""
    torch.manual_seed(seed)
    settings = small_settings(bands=bands)
    network = build_model(settings, len(CLASSES))
    with torch.no_grad():
        network.classification.output.bias.fill_(-1.0)
        network.classification.output.weight.mul_(20)
    card = ModelCard(CLASSES, score_threshold=0.3, threshold_is_chosen=True, largest_object=14.0)
    model_file.save(path, network, settings, card)
    return path


def written(folder: Path) -> dict[str, bytes]:
    """What a run wrote, but for what foveal remembers of it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".foveal")
    }
