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
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = -1
_STEP = 64 * 2**20
"""How much more than is asked for the process takes from the system at a time."""


def keep_freed_memory(device: torch.device) -> None:
    """Let this process keep what it frees, where it computes on a CPU and its libc is glibc.

    For the whole process, once. Whoever has chosen otherwise by one of glibc's environment
    variables (MALLOC_...) keeps that choice.
    """
    if device.type == "cpu" and not any(name.startswith("MALLOC_") for name in os.environ):
        _keep()


@cache
def _keep() -> bool:
    """Whether there was a libc that could be told."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(parameter, value)
        for parameter, value in (
            (_MMAP_MAX, 0),
            (_TRIM_THRESHOLD, _NEVER),
            (_TOP_PAD, _STEP),
        )
    )
