"""Freed memory stays with the process, so that the next tensors need no new pages.

glibc gives every block of more than 32 MB back to the system when it is freed; the next tensor of
that size is then filled with zeros by the kernel, a page at a time, before anything is computed. On
features of several images that takes longer than many a convolution. The price: what is freed is
not another process's, and holes between tensors make the peak some 10 to 20 % higher.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import torch

# The parameters of mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4

KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: -1, TOP_PAD: 64 * 2**20}
"""No blocks of their own, nothing given back, and 64 MB at a time taken from the system."""


def keep_freed_memory(device: torch.device) -> None:
    """Let this process keep what it frees, where it computes on a CPU and its libc is glibc.

    For the whole process, once. Whoever has chosen otherwise by one of glibc's environment
    variables (MALLOC_...) keeps that choice.
    """
    if device.type == "cpu" and not any(name.startswith("MALLOC_") for name in os.environ):
        _keep()


def keeps_freed_memory() -> bool:
    """Whether `keep_freed_memory` has told the allocator so in this process."""
    return _keep.cache_info().currsize > 0 and _keep()


@cache
def _keep() -> bool:
    return tell_libc(KEEPING)


def tell_libc(parameters: dict[int, int]) -> bool:
    """Set parameters of glibc's allocator; False where there is none that could be told."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*parameter) for parameter in parameters.items())
