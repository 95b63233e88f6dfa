"""The batches that are shown are those that are trained on."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from foveal.config import make_settings
from foveal.data.synthetic import draw_dataset
from foveal.reports.contact_sheet import make_training_sheet
from foveal.training.loaders import open_batches
from foveal.training.shown_batches import ShownBatches

SMALL = [
    "preparation.shorter=64",
    "preparation.longer=64",
    "training.batch=3",
    "training.workers=0",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("d") / "d", splits={"train": 5}, size=64)["train"]


@pytest.mark.parametrize("preset", ["standard", "retinanet", "fcos", "scenes"])
def test_images_and_boxes_are_the_runs_own(data, preset):
    settings = make_settings(preset=preset, overrides=SMALL)
    shown = list(islice(ShownBatches(settings, data, anchors=True), 4))
    first, second = islice(open_batches(settings, data).epoch(0, progress=0.0), 2)
    assert [each.step for each in shown] == [1, 1, 1, 2]
    assert [each.name for each in shown] == [*first.names, second.names[0]]
    for each, image, boxes, count in zip(
        shown, first.images, first.boxes, first.counts, strict=False
    ):
        np.testing.assert_array_equal(each.image, image.permute(1, 2, 0))
        np.testing.assert_array_equal(each.target.boxes, boxes[:count])
        assert each.anchors.framed == (preset == "retinanet")
        assert len(each.anchors) >= len(np.unique(each.anchors.objects))
        middles = (each.anchors.boxes[:, :2] + each.anchors.boxes[:, 2:]) / 2
        own = each.target.boxes[each.anchors.objects]
        inside = (middles >= own[:, :2] - 32) & (middles <= own[:, 2:] + 32)
        assert inside.all()
        assert not each.target.ignored[each.anchors.objects].any()


def test_a_sheet_says_what_it_is(data):
    settings = make_settings(overrides=[*SMALL, "training.seed=1"])
    sheet = make_training_sheet(
        ShownBatches(settings, data, anchors=True), data, count=2, side=64, lines=["And this."]
    )
    assert len(sheet.tiles) == 2
    text = " ".join(sheet.lines)
    assert "2 images as training would show them" in text
    assert "5 images in 2 steps of 3" in text
    assert "task_aligned" in text
    assert "has learned nothing yet" in text
    assert text.endswith("And this.")
    assert all("anchors" in tile.caption for tile in sheet.tiles)
    shown = sum(int(row.meaning.split(": ")[1].split()[0]) for row in sheet.key)
    assert f"anchors for {shown} objects" in text  # the key counts what is shown
    plain = make_training_sheet(ShownBatches(settings, data), data, count=9, side=64)
    assert len(plain.tiles) == 6  # the last batch is filled up
    assert "anchor" not in " ".join(plain.lines)
    assert "region to ignore" not in {row.meaning for row in plain.key}


def test_images_without_objects_have_no_anchors(data):
    empty = data.take([0, 1])
    empty = type(data)(
        tuple(record.select(record.labels < 0) for record in empty), data.classes, data.root
    )
    for each in ShownBatches(make_settings(overrides=SMALL), empty, anchors=True):
        assert (len(each.target), len(each.anchors)) == (0, 0)
