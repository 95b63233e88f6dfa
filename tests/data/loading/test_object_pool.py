"""Objects to paste: every class as often as any other, cut out with all that they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import Dataset, Record
from foveal.data.loading.batches import make_cutout
from foveal.data.loading.loader import training_batches
from foveal.data.loading.object_pool import around, pool_objects
from foveal.data.loading.phases import Phases
from foveal.data.synthetic import draw_dataset
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import Preparation
from foveal.structures import Sample, Target


def record(*labels: int, ignored: bool = False) -> Record:
    count = len(labels)
    boxes = np.tile(np.array([[1, 2, 8, 9]], np.float32), (count, 1))
    return Record(
        Path("none.png"), 20, 20, boxes, np.array(labels, np.int64), np.full(count, ignored)
    )


def test_rare_classes_come_as_often_as_others():
    records = [record(*[0] * 40), record(2), record(1, ignored=True), record(), record(0, 0)]
    pool = pool_objects(records, np.array([0, 1, 2, 3]))
    assert len(pool) == 41
    generator = np.random.default_rng(0)
    drawn = [pool.draw(generator) for _ in range(400)]
    assert 160 <= drawn.count((1, 0)) <= 240
    assert {image for image, _ in drawn} == {0, 1}
    assert len({position for image, position in drawn if image == 0}) > 30


def test_no_objects_are_an_empty_pool():
    assert len(pool_objects([record(), record(0, ignored=True)], np.array([0, 1]))) == 0


def test_the_border_by_hand():
    box = np.array([10, 10, 30, 50], np.float32)
    assert around(box, 100, 100) == (4, 4, 36, 56)
    assert around(box, 33, 52) == (4, 4, 33, 52)
    assert around(np.array([1, 1, 3, 3], np.float32), 100, 100) == (0, 0, 5, 5)


def test_a_cut_shows_the_neighbors_in_its_box():
    boxes = np.array([[10, 10, 30, 30], [12, 12, 20, 20], [25, 10, 65, 30], [60, 60, 70, 70]])
    target = Target(boxes.astype(np.float32), np.arange(4), np.zeros(4, np.bool_))
    cut = Sample(np.zeros((26, 26, 3), np.uint8), Target.empty(), "a")
    found = make_cutout(cut, target, (7, 7, 33, 33), position=0, scale=0.5, min_visibility=0.25)
    assert found is not None
    assert found.sample.target.labels.tolist() == [0, 1, 2]
    assert found.sample.target.ignored.tolist() == [False, False, True]
    assert found.sample.target.boxes.tolist() == [
        [3, 3, 23, 23],
        [5, 5, 13, 13],
        [18, 3, 23, 23],
    ]
    away = (40, 40, 50, 50)
    assert make_cutout(cut, target, away, position=0, scale=1, min_visibility=0) is None


@pytest.mark.parametrize("mode", ["square", "windows"])
def test_a_loader_pastes_until_the_end_of_that(tmp_path, mode):
    """The same batches again from any step; later epochs show what is in the image alone."""
    data = draw_dataset(tmp_path, splits={"train": 4}, size=64)["train"]
    preparation = Preparation(mode=mode, shorter=64)
    batches = training_batches(
        data,
        preparation,
        Augmentation(flip_horizontal=False, copy_paste=1.0),
        batch=2,
        workers=0,
        phases=Phases(strong_until=0.5),
    )
    pasted = list(batches.epoch(0, progress=0.0))
    (rest,) = batches.epoch(0, start_step=1, progress=0.0)
    assert rest == pasted[1]
    assert rest != next(iter(batches.epoch(1, progress=0.0)))
    for batch in batches.epoch(0, progress=0.5):
        for image, index in zip(batch.images, batch.indices, strict=True):
            assert np.array_equal(image.permute(1, 2, 0), data[index].image)
    changed = 0
    for batch in pasted:
        for image, index in zip(batch.images, batch.indices, strict=True):
            changed += not np.array_equal(image.permute(1, 2, 0), data[index].image)
    assert changed == 4


def test_data_without_objects_has_nothing_to_paste(tmp_path):
    data = draw_dataset(tmp_path, splits={"train": 2}, size=64)["train"]
    empty = Dataset(
        tuple(Record(r.path, r.width, r.height, *_nothing()) for r in data.records),
        data.classes,
        data.root,
    )
    batches = training_batches(
        empty, Preparation(mode="square", shorter=64), Augmentation(copy_paste=1.0), batch=2,
        workers=0,
    )  # fmt: skip
    (batch,) = batches.epoch(0)
    assert not batch.counts.any()


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
