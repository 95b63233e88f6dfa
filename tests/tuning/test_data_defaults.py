"""Settings that the data decides, and those that it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from foveal.config import Settings, make_settings
from foveal.data.dataset import Dataset, Record
from foveal.errors import DataError, SettingsError
from foveal.tuning import images
from foveal.tuning.anchor_fitting import AnchorFit
from foveal.tuning.data_defaults import fit_to_data
from foveal.tuning.location_fitting import LocationFit


def settings(*overrides: str) -> Settings:
    every = ["model.backbone=test_resnet", "model.weights=none", *overrides]
    return make_settings(preset="retinanet", overrides=every)


@pytest.fixture
def tiny_objects(tmp_path: Path) -> Dataset:
    """Objects of 6 x 6 pixels, which the default anchors miss."""
    corners = np.arange(10, 200, 20, dtype=np.float32)
    boxes = np.stack([corners, corners, corners + 6, corners + 6], axis=1)
    labels, ignored = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_)
    record = Record(tmp_path / "1.png", 256, 256, boxes, labels, ignored)
    return Dataset((record,), ("dot",), tmp_path)


def test_anchors_are_fitted_to_the_objects(tiny_objects: Dataset) -> None:
    before = settings("preparation.shorter=256", "preparation.longer=256")
    after, fit = fit_to_data(before, tiny_objects)
    assert fit is not None
    assert after.anchors == fit.settings != before.anchors
    assert min(after.anchors.sizes) < 16


@pytest.mark.parametrize("given", ["sizes=[8,16,32,64,128]", "scales=[1.0]", "ratios=[1.0]"])
def test_shapes_that_are_given_stay(tiny_objects: Dataset, given: str) -> None:
    before = settings(f"anchors.{given}")
    after, fit = fit_to_data(before, tiny_objects)
    assert fit is None
    assert after.anchors == before.anchors


def test_without_images_complete_settings_stay_as_they_are(tmp_path: Path) -> None:
    before = settings("anchors.scales=[1.0]", "preparation.mean=[1,2,3]", "preparation.std=[4,5,6]")
    assert fit_to_data(before, Dataset((), ("dot",), tmp_path)) == (before, None)


def test_data_without_classes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no classes\. Expected at least one labeled object"):
        fit_to_data(settings(), Dataset((), (), tmp_path / "empty"))


@pytest.mark.parametrize("looked_at", [1, 2])
def test_limits_that_some_images_gave_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    looked_at: int,
) -> None:
    monkeypatch.setattr(images, "IMAGES_FOR_PERCENTILES", looked_at)
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    records = []
    for name in ("1.png", "2.png"):
        Image.fromarray(np.full((20, 30), 1000, np.uint16)).save(tmp_path / name)
        records.append(Record(tmp_path / name, 30, 20, *empty))
    before = settings("anchors.scales=[1.0]", "preparation.mean=[0,0,0]")
    after, _ = fit_to_data(before, Dataset(tuple(records), ("dot",), tmp_path))
    assert after.preparation.band_low
    assert ("measured on the first 1 of 2 images" in caplog.text) == (looked_at == 1)


def gray_images(folder: Path, bits: str) -> Dataset:
    """One gray image for each letter: b for bytes, d for 12 bits in 16, x for a broken one."""
    none = np.zeros(0, np.int64)
    records = []
    for number, letter in enumerate(bits):
        path = folder / f"{number}.tif"
        gradient = np.tile(np.arange(64, dtype=np.uint16), (64, 1))
        if letter == "d":
            tifffile.imwrite(path, gradient * 60)
        elif letter == "b":
            Image.fromarray(gradient.astype(np.uint8)).save(path)
        else:
            path.write_bytes(b"II*")
        records.append(Record(path, 64, 64, np.zeros((0, 4), np.float32), none, none > 0))
    return Dataset(tuple(records), ("dot",), folder)


@pytest.mark.parametrize(
    ("bits", "stated"), [("bb", False), ("dd", True), ("bd", False), ("", False)]
)
def test_limits_follow_images_that_all_hold_more_than_8_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: str, stated: bool
) -> None:
    after, _ = fit_to_data(settings("anchors.scales=[1.0]"), gray_images(tmp_path, bits))
    assert bool(after.preparation.band_low) is stated
    mixed = "1 of the first 2 images hold more than 8 bits, the others 8"
    assert (mixed in caplog.text) is (bits == "bd")


def test_the_first_image_may_be_broken(tmp_path: Path) -> None:
    after, _ = fit_to_data(settings("anchors.scales=[1.0]"), gray_images(tmp_path, "xb"))
    assert after.preparation.band_low == ()


def small_objects(side: float) -> Dataset:
    """A scene of many such squares, at any distance from the anchors' locations."""
    corners = np.random.default_rng(0).uniform(0, 1900, (200, 2))
    boxes = np.hstack([corners, corners + side]).astype(np.float32)
    none = np.zeros(200, np.bool_)
    record = Record(Path("scene.png"), 2000, 2000, boxes, none.astype(np.int64), none)
    return Dataset((record,), ("ship",), Path())


