"""Memory peaks. The process that is measured imports this file, so it imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.lib import memory


def allocate(megabytes: int, kept: int) -> Any:
    """For the next test, which runs it in a process of its own."""
    weights = np.ones(kept * 2**20, np.uint8)

    def work() -> int:
        return int(np.ones(megabytes * 2**20, np.uint8).sum()) + len(weights)

    return work


def fail() -> None:
    raise SystemExit(3)


def test_a_memory_process_that_ends_early_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"fail.* ended with code 3"):
        memory.peak_megabytes(fail, device="cpu")


def test_peaks_of_several_points_in_one_process() -> None:
    peaks = memory.peaks_megabytes(allocate, [(16, 16), (64, 128)], device="cpu")
    assert [complete for _, complete in peaks] == [True, True]
    assert peaks[0][0] == pytest.approx(32, abs=16)
    assert peaks[1][0] == pytest.approx(192, abs=24)


@pytest.mark.parametrize(("whole", "expected"), [(True, 70), (False, 50)])
def test_peak_memory_of_a_gpu(whole: bool, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch's allocator, in megabytes: 30 are there, 20 are made, 50 added."""
    import torch

    held, peak = [30], [99]

    def make() -> Any:
        held[0] += 20

        def work() -> None:
            peak[0] = held[0] + 50

        return work

    stand_in = {
        "memory_allocated": lambda: held[0] * 2**20,
        "max_memory_allocated": lambda: peak[0] * 2**20,
        "reset_peak_memory_stats": lambda: peak.__setitem__(0, held[0]),
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }
    for name, function in stand_in.items():
        monkeypatch.setattr(torch.cuda, name, function)
    found = memory.peak_megabytes(make, device="cuda", whole=whole)
    assert found == (expected, True)
