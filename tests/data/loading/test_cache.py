"""The cache: within its memory, shared with forked processes, harmless where sizes were wrong."""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np
import pytest

from foveal.data.loading.cache import ImageCache

SIZES = np.array([[10, 10], [1000, 500], [3, 7], [1000, 1000]], np.int64)


def image(width: int, height: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_keeps_what_fits():
    cache = ImageCache(SIZES, bands=3, megabytes=2)
    assert (cache.places, len(cache)) == (3, 0)
    assert cache.get(1) is None
    cache.put(1, image(1000, 500, 5))
    cache.put(2, image(3, 7, 6))
    cache.put(3, image(1000, 1000, 7))
    assert len(cache) == 2
    assert (cache.get(1) == 5).all()
    assert (cache.get(2) == image(3, 7, 6)).all()
    assert cache.get(0) is cache.get(3) is None
    with pytest.raises(ValueError, match="read-only"):
        cache.get(2)[0] = 1


def test_image_of_another_size_than_said_is_not_kept():
    cache = ImageCache(SIZES, bands=3, megabytes=2)
    cache.put(0, image(10, 11, 5))
    assert cache.get(0) is None


@pytest.mark.parametrize("megabytes", [0, 1])
def test_without_images_or_memory(megabytes):
    cache = ImageCache(np.zeros((0, 2), np.int64), bands=3, megabytes=megabytes)
    assert (cache.places, len(cache)) == (0, 0)
    assert cache.get(0) is None
    assert ImageCache(SIZES[1:2], bands=3, megabytes=0).places == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_what_a_forked_process_puts_is_found_here():
    cache = ImageCache(SIZES, bands=3, megabytes=2)
    child = os.fork()
    if child == 0:
        cache.put(2, image(3, 7, 9))
        os._exit(0)
    os.waitpid(child, 0)
    assert (cache.get(2) == 9).all()


def test_a_process_started_afresh_has_its_share_of_the_memory():
    cache = ImageCache(SIZES, bands=3, megabytes=8, shares=4)
    cache.put(0, image(10, 10, 1))
    other = pickle.loads(pickle.dumps(cache))
    assert (cache.places, other.places, len(other)) == (4, 3, 0)
