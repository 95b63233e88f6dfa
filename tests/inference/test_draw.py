from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import foveal
from foveal.data.images import reading, tiff
from foveal.errors import ImageError
from foveal.structures import Detections
from foveal.visualization import colors

GRAY = np.full((30, 40, 3), 100, np.uint8)


def detections(**more):
    return Detections(
        np.asarray([[10, 10, 30, 25]], np.float32),
        np.full(1, 0.9, np.float32),
        np.zeros(1, np.int64),
        classes=("cell",),
        width=40,
        height=30,
        **more,
    )


def test_the_picture_comes_from_the_file(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    found = detections(path=tmp_path / "a.png")
    picture = foveal.draw(found, min_side=0, labels=False, legend=False)
    assert picture.size == (40, 30)
    assert picture.getpixel((20, 9)) == colors.class_color(0)
    assert picture.getpixel((20, 15)) == (100, 100, 100)
    assert foveal.draw(found).size == (640, 480)


@pytest.mark.parametrize(
    "image", [GRAY, Image.fromarray(GRAY), torch.from_numpy(GRAY).permute(2, 0, 1)]
)
def test_or_from_what_was_given_to_detect(image):
    picture = foveal.draw(detections(), image, min_side=0)
    assert picture.getpixel((20, 9)) == colors.class_color(0)


def test_without_an_image_or_with_another_one_it_says_so():
    with pytest.raises(ImageError, match="Pass the image"):
        foveal.draw(detections())
    with pytest.raises(ImageError, match=r"30 x 40 pixels, but .* 40 x 30"):
        foveal.draw(detections(), GRAY.transpose(1, 0, 2))


@pytest.mark.parametrize("bands", [2, 5])
def test_files_with_other_numbers_of_bands(bands, tmp_path):
    values = np.full((30, 40, bands), 80, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    found = detections(path=tmp_path / "a.tif")
    picture = np.asarray(foveal.draw(found, min_side=0, labels=False, legend=False))
    assert picture.shape == (30, 40, 3)
    assert (picture[2, 2] == 80).all()


def test_16_bits_are_spread_over_the_grays(tmp_path):
    values = np.linspace(0, 900, 30 * 40).reshape(30, 40).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    found = detections(path=tmp_path / "a.tif")
    picture = np.asarray(foveal.draw(found, min_side=0, labels=False, legend=False))
    assert picture[0].max() < 30
    assert picture[-1].min() > 225


def test_a_deep_file_is_decoded_once(tmp_path, monkeypatch):
    values = np.linspace(0, 900, 30 * 40 * 3).reshape(30, 40, 3).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    decoded = []

    def read_tiff(file, **options):
        decoded.append(options["path"])
        return tiff.read_tiff(file, **options)

    monkeypatch.setattr(reading, "tiff", SimpleNamespace(**vars(tiff) | {"read_tiff": read_tiff}))
    foveal.draw(detections(path=tmp_path / "a.tif"))
    assert decoded == [tmp_path / "a.tif"]


def test_a_scene_is_drawn_shrunk_and_read_in_parts(tmp_path, monkeypatch, caplog):
    Image.fromarray(GRAY.repeat(4, axis=0).repeat(4, axis=1)).save(tmp_path / "a.png")
    scene = replace(
        detections(path=tmp_path / "a.png"),
        boxes=np.asarray([[40, 40, 120, 100]]),
        width=160,
        height=120,
    )
    monkeypatch.setattr("foveal.inference.draw.read_for_display", None)
    with caplog.at_level("INFO"):
        picture = foveal.draw(scene, max_side=80, labels=False, legend=False)
    assert picture.size == (80, 60)
    assert picture.getpixel((40, 19)) == colors.class_color(0)
    assert picture.getpixel((40, 30)) == (100, 100, 100)
    assert "a.png is drawn shrunk from 160 x 120 pixels; max_side=0" in caplog.text


def test_a_large_array_is_shrunk_and_kept_where_asked():
    large = GRAY.repeat(4, axis=0).repeat(4, axis=1)
    unsized = replace(detections(), width=0, height=0)
    assert foveal.draw(unsized, large, max_side=80).size == (80, 60)
    assert foveal.draw(unsized, large, max_side=0, min_side=0).size == (160, 120)


def test_another_image_than_the_scene_is_refused(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    scene = replace(detections(path=tmp_path / "a.png"), width=9000, height=9000)
    with pytest.raises(ImageError, match=r"40 x 30 pixels, but .* 9000 x 9000"):
        foveal.draw(scene)