ON_STRIDES_OF_8 = "anchors.strides=[8,16,32,64,128]"


@pytest.mark.parametrize(
    ("side", "preset", "given", "finest", "said"),
    [
        (10, "scenes", [], 4, "one every 4 px .* since 100% of 200 objects are smaller than"),
        (60, "scenes", [], 8, "one every 8 px .*; 0% of 200 objects are smaller than 16 px"),
        (20, "light", [], 8, "; 100% .* --set preparation.shorter=N"),
        (10, "scenes", [ON_STRIDES_OF_8], 8, "often missed.* --set preparation.scale=2"),
        (10, "scenes", ["anchors.sizes=[9,10,11,12,13]"], 8, "often missed"),
    ],
    ids=["small", "large", "shrunk", "strides", "sizes"],
)
def test_with_windows_small_objects_get_nearer_locations(side, preset, given, finest, said):
    given = [*given, "preparation.mean=[0,0,0]"]
    chosen = make_settings(preset=preset, overrides=given)
    found, fit = fit_to_data(chosen, small_objects(side))
    assert isinstance(fit, LocationFit)
    assert found.anchors.strides[0] == finest
    if finest == 4:
        assert found.anchors.sizes == tuple(8 * stride for stride in found.anchors.strides)
    else:
        assert found.anchors == chosen.anchors
    assert re.search(said, fit.text)
    assert repr(fit) == f"<LocationFit {fit.text}>"
    assert [row["stride"] for row in fit.to_table()] == list(found.anchors.strides)
    assert f">{finest}<" in fit._repr_html_()
    assert found.decoding.max_detections == (100 if preset == "scenes" else 400)


@pytest.mark.parametrize(("side", "finest"), [(10, 4), (60, 8)])
def test_with_windows_anchors_are_fitted_on_finer_strides(side, finest):
    given = ["assignment.method=iou", "preparation.mean=[0,0,0]"]
    found, fit = fit_to_data(make_settings(preset="scenes", overrides=given), small_objects(side))
    assert isinstance(fit, AnchorFit)
    assert found.anchors.strides[0] == finest
    assert (fit.coarser is not None) == (finest == 4)
    assert ("Strides from 4 are taken" in fit.text) == (finest == 4)


def test_without_objects_there_is_nothing_to_compare_locations_with() -> None:
    nothing = small_objects(9).records[0].select(np.zeros(200, np.bool_))
    given = ["preparation.mean=[0,0,0]"]
    chosen = make_settings(preset="scenes", overrides=given)
    found, fit = fit_to_data(chosen, Dataset((nothing,), ("ship",), Path()))
    assert fit is not None
    assert "there are no objects" in fit.text
    assert found.anchors == chosen.anchors


def test_there_are_no_shapes_to_fit_where_locations_have_one_anchor(tiny_objects: Dataset) -> None:
    given = settings("assignment.method=fcos", "anchors.scales=[1]", "anchors.ratios=[1]")
    after, fit = fit_to_data(given, tiny_objects)
    assert isinstance(fit, LocationFit)
    assert after.anchors == given.anchors
    with pytest.raises(SettingsError, match=r"no shapes to fit, .*\. Leave --refit-anchors out"):
        fit_to_data(given, tiny_objects, refit_anchors=True)


def test_distances_keep_their_square_anchor(tiny_objects: Dataset) -> None:
    given = settings("model.box_coding=distances", "anchors.scales=[1]", "anchors.ratios=[1]")
    with pytest.raises(SettingsError, match=r"since model\.box_coding is 'distances'"):
        fit_to_data(given, tiny_objects, refit_anchors=True)
