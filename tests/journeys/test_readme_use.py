"""Somebody types what the README's section Use shows: in a shell, then in Python."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.conftest import TINY_SETS

import foveal as library
from foveal import config
from foveal.data import formats
from foveal.data.images.reading import read_image

pytestmark = pytest.mark.usefixtures("empty_charts")

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def home(smears, tmp_path, monkeypatch):
    """The folder that the README's commands are typed in: cells/ (VOC), smears/, smear.jpg."""
    data = library.read(smears / "train.json").merge(library.read(smears / "test.json"))
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 12)}
    formats.write(data, tmp_path / "cells", "voc", splits=splits)
    shutil.copytree(smears / "images", tmp_path / "smears")
    shutil.copy(smears / "images" / "test_0000.jpg", tmp_path / "smear.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scenes(smears, home):
    """ports/train and ports/valid, images on the map beside their labels, and scene.tif."""
    pytest.importorskip("rasterio")
    data = library.read(smears / "train.json")
    records = []
    for number, record in enumerate(data):
        path = home / "drawn" / f"port{number}.tif"
        write_geotiff(path, read_image(record.path), left=1000.0 * number)
        records.append(replace(record, path=path))
    data = replace(data, records=tuple(records))
    for split, part in (("train", data[:4]), ("valid", data[4:6])):
        formats.write(part, home / "ports" / split, "geo")
    write_geotiff(home / "scene.tif", np.tile(read_image(data.paths[6]), (5, 5, 1)), left=9000.0)
    return home


def write_geotiff(path: Path, image, *, left: float) -> None:
    import rasterio

    path.parent.mkdir(exist_ok=True)
    height, width, bands = image.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": "uint8"}
    place = rasterio.Affine(10, 0, 500_000 + left, 0, -10, 5_700_000)
    with rasterio.open(path, "w", crs="EPSG:32631", transform=place, **form) as file:
        file.write(image.transpose(2, 0, 1))


def shown(language: str) -> list[str]:
    use = README.read_text(encoding="utf-8").partition("\n## Use\n")[2]
    return re.findall(rf"^```{language}\n(.*?)^```", use, re.DOTALL | re.MULTILINE)


def type_in(foveal, block: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    for _, *words in lines:
        extra = TINY_SETS if words[0] == "train" else []
        code, _, error = foveal(*words, *extra)
        assert code == 0, f"{words}: {error}"
    return lines


def test_the_commands_for_scenes(foveal, scenes):
    type_in(foveal, shown("bash")[1])
    for made in (
        "run/best.safetensors",
        "found/detections.gpkg",
        "found/detections.qml",
        "found/report.html",
        "tiles/tiles.json",
        "tiles/data.yaml",
    ):
        assert (scenes / made).exists(), made


def test_the_commands(foveal, home):
    lines = type_in(foveal, shown("bash")[0])
    assert [line[1] for line in lines].count("train") == 2
    for made in (
        "run/best.safetensors",
        "run/report.html",
        "measured/report.html",
        "measured/metrics.json",
        "found/pictures",
        "found/detections.json",
        "found/detections.csv",
        "found/counts.csv",
        "cells-yolo/data.yaml",
        "cells.onnx",
    ):
        assert (home / made).exists(), made


def test_the_python(scenes, monkeypatch):
    home = scenes
    model = {"weights": "none", "fpn_channels": 16, "head_channels": 16, "head_depth": 1}
    training = {"workers": 0, "batch": 4, "warmup_steps": 0, "precision": "float32"}
    small = {
        "model": model | {"norm": "live"},
        "preparation": {"shorter": 64, "longer": 64},
        "training": training,
    }
    monkeypatch.setitem(config.PRESETS, "standard", small)
    (source,) = shown("python")
    names: dict[str, object] = {}
    for written, tried in (
        ('"resnet50"', '"test_resnet"'),
        ("epochs=20", "epochs=1"),
        ("ships.safetensors", "cells.safetensors"),
    ):
        assert written in source
        source = source.replace(written, tried)
    exec(source, names)
    assert isinstance(names["found"], library.Detections)
    assert (home / "cells.safetensors").is_file()
    assert (home / "ships.gpkg").is_file()
