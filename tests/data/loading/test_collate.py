"""Batches: shapes, memory layout and padding by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.data.loading.collate import make_batch, padded_count
from foveal.geometry.placement import Placement
from foveal.structures import Sample, Target


def prepared(value: int, count: int, size=(32, 64), bands: int = 3) -> tuple[Sample, Placement]:
    boxes = np.arange(count * 4, dtype=np.float32).reshape(-1, 4)
    ignored = np.arange(count) % 3 == 2
    target = Target(boxes, np.arange(count, dtype=np.int64) + 1, ignored)
    image = np.full((*size, bands), value, np.uint8)
    return Sample(image, target, f"image {value}"), Placement(value, value)


def test_puts_samples_together():
    batch = make_batch([prepared(1, 2), prepared(2, 9), prepared(3, 0)], indices=(7, 8, 9))
    assert batch.images.shape == (3, 3, 32, 64)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.amax((1, 2, 3)).tolist() == [1, 2, 3]
    assert batch.boxes.shape == (3, 16, 4)
    assert batch.counts.tolist() == [2, 9, 0]
    assert batch.boxes[0, 1].tolist() == [4, 5, 6, 7]
    assert batch.boxes[0, 2:].count_nonzero() == batch.boxes[2].count_nonzero() == 0
    assert batch.labels[0].tolist() == [1, 2] + [0] * 14
    assert batch.ignored[1].nonzero().flatten().tolist() == [2, 5, 8]
    assert batch.has_ignored
    assert batch.names == ("image 1", "image 2", "image 3")
    assert batch.indices == (7, 8, 9)
    assert [placement.width for placement in batch.placements] == [1, 2, 3]


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_batch_without_objects(bands):
    batch = make_batch([prepared(1, 0, bands=bands)] * 2)
    assert batch.images.shape == (2, bands, 32, 64)
    assert batch.boxes.shape == (2, 8, 4)
    assert batch.counts.tolist() == [0, 0]
    assert not batch.has_ignored


def test_takes_images_that_are_laid_already_without_a_copy():
    images = np.zeros((2, 32, 64, 3), np.uint8)
    samples = [(Sample(image, Target.empty()), Placement(1, 1)) for image in images]
    batch = make_batch(samples, images=images)
    images[1, 2, 3] = 9
    assert batch.images[1, :, 2, 3].tolist() == [9, 9, 9]


def test_refuses_what_is_no_batch():
    with pytest.raises(ValueError, match="at least one"):
        make_batch([])
    with pytest.raises(ValueError, match="one input size"):
        make_batch([prepared(1, 0), prepared(1, 0, size=(32, 32))])


def test_places_are_few():
    assert [padded_count(n) for n in (0, 1, 8, 9, 16, 17, 32, 33, 1000)] == [
        8, 8, 8, 16, 16, 32, 32, 64, 1024,
    ]  # fmt: skip


def test_moves_as_a_whole():
    batch = make_batch([prepared(1, 2)], indices=(5,)).to("cpu")
    assert batch.indices == (5,)
    assert len(batch) == 1
