"""Windows for training: which ones an epoch has, where they lie, what of their objects counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.data.loading import batches as batches_module
from foveal.data.loading.batches import sample_windows
from foveal.data.loading.loader import training_batches
from foveal.data.loading.windows import (
    BACKGROUND,
    WHOLE,
    cut_target,
    draw_aim,
    draw_window,
    most_in_a_window,
    plan_windows,
)
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import Preparation
from foveal.structures import Target

SIDE = 64
PREPARATION = Preparation(mode="windows", shorter=SIDE)


def record(width: int, height: int, boxes: list[tuple[float, ...]], path: str = "a.png") -> Record:
    count = len(boxes)
    return Record(
        Path(path),
        width,
        height,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
    )


def squares(*corners: tuple[float, float], side: float = 8) -> list[tuple[float, ...]]:
    return [(x, y, x + side, y + side) for x, y in corners]


def plan_of(*records: Record, background: float = 0.2, **options):
    dataset = Dataset(records, ("thing",), Path())
    sizes = np.array([(each.width, each.height) for each in records], np.int64).reshape(-1, 2)
    return plan_windows(
        dataset, sizes, options.pop("preparation", PREPARATION), background_fraction=background,
        **options,
    )  # fmt: skip


# Which windows ---------------------------------------------------------------------------------


def test_windows_cover_the_area_once_and_a_share_shows_no_objects():
    plan = plan_of(record(640, 640, squares((10, 10), (300, 300))))
    assert plan.windows == 100
    assert (plan.around_objects, plan.background, plan.shown_whole) == (80, 20, 0)


def test_every_place_with_objects_has_its_turn():
    corners = [(x + 20, y + 20) for x in range(0, 640, SIDE) for y in range(0, 640, SIDE)]
    plan = plan_of(record(640, 640, squares(*corners, *corners)))
    assert (plan.around_objects, plan.background) == (100, 25)
    for epoch in range(2):
        _, aims = plan.draw(seed=1, epoch=epoch)
        shown = aims[aims >= 0]
        assert set(shown % 100) == set(range(100))


def test_an_image_that_fits_comes_whole_and_once():
    plan = plan_of(record(64, 30, squares((1, 1))), record(10, 10, []))
    images, aims = plan.draw(seed=0, epoch=0)
    assert sorted(images) == [0, 1]
    assert (aims == WHOLE).all()


def test_the_scale_decides_what_fits():
    for scale, windows in ((1.0, 4), (0.5, 1), (2.0, 16)):
        plan = plan_of(record(128, 128, []), preparation=Preparation("windows", SIDE, scale=scale))
        assert plan.windows == windows
        assert plan.background == (0 if scale == 0.5 else windows)


@pytest.mark.parametrize("records", [[], [record(0, 0, [])]], ids=["no image", "broken"])
def test_nothing_to_plan(records):
    plan = plan_of(*records)
    assert plan.windows == 0
    assert len(plan.draw(seed=0, epoch=0)[0]) == 0


def test_regions_to_ignore_and_boxes_without_area_are_no_objects():
    given = record(640, 64, squares((10, 10), (300, 10), (500, 10)))
    given.ignored[0], given.labels[1] = True, ANY_CLASS
    given.boxes[2, 2] = given.boxes[2, 0]
    plan = plan_of(given)
    assert plan.background == plan.windows == 10


def test_repeated_images_have_more_of_the_windows():
    one = record(640, 640, squares((10, 10)))
    plan = plan_of(one, one, factors=np.array([1.0, 3.0]))
    images, aims = plan.draw(seed=0, epoch=0)
    around = images[aims >= 0]
    assert np.bincount(around).tolist() == [40, 120]


def test_the_fullest_window():
    assert most_in_a_window(record(1000, 10, []), 64) == 0
    close = squares(*((x, 100) for x in range(100, 160, 10)))
    assert most_in_a_window(record(1000, 1000, [*close, *squares((500, 500))]), 64) == 6


# Where they lie --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 5), (190, 90, 200, 100), (100.5, 50.2, 120.1, 60.7), (30, 0, 94, 64)]
)
def test_a_window_around_an_object_holds_it_wholly(box):
    given = record(200, 100, [box])
    lefts = set()
    for seed in range(40):
        left, top, right, bottom = draw_window(
            given, 200, 100, side=64, aim=0, generator=np.random.default_rng(seed)
        )
        assert 0 <= left <= box[0]
        assert 0 <= top <= box[1]
        assert box[2] <= right <= 200
        assert box[3] <= bottom <= 100
        assert (right - left, bottom - top) == (64, 64)
        lefts.add(left)
    assert len(lefts) > 5 or box[0] in (0, 30) or box[2] == 200


def test_a_window_around_a_larger_object_lies_within_it():
    given = record(1000, 300, [(100, 50, 700, 250)])
    for seed in range(20):
        left, top, right, bottom = draw_window(
            given, 1000, 300, side=64, aim=0, generator=np.random.default_rng(seed)
        )
        assert 100 <= left < right <= 700
        assert 50 <= top < bottom <= 250


def test_a_window_without_objects_shows_none_where_that_can_be():
    given = record(640, 640, squares(*((x, y) for x in (100, 300, 500) for y in (100, 300, 500))))
    for seed in range(20):
        rectangle = draw_window(
            given, 640, 640, side=64, aim=BACKGROUND, generator=np.random.default_rng(seed)
        )
        target = Target(given.boxes, given.labels, given.ignored)
        assert len(cut_target(target, rectangle, min_visibility=0.25)) == 0


def test_a_window_ends_where_the_image_does():
    given = record(200, 40, squares((150, 10)))
    left, top, right, bottom = draw_window(
        given, 200, 40, side=64, aim=0, generator=np.random.default_rng(0)
    )
    assert (top, bottom, right - left) == (0, 40, 64)


def test_aims_that_no_plan_has_chosen():
    generator = np.random.default_rng(0)
    given = record(640, 640, squares((10, 10), (50, 50)))
    assert draw_aim(given, fits=True, generator=generator) == WHOLE
    assert {draw_aim(given, fits=False, generator=generator) for _ in range(20)} == {0, 1}
    assert draw_aim(record(640, 640, []), fits=False, generator=generator) == BACKGROUND


# What counts -----------------------------------------------------------------------------------


def test_objects_cut_by_the_border_are_kept_or_ignored_by_what_is_seen_of_them():
    boxes = np.array(
        [
            (0, 10, 20, 20),
            (90, 10, 111, 20),
            (98, 40, 118, 50),
            (200, 10, 210, 20),
            (99, 9, 102, 70),
        ],
        np.float32,
    )
    target = Target(boxes, np.arange(5), np.array([False, False, False, False, True]))
    shown = cut_target(target, (10, 5, 100, 60), min_visibility=0.25)
    assert shown.labels.tolist() == [0, 1, 2, 4]
    assert shown.ignored.tolist() == [False, False, True, True]
    assert shown.boxes.tolist() == [
        [0, 5, 10, 15],
        [80, 5, 90, 15],
        [88, 35, 90, 45],
        [89, 4, 90, 55],
    ]


def test_no_objects_to_cut():
    assert len(cut_target(Target.empty(), (0, 0, 5, 5), min_visibility=0.5)) == 0


# Batches ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Dataset:
    """Scenes of gray with white squares, which show where a window was cut."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    records = []
    for number, (width, height) in enumerate([(200, 150), (150, 220), (50, 40), (300, 60)]):
        corners = rng.integers(0, (width - 8, height - 8), (6, 2)) if number else np.zeros((0, 2))
        boxes = squares(*map(tuple, corners.astype(int).tolist()))
        pixels = np.full((height, width, 3), 60, np.uint8)
        for left, top, right, bottom in np.array(boxes, int).reshape(-1, 4):
            pixels[top:bottom, left:right] = 250
        path = folder / f"scene {number}.png"
        Image.fromarray(pixels).save(path)
        records.append(record(width, height, boxes, str(path)))
    return Dataset(tuple(records), ("square",), folder, "drawn")


