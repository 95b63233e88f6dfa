"""`foveal predict` on scenes: windows, work that goes on, jobs, maps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import forked
from tests.cli.conftest import foveal
from tests.cli.scene_files import WINDOWS, write_model, write_scene, written

from foveal.cli.scene_options import parse_scale, parse_tile
from foveal.errors import FovealError, ImageError, SettingsError
from foveal.inference.scene_plan import SceneWorker
from foveal.inference.scene_work import SceneWork


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "ships.safetensors")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scene(folder / "a.tif")
    write_scene(folder / "b.tif", seed=1, left=5e5, height=150)
    return folder


@pytest.fixture(scope="module")
def undisturbed(model, scenes, tmp_path_factory) -> dict[str, bytes]:
    """What a run over both scenes writes, into a folder at the same depth as the tests'."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert foveal(monkeypatch, "predict", model, scenes, "--out", out, *WINDOWS) == 0
    files = written(out)
    assert files["detections.csv"].count(b"\n") > 30
    return files


def test_scenes_and_images_go_together(monkeypatch, capsys, model, scenes, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    out = tmp_path / "out"
    names = (tmp_path / "small.png", scenes / "a.tif")
    assert foveal(monkeypatch, "predict", model, *names, "--out", out) == 0
    shown = capsys.readouterr()
    assert "a.tif: 800 x 200 pixels, looked at in" in shown.out
    assert "--tile off looks at the shrunk image." in shown.out
    assert "1 of 1 image" in shown.err
    assert "window" in shown.err
    assert "found in 2 images" in shown.out
    assert "1 image without a place on the map: not in detections.gpkg" in shown.out
    document = json.loads((out / "detections.json").read_text())
    assert [image["width"] for image in document["images"]] == [64, 800]
    with (out / "counts.csv").open(newline="") as file:
        assert [Path(line["image"]).name for line in csv.DictReader(file)] == [
            "small.png",
            "a.tif",
        ]
    for name in ("small.jpg", "a.jpg"):
        assert list((out / "pictures").rglob(name))
    assert not (out / "unfinished").exists()


def test_several_scenes_are_told_in_few_lines(monkeypatch, capsys, model, scenes, tmp_path):
    out = tmp_path / "out"
    assert foveal(monkeypatch, "predict", model, scenes, "--out", out, *WINDOWS) == 0
    shown = capsys.readouterr().out
    assert "With it 2 scenes, in " in shown
    assert shown.count("looked at in") == 1
    assert "--mosaic" not in shown  # they are far from each other


def test_without_windows_the_image_is_shrunk(monkeypatch, capsys, model, scenes, tmp_path):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes / "a.tif", "--out", out, "--tile", "off")
    assert foveal(monkeypatch, *arguments) == 0
    shown = capsys.readouterr()
    assert "looked at in" not in shown.out
    assert "1 of 1 image" in shown.err
    assert (out / "detections.gpkg").is_file()  # small images have places too


@pytest.mark.parametrize("bands", [0, 1, 3])
def test_a_full_disk_keeps_what_is_finished(
    monkeypatch, capsys, model, scenes, undisturbed, tmp_path, bands
):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes, "--out", out, *WINDOWS)
    write, kept = SceneWork.write, []

    def fill(self, scene, band, arrays):
        if len(kept) == bands:
            raise FovealError("No space left on device. Go on with --resume.")
        kept.append(band)
        write(self, scene, band, arrays)

    with monkeypatch.context() as context:
        context.setattr(SceneWork, "write", fill)
        assert foveal(context, *arguments) == 2
    assert "No space left" in capsys.readouterr().err
    assert len(list((out / "unfinished").rglob("*.npz"))) == bands
    assert foveal(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "--resume" in said
    assert "--overwrite" in said
    assert foveal(monkeypatch, *arguments, "--resume", "--score-threshold", 0.5) == 2
    assert "--score-threshold was 0.3 and is 0.5" in capsys.readouterr().err
    looked: list[int] = []
    detect = SceneWorker.detect

    def count(self, scene, bands, progress=None):
        looked.extend(bands)
        return detect(self, scene, bands, progress)

    monkeypatch.setattr(SceneWorker, "detect", count)
    assert foveal(monkeypatch, *arguments, "--resume") == 0
    assert ("are finished, and are not looked at again" in capsys.readouterr().out) == (bands > 0)
    assert written(out) == undisturbed
    before = len(looked)
    assert foveal(monkeypatch, *arguments, "--resume") == 0
    assert "Nothing is left" in capsys.readouterr().out
    assert len(looked) == before
    assert written(out) == undisturbed


def test_a_changed_scene_is_not_mixed_with_what_was_found_in_it_before(
    monkeypatch, capsys, model, tmp_path
):
    scene, out = write_scene(tmp_path / "a.tif"), tmp_path / "out"
    arguments = ("predict", model, scene, "--out", out, *WINDOWS)

    def stop(self, scene, band, arrays):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(SceneWork, "write", stop)
        assert foveal(context, *arguments) == 130
    assert "--resume goes on" in capsys.readouterr().err
    write_scene(scene, seed=7)
    assert foveal(monkeypatch, *arguments, "--resume") == 2
    assert "a.tif was changed" in capsys.readouterr().err
    assert foveal(monkeypatch, *arguments, "--overwrite") == 0
    assert foveal(monkeypatch, *arguments, "--resume", "--nms", 0.4) == 2
    assert "holds results of an earlier run" in capsys.readouterr().err


def test_a_scene_that_breaks_in_the_middle_is_named_and_others_go_on(
    monkeypatch, capsys, model, scenes, undisturbed, tmp_path
):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes, "--out", out, *WINDOWS)
    detect = SceneWorker.detect

    def break_off(self, scene, bands, progress=None):
        for band in bands:
            if (scene, band) == (0, 1):
                raise ImageError("a.tif: can't be read at row 100.")
            yield from detect(self, scene, [band], progress)

    with monkeypatch.context() as context:
        context.setattr(SceneWorker, "detect", break_off)
        assert foveal(context, *arguments) == 1
    shown = capsys.readouterr()
    assert "skipped: a.tif: can't be read at row 100. 1 of its" in shown.err
    assert "1 of 2 images can't be read" in shown.err
    document = json.loads((out / "detections.json").read_text())
    assert [Path(image["file_name"]).name for image in document["images"]] == ["b.tif"]
    assert foveal(monkeypatch, *arguments, "--resume") == 0
    assert written(out) == undisturbed


