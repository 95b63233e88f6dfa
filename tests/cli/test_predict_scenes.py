"""`foveal predict` on scenes: windows, work that goes on, jobs, maps."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import forked
from tests.cli.conftest import foveal
from tests.cli.scene_files import WINDOWS, leave_charts_undrawn, write_model, write_scene, written

from foveal.cli.scene_options import parse_scale, parse_tile
from foveal.errors import FovealError, ImageError, SettingsError
from foveal.inference.scene_plan import SceneWorker
from foveal.inference.scene_work import SceneWork
from foveal.outputs.world_polygons import _transformer


@pytest.fixture(scope="module", autouse=True)
def charts():
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_charts_undrawn(monkeypatch)
        yield


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
    assert "a.tif: 800 x 200 pixels, looked at in" in shown.err
    assert "--tile off looks at the shrunk image." in shown.err
    assert "1 of 1 image" in shown.err
    assert "window" in shown.err
    assert "found in 2 images" in shown.out
    assert "1 image without a place on the map: not in detections.gpkg" in shown.err
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
    arguments = ("predict", model, scenes, "--out", out, *WINDOWS, "--no-pictures")
    assert foveal(monkeypatch, *arguments) == 0
    shown = capsys.readouterr().err
    assert "With it 2 scenes, in " in shown
    assert shown.count("looked at in") == 1
    assert "--mosaic" not in shown  # they are far from each other


def test_without_windows_the_image_is_shrunk(monkeypatch, capsys, model, scenes, tmp_path):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes / "a.tif", "--out", out, "--tile", "off")
    assert foveal(monkeypatch, *arguments) == 0
    shown = capsys.readouterr()
    assert "looked at in" not in shown.err
    assert "1 of 1 image" in shown.err
    assert (out / "detections.gpkg").is_file()  # small images have places too


@pytest.mark.parametrize("bands", [0, 3])
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
    assert ("are finished, and are not looked at again" in capsys.readouterr().err) == (bands > 0)
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
    arguments = ("predict", model, scene, "--out", out, *WINDOWS, "--no-pictures")

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
    arguments = ("predict", model, scene, *WINDOWS, "--out", tmp_path / "out", "--no-pictures")
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
    assert told in capsys.readouterr().err
    out = tmp_path / "together"
    assert foveal(monkeypatch, *arguments, "--out", out, "--mosaic", "--full-pictures") == 0
    shown = "".join(capsys.readouterr())
    assert "600 x 200 pixels, looked at in" in shown
    assert "found in 1 image" in shown
    assert {"pictures/mosaic.jpg", "pictures/mosaic.tif", "detections.gpkg"} <= set(written(out))
    document = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["../parts"]


def test_a_length_says_the_scale(monkeypatch, capsys, model, scenes, tmp_path):
    arguments = ("predict", model, scenes / "b.tif", "--out", tmp_path / "out", "--no-pictures")
    assert foveal(monkeypatch, *arguments, *WINDOWS, "--scale", "20cm") == 0
    assert "at the scale 0.5" in capsys.readouterr().err.replace("0.4998", "0.5")


def test_nothing_found_in_a_scene(monkeypatch, capsys, model, scenes, tmp_path):
    out = tmp_path / "out"
    arguments = ("predict", model, scenes / "b.tif", "--out", out, *WINDOWS)
    assert foveal(monkeypatch, *arguments, "--score-threshold", 0.999) == 0
    shown = "".join(capsys.readouterr())
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


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A scene of three windows."""
    return write_scene(tmp_path_factory.mktemp("small") / "small.tif", width=160, height=64)


@pytest.mark.parametrize(
    ("kind", "package"), [("gpkg", "pyogrio"), ("gpkg", "shapely"), ("geojson", "pyproj")]
)
def test_a_file_that_can_not_be_written_here_is_refused_before_any_work(
    monkeypatch, capsys, model, small, tmp_path, kind, package
):
    monkeypatch.setitem(sys.modules, package, None)
    _transformer.cache_clear()
    out = tmp_path / "out"
    arguments = ("predict", model, small, "--out", out, *WINDOWS, "--to", kind)
    assert foveal(monkeypatch, *arguments) == 3
    said = capsys.readouterr().err
    assert f"--to {kind}: py" in said
    assert "pip install 'foveal[geo]'" in said
    assert not out.exists()


