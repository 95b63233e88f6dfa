"""Dynamic batching: groups by key, full or waited for, and one bad item harms only itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import pytest

from foveal.serving.batching import Batcher


class Doubles:
    """Doubles numbers, and remembers in which batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, key, items):
        self.go.wait(5)
        self.batches.append((key, list(items)))
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


@pytest.fixture
def doubles():
    return Doubles()


def held(doubles, **options):
    """A batcher whose thread computes one item until `doubles.go` is set."""
    doubles.go.clear()
    batcher = Batcher(doubles, **options)
    first = batcher.submit("first", 0)
    while batcher.waiting:
        time.sleep(0.001)
    return batcher, first


def test_what_waits_is_computed_together_by_key_and_up_to_the_number(doubles):
    batcher, _ = held(doubles, batch=3, wait=0.0)
    futures = [batcher.submit("ab"[n % 2], n) for n in range(8)]
    doubles.go.set()
    assert [future.result(5) for future in futures] == [2 * n for n in range(8)]
    batcher.close()
    assert sorted(doubles.batches[1:]) == [
        ("a", [0, 2, 4]), ("a", [6]), ("b", [1, 3, 5]), ("b", [7])
    ]  # fmt: skip


def test_a_group_that_is_not_full_waits_for_its_time_only(doubles):
    batcher = Batcher(doubles, batch=100, wait=0.05)
    begin = time.monotonic()
    futures = [batcher.submit("a", 1), batcher.submit("a", 2)]
    assert [future.result(5) for future in futures] == [2, 4]
    assert time.monotonic() - begin >= 0.05
    batcher.close()
    assert doubles.batches == [("a", [1, 2])]


def test_a_full_group_does_not_wait(doubles):
    batcher = Batcher(doubles, batch=2, wait=1000)
    alone = batcher.submit("b", 5)
    futures = [batcher.submit("a", 1), batcher.submit("a", 2)]
    assert [future.result(5) for future in futures] == [2, 4]
    assert not alone.done()
    batcher.close()
    assert alone.result(0) == 10


def test_a_bad_item_harms_only_itself(doubles):
    batcher, _ = held(doubles, batch=4, wait=0.0)
    futures = [batcher.submit("a", n) for n in (1, 13, 3)]
    doubles.go.set()
    assert [futures[0].result(5), futures[2].result(5)] == [2, 6]
    with pytest.raises(ValueError, match="13"):
        futures[1].result(5)
    assert batcher.submit("a", 4).result(5) == 8
    batcher.close()


def test_what_nobody_waits_for_is_not_computed(doubles):
    batcher, _ = held(doubles, batch=4, wait=0.0)
    futures = [batcher.submit("a", n) for n in (1, 2)]
    assert futures[0].cancel()
    doubles.go.set()
    assert futures[1].result(5) == 4
    with pytest.raises(CancelledError):
        futures[0].result(5)
    batcher.close()
    assert ("a", [2]) in doubles.batches


def test_closing_computes_what_waits_and_takes_nothing_more(doubles):
    batcher = Batcher(doubles, batch=100, wait=1000)
    futures = [batcher.submit("a", n) for n in range(5)]
    batcher.close()
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", 1)


def test_nothing_was_handed_in(doubles):
    Batcher(doubles, batch=1, wait=0).close()
    assert doubles.batches == []
