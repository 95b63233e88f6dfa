"""Loading: the same batches whatever the workers, processes and start, and bad images named."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from foveal.data.dataset import Dataset, Record
from foveal.data.loading.loader import training_batches
from foveal.data.loading.workers import choose_workers, workers_that_fit
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import Preparation
from foveal.data.transforms.user import from_torchvision
from foveal.errors import ImageError, SettingsError
from foveal.structures import Batch, PixelRange

PREPARATION = Preparation(shorter=64, longer=128)
AUGMENTATION = Augmentation(
    scale=(0.7, 1.5), rotation=10, brightness=0.2, hue=0.05, noise=3, mosaic=0.4, quarter_turns=True
)
SIZES = [(40, 40), (60, 40), (40, 60), (50, 50), (61, 40)]


def make_dataset(folder: Path, count: int = 11, *, sized: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        path = folder / f"image {number}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        objects = number % 3
        corners = np.sort(rng.uniform(0, (width, height), (objects, 2, 2)), axis=1)
        records.append(
            Record(
                path,
                width if sized else 0,
                height if sized else 0,
                corners.reshape(-1, 4).astype(np.float32),
                np.full(objects, number, np.int64),
                np.zeros(objects, np.bool_),
            )
        )
    return Dataset(tuple(records), tuple(map(str, range(count))), folder, "drawn")


def content(batch: Batch) -> tuple:
    tensors = (batch.images, batch.boxes, batch.labels, batch.ignored, batch.counts)
    return (*(tensor.numpy().tobytes() for tensor in tensors), batch.names, batch.indices)


def contents(dataset: Dataset, epochs: tuple[int, ...] = (0, 1), start: int = 0, **options):
    batches = training_batches(
        dataset, PREPARATION, options.pop("augmentation", AUGMENTATION),
        **{"batch": 4, "seed": 3, "workers": 0, **options},
    )  # fmt: skip
    found = [[content(b) for b in batches.epoch(epoch, start_step=start)] for epoch in epochs]
    assert all(len(batch) == batches.steps - start for batch in found)
    batches.close()
    return found


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def expected(dataset):
    return contents(dataset)


def test_number_of_workers_changes_nothing(dataset, expected):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    for workers in range(1, min(2, cores) + 1):
        assert contents(dataset, workers=workers, cache_megabytes=1) == expected


def test_cache_changes_nothing(dataset, expected):
    for megabytes in (1, 100):
        assert contents(dataset, cache_megabytes=megabytes) == expected


def test_epochs_and_seeds_differ(dataset, expected):
    assert expected[0] != expected[1]
    assert contents(dataset, seed=4) != expected


def test_starts_at_any_step(dataset, expected):
    for workers in (0, 1):
        batches = training_batches(
            dataset, PREPARATION, AUGMENTATION, batch=4, seed=3, workers=workers
        )
        for start in range(batches.steps + 1):
            rest = [content(batch) for batch in batches.epoch(1, start_step=start)]
            assert rest == expected[1][start:]
        batches.close()


def test_an_epoch_that_was_left_leaves_no_trace(dataset, expected):
    batches = training_batches(dataset, PREPARATION, AUGMENTATION, batch=4, seed=3, workers=1)
    for _ in range(2):
        assert content(next(iter(batches.epoch(0)))) == expected[0][0]
        assert [content(batch) for batch in batches.epoch(1)] == expected[1]
    batches.close()


def test_two_processes_make_the_batches_of_one(dataset):
    whole = training_batches(dataset, PREPARATION, AUGMENTATION, batch=4, seed=3, workers=0)
    parts = [
        training_batches(
            dataset, PREPARATION, AUGMENTATION, batch=4, seed=3, workers=0, rank=r, processes=2
        )
        for r in (0, 1)
    ]
    for one, *two in zip(whole.epoch(0), *(part.epoch(0) for part in parts), strict=True):
        assert torch.equal(one.images, torch.cat([part.images for part in two]))
        assert one.names == two[0].names + two[1].names
        assert torch.equal(one.counts, torch.cat([part.counts for part in two]))
    with pytest.raises(SettingsError, match="can't be divided"):
        training_batches(dataset, PREPARATION, None, batch=3, processes=2, workers=0)


def test_batches_hold_every_image_and_its_objects(dataset):
    batches = training_batches(dataset, PREPARATION, None, batch=4, workers=0)
    assert len(batches) == batches.steps == 3
    seen = set()
    for batch in batches.epoch(0):
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert len(batch) == 4
        for row, index in enumerate(batch.indices):
            record = dataset.records[index]
            assert batch.names[row] == str(record.path)
            count = int(batch.counts[row])
            assert count == len(record)
            back = batch.placements[row].to_original(batch.boxes[row, :count].numpy())
            np.testing.assert_allclose(back, record.boxes.reshape(-1, 4), atol=1e-3)
            assert (batch.labels[row, :count] == index).all()
            seen.add(index)
    assert seen == set(range(len(dataset)))


def test_data_set_smaller_than_a_batch(dataset):
    batches = training_batches(dataset[:3], PREPARATION, AUGMENTATION, batch=8, workers=0)
    (batch,) = batches.epoch(0)
    assert len(batch) == 8
    assert set(batch.indices) == {0, 1, 2}
    assert len({image.numpy().tobytes() for image in batch.images}) == 8  # changed anew each time


def test_no_image_is_an_error(dataset):
    with pytest.raises(ImageError, match="drawn: has no image"):
        training_batches(dataset[:0], PREPARATION, None, batch=2, workers=0)


def test_sizes_are_drawn_for_each_batch(dataset):
    batches = training_batches(dataset, PREPARATION, None, batch=2, workers=0, sizes=(32, 64, 96))
    assert len({batch.images.shape[2:] for batch in batches.epoch(0)}) > 2


def test_size_that_no_record_says_is_read_from_the_header(tmp_path, dataset):
    unsized = make_dataset(tmp_path, sized=False)
    for one, other in zip(
        training_batches(unsized, PREPARATION, None, batch=3, workers=0).epoch(0),
        training_batches(dataset, PREPARATION, None, batch=3, workers=0).epoch(0),
        strict=True,
    ):
        assert one.indices == other.indices
        assert torch.equal(one.images, other.images)


def test_size_that_a_record_says_wrongly_does_no_harm(tmp_path):
    wrong = make_dataset(tmp_path, 3)
    records = tuple(Record(r.path, 7, 300, r.boxes, r.labels, r.ignored) for r in wrong.records)
    dataset = Dataset(records, wrong.classes, tmp_path, "wrong")
    for augmentation in (None, AUGMENTATION):
        batches = training_batches(
            dataset, PREPARATION, augmentation, batch=3, workers=0, cache_megabytes=1
        )
        for batch in batches.epoch(0):
            assert (batch.boxes[..., 2] <= batch.images.shape[3] + 1e-3).all()
            assert (batch.boxes[..., 3] <= batch.images.shape[2] + 1e-3).all()


def break_images(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"image {number}.png").write_bytes(b"this is no image")


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_stops_with_its_name(tmp_path, workers):
    dataset = make_dataset(tmp_path)
    break_images(tmp_path, 4)
    batches = training_batches(dataset, PREPARATION, AUGMENTATION, batch=4, workers=workers)
    with pytest.raises(ImageError, match=r"^\S*image 4\.png: is no image"):
        list(batches.epoch(0))
    batches.close()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("sized", [True, False])
def test_broken_image_is_skipped_named_once_and_replaced(tmp_path, caplog, workers, sized):
    dataset = make_dataset(tmp_path, sized=sized)
    break_images(tmp_path, 2, 4)
    options = {"batch": 4, "workers": workers, "bad_images": "skip"}
    with caplog.at_level(logging.WARNING):
        batches = training_batches(dataset, PREPARATION, AUGMENTATION, **options)
        for epoch in range(2):
            found = list(batches.epoch(epoch))
            assert len(found) == batches.steps == 3
            assert all(len(batch) == 4 for batch in found)
            indices = {index for batch in found for index in batch.indices}
            assert indices == set(range(11)) - {2, 4}
        batches.close()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert sorted("image 2.png" in line for line in lines) == [False, True]


def test_only_broken_images_stop_in_the_end(tmp_path):
    dataset = make_dataset(tmp_path, 3)
    break_images(tmp_path, 0, 1, 2)
    batches = training_batches(dataset, PREPARATION, None, batch=2, workers=0, bad_images="skip")
    with pytest.raises(ImageError, match="images in a row can't be read"):
        list(batches.epoch(0))


def test_foreign_transform_instead_of_ours(dataset):
    change = from_torchvision(v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.3)]))
    one, two = (contents(dataset, augmentation=change, workers=workers) for workers in (0, 1))
    assert one == two


def test_error_in_a_foreign_transform_names_the_image(dataset):
    def fail(sample, generator):
        raise ZeroDivisionError("on purpose")

    batches = training_batches(dataset, PREPARATION, fail, batch=2, workers=0)
    with pytest.raises(ZeroDivisionError) as caught:
        list(batches.epoch(0))
    assert any("image" in note for note in caught.value.__notes__)


def test_bands_and_their_limits_reach_the_reader(tmp_path):
    import tifffile

    values = np.full((20, 30, 4), 1500, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    dataset = Dataset((Record(tmp_path / "a.tif", 0, 0, *none),), ("ship",), tmp_path)
    options = {"batch": 1, "workers": 0, "pixel_range": PixelRange(4, (1000,), (2000,))}
    for augmentation in (AUGMENTATION, None):
        (batch,) = training_batches(dataset, PREPARATION, augmentation, **options).epoch(0)
        assert batch.images.shape[1] == 4
    assert (batch.images[0, :, :64, :96] == 128).all()


def test_workers_are_chosen_within_the_cores(caplog):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert choose_workers(0) == 0
    assert 0 <= choose_workers(None) < max(2, cores)
    assert choose_workers(None, processes=1000) == 0
    assert choose_workers(1000) == cores
    assert "1000" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /dev/shm")
def test_workers_need_room_in_shared_memory(monkeypatch, caplog):
    usage = SimpleNamespace(free=64_000_000)
    monkeypatch.setattr("foveal.data.loading.workers.shutil.disk_usage", lambda path: usage)
    assert workers_that_fit(8, prefetch=2, batch_bytes=1000) == 8
    assert not caplog.text
    assert workers_that_fit(8, prefetch=2, batch_bytes=8_000_000) == 2
    assert "--shm-size" in caplog.text
    assert workers_that_fit(8, prefetch=2, batch_bytes=100_000_000) == 0
    assert workers_that_fit(0, prefetch=2, batch_bytes=100_000_000) == 0