def test_a_map_that_nobody_asked_for_is_left_out_with_a_word_before_the_work(
    monkeypatch, capsys, model, small, tmp_path
):
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    out = tmp_path / "out"
    assert foveal(monkeypatch, "predict", model, small, "--out", out, *WINDOWS) == 0
    said = capsys.readouterr().err
    assert said.count("detections.gpkg is not going to be written. pyogrio") == 1
    assert said.index("is not going to be written") < said.index("window")
    assert "detections.gpkg" not in written(out)


def test_without_rasterio_no_scene_is_shrunk_in_silence(
    monkeypatch, capsys, model, small, tmp_path
):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    arguments = ("predict", model, small, "--out", tmp_path / "out")
    assert foveal(monkeypatch, *arguments, *WINDOWS) == 1
    said = capsys.readouterr().err
    assert said.count("pip install 'foveal[geo]'") == 1
    assert "small.tif can't be read. Reading GeoTIFFs needs rasterio" in said
    assert foveal(monkeypatch, *arguments, "--tile", "off", "--overwrite") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "small.tif may have a place on the map, which is left out. Reading" in said
    assert foveal(monkeypatch, *arguments, "--overwrite", "--to", "gpkg") == 3
    assert "needs rasterio: pip install" in capsys.readouterr().err


def test_a_place_that_can_not_be_is_told(monkeypatch, capsys, model, small, tmp_path):
    def refuse(path):
        raise ImageError(f"{path}: its geotransform lays all pixels upon a line.")

    monkeypatch.setattr("foveal.data.images.rasters.place_of", refuse)
    arguments = ("predict", model, small, "--out", tmp_path / "out", "--tile", "off")
    assert foveal(monkeypatch, *arguments) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "upon a line. Its boxes stay in pixels." in said
    assert foveal(monkeypatch, *arguments, "--overwrite", "--to", "gpkg") == 2
    assert "upon a line" in capsys.readouterr().err


def test_a_map_that_can_not_be_written_takes_nothing_else_with_it(
    monkeypatch, capsys, model, small, tmp_path
):
    out = tmp_path / "out"
    arguments = ("predict", model, small, "--out", out, *WINDOWS)

    def fail(path, detections):
        raise FovealError(f"{path}: the coordinate reference system is unknown to PROJ.")

    with monkeypatch.context() as context:
        context.setattr("foveal.outputs.geopackage.write_geopackage", fail)
        assert foveal(context, *arguments) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("is unknown to PROJ. What was found in scenes is kept") == 1
    kept = written(out)
    assert {"detections.json", "detections.csv", "counts.csv", "report.html"} <= set(kept)
    assert foveal(monkeypatch, *arguments, "--resume") == 0
    assert "are finished, and are not looked at again" in capsys.readouterr().err
    assert set(written(out)) == {name for name in kept if "unfinished" not in name} | {
        "detections.gpkg",
        "detections.qml",
    }


def test_a_limit_is_told_once_with_the_number_that_holds(monkeypatch, capsys, model, tmp_path):
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    write_scene(parts / "east.tif", width=160, height=64, left=4e5 + 16)
    write_scene(parts / "west.tif", width=160, height=64, seed=1)
    arguments = ("predict", model, parts, "--out", out, *WINDOWS)
    assert foveal(monkeypatch, *arguments, "--max-detections", 1, "--mosaic") == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("counts may be too low") == 1
    assert "limit of 1 detection a window lets through" in shown
    report = (out / "report.html").read_text()
    assert (
        report.count("The limit of 1 detection a window was reached in east.tif and 1 other") == 1
    )
    assert "counts may be too low" not in report