AUGMENTATION = Augmentation(
    flip_vertical=True, quarter_turns=True, scale=(0.8, 1.25), brightness=0.1, mosaic=0.2
)


def content(batch) -> tuple:
    tensors = (batch.images, batch.boxes, batch.labels, batch.ignored, batch.counts)
    return (*(tensor.numpy().tobytes() for tensor in tensors), batch.names, batch.indices)


def contents(dataset: Dataset, start: int = 0, **options) -> list[tuple]:
    made = training_batches(
        dataset, PREPARATION, options.pop("augmentation", AUGMENTATION),
        **{"batch": 4, "seed": 3, "workers": 0, **options},
    )  # fmt: skip
    found = [content(batch) for batch in made.epoch(1, start_step=start)]
    assert len(found) == made.steps - start
    made.close()
    return found


def test_the_same_windows_whatever_the_workers_the_cache_and_the_start(scenes):
    expected = contents(scenes)
    assert contents(scenes, start=3) == expected[3:]
    assert contents(scenes, cache_megabytes=1) == expected
    assert contents(scenes, seed=4) != expected
    assert contents(scenes, workers=1) == expected


def test_two_processes_make_the_windows_of_one(scenes):
    whole, *parts = (
        list(
            training_batches(
                scenes, PREPARATION, AUGMENTATION, batch=4, workers=0, rank=rank, processes=count
            ).epoch(0)
        )
        for rank, count in ((0, 1), (0, 2), (1, 2))
    )
    for one, *two in zip(whole, *parts, strict=True):
        assert torch.equal(one.images, torch.cat([part.images for part in two]))


