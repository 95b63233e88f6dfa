"""In which precision a network computes: bfloat16 where the hardware has it, else float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bf16"]


def choose_precision(wanted: Precision, device: torch.device | str) -> torch.dtype:
    """The type to compute in: what is wanted, or for 'auto' bfloat16 where it is fast."""
    if wanted == "auto":
        return torch.bfloat16 if has_fast_bfloat16(torch.device(device)) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def has_fast_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 is clearly faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def autocast(device: torch.device | str, precision: torch.dtype) -> AbstractContextManager[None]:
    """A context in which matrix products and convolutions run in `precision`."""
    reduced = precision is torch.bfloat16
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=reduced)
