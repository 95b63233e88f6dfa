"""What is measured, for how long, and how it is remembered."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foveal.acceleration import precision_timing, winograd
from foveal.acceleration.precision_timing import Timing, measure, remembered_timing

Work = Callable[[], None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    precision_timing._timing_of.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[Timing]:
    """Each call of `measure` adds one that differs from all before."""
    made: list[Timing] = []

    def measure_again() -> Timing:
        made.append(Timing(1.0, 2.0 + len(made)))
        return made[-1]

    monkeypatch.setattr(precision_timing, "measure", measure_again)
    return made


class Clock:
    """A clock that stands still but for the work of a made-up processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, float32: float, bf16: float) -> None:
        self.now = 0.0
        self.most = 0
        self._rates = {False: float32, True: bf16}
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(precision_timing, "_work", self._work)

    def _work(self, channels: int, side: int, *, bf16: bool) -> Work:
        def work() -> None:
            self.most = max(self.most, channels)
            self.now += channels**2 * side**2 / self._rates[bf16]

        return work


def test_both_precisions_are_measured_and_a_random_state_stays() -> None:
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = measure()
    assert 0 < found.float32 < 10
    assert 0 < found.bf16 < 10
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_float32_is_measured_as_training_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.dtype] = []

    def convolve(features: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        calls.append(features.dtype)
        return convolve_before(features, *others)

    convolve_before = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", convolve)
    for bf16 in (True, False):
        precision_timing._work(96, 32, bf16=bf16)()
    assert calls == [torch.float32]


@pytest.mark.parametrize("rate", [1e7, 1e9, 1e11])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_it_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, rate: float, ratio: float
) -> None:
    clock = Clock(monkeypatch, float32=rate, bf16=rate / ratio)
    found = measure()
    assert found.ratio == pytest.approx(ratio)
    assert clock.now <= 0.3
    assert clock.most == (256 if rate > 1e10 else clock.most)
    assert clock.most >= (128 if rate > 1e8 else 16)


def test_without_instructions_for_bf16_nothing_large_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, float32=1e9, bf16=1e9 / 300)
    assert measure().ratio == pytest.approx(300)
    assert clock.most == 16
    assert clock.now < 0.1


@pytest.mark.parametrize(
    ("timing", "expected"),
    [(Timing(1, 0.5), True), (Timing(1, 0.9), True), (Timing(1, 0.95), False)],
)
def test_bf16_must_be_clearly_faster(timing: Timing, expected: bool) -> None:
    assert timing.prefers_bf16 is expected


def test_it_is_measured_once(measurements: list[Timing], folder: Path) -> None:
    first = remembered_timing()
    assert remembered_timing() == first
    precision_timing._timing_of.cache_clear()  # as in another process
    assert remembered_timing() == first == measurements[0]
    assert len(measurements) == 1
    assert [path.name for path in folder.iterdir()] == ["precision.json"]


def test_another_machine_or_torch_is_measured_anew(
    measurements: list[Timing], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    first = remembered_timing()
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert remembered_timing() != first
    monkeypatch.setattr(precision_timing, "_processor", lambda: "another")
    assert len({first, remembered_timing()}) == 2
    assert len(json.loads((folder / "precision.json").read_text())) == len(measurements) == 3
    monkeypatch.undo()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        "null",
        '{"KEY": 3}',
        '{"KEY": {"float32": 1}}',
        '{"KEY": {"float32": 0, "bf16": 1}}',
        '{"KEY": {"float32": "a", "bf16": 1}}',
        '{"KEY": {"float32": NaN, "bf16": 1}}',
    ],
)
def test_a_broken_file_is_measured_again_and_replaced(
    content: str, measurements: list[Timing], folder: Path
) -> None:
    remembered_timing()
    file = folder / "precision.json"
    (key,) = json.loads(file.read_text())
    file.write_text(content.replace("KEY", key))
    precision_timing._timing_of.cache_clear()
    assert remembered_timing() == measurements[1]
    assert json.loads(file.read_text()) == {key: measurements[1]._asdict()}


def test_a_folder_that_cannot_be_written(
    measurements: list[Timing], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file where the folder should be")
    assert remembered_timing() == measurements[0]
    assert remembered_timing() == measurements[0]
    precision_timing._timing_of.cache_clear()
    assert remembered_timing() == measurements[1]


def test_where_it_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert precision_timing._file() == tmp_path / "cache" / "precision.json"
    monkeypatch.delenv("FOVEAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert precision_timing._file() == tmp_path / "foveal" / "precision.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert precision_timing._file() == tmp_path / ".cache" / "foveal" / "precision.json"


def test_without_a_home_nothing_is_remembered(
    measurements: list[Timing], monkeypatch: pytest.MonkeyPatch
) -> None:
    def home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("FOVEAL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert remembered_timing() == measurements[0]


def test_ratio() -> None:
    assert Timing(2.0, 3.0).ratio == 1.5
    assert math.isinf(Timing(1.0, math.inf).ratio)
