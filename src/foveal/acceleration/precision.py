"""In which precision a network computes: bfloat16 where it is faster, else float32.

On a CPU no list of instructions tells which is faster: of two processors with AVX-512 BF16 one took
twice as long in bfloat16 as in float32, the other half as long. So it is measured, once.
"""

from __future__ import annotations

from typing import Literal

import torch

from foveal.acceleration.precision_timing import HOPELESS, remembered_timing

Precision = Literal["auto", "float32", "bf16"]

NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}
TYPES = {name: dtype for dtype, name in NAMES.items()}


def choose_precision(wanted: Precision, device: torch.device | str) -> torch.dtype:
    """The type to compute in: what is wanted, or for 'auto' what is faster.

    On a CPU 'auto' measures a quarter of a second long, once for each machine and version of torch.
    On CUDA it is bfloat16 where the device has it; elsewhere float32.
    """
    device = torch.device(device)
    if wanted != "auto":
        return TYPES[wanted]
    if device.type == "cpu":
        return torch.bfloat16 if remembered_timing().prefers_bf16 else torch.float32
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float32


def explain_precision(wanted: Precision, device: torch.device | str) -> str:
    """One sentence for people: what `choose_precision` chooses, and why."""
    device = torch.device(device)
    name = NAMES[choose_precision(wanted, device)]
    if wanted != "auto":
        return f"Computing in {name}, as it was asked for."
    if device.type == "cpu":
        ratio = remembered_timing().ratio
        other, ratio = ("float32", 1 / ratio) if name == "bf16" else ("bf16", ratio)
        times = f"{ratio:.1f}" if ratio <= HOPELESS else f"more than {HOPELESS:.0f}"
        return f"Computing in {name}: {other} takes {times} times as long on this processor."
    if name == "bf16":
        return "Computing in bf16, which this device has."
    return "Computing in float32: this device has no bf16, or none that foveal uses."


def autocast(device: torch.device | str, precision: torch.dtype) -> torch.autocast:
    """A context in which matrix products and convolutions run in `precision`."""
    reduced = precision is torch.bfloat16
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=reduced)
