"""Freed memory that stays with the process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
import torch

from foveal.acceleration import allocator

AGAIN_AND_AGAIN = """
import resource, torch
from foveal.acceleration.allocator import keep_freed_memory
keep_freed_memory(torch.device("cpu"))
for _ in range(40):
    torch.ones({size})
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones({size})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SIZE = 10_000_000
"""Values of 4 bytes: above the 32 MB from which glibc gives blocks back at once."""
PAGES = 4 * SIZE // resource.getpagesize()


def new_pages(**environment: str) -> int:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    program = AGAIN_AND_AGAIN.format(size=SIZE)
    call = subprocess.run(
        [sys.executable, "-c", program],
        env={**own, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(call.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None,
    reason="needs glibc",
)
def test_a_large_tensor_finds_the_pages_of_the_one_before() -> None:
    """After a while, when there are holes that fit; and not where the user has chosen otherwise."""
    assert new_pages() < PAGES
    assert new_pages(MALLOC_MMAP_MAX_="65536") > 4 * PAGES


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
