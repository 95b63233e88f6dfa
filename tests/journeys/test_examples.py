"""Somebody runs the examples, here on a few drawn images."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.conftest import TINY_SETS

import foveal as library
from foveal.data import formats

pytestmark = pytest.mark.usefixtures("empty_charts")

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("--backbone", "test_resnet", "--weights", "none", "--size", "64", "--epochs", "1")


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Heads and pyramid with few channels."""
    from foveal import config

    model = {"fpn_channels": 16, "head_channels": 16, "head_depth": 1, "norm": "live"}
    training = {"workers": 0, "batch": 4, "warmup_steps": 0, "precision": "float32"}
    training["export"] = False  # test_exported.py has that
    monkeypatch.setitem(config.PRESETS, "standard", {"model": model, "training": training})
    scenes = {"backbone": "test_resnet", **model}
    preparation = config.PRESETS["scenes"]["preparation"]
    narrow = {"model": scenes, "training": training, "preparation": preparation}
    monkeypatch.setitem(config.PRESETS, "scenes", narrow)


def test_cells_are_counted(smears, tmp_path, capsys):
    data = library.read(smears / "train.json").merge(library.read(smears / "test.json"))
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 12)}
    formats.write(data, tmp_path / "voc", "voc", splits=splits)
    load("cells").main([str(tmp_path / "voc"), "--out", str(tmp_path / "out"), *SMALL])
    with (tmp_path / "out" / "counts.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "normal", "infected", "platelet", "total", "capped"]
    assert len(rows) == 4
    assert (tmp_path / "out" / "evaluation" / "report.html").is_file()
    assert "AP50 0." in capsys.readouterr().out


def test_aerial_images_with_regions_to_ignore(smears, tmp_path, capsys):
    folder = tmp_path / "aerial"
    for name, split in (("train", "train"), ("val", "valid")):
        renamed = library.read(smears / f"{split}.json").rename({"platelet": "DontCare"})
        formats.write(renamed, tmp_path / name, "coco", splits={name: range(len(renamed))})
    folder.mkdir()
    for name in ("train", "val"):
        (tmp_path / name / f"{name}.json").rename(folder / f"{name}.json")
        (folder / "images").mkdir(exist_ok=True)
        for image in (tmp_path / name / "images").iterdir():
            image.rename(folder / "images" / image.name)
    load("aerial").main([str(folder), "--out", str(tmp_path / "out"), *SMALL])
    said = capsys.readouterr().out
    assert "fitted to the data" in said
    detector = library.load(tmp_path / "out" / "run" / "best.safetensors")
    assert "DontCare" not in detector.classes


def test_a_table_of_ones_own(smears, tmp_path, capsys):
    shutil.copytree(smears / "images", tmp_path / "own")
    lines = ["image,xmin,ymin,xmax,ymax,label"]
    data = library.read(smears / "train.json")
    for record in data:
        boxes = zip(record.boxes.tolist(), record.labels, strict=True)
        rows = [
            f"{record.path.name},{','.join(map(str, box))},{data.classes[label]}"
            for box, label in boxes
        ]
        lines += rows or [f"{record.path.name},,,,,"]
    table = tmp_path / "own" / "boxes.csv"
    table.write_text("\n".join(lines) + "\n")
    load("own_csv").main([str(table), "--out", str(tmp_path / "out"), *SMALL])
    assert "8 images" in capsys.readouterr().out
    assert (tmp_path / "out" / "detector.safetensors").is_file()


@pytest.fixture
def ports(tmp_path):
    """A folder with scenes of four bands of 16 bits, and bright ships in their labels."""
    rasterio = pytest.importorskip("rasterio")
    folder = tmp_path / "ports"
    folder.mkdir()
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number, name in enumerate(("busan", "durban", "klang"), start=1):
        pixels = generator.integers(900, 1400, (4, 150, 200), np.uint16)
        for left, top in ((20, 30), (120, 40), (60, 110)):
            pixels[:, top : top + 10, left : left + 14] = 6000
            box = {"bbox": [left, top, 14, 10], "area": 140, "iscrowd": 0, "category_id": 1}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **box})
        images.append({"id": number, "file_name": f"{name}.tif", "width": 200, "height": 150})
        transform = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
        shape = {"count": 4, "height": 150, "width": 200, "dtype": "uint16"}
        place = {"crs": "EPSG:32652", "transform": transform}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **shape, **place) as file:
            file.write(pixels)
            file.descriptions = ("B02 blue", "B03 green", "B04 red", "B08 near infrared")
    categories = [{"id": 1, "name": "ship"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_ships_in_scenes_on_the_map(ports, tmp_path, capsys):
    import rasterio

    ships = load("ships")
    granule = tmp_path / "R10m"
    granule.mkdir()
    with rasterio.open(ports / "busan.tif") as scene:
        shape = {"count": 1, "height": scene.height, "width": scene.width, "dtype": "uint16"}
        place = {"crs": scene.crs, "transform": scene.transform}
        lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        for number, band in enumerate(ships.BANDS, start=1):
            path = granule / f"T52_20230101_{band}_10m.jp2"
            with rasterio.open(path, "w", **shape, **place, **lossless) as file:
                file.write(scene.read(number), 1)
    arguments = ["--valid", "klang", "--stack", str(granule), "--out", str(tmp_path / "out")]
    small = ["--weights", "none", "--size", "64", "--epochs", "1"]
    ships.main([str(ports), *arguments, *small])
    said = capsys.readouterr().out
    assert "AP50 0." in said
    assert re.search(r"klang\.tif: \d+ ships\nscene\.tif: \d+ ships", said)
    for name in ("ships.gpkg", "ships.qml", "ships.csv"):
        assert (tmp_path / "out" / name).is_file()
    with (
        rasterio.open(ports / "busan.tif") as scene,
        rasterio.open(tmp_path / "out" / "scene.tif") as stacked,
    ):
        assert (stacked.crs, stacked.transform) == (scene.crs, scene.transform)
        np.testing.assert_array_equal(stacked.read(), scene.read())
    with pytest.raises(SystemExit, match=r"busan\.tif: its bands are B02 blue.* by its place"):
        ships.main([str(ports), *arguments, *small, "--bands", "B04", "B03", "B02", "B08"])
    with pytest.raises(SystemExit, match="expected one file"):
        ships.stack_bands(ports, tmp_path / "scene.tif")


@pytest.mark.parametrize("augment", ["function", "torchvision", "albumentations"])
def test_an_augmentation_of_ones_own(augment, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--augment", augment, "--images", "4", "--out", str(out), *SMALL]
    load("own_augmentation").main(arguments)
    said = capsys.readouterr().out
    assert f"trained with {augment}: AP50 " in said
    before, after = re.search(r"pixels: (\d+), dimmed (\d+)", said).groups()
    assert int(after) < int(before)
    run = (out / "run" / "config.toml").read_text()
    assert {"function": ":dim", "torchvision": ":Compose", "albumentations": ":list"}[
        augment
    ] in run


def test_an_augmentation_of_ones_own_on_the_command_line(foveal, smears, tmp_path, monkeypatch):
    """A list of albumentations; test_own_augmentation.py has functions and torchvision's."""
    monkeypatch.chdir(EXAMPLES)
    augment = "own_augmentation:TURNS"
    data = (smears / "train.json", "--valid", smears / "valid.json", "--out", tmp_path / "run")
    try:
        code, _, error = foveal("train", *data, "--augment", augment, *TINY_SETS)
    finally:
        sys.modules.pop("own_augmentation", None)
    assert code == 0, error
    assert f'custom = "{augment}"' in (tmp_path / "run" / "config.toml").read_text()


def test_every_example_is_tested():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {"aerial", "cells", "own_augmentation", "own_csv", "ships"}
