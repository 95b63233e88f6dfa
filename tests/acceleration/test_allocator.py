"""Freed memory that stays with the process."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
import torch
from tests import forked

from foveal.acceleration import allocator

SIZE = 10_000_000
"""Values of 4 bytes: above the 32 MB from which glibc gives blocks back at once."""
PAGES = 4 * SIZE // resource.getpagesize()
BEFORE = 10
"""Tensors until it has settled."""


def say_new_pages(chosen: dict[str, str]) -> None:
    """Of 5 large tensors, after others; `chosen` are variables of the environment."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        del os.environ[name]
    os.environ |= chosen
    allocator.keep_freed_memory(torch.device("cpu"))
    for _ in range(BEFORE):
        torch.ones(SIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(SIZE)
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


def new_pages(folder: Path, **chosen: str) -> int:
    (done,) = forked.run(say_new_pages, chosen, folder=folder)
    assert done.code == 0, done.complaint
    return int(done.said)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None,
    reason="needs glibc",
)
def test_a_large_tensor_finds_the_pages_of_the_one_before(tmp_path: Path) -> None:
    """After a while, when there are holes that fit; and not where the user has chosen otherwise."""
    assert new_pages(tmp_path) < PAGES
    assert new_pages(tmp_path, MALLOC_MMAP_MAX_="65536") > 4 * PAGES


def test_only_where_a_cpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(allocator, "_keep", lambda: told.append(True))
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    allocator.keep_freed_memory(torch.device("cuda"))
    assert not told
    allocator.keep_freed_memory(torch.device("cpu"))
    assert told


def test_what_was_told_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[int, int]] = []
    monkeypatch.setattr(allocator, "tell_libc", lambda values: told.append(values) or True)
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    allocator._keep.cache_clear()
    try:
        assert not allocator.keeps_freed_memory()
        allocator.keep_freed_memory(torch.device("cpu"))
        allocator.keep_freed_memory(torch.device("cpu"))
        assert allocator.keeps_freed_memory()
        assert told == [allocator.KEEPING]
    finally:
        allocator._keep.cache_clear()