def test_windows_without_data_are_in_the_report(monkeypatch, capsys, model, small, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    scene = tmp_path / "half.tif"
    scene.write_bytes(small.read_bytes())
    with rasterio.open(scene, "r+") as file:
        file.nodata = 0
        pixels = np.maximum(file.read(), 1)
        pixels[:, :, 70:] = 0
        file.write(pixels)
    out = tmp_path / "out"
    assert foveal(monkeypatch, "predict", model, scene, "--out", out, *WINDOWS) == 0
    assert "1 of 3 windows hold no data and were skipped" in capsys.readouterr().err
    report = " ".join((out / "report.html").read_text().split())
    assert "2 of 64 px, overlap 16; 1 without data" in report


def test_the_overlap_and_the_look_at_the_whole(monkeypatch, capsys, model, small, tmp_path):
    arguments = ("predict", model, small, "--tile", 64, "--no-pictures")

    def found(name: str, *options: object) -> tuple[str, bytes]:
        out = tmp_path / name
        assert foveal(monkeypatch, *arguments, "--out", out, *options) == 0
        shown = capsys.readouterr()
        return shown.out + shown.err, (out / "detections.csv").read_bytes()

    narrow, boxes = found("narrow", "--overlap", 0)
    assert "3 windows of 64 x 64 pixels, at" in narrow
    wide, others = found("wide", "--overlap", 32)
    assert "4 windows of 64 x 64 pixels that overlap by 32" in wide
    assert others != boxes
    whole, more = found("whole", "--overlap", 0, "--whole")
    assert "4 of 4 windows" in whole
    assert "--whole" not in whole
    assert more != boxes


def write_virtual(path: Path, source: Path) -> Path:
    """A virtual raster that shows one image."""
    rectangle = 'xOff="0" yOff="0" xSize="160" ySize="64"'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand><SrcRect {rectangle}/><DstRect {rectangle}/>"
        "</SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(
        '<VRTDataset rasterXSize="160" rasterYSize="64"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>400000, 0.1, 0, 5000000, 0, -0.1</GeoTransform>{bands}</VRTDataset>"
    )
    return path


@pytest.mark.parametrize("options", [WINDOWS, ("--tile", "off"), (*WINDOWS, "--mosaic")])
def test_a_virtual_raster_is_a_scene(monkeypatch, capsys, model, small, tmp_path, options):
    (tmp_path / "a.tif").write_bytes(small.read_bytes())
    scene = write_virtual(tmp_path / "all.vrt", tmp_path / "a.tif")
    outs = tmp_path / "one", tmp_path / "other"
    for image, out in zip((scene, tmp_path / "a.tif"), outs, strict=True):
        arguments = ("predict", model, image, "--out", out, *options, "--no-pictures")
        assert foveal(monkeypatch, *arguments) == 0
    capsys.readouterr()
    one, other = ((out / "detections.csv").read_text().splitlines() for out in outs)
    assert len(one) > 1
    if "off" not in options:  # which shrinks the one by itself, and the other as a window
        assert [line.split(",", 1)[1] for line in one] == [line.split(",", 1)[1] for line in other]
    assert (outs[0] / "detections.gpkg").is_file()


def test_what_a_virtual_raster_names_must_not_change_before_the_work_goes_on(
    monkeypatch, capsys, model, small, tmp_path
):
    part = tmp_path / "a.tif"
    part.write_bytes(small.read_bytes())
    scene, out = write_virtual(tmp_path / "all.vrt", part), tmp_path / "out"
    arguments = ("predict", model, scene, "--out", out, *WINDOWS)

    def stop(self, scene, band, arrays):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(SceneWork, "write", stop)
        assert foveal(context, *arguments) == 130
    capsys.readouterr()
    write_scene(part, width=160, height=64, seed=9)
    assert foveal(monkeypatch, *arguments, "--resume") == 2
    assert "a.tif was changed" in capsys.readouterr().err