def test_processes_give_the_same_files(monkeypatch, model, scenes, undisturbed, tmp_path):
    assert forked  # its server of processes has imported torch
    out = tmp_path / "out"
    arguments = ("predict", model, scenes, "--out", out, *WINDOWS, "--jobs", 2)
    assert foveal(monkeypatch, *arguments) == 0
    assert written(out) == undisturbed


def test_files_for_maps_can_be_chosen(monkeypatch, capsys, model, scenes, tmp_path):
    arguments = ("predict", model, scenes / "b.tif", *WINDOWS, "--no-pictures")
    out = tmp_path / "out"
    assert foveal(monkeypatch, *arguments, "--out", out, "--to", "geojson,csv") == 0
    assert set(written(out)) == {
        "detections.geojson",
        "detections.csv",
        "counts.csv",
        "report.html",
    }
    assert foveal(monkeypatch, *arguments, "--out", out, "--to", "gpkg", "--overwrite") == 0
    assert set(written(out)) == {
        "detections.gpkg",
        "detections.qml",
        "counts.csv",
        "report.html",
    }
    assert foveal(monkeypatch, *arguments, "--out", out, "--to", "shp", "--overwrite") == 2
    assert "--to shp: expected some of coco, csv, gpkg, geojson" in capsys.readouterr().err


def test_without_a_place_there_is_no_map(monkeypatch, capsys, model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", left=None)
    arguments = ("predict", model, scene, *WINDOWS, "--out", tmp_path / "out")
    assert foveal(monkeypatch, *arguments, "--to", "geojson") == 2
    assert "--to geojson: none of 1 image has a place on the map" in capsys.readouterr().err
    assert foveal(monkeypatch, *arguments, "--scale", "10cm") == 2
    assert "--scale can't be a length" in capsys.readouterr().err
    assert foveal(monkeypatch, *arguments) == 0
    assert "detections.gpkg" not in written(tmp_path / "out")


def test_neighbors_can_be_looked_at_as_one_scene(monkeypatch, capsys, model, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    write_scene(parts / "west.tif", width=300)
    write_scene(parts / "east.tif", width=300, seed=1, left=4e5 + 30)
    arguments = ("predict", model, parts, *WINDOWS)
    assert foveal(monkeypatch, *arguments, "--out", tmp_path / "apart") == 0
    told = "east.tif and west.tif lie beside or upon each other on the map: --mosaic"
    assert told in capsys.readouterr().out
    out = tmp_path / "together"
    assert foveal(monkeypatch, *arguments, "--out", out, "--mosaic", "--full-pictures") == 0
    shown = capsys.readouterr().out
    assert "600 x 200 pixels, looked at in" in shown
    assert "found in 1 image" in shown
    assert {"pictures/mosaic.jpg", "pictures/mosaic.tif", "detections.gpkg"} <= set(written(out))
    document = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["../parts"]


def test_a_length_says_the_scale(monkeypatch, capsys, model, scenes, tmp_path):
    arguments = ("predict", model, scenes / "b.tif", "--out", tmp_path / "out", "--no-pictures")
    assert foveal(monkeypatch, *arguments, *WINDOWS, "--scale", "20cm") == 0
    assert "at the scale 0.5" in capsys.readouterr().out.replace("0.4998", "0.5")


def test_nothing_found_in_a_scene(monkeypatch, capsys, model, scenes, tmp_path):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes / "b.tif", "--out", out, *WINDOWS)
    assert foveal(monkeypatch, *arguments, "--score-threshold", 0.999) == 0
    shown = capsys.readouterr().out
    assert "0 found in 1 image" in shown
    assert "No score reaches the threshold 0.999" in shown
    assert (out / "detections.gpkg").is_file()


@pytest.mark.parametrize(
    ("text", "factor", "meters"),
    [("auto", None, None), ("0.5", 0.5, None), ("10cm", None, 0.1), ("0.3m", None, 0.3),
     ("500 mm", None, 0.5)],
)  # fmt: skip
def test_scales_that_can_be(text, factor, meters):
    scale = parse_scale(text)
    assert scale.factor == factor
    assert scale.meters == pytest.approx(meters)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "10inches", "cm", "1e9", "0m"])
def test_scales_that_can_not_be(text):
    with pytest.raises(SettingsError, match="expected auto; a factor"):
        parse_scale(text)


def test_tiles_that_can_be():
    assert [parse_tile(text) for text in ("auto", "off", "640")] == ["auto", "off", 640]
    for text in ("", "0", "-64", "big", "99999999"):
        with pytest.raises(SettingsError, match="expected auto, off, or a number"):
            parse_tile(text)


def test_to_go_on_and_to_begin_anew_exclude_each_other(
    monkeypatch, capsys, model, scenes, tmp_path
):
    arguments = ("predict", model, scenes, "--out", tmp_path, "--resume", "--overwrite")
    assert foveal(monkeypatch, *arguments) == 2
    assert "Expected one of them" in capsys.readouterr().err
