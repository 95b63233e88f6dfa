"""In which precision a network computes: bfloat16 where the hardware has it, else float32.

Prediction on a CPU may be in 8-bit integers too: see `foveal.models.quantisation`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

Precision = Literal["auto", "float32", "bf16"]

_INT8: ContextVar[bool] = ContextVar("int8", default=False)


def choose_precision(wanted: Precision, device: torch.device | str) -> torch.dtype:
    """The type to compute in: what is wanted, or for 'auto' bfloat16 where it is fast."""
    if wanted == "auto":
        return torch.bfloat16 if has_fast_bfloat16(torch.device(device)) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 is clearly faster than float32.

    On a CPU that is one with a matrix unit for it (AMX). Vector instructions alone
    (AVX-512 BF16) gave half the speed of float32 where they were measured.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
    return False


def autocast_precision(device: torch.device) -> torch.dtype | None:
    """What matrix products and convolutions run in on a device now; None without autocast."""
    enabled = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if enabled else None


def computes_in_int8() -> bool:
    """Whether convolutions that have ranges compute in 8-bit integers now."""
    return _INT8.get()


@contextmanager
def autocast(device: torch.device | str, precision: torch.dtype) -> Iterator[None]:
    """A context in which matrix products and convolutions run in `precision`."""
    token = _INT8.set(precision is torch.int8)
    reduced = precision is torch.bfloat16
    try:
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=reduced):
            yield
    finally:
        _INT8.reset(token)
