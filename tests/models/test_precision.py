import pytest
import torch

from foveal.models.precision import autocast, choose_precision, has_fast_bfloat16


@pytest.mark.parametrize(
    ("wanted", "expected"), [("bf16", torch.bfloat16), ("float32", torch.float32)]
)
def test_what_is_asked_for_is_what_comes(wanted, expected):
    assert choose_precision(wanted, "cpu") is expected


@pytest.mark.parametrize("fast", [True, False])
def test_auto_follows_the_processor(monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: fast, raising=False)
    assert has_fast_bfloat16(torch.device("cpu")) is fast
    assert choose_precision("auto", "cpu") is (torch.bfloat16 if fast else torch.float32)


def test_auto_is_float32_on_other_devices():
    assert choose_precision("auto", "mps") is torch.float32


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_products_run_in_the_precision(precision):
    matrix = torch.ones(2, 2)
    with autocast("cpu", precision):
        assert (matrix @ matrix).dtype is precision