@pytest.mark.parametrize(
    "augmentation",
    [None, Augmentation(), AUGMENTATION, lambda sample, generator: sample],
    ids=["none", "flip", "all", "own"],
)
def test_boxes_lie_where_the_squares_are(scenes, augmentation):
    made = training_batches(scenes, PREPARATION, augmentation, batch=4, workers=0)
    seen = 0
    for batch in made.epoch(0):
        assert batch.images.shape[2:] == (SIDE, SIDE)
        for image, boxes, ignored, count in zip(
            batch.images.numpy(), batch.boxes.numpy(), batch.ignored, batch.counts, strict=True
        ):
            for box, region in zip(boxes[:count], ignored[:count], strict=True):
                left, top, right, bottom = np.round(box).astype(int).clip(0, SIDE)
                assert 0 <= box.min() < box.max() <= SIDE
                if not region and right - left > 3 and bottom - top > 3:
                    inner = image[:, top + 1 : bottom - 1, left + 1 : right - 1]
                    assert inner.mean() > 180
                    seen += 1
    assert seen > 10


def test_a_scale_shows_less_of_the_scene(scenes):
    doubled = Preparation("windows", SIDE, scale=2.0)
    made = training_batches(scenes, doubled, Augmentation(), batch=4, workers=0)
    widths = []
    for batch in made.epoch(0):
        for boxes, ignored, count in zip(batch.boxes, batch.ignored, batch.counts, strict=True):
            sides = (boxes[:count, 2] - boxes[:count, 0])[~ignored[:count]]
            widths += sides.tolist()
    assert np.median(widths) == pytest.approx(16, abs=0.6)


def test_only_the_window_is_read(scenes, monkeypatch):
    asked = []
    raster = batches_module.OpenRasters().open(scenes.records[0].path, batches_module.RGB)
    original = type(raster).read
    monkeypatch.setattr(
        type(raster),
        "read",
        lambda self, *rectangle: asked.append(rectangle) or original(self, *rectangle),
    )
    monkeypatch.setattr(batches_module, "read_image", None)
    made = training_batches(scenes, PREPARATION, None, batch=4, workers=0)
    assert sum(len(batch) for batch in made.epoch(0)) == made.steps * 4
    assert len(asked) == made.steps * 4
    assert all(r - l <= SIDE and b - t <= SIDE for l, t, r, b in asked)  # noqa: E741


def test_windows_to_calibrate_with(scenes):
    made = sample_windows(scenes, PREPARATION, batches_module.RGB, count=5)
    assert len(made) == 5
    assert all(max(each.shape[:2]) <= SIDE for each in made)
    again = sample_windows(scenes, PREPARATION, batches_module.RGB, count=5)
    assert all(map(np.array_equal, made, again))
    assert sample_windows(scenes[:0], PREPARATION, batches_module.RGB, count=5) == []


def test_a_broken_scene_is_replaced(scenes, tmp_path, caplog):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    records = (*scenes.records, record(300, 300, squares((5, 5)), str(broken)))
    dataset = Dataset(records, scenes.classes, tmp_path)
    made = training_batches(
        dataset, PREPARATION, AUGMENTATION, batch=4, workers=0, bad_images="skip"
    )
    assert all(len(batch) == 4 for batch in made.epoch(0))
    assert "broken.png" in caplog.text


def test_sizes_draw_a_scale_for_each_batch(scenes):
    made = training_batches(
        scenes, PREPARATION, Augmentation(), batch=4, workers=0, sizes=(SIDE, 2 * SIDE)
    )
    found = list(made.epoch(0))
    assert {tuple(batch.images.shape[2:]) for batch in found} == {(SIDE, SIDE)}


def test_what_holds_no_data_is_filled_as_padding_and_not_looked_for(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.full((3, 64, 640), 99, np.uint8)
    values[:, :, :480] = 0
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=640, height=64, count=3, dtype="uint8", nodata=0,
        crs="EPSG:32631", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 4e6),
    ) as file:  # fmt: skip
        file.write(values)
    dataset = Dataset((record(640, 64, [], str(path)),), ("thing",), tmp_path)
    preparation = Preparation("windows", SIDE, fill=(7, 7, 7))
    made = training_batches(dataset, preparation, None, batch=10, workers=0)
    shown = torch.cat([batch.images for epoch in range(3) for batch in made.epoch(epoch)])
    assert shown.unique().tolist() == [7, 99]
    assert (shown == 99).float().mean() > 0.4  # a quarter of the scene
