"""Scenes, labels on maps and options that can't be: each is named once, and all else goes on."""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import foveal
from tests.cli.scene_files import WINDOWS, leave_charts_undrawn, write_model, write_scene, written

from foveal.detector import Detector
from foveal.errors import ImageError
from foveal.inference.scene_plan import SceneWorker
from foveal.inference.scene_work import SceneWork

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

import pyogrio
import rasterio
import shapely
from tests.data.formats import test_geo as labels
from tests.data.images.test_rasters import BAD, GRID, noise, place_of, virtual, write

UTM = rasterio.Affine(0.1, 0, 4e5, 0, -0.1, 5e6)


class Result(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    def errors(self) -> list[str]:
        """The lines that say why it ended; those of typer are framed."""
        text = self.err.replace("│", "")
        return [line for line in text.splitlines() if re.search("^error: |Invalid value", line)]


def call(*arguments: object) -> Result:
    """Run a command line; whatever it raises that is no exit is raised here too."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = foveal(patch, *arguments)
    return Result(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file grows beyond a size, as on a full disk; Python ignores the signal of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module", autouse=True)
def charts():
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_charts_undrawn(monkeypatch)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "ships.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A scene of some bands of windows."""
    return write_scene(tmp_path_factory.mktemp("scene") / "a.tif", width=500)


def small(folder: Path) -> Path:
    path = folder / "small.png"
    Image.fromarray(np.moveaxis(noise(), 0, 2)[:48, :64]).save(path)
    return path


# Scenes that can't be read ---------------------------------------------------------------------


def _two_points(to: Path) -> Path:
    with pytest.raises(ImageError):
        place_of(to, GRID[:2], GRID[:2] + 5e5)
    return to


def _virtual(to: Path, name: str) -> Path:
    write(to, noise())  # what it names beside the folder is there
    folder = to.parent / "virtual"
    folder.mkdir()
    path = folder / "scene.vrt"
    path.write_text(virtual(name))
    return path


def _cut_virtual(to: Path) -> Path:
    path = to.with_suffix(".vrt")
    path.write_text(virtual(write(to, noise()).name)[:300])
    return path


Make = Callable[[Path], Path]
ELSEWHERE = ("folder", "missing")
"""These are no images of a folder, and are refused before anything is looked at."""
SCENES: dict[str, tuple[Make, str]] = {
    **{name: fault for name, fault in BAD.items() if name not in ELSEWHERE},
    "two control points": (_two_points, "2 ground control points and no size"),
    "a VRT of what lies outside": (lambda to: _virtual(to, "../scene.tif"), "outside its folder"),
    "a VRT of what is missing": (lambda to: _virtual(to, "gone.tif"), "does not exist"),
    "a VRT of an address": (
        lambda to: _virtual(to, "/vsicurl/http://127.0.0.1/a.tif"), "outside its folder"),
    "a cut VRT": (_cut_virtual, "no virtual raster that can be read"),
}  # fmt: skip


class Run(NamedTuple):
    """One command over all broken scenes and two good ones."""

    result: Result
    out: Path
    scenes: dict[str, Path]
    good: tuple[Path, Path]


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("faults")
    scenes = {}
    for name, (make, _) in SCENES.items():
        below = folder / name.replace(" ", "-")
        below.mkdir()
        scenes[name] = make(below / "scene.tif")
    good = write_scene(folder / "good.tif", width=130, height=90), small(folder)
    out = folder / "out"
    paths = [*scenes.values(), *good]
    result = call("predict", model, *paths, "--out", out, *WINDOWS, "--no-pictures")
    return Run(result, out, scenes, good)


@pytest.mark.parametrize("name", SCENES)
def test_a_broken_scene_is_named_once_with_its_reason(run, name):
    _, said = SCENES[name]
    path = str(run.scenes[name])
    lines = [line for line in run.result.err.splitlines() if path in line]
    assert len(lines) == 1
    assert lines[0].startswith("skipped: ")
    assert re.search(said, lines[0])


def test_all_other_scenes_are_looked_at(run):
    assert run.result.code == 1
    count = len(SCENES)
    assert f"{count} of {count + 2} images can't be read" in run.result.err
    document = json.loads((run.out / "detections.json").read_text())
    assert [Path(image["file_name"]).name for image in document["images"]] == [
        path.name for path in run.good
    ]
    assert (run.out / "detections.gpkg").is_file()
    assert list((run.out / "unfinished").rglob("*.npz"))  # of the good one, for --resume
    assert not list(run.out.rglob("*.part"))


@pytest.fixture(scope="module")
def detector(model) -> Detector:
    return Detector.load(model)


@pytest.mark.parametrize("name", SCENES)
def test_the_detector_raises_what_is_wrong(run, detector, name):
    path = run.scenes[name]
    with pytest.raises(ImageError, match=SCENES[name][1]) as raised:
        detector.detect_scene(path, tile=64, overlap=16)
    assert str(path) in str(raised.value)


def test_too_few_bands_for_a_model_of_four(tmp_path):
    model = write_model(tmp_path / "m.safetensors", bands=4)
    scene = write_scene(tmp_path / "a.tif", width=130, height=90)
    result = call("predict", model, scene, "--out", tmp_path / "out", *WINDOWS)
    assert result.code == 1
    assert result.err.count("skipped: ") == 1
    assert "has 3 bands, expected 4, as the model has" in result.err


@pytest.mark.parametrize("name", ["no size", "unknown system", "upon a line", "no number"])
def test_a_small_image_of_no_possible_place_stays_in_pixels(run, model, tmp_path, name):
    path, out = run.scenes[name], tmp_path / "out"
    result = call("predict", model, path, run.good[1], "--out", out, "--tile", "off")
    assert result.code == 0
    assert result.err.count("boxes stay in pixels") == 1
    assert result.err.count(str(path)) == 1
    assert re.search(SCENES[name][1], result.err)


# Scenes that are looked at, with a word --------------------------------------------------------


def _polynomials(path: Path) -> Path:
    from rasterio.rpc import RPC

    one, across, down = ([float(n == at) for n in range(20)] for at in range(3))
    rpcs = RPC(
        height_off=0, height_scale=500, lat_off=45, lat_scale=0.1, long_off=10, long_scale=0.1,
        line_off=45, line_scale=45, samp_off=65, samp_scale=65,
        line_num_coeff=down, line_den_coeff=one, samp_num_coeff=across, samp_den_coeff=one,
    )  # fmt: skip
    return write(path, noise(), transform=None, crs=None, rpcs=rpcs)


def test_what_is_no_fault_is_looked_at(model, tmp_path):
    write(tmp_path / "void.tif", noise() * 0, nodata=0, transform=UTM)
    write(tmp_path / "system.tif", noise(), crs=None)
    _polynomials(tmp_path / "polynomials.tif")
    write(tmp_path / "gray.tif", noise(1), transform=UTM)
    turned = rasterio.Affine(0.08, 0.06, 6e5, 0.06, -0.08, 5e6)
    write(tmp_path / "turned.tif", noise(), transform=turned)
    write(tmp_path / "up.tif", noise(), transform=rasterio.Affine(0.1, 0, 5e5, 0, 0.1, 5e6))
    out = tmp_path / "out"
    result = call("predict", model, tmp_path, "--out", out, *WINDOWS, "--no-pictures")
    assert result.code == 0
    assert "6 of 36 windows hold no data and were skipped" in result.err
    assert result.err.count("a transform and no coordinate reference system") == 1
    assert result.err.count("rational polynomial coefficients (RPC) alone") == 1
    assert "2 images without a place on the map: not in detections.gpkg" in result.err
    _, corners = pyogrio.read_bounds(out / "detections.gpkg")
    left, bottom, _, top = corners
    up = (left >= 5e5 - 0.01) & (left < 5.5e5)
    assert up.any()
    assert bottom[up].min() >= 5e6 - 0.01  # rows go north
    assert top[up].max() <= 5e6 + 9.01
    assert (left > 5.9e5).any()


def test_what_is_no_number_is_no_data(model, tmp_path):
    values = noise(3, "float32", 200)
    values[:, :, :70] = np.nan
    scene = write(tmp_path / "a.tif", values, nodata=np.nan, transform=UTM)
    out = tmp_path / "out"
    result = call("predict", model, scene, "--out", out, *WINDOWS, "--no-pictures")
    assert result.code == 0
    document = json.loads((out / "detections.json").read_text())
    boxes = np.array([each["bbox"] for each in document["annotations"]])
    assert len(boxes)
    assert (boxes[:, 0] + boxes[:, 2] / 2).min() >= 70


# Options that can't be -------------------------------------------------------------------------


class Images(NamedTuple):
    """What the commands with wrong options are given."""

    placed: Path
    unplaced: Path
    deep: Path
    small: Path


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    return Images(
        write(folder / "placed.tif", noise(), transform=UTM),
        write(folder / "unplaced.tif", noise(), crs=None),
        write(folder / "deep.tif", noise(3, "uint16", 4000), transform=UTM),
        small(folder),
    )


OPTIONS: dict[str, tuple[tuple[str, ...], tuple[object, ...], str]] = {
    "no scale": (("placed",), ("--scale", 0), "--scale 0: expected auto; a factor"),
    "a length of no place": (
        ("unplaced",), ("--tile", 64, "--scale", "10cm"), "--scale can't be a length"),
    "a tile of no stride": (("placed",), ("--tile", 100), "multiple of 32, such as 96 or 128"),
    "an overlap as large": (
        ("placed",), ("--tile", 64, "--overlap", 64), "less than a tile's side"),
    "an overlap below zero": (("placed",), ("--overlap", -1), "'--overlap'.*or equal to 0"),
    "no jobs": (("placed",), ("--jobs", 0), "'--jobs'.*or equal to 1"),
    "Ray where nothing is": (
        ("placed",), ("--ray", "127.0.0.1:1"), "--ray 127.0.0.1:1: no Ray cluster.*auto.*local"),
    "Ray nowhere": (("placed",), ("--ray", "nowhere"), "--ray nowhere: .*no address.*auto.*local"),
    "a map of no place": (("small",), ("--to", "gpkg"), "--to gpkg: none of 1 image has a place"),
    "a mosaic of other values": (
        ("placed", "deep"), ("--mosaic",), "uint16 values.*uint8. Expected one type"),
    "a mosaic of no place": (
        ("placed", "unplaced"), ("--mosaic",), "unplaced.tif: has no place on the map"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_can_not_be_is_one_error_and_nothing_is_written(
    model, images, tmp_path, name
):
    given, options, said = OPTIONS[name]
    if "--ray" in options:
        pytest.importorskip("ray")
    out = tmp_path / "out"
    paths = [getattr(images, each) for each in given]
    result = call("predict", model, *paths, "--out", out, *options)
    assert result.code == 2
    assert len(result.errors()) == 1
    assert re.search(said, result.errors()[0])
    assert written(out) == {}


def test_a_mosaic_of_files_with_other_bands_names_the_one(model, images, tmp_path):
    beside = rasterio.Affine(0.1, 0, 4e5 + 13, 0, -0.1, 5e6)
    other = write(tmp_path / "five.tif", noise(5), transform=beside)
    out = tmp_path / "out"
    paths = (images.placed, other, "--mosaic", "--out", out, *WINDOWS)
    result = call("predict", model, *paths)
    assert result.code == 1
    lines = [line for line in result.err.splitlines() if "skipped" in line]
    assert len(lines) == 1
    assert f"{other}: has 5 bands, expected 3" in lines[0]


@pytest.mark.parametrize("below", ["", "more"])
def test_an_out_that_can_not_be_a_folder(model, images, tmp_path, below):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / below
    result = call("predict", model, images.placed, "--out", out, *WINDOWS)
    assert result.code == 2
    assert len(result.errors()) == 1
    assert "can't be written" in result.err
    assert "--out" in result.err


# Work that stops -------------------------------------------------------------------------------


def test_unfinished_work_of_another_model_and_of_other_images_is_kept(
    monkeypatch, model, scene, tmp_path
):
    out = tmp_path / "out"
    arguments = ("--out", out, *WINDOWS, "--no-pictures")
    write_band = SceneWork.write

    def stop(self, number, band, arrays):
        write_band(self, number, band, arrays)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SceneWork, "write", stop)
        assert call("predict", model, scene, *arguments).code == 130
    kept = written(out)
    other = write_model(tmp_path / "other.safetensors", seed=1)
    for given, said in (
        ((other, scene), "the model"),
        ((model, scene, small(tmp_path)), "small.png"),
    ):
        result = call("predict", *given, *arguments, "--resume")
        assert result.code == 2
        assert len(result.errors()) == 1
        assert said in result.errors()[0]
        assert "--overwrite" in result.errors()[0]
        assert written(out) == kept


def test_a_disk_that_fills_while_a_band_is_written(monkeypatch, model, scene, tmp_path):
    out = tmp_path / "out"
    arguments = ("predict", model, scene, "--out", out, *WINDOWS, "--no-pictures")
    write_band = SceneWork.write

    def fill(self, number, band, arrays):
        with room_for(100 if band else 1 << 20):
            write_band(self, number, band, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(SceneWork, "write", fill)
        result = call(*arguments)
    assert result.code == 2
    assert len(result.errors()) == 1
    assert re.search(r"band-00001.npz.*can't be written.*--resume", result.errors()[0])
    assert [path.name for path in out.rglob("band-*")] == ["band-00000.npz"]
    assert not list(out.rglob("*.part"))
    assert call(*arguments, "--resume").code == 0


def test_a_disk_that_fills_while_the_geopackage_is_written(monkeypatch, model, tmp_path):
    scene, out = write_scene(tmp_path / "a.tif", width=130, height=90), tmp_path / "out"
    arguments = ("predict", model, scene, "--out", out, *WINDOWS, "--no-pictures")
    command = sys.modules["foveal.cli.predict"]  # foveal.cli.predict is the function in it
    write_results = command.write_results

    def fill(*given: Any, **named: Any) -> list[str]:
        with room_for(60_000):
            return write_results(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_results", fill)
        result = call(*arguments)
    assert result.code in (1, 2)
    assert result.err.count("detections.gpkg") == 1
    assert re.search(r"detections.gpkg.*can't be written", result.err)
    assert not [path for path in out.rglob("*") if re.search(r"gpkg|\.part$", path.name)]
    assert call(*arguments, "--resume").code == 0
    assert len(pyogrio.read_bounds(out / "detections.gpkg")[0])


def test_a_scene_that_vanishes_between_windows(monkeypatch, model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", width=500)
    other = write_scene(tmp_path / "b.tif", width=130, height=90)
    out = tmp_path / "out"
    arguments = ("predict", model, scene, other, "--out", out, *WINDOWS, "--no-pictures")
    detect = SceneWorker.detect

    def vanish(self, number, bands, progress=None):
        if number == 0:
            yield from detect(self, number, bands[:1], progress)
            self.close()
            scene.rename(tmp_path / "away.tif")
            bands = bands[1:]
        yield from detect(self, number, bands, progress)

    with monkeypatch.context() as patch:
        patch.setattr(SceneWorker, "detect", vanish)
        result = call(*arguments)
    assert result.code == 1
    lines = [line for line in result.err.splitlines() if str(scene) in line]
    assert len(lines) == 1
    assert "does not exist" in lines[0]
    assert "1 of its 2 bands are finished and kept: --resume" in lines[0]
    document = json.loads((out / "detections.json").read_text())
    assert [Path(image["file_name"]).name for image in document["images"]] == ["b.tif"]


# Labels on the map -----------------------------------------------------------------------------


def _labels(folder: Path, shapes: Any = None, **more: Any) -> None:
    labels.raster(folder / "scene.tif")
    shapes = labels.quadrangles() if shapes is None else shapes
    columns = {"label": ["ship"] * len(shapes)} | more
    labels.save(folder / "scene.gpkg", shapes, **columns)


def _broken(folder: Path, kind: str) -> None:
    labels.raster(folder / "scene.tif")
    labels.BROKEN[kind][0](folder)


def _without_class(folder: Path) -> None:
    labels.raster(folder / "scene.tif")
    columns = {"note": ["a ship", "b", "b"], "more": ["x", "y", "z"]}
    labels.save(folder / "scene.gpkg", labels.quadrangles(), **columns)


def _then(folder: Path, change: Callable[[Path], object]) -> None:
    _labels(folder)
    change(folder)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no class column": (_without_class, "no column for the class.*--class-column NAME"),
    "another system": (lambda f: _labels(f, crs="EPSG:4326"), "if they were in EPSG:32617"),
    "outside": (
        lambda f: _labels(f, labels.quadrangles(labels.BOXES + 5000)), "3,537 m away"),
    "points": (lambda f: _labels(f, shapely.points([[404215, 3285140]])), "Point.*have no box"),
    "no geometry": (lambda f: _broken(f, "no geometry"), "no layer with shapes"),
    "unknown system of the labels": (
        lambda f: _broken(f, "system unknown to PROJ"), "is unknown to PROJ"),
    "no place of the scene": (
        lambda f: _then(f, lambda _: labels.raster(f / "scene.tif", crs=None)),
        "no place on the map"),
    "unknown system of the scene": (
        lambda f: _then(f, lambda _: BAD["unknown system"][0](f / "scene.tif")),
        "none that PROJ knows"),
    "cut labels": (lambda f: _then(f, lambda _: _cut(f / "scene.gpkg")), "whole GeoPackage"),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_can_not_be_are_one_error_of_every_command(model, tmp_path, name):
    fill, said = LABELS[name]
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill(data)
    before = written(data)
    checked = call("data", "check", data)
    assert checked.code in (1, 2)
    assert re.search(said, " ".join((checked.out + checked.err).split()))
    for arguments in (
        ("anchors", data),
        ("train", data, "--out", out),
        ("evaluate", model, data, "--out", out),
        ("data", "tile", data, out, "--size", 32),
    ):
        result = call(*arguments)
        assert result.code == 2, arguments
        assert len(result.errors()) == 1, arguments
        assert re.search(said, result.errors()[0]), arguments
        assert not out.exists(), arguments
    assert written(data) == before


def test_an_empty_layer_teaches_nothing(model, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _labels(data, np.array([], object))
    checked = call("data", "check", data)
    assert checked.code == 0
    assert "there are no objects in it" in checked.out
    result = call("train", data, "--out", out)
    assert result.code == 2
    assert len(result.errors()) == 1
    assert not out.exists()


def test_a_cut_scene_with_labels(model, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _labels(data)
    scene = data / "scene.tif"
    scene.write_bytes(scene.read_bytes()[:1500])
    checked = call("data", "check", data)
    assert checked.code == 1
    assert "1 image that can't be read" in checked.out
    for arguments in (
        ("train", data, "--out", out, "--set", "model.weights=none"),
        ("evaluate", model, data, "--out", out),
        ("data", "tile", data, out, "--size", 32),
    ):
        result = call(*arguments)
        assert result.code in (1, 2), arguments
        assert re.search(f"{scene}.*cut short", result.err), arguments
        assert result.err.count(str(scene)) == 1, arguments
        assert not list(out.rglob("*.part")), arguments
