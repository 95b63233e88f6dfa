"""In which precision a network computes: bfloat16 where the hardware has it, else float32."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bf16"]


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


def autocast(device: torch.device | str, precision: torch.dtype) -> torch.autocast:
    """A context in which matrix products and convolutions run in `precision`."""
    return torch.autocast(
        torch.device(device).type,
        dtype=torch.bfloat16,
        enabled=precision is torch.bfloat16,
    )
