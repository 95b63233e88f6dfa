"""One rule for the device."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import foveal
from foveal.devices import choose_device
from foveal.errors import SettingsError
from foveal.runtimes.pytorch import PyTorchRuntime
from foveal.training import setup


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def make(*, cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return make


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (2, True, "cuda")]
)
def test_auto_takes_an_accelerator_where_there_is_one(machine, cuda, mps, expected):
    machine(cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:0", "cuda:1", "mps"])
def test_what_is_there_is_given(machine, wanted):
    machine(cuda=2, mps=True)
    assert choose_device(wanted) == torch.device(wanted)


@pytest.mark.parametrize("wanted", ["gpu", "", "cuda:x", "CPU", "meta", "xpu"])
def test_an_unknown_device(machine, wanted):
    machine(cuda=1)
    with pytest.raises(SettingsError, match=r"Expected auto, cpu, cuda, cuda:1, mps\."):
        choose_device(wanted)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps", "cpu:1"])
def test_a_device_that_is_not_there(machine, wanted):
    machine()
    with pytest.raises(SettingsError, match=r"is not there: this machine has cpu\. Expected auto"):
        choose_device(wanted)


def test_what_is_there_is_named(machine):
    machine(cuda=2, mps=True)
    with pytest.raises(SettingsError, match=r"'cuda:2' .*has cpu, cuda:0, cuda:1, mps\."):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (1, True, "cuda")]
)
def test_training_and_prediction_take_the_same(machine, monkeypatch, cuda, mps, expected):
    machine(cuda=cuda, mps=mps)
    moved, on_cpu = [], []

    class Network(torch.nn.Module):
        def to(self, device):
            moved.append(device)

    monkeypatch.setattr("accelerate.Accelerator", lambda **options: on_cpu.append(options["cpu"]))
    setup.make_accelerator()
    PyTorchRuntime(Network())
    assert moved == [torch.device(expected)]
    assert on_cpu == [expected == "cpu"]


def test_nothing_else_asks_what_the_machine_has():
    """Each of these modules would be a second rule."""
    source = Path(foveal.__file__).parent
    asking = re.compile(r"(cuda|mps|xpu)\.(is_available|device_count)\(")
    found = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if asking.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"devices.py", "data/loading/workers.py"}  # the latter pins memory, no more
