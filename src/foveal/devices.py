"""One rule for the device to compute on, in training and in prediction.

The precision to compute in follows from the device: `foveal.acceleration.precision`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import SettingsError

if TYPE_CHECKING:
    import torch

_EXPECTED = "Expected auto, cpu, cuda, cuda:1, mps."


def choose_device(wanted: str) -> torch.device:
    """The device to compute on: what is wanted, or for 'auto' CUDA, else MPS, else the CPU.

    Raises:
        SettingsError: torch knows no such device, or this machine has none.
    """
    import torch

    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if wanted == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if counts[kind]))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SettingsError(f"Device {wanted!r} is unknown. {_EXPECTED}") from None
    if device.type not in counts:
        raise SettingsError(f"Device {wanted!r} can't be used by foveal. {_EXPECTED}")
    if (device.index or 0) >= counts[device.type]:
        raise SettingsError(f"Device {wanted!r} is not there: {_present(counts)}. {_EXPECTED}")
    return device


def _present(counts: dict[str, int]) -> str:
    cuda = [f"cuda:{index}" for index in range(counts["cuda"])]
    return f"this machine has {', '.join(['cpu', *cuda, *(['mps'] if counts['mps'] else [])])}"
