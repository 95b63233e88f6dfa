"""Every benchmark runs, on the smallest input, and writes its file; no time is asserted."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = ["--backbone", "resnet18", "--classes", "3", "--size", "64x96", "--rounds", "1"]


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def benchmark(name: str) -> ModuleType:
    return importlib.import_module(name)


def run(name: str, arguments: list[str], out: Path) -> dict[str, Any]:
    """Run a benchmark's main function; the content of the one file that it writes."""
    benchmark(name).main([*arguments, "--out", str(out)])
    (file,) = out.glob("*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    assert content["rows"]
    assert {"processor", "features", "versions", "commit"} <= set(content["machine"])
    return content


def test_training_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--batch", "1", "--objects", "0", "3", "--memory-objects", "--warmup", "0"]
    content = run("training_step", [*TINY, *arguments, "--precision", "float32"], tmp_path)
    assert [row["objects"] for row in content["rows"]] == [0, 3]
    for row in content["rows"]:
        assert row["same precision"] == row["torchvision's default"] > 0
    assert content["precision"] == "float32"
    assert "torchvision float32 images/s" in capsys.readouterr().out


def test_training_step_wants_the_same_loss_of_both() -> None:
    module = benchmark("training_step")
    module.check_losses({"foveal": 1.0, "torchvision float32": 1.0004}, "float32", ["float32"])
    with pytest.raises(SystemExit, match="losses differ"):
        module.check_losses({"foveal": 1.0, "torchvision float32": 1.01}, "float32", ["float32"])


def test_prediction(tmp_path: Path) -> None:
    arguments = ["--batch", "1", "2", "--warmup", "0", "--torchvision-precision", "float32"]
    content = run("prediction", [*TINY, *arguments], tmp_path)
    assert [(row["batch"], row["candidates"]) for row in content["rows"]] == [
        (1, "few"),
        (1, "many"),
        (2, "few"),
        (2, "many"),
    ]
    for row in content["rows"]:
        assert row["agree"] > 0.95
        assert row["detections"] > 0
    few, many = content["rows"][:2]
    assert few["detections"] < many["detections"]


def test_agreement_counts_what_both_found() -> None:
    module = benchmark("prediction")
    from foveal.structures import Detections

    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    scores, labels = np.array([0.9, 0.5], np.float32), np.array([0, 1])
    expected = Detections(boxes, scores, labels)
    assert module.agreement([expected], [expected]) == 1
    assert module.agreement([Detections(boxes, scores, labels[::-1])], [expected]) == 0
    assert module.agreement([Detections(boxes, scores - 0.1, labels)], [expected]) == 0
    assert module.agreement([Detections(boxes[:1], scores[:1], labels[:1])], [expected]) == 0.5
    moved = boxes + np.array([0, 0, 0, 5], np.float32)
    assert module.agreement([Detections(moved, scores, labels)], [expected]) == 0


@pytest.mark.parametrize(("candidates", "expected"), [(5, 5), (-1, None)])
def test_heads_are_biased_to_a_number_of_candidates(candidates: int, expected: int | None) -> None:
    networks = benchmark("networks")
    import torch

    task = networks.Task(backbone="resnet18", classes=3, height=64, width=96)
    pair = networks.make_pair(task, candidates=candidates)
    image = torch.from_numpy(networks.draw_images(task, 1)[0]).permute(2, 0, 1)
    with torch.inference_mode():
        raw = pair.own.model(image[None])
    scores = torch.cat([level.flatten() for level in raw.logits]).sigmoid()
    found = int((scores > networks.THRESHOLD).sum())
    assert found == (len(scores) if expected is None else expected)


def allocate(megabytes: int, kept: int) -> Any:
    """For the next test, which runs it in a process of its own."""
    weights = np.ones(kept * 2**20, np.uint8)

    def work() -> int:
        return int(np.ones(megabytes * 2**20, np.uint8).sum()) + len(weights)

    return work


def test_peak_memory() -> None:
    peak, complete = benchmark("harness").peak_megabytes(allocate, 64, 128, device="cpu")
    assert complete
    assert peak == pytest.approx(64, abs=16)


def fail() -> None:
    raise SystemExit(3)


def test_a_memory_process_that_ends_early_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"fail.* ended with code 3"):
        benchmark("harness").peak_megabytes(fail, device="cpu")
