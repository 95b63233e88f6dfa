"""Which precision is chosen, and what is said about it."""

from __future__ import annotations

import pytest
import torch

from foveal.acceleration import precision
from foveal.acceleration.precision import autocast, choose_precision, explain_precision
from foveal.acceleration.precision_timing import Timing

FASTER, EQUAL, SLOWER, HOPELESS = (Timing(1.0, bf16) for bf16 in (0.5, 0.95, 1.6, 200.0))


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "remembered_timing", None)


def measured(monkeypatch: pytest.MonkeyPatch, timing: Timing) -> None:
    monkeypatch.setattr(precision, "remembered_timing", lambda: timing)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize(
    ("wanted", "expected"), [("bf16", torch.bfloat16), ("float32", torch.float32)]
)
def test_what_is_asked_for_is_what_comes(wanted, expected, device):
    assert choose_precision(wanted, device) is expected
    assert explain_precision(wanted, device) == f"Computing in {wanted}, as it was asked for."


@pytest.mark.parametrize(
    ("timing", "expected", "words"),
    [
        (FASTER, torch.bfloat16, "bf16: float32 takes 2.0 times as long on this processor."),
        (EQUAL, torch.float32, "float32: bf16 takes 0.9 times as long on this processor."),
        (SLOWER, torch.float32, "float32: bf16 takes 1.6 times as long on this processor."),
        (HOPELESS, torch.float32, "float32: bf16 takes more than 4 times as long on this"),
    ],
)
def test_auto_on_a_cpu_is_what_was_measured_to_be_faster(monkeypatch, timing, expected, words):
    measured(monkeypatch, timing)
    assert choose_precision("auto", "cpu") is expected
    assert explain_precision("auto", "cpu").startswith(f"Computing in {words}")


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_on_cuda_is_bf16_without_emulation(monkeypatch, has_it):
    def is_supported(*, including_emulation):
        return has_it or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    expected = torch.bfloat16 if has_it else torch.float32
    assert choose_precision("auto", "cuda:1") is expected
    assert ("bf16, which" in explain_precision("auto", "cuda:1")) is has_it


def test_auto_is_float32_on_other_devices():
    assert choose_precision("auto", "mps") is torch.float32
    assert "no bf16" in explain_precision("auto", "mps")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_run_in_the_precision(dtype):
    matrix = torch.ones(2, 2)
    with autocast("cpu", dtype):
        assert (matrix @ matrix).dtype is dtype
