"""Anchors fitted to data: the rule by hand, the measures against the model's own anchors."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.config import AnchorSettings, AssignmentSettings, PreparationSettings, make_settings
from foveal.data.dataset import Dataset, Record
from foveal.detection.anchors import AnchorGrid
from foveal.geometry.boxes import iou
from foveal.models.build import build_model
from foveal.tuning.anchor_fitting import (
    anchors_to_toml,
    find_enlargement,
    finer_strides,
    fit_anchors,
    fit_anchors_to,
    fit_finer,
    gather_objects,
)
from foveal.tuning.anchor_metrics import (
    Objects,
    anchor_sides,
    assigned_anchors,
    best_ious,
    enlarge,
    measure_anchors,
    reachable_recall,
    sample_images,
    size_groups,
)
from foveal.tuning.anchor_rule import rule_of_thumb, shape_of
from foveal.tuning.assignment import make_assigner

BASES = (16.0, 32.0, 64.0, 128.0, 256.0)


def make_objects(
    boxes: object,
    *,
    labels: object = None,
    images: object = None,
    width: int = 256,
    height: int = 192,
) -> Objects:
    array = np.array(boxes, np.float64).reshape(-1, 4)
    count = len(array)
    kinds = np.zeros(count, np.int64) if labels is None else np.array(labels, np.int64)
    return Objects(
        array,
        kinds,
        np.zeros(count, np.int64) if images is None else np.array(images, np.int64),
        np.tile(np.array([[width, height]], np.int64), (count, 1)),
        tuple(f"class {label}" for label in range(int(kinds.max(initial=0)) + 1)),
    )


def random_objects(count: int, *, seed: int, smallest: float = 8, largest: float = 100) -> Objects:
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(smallest), np.log(largest), (count, 2)))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array([256, 192]) - sides)
    return make_objects(
        np.concatenate([corners, corners + sides], axis=1),
        labels=rng.integers(0, 3, count),
        images=rng.integers(0, 5, count),
    )


@pytest.mark.parametrize(
    ("name", "height", "width", "ratio", "base", "scale"),
    [
        ("person", 346, 209, "1.65", 256, "0.816"),
        ("pole", 90, 9, "10", 16, "0.5625"),
        ("ski", 20, 310, "0.06", 256, "1.21"),
        ("ski pole", 164, 107, "1.53", 128, "0.836"),
    ],
)
def test_the_worked_example_is_reproduced_to_its_printed_digits(
    name: str, height: float, width: float, ratio: str, base: float, scale: str
) -> None:
    shape = shape_of(name, height, width, base_sizes=BASES)

    assert shape.base_size == base
    for value, printed in ((shape.ratio, ratio), (shape.scale, scale)):
        # The example cuts 1.6555 to 1.65 and rounds 0.8359 to 0.836: either is its printed number.
        digits = len(printed.partition(".")[2])
        rounded, cut = f"{value:.{digits}f}", f"{int(value * 10**digits) / 10**digits:.{digits}f}"
        assert printed in (rounded, cut)


def test_anchors_are_as_wide_and_high_as_the_settings_say() -> None:
    shapes = AnchorSettings(sizes=(10,) * 5, scales=(2.0,), ratios=(0.25, 1.0, 4.0))
    np.testing.assert_allclose(anchor_sides(shapes)[0], [[40, 10], [20, 20], [10, 40]])


def test_the_rule_of_thumb_gives_each_class_its_ratio_and_scale() -> None:
    objects = make_objects([[0, 0, 9, 90], [0, 0, 128, 64], [8, 8, 136, 72]], labels=[0, 1, 1])

    found = rule_of_thumb(objects, AnchorSettings())

    assert found.sizes == BASES
    assert found.ratios == (0.5, 10.0)
    assert found.scales == (0.5625, 1.0)


def test_the_rule_of_thumb_merges_many_classes_to_three_ratios() -> None:
    sides = [(10 + 10 * i, 100) for i in range(8)]
    objects = make_objects([[0, 0, w, h] for w, h in sides], labels=range(8))

    assert len(rule_of_thumb(objects, AnchorSettings()).ratios) == 3


@pytest.mark.parametrize(
    "anchors",
    [
        AnchorSettings(),
        AnchorSettings(compat=(0.0, True, False)),
        AnchorSettings(compat=(0.0, False, True)),
        AnchorSettings(sizes=(9.0, 30.0), strides=(8, 16), scales=(1.0,), ratios=(0.3, 1.0, 2.0)),
    ],
)
def test_the_best_iou_is_that_over_all_anchors_of_the_model(anchors: AnchorSettings) -> None:
    # Boxes beyond the border too: there the nearest location is the grid's last one.
    objects = random_objects(60, seed=1, smallest=1, largest=180)
    grid = AnchorGrid(**anchors.model_dump())
    boxes = torch.from_numpy(objects.boxes).float()

    expected = iou(boxes[:, None], grid.tensor(192, 256)).amax(dim=1).numpy()

    np.testing.assert_allclose(best_ious(objects, anchors).max(axis=(1, 2)), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-5, 250), y=st.floats(-5, 190),
    width=st.floats(1, 120), height=st.floats(1, 120), offset=st.floats(0, 1),
)  # fmt: skip
def test_no_location_is_better_than_the_nearest(
    x: float, y: float, width: float, height: float, offset: float
) -> None:
    anchors = AnchorSettings(sizes=(20.0, 50.0), strides=(8, 16), compat=(offset, False, False))
    objects = make_objects([[x, y, x + width, y + height]])
    grid = AnchorGrid(**anchors.model_dump())

    expected = iou(torch.from_numpy(objects.boxes).float()[:, None], grid.tensor(192, 256)).max()

    assert best_ious(objects, anchors).max() == pytest.approx(float(expected), abs=2e-4)


def test_an_anchor_centered_on_its_object_counts_as_a_positive() -> None:
    # 32 x 32 around (100, 100), a location of stride 8.
    objects = make_objects([[84, 84, 116, 116]])
    anchors = AnchorSettings(sizes=(32.0,), strides=(8,), scales=(1.0,), ratios=(1.0,))

    quality = measure_anchors(objects, anchors)

    # IoU >= 0.5 within 8 px on one axis (24/40 = 0.6) and 8 on both (576/1472 = 0.39): 5 locations.
    assert quality.recall == 1
    assert quality.mean_iou == pytest.approx(1)
    assert quality.total.positives == 5
    assert quality.positives_by_level == (5.0,)


@pytest.mark.parametrize("method", ["iou", "atss", "task_aligned", "fcos"])
def test_an_object_beyond_reach_has_its_best_anchor_only_where_that_is_forced(method) -> None:
    objects = make_objects([[1, 1, 4, 4]])

    def measured(force: bool):
        rules = AssignmentSettings(method=method, allow_low_quality_matches=force)
        return measure_anchors(objects, AnchorSettings(scales=(1,), ratios=(1,)), assignment=rules)

    forced, free = measured(True), measured(False)

    assert forced.recall == free.recall == 0
    assert forced.total.positives >= 1
    assert forced.total.unassigned == 0
    assert free.total.positives == 0
    assert free.total.unassigned == 1


def test_an_anchor_goes_to_one_object_only() -> None:
    twice = make_objects([[84, 84, 116, 116], [84, 84, 116, 116]])
    apart = replace(twice, images=np.array([0, 1]))
    assigner = make_assigner(AssignmentSettings(), AnchorSettings())

    assert (
        assigned_anchors(twice, AnchorSettings(), assigner).sum() * 2
        == assigned_anchors(apart, AnchorSettings(), assigner).sum()
    )


def test_objects_are_grouped_by_the_root_of_their_area() -> None:
    objects = make_objects([[0, 0, 4, 60], [0, 0, 16, 16], [0, 0, 32, 32], [0, 0, 96, 96]])

    assert size_groups(objects).tolist() == [0, 1, 2, 3]


def test_the_bound_is_above_what_any_anchors_reach() -> None:
    objects = random_objects(300, seed=2, smallest=4, largest=40)
    anchors = AnchorSettings()

    bound = reachable_recall(objects, anchors)

    for sizes in ((8.0, 16, 32, 64, 128), (12.0, 24, 48, 96, 192), anchors.sizes):
        tried = anchors.model_copy(update={"sizes": sizes})
        assert measure_anchors(objects, tried).recall <= bound + 1e-9
    assert bound < 1


def test_the_search_is_better_than_the_default_and_lowers_no_class() -> None:
    objects = random_objects(400, seed=3, smallest=10, largest=60)

    fit = fit_anchors_to(objects, anchors=AnchorSettings())

    assert fit.chosen is fit.search
    assert fit.search.quality.recall > fit.default.quality.recall + 0.1
    assert len(fit.settings.scales) * len(fit.settings.ratios) <= 9
    assert fit.settings.strides == AnchorSettings().strides
    for found, given_ in zip(
        fit.search.quality.by_class, fit.default.quality.by_class, strict=True
    ):
        assert found.recall >= given_.recall
    assert fit.search.quality.recall <= fit.reachable
    assert "fitted" in fit.text


def test_the_same_objects_give_the_same_anchors() -> None:
    objects = random_objects(200, seed=4)

    assert fit_anchors_to(objects, anchors=AnchorSettings()).settings == (
        fit_anchors_to(objects, anchors=AnchorSettings()).settings
    )


def test_anchors_that_fit_already_are_kept() -> None:
    centers = np.array([[100.0, 100], [60, 60], [140, 100]])
    objects = make_objects(np.concatenate([centers - 16, centers + 16], axis=1))

    fit = fit_anchors_to(objects, anchors=AnchorSettings())

    assert fit.settings == AnchorSettings()
    assert "default" in fit.text
    assert repr(fit) == f"<AnchorFit {fit.text}>"
    rows = fit.to_table()
    assert [row["chosen"] for row in rows] == [True, False, False]
    assert [row["recall"] for row in rows] == [option.quality.recall for option in fit.options]
    assert "(chosen)" in fit._repr_html_()


def test_without_objects_the_default_stays() -> None:
    fit = fit_anchors_to(make_objects([]), anchors=AnchorSettings())

    assert fit.settings == AnchorSettings()
    assert "no objects" in fit.text
    assert fit.shapes == ()
    assert find_enlargement(fit) is None
    assert "no objects" in fit._repr_html_()


@pytest.mark.parametrize("strides", [(8, 8), (16, 8)])
def test_levels_that_do_not_grow_are_left_as_they_are(strides: tuple[int, int]) -> None:
    anchors = AnchorSettings(sizes=(32.0, 32.0), strides=strides)

    assert fit_anchors_to(random_objects(50, seed=6), anchors=anchors).settings == anchors


def test_one_level_and_one_object_are_enough() -> None:
    anchors = AnchorSettings(sizes=(32.0,), strides=(8,))

    fit = fit_anchors_to(make_objects([[50, 50, 70, 61]]), anchors=anchors)

    assert fit.chosen.quality.recall == 1


def test_a_large_data_set_is_searched_on_a_sample_and_lowers_no_class() -> None:
    rng = np.random.default_rng(7)
    objects = random_objects(6000, seed=7, smallest=6, largest=90)
    objects = replace(objects, labels=(rng.uniform(size=6000) > 0.995).astype(np.int64))
    objects = replace(objects, classes=("many", "few"))

    fit = fit_anchors_to(objects, anchors=AnchorSettings())

    assert fit.chosen is fit.search
    lowered(fit.search.quality.by_class, fit.default.quality.by_class)


def test_a_larger_input_brings_small_objects_within_reach() -> None:
    objects = random_objects(200, seed=5, smallest=9, largest=14)
    fit = fit_anchors_to(objects, anchors=AnchorSettings())

    larger = find_enlargement(fit)

    assert fit.settings.strides[0] == 8
    assert fit.chosen.quality.recall < 0.9
    assert larger is not None
    assert larger.factor > 1
    assert larger.recall >= 0.98


def test_enlarged_objects_keep_their_shape() -> None:
    objects = enlarge(make_objects([[10, 20, 30, 50]]), 1.5)

    assert objects.boxes.tolist() == [[15, 30, 45, 75]]
    assert objects.inputs.tolist() == [[384, 288]]


def test_a_sample_of_images_holds_the_rare_class() -> None:
    objects = make_objects([[0, 0, 10, 10]] * 100, labels=[0] * 99 + [1], images=list(range(100)))

    drawn = sample_images(objects, max_images=20, seed=0)

    assert len(drawn) == 20
    assert 99 in drawn
    assert drawn.tolist() == sample_images(objects, max_images=20, seed=0).tolist()


def make_dataset(boxes: list[list[float]], *, ignored: list[bool] | None = None) -> Dataset:
    count = len(boxes)
    record = Record(
        path=Path("/nowhere/a.png"),
        width=320,
        height=240,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.zeros(count, np.int64),
        ignored=np.array(ignored or [False] * count, bool),
    )
    return Dataset((record,), ("cell",), Path("/nowhere"))


def test_objects_are_scaled_as_images_are_prepared() -> None:
    data = make_dataset([[10, 10, 30, 50]])

    objects = gather_objects(data, PreparationSettings(shorter=480, longer=800))

    assert objects.boxes.tolist() == [[20, 20, 60, 100]]
    assert (objects.inputs[0] >= [640, 480]).all()


def test_regions_to_ignore_and_boxes_that_are_none_are_left_out() -> None:
    boxes = [[0, 0, 9, 9], [5, 5, 5, 9], [0, 0, 20, 20], [0, 0, np.nan, 3]]
    data = make_dataset(boxes, ignored=[False, False, True, False])

    assert gather_objects(data, None).boxes.tolist() == [[0, 0, 9, 9]]


def test_an_image_of_unknown_size_that_is_missing_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = make_dataset([[0, 0, 9, 9]])
    data = replace(data, records=(replace(data.records[0], width=0, height=0),))

    assert len(gather_objects(data, None)) == 0
    assert "a.png" in caplog.text


def test_the_toml_is_one_that_settings_are_read_from(tmp_path: Path) -> None:
    fitted = AnchorSettings(sizes=(9.5, 20, 40, 80, 160), scales=(1.0, 1.5), ratios=(0.7, 1.4))
    file = tmp_path / "anchors.toml"
    file.write_text(anchors_to_toml(fitted), encoding="utf-8")

    assert list(tomllib.loads(file.read_text(encoding="utf-8"))) == ["anchors"]
    assert make_settings(file=file).anchors == fitted


@pytest.mark.parametrize(
    ("source", "ignored", "coarse", "finest"),
    [("hit-uav/train.json", ["DontCare"], 0.88, 4), ("sen2ships/annotations.json", [], 0.55, 2)],
)
def test_small_objects_are_reached_on_finer_strides(
    shared: Path, source: str, ignored: list[str], coarse: float, finest: int
) -> None:
    """At native size, with nine anchors a place at most, and no class worse than by default."""
    from foveal.data.formats import read

    data = read(shared / "data" / source).ignoring(ignored)
    fit = fit_anchors(data, anchors=AnchorSettings(), preparation=None)
    assert coarse < fit.search.quality.recall <= fit.reachable < 0.98
    lowered(fit.search.quality.by_class, fit.default.quality.by_class)
    found = fit_finer(fit)
    assert found is not None
    assert found.settings.strides[0] == finest
    assert found.quality.recall >= 0.98
    assert len(found.settings.scales) * len(found.settings.ratios) <= 9
    lowered(found.quality.by_class, fit.default.quality.by_class)
    # The network that they are for can be built.
    plain = make_settings(overrides=["model.backbone=resnet18", "model.weights=none"])
    model = build_model(plain.model_copy(update={"anchors": found.settings}), len(data.classes))
    assert model.grid.strides == found.settings.strides


def test_finer_strides_are_sought_only_where_they_are_needed() -> None:
    objects = random_objects(200, seed=3, smallest=30, largest=200)
    fit = fit_anchors_to(objects, anchors=AnchorSettings())
    assert fit.chosen.quality.recall >= 0.98
    assert fit_finer(fit) is None


def test_finer_strides_halve_until_two_and_end_at_32_or_above() -> None:
    first = finer_strides(AnchorSettings())
    assert first is not None
    assert (first.strides, first.sizes) == ((4, 8, 16, 32, 64), (16, 32, 64, 128, 256))
    second = finer_strides(first)
    assert second is not None
    assert second.strides == (2, 4, 8, 16, 32)
    assert finer_strides(second) is None
    short = AnchorSettings(strides=(8, 16, 32), sizes=(32, 64, 128))
    longer = finer_strides(short)
    assert longer is not None
    assert (longer.strides, longer.sizes) == ((4, 8, 16, 32), (16, 32, 64, 128))


def lowered(found: object, given_: object) -> None:
    for new, old in zip(found, given_, strict=True):  # type: ignore[call-overload]
        assert not new.recall < old.recall, new.name
