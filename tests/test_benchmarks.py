"""Every benchmark runs, on the smallest input, and writes its file; no time is asserted."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
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
    arguments += ["--torchvision-precision", "float32"]
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


def test_runtimes_beside_torchvision(tmp_path: Path) -> None:
    arguments = ["--contestants", "pytorch-float32", "torchvision-float32", "--batch", "1", "2"]
    content = run("runtimes", [*TINY, *arguments, "--warmup", "0"], tmp_path)
    rows = content["rows"]
    assert [(row["batch"], row["candidates"]) for row in rows[::2]] == [
        (1, "few"),
        (1, "many"),
        (2, "few"),
        (2, "many"),
    ]
    assert [row["by"] for row in rows[:2]] == ["PyTorch float32", "torchvision float32"]
    assert content["same_as_torchvision"] > 0.95
    assert not content["trained"]
    for row in rows:
        assert row["computes in"] == "float32"
        assert row["found again"] > 0.95
        assert row["ms"] > 0 < row["network ms"]
    assert all(row["torchvision float32"] == 1 for row in rows[1::2])
    assert [row["candidates"] for row in content["spans"]] == ["few", "many"]
    for row in content["spans"]:
        parts = [row[f"{part} ms"] for part in ("preparation", "network", "decoding, NMS")]
        assert min(parts) > 0
        assert max(parts) < row["whole ms"]


@pytest.mark.slow
def test_runtimes_of_a_trained_model(tiny: Path, smears: Path, tmp_path: Path) -> None:
    names = ["openvino-float32", "openvino-int8"]
    arguments = ["--model", "light", "--file", str(tiny), "--data", str(smears)]
    arguments += ["--size", "64", "--batch", "1", "--candidates", "few", "--images", "2"]
    out = tmp_path / "out"
    content = run("runtimes", [*arguments, "--rounds", "1", "--contestants", *names], out)
    assert content["trained"]
    assert [row["contestant"] for row in content["rows"]] == names
    assert content["rows"][0]["found again"] == 1
    assert all(0 <= row["AP"] <= 1 for row in content["rows"])
    assert set(content["exports"]) == {"openvino float32", "openvino int8"}
    assert content["same_as_torchvision"] == "-", "other weights"


def test_a_contestant_that_is_none_is_refused(tmp_path: Path) -> None:
    arguments = ["--contestants", "openvino-int4", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="openvino-int4 can't be measured on cpu"):
        benchmark("runtimes").main([*TINY, *arguments])


def test_a_contestant_that_is_not_there_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contestants, subjects = benchmark("contestants"), benchmark("subjects")
    from networks import Task

    task = Task("cuda:99", classes=2, height=64, width=64)
    own = subjects.random_light(task)
    subject = subjects.Subject("", own, None, False, [], 0.1, 0.1, None)
    assert contestants.Workshop(subject, task, tmp_path).make("pytorch-float32") is None
    assert "pytorch-float32 is left out: Device 'cuda:99' is not there" in capsys.readouterr().out


def test_agreement_counts_what_both_found() -> None:
    module = benchmark("agreement")
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
    nothing = Detections(boxes[:0], scores[:0], labels[:0])
    assert module.agreement([nothing], [expected]) == 0
    assert module.agreement([expected], [nothing]) == 1
    half = Detections(boxes[:1], scores[:1], labels[:1])
    with pytest.raises(SystemExit, match=r"ours has only 50\.0% of the detections of theirs"):
        module.demand_agreement("ours", [half], [expected], other="theirs")


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


def fail() -> None:
    raise SystemExit(3)


def test_a_memory_process_that_ends_early_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"fail.* ended with code 3"):
        benchmark("harness").peak_megabytes(fail, device="cpu")


def test_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = benchmark("limits")
    monkeypatch.setattr(module, "PRODUCT", {"cpu": 256})
    monkeypatch.setattr(module, "COPIED", {"cpu": 2**22})
    content = run("parts", [*TINY, "--batch", "1", "--objects", "2"], tmp_path)
    training = {row["part"]: row for row in content["rows"]}
    assert {"backbone", "FPN", "heads", "assignment", "losses", "optimizer"} <= set(training)
    assert all(row["ms"] > 0 for row in content["rows"])
    for part in ("backbone", "FPN", "heads"):
        forward, backward = training[part], training[f"{part}, backward"]
        assert forward["GFLOP"] > 0
        # The gradients of inputs and of weights each take as much; the images need none.
        assert backward["GFLOP"] == pytest.approx(2 * forward["GFLOP"], rel=0.15)
    parts = [
        row for row in content["rows"] if "whole" not in row["part"] and "beside" not in row["part"]
    ]
    assert sum(row["share %"] for row in parts) == pytest.approx(100)
    for rows in content["predictions"].values():
        assert {"backbone", "decoding", "NMS"} <= {row["part"] for row in rows}
    assert [row["candidates"] for row in content["target"]] == ["few", "many"]


def test_traffic_counts_inputs_and_outputs_but_no_views() -> None:
    import torch

    with benchmark("marks").Traffic() as traffic:
        left = torch.ones(1000)
        assert traffic.bytes == 4000
        right = left.view(10, 100).t()
        assert traffic.bytes == 4000
        torch.add(right, right)
        assert traffic.bytes == 4000 + 8000
        left.mul_(2)
    assert traffic.bytes == 12_000 + 4000


def test_a_function_that_went_away_is_missed() -> None:
    module = benchmark("marks")
    with (
        pytest.raises(SystemExit, match="no vanished any more"),
        module.around(module, "vanished", before=print, after=print),
    ):
        pass


def test_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("growth")
    curves = {
        "objects": module.Curve((0, 2, 4), {"side": 64, "batch": 1, "classes": 2}),
        "size": module.Curve((64, 128), {"batch": 1, "classes": 2, "objects": 1}),
    }
    monkeypatch.setattr(module, "CURVES", curves)
    arguments = ["--curves", "objects", "size", "--rounds", "1", "--no-memory"]
    content = run("growth", arguments, tmp_path)
    rows = content["rows"]
    assert [row["curve"] for row in rows] == ["objects"] * 3 + ["size"] * 2
    assert all(row["losses ms"] > 0 for row in rows)
    assert rows[1]["exponents"]["losses ms"] is None, "nothing can be said of growth from 0"
    assert "growth with size" in capsys.readouterr().out


def test_growth_is_measured_between_neighbors() -> None:
    module = benchmark("growth")
    rows = [{"size": 10, "losses ms": 5.0}, {"size": 20, "losses ms": 40.0}]
    assert module.exponents(rows, power=1)[1] == {"losses ms": pytest.approx(3)}
    growth = module.exponents(rows, power=2)
    assert growth[1] == {"losses ms": pytest.approx(1.5)}
    assert module.with_exponents(rows, growth)[1]["losses ms"] == "40 (1.50)!"
    assert module.worse_than_linear(rows, growth) == ["size 10 to 20: losses ms, exponent 1.50"]
    linear = [{"size": 10, "losses ms": 5.0}, {"size": 20, "losses ms": 10.0}]
    assert not module.worse_than_linear(linear, module.exponents(linear, power=1))


def test_peaks_of_several_points_in_one_process() -> None:
    peaks = benchmark("harness").peaks_megabytes(allocate, [(16, 16), (64, 128)], device="cpu")
    assert [complete for _, complete in peaks] == [True, True]
    assert peaks[0][0] == pytest.approx(32, abs=16)
    assert peaks[1][0] == pytest.approx(192, abs=24)


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from foveal.data.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder, splits={"train": 4, "val": 2, "test": 2}, size=64, seed=3)
    return folder


def test_main_job(smears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal import cli

    def in_this_process(arguments: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["foveal", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code

    monkeypatch.setattr(benchmark("main_job"), "run_foveal", in_this_process)
    arguments = ["--data", str(smears), "--weights", "none", "--backbone", "test_resnet"]
    arguments += ["--size", "64", "--epochs", "2", "--batch", "2", "--ignore"]
    arguments += ["--set", "training.workers=0", "--set", "training.export=false"]
    content = run("main_job", arguments, tmp_path)
    assert [row["epoch"] for row in content["rows"]] == [1, 2]
    assert 0 <= content["waiting"] <= 1
    assert 0 < content["training_seconds"] < content["wall_seconds"]
    assert content["options"]["data"] == smears.name


def test_waiting_is_a_share_of_all_epochs() -> None:
    rows = [{"seconds": 30.0, "waiting %": 10.0}, {"seconds": 10.0, "waiting %": 2.0}]
    assert benchmark("main_job").waiting_share(rows) == pytest.approx(3.2 / 40)


SMALL = ["model.backbone=test_resnet", "model.norm=live", "model.fpn_channels=16"]
SMALL += ["model.head_channels=16", "model.head_depth=1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file for the smears."""
    import torch

    from foveal.checkpoints import model_file
    from foveal.config import make_settings
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    sides = ["preparation.shorter=64", "preparation.longer=64"]
    settings = make_settings(overrides=["model.weights=none", *SMALL, *sides])
    names = ("normal", "infected", "platelet")
    file = tmp_path_factory.mktemp("models") / "model.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(settings, len(names))
    model_file.save(file, model, settings, ModelCard(names, score_threshold=0.01))
    return file


def test_speed_accuracy(smears: Path, tiny: Path, tmp_path: Path) -> None:
    lines = tmp_path / "torchvision.jsonl"
    lines.write_text('{"name": "theirs", "backbone": "mobilenet_v2", "AP": 0.5}\n')
    arguments = ["--data", str(smears / "val.json"), "--model", f"ours={tiny}"]
    arguments += ["--untrained", f"random=standard,{','.join(SMALL)}", "--size", "64"]
    arguments += ["--torchvision", str(lines), "--images", "1", "--rounds", "1"]
    out = tmp_path / "out"
    rows = run("speed_accuracy", arguments, out)["rows"]
    names = ["ours", "ours, OpenVINO", "random", "random, OpenVINO", "theirs"]
    assert [row["name"] for row in rows] == names
    assert [row["AP"] for row in rows][2:] == ["not available", "not available", 0.5]
    assert rows[0]["AP"] >= 0 <= rows[1]["AP"]
    assert rows[0]["GFLOP"] == rows[2]["GFLOP"] > 0
    picture = (out / "speed_accuracy.svg").read_text()
    assert picture.startswith("<svg")
    assert "random, no AP" in picture
    assert "theirs" in picture


def test_a_line_that_names_no_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('{"name": "theirs"}\n')
    with pytest.raises(SystemExit, match=r"lines.jsonl, line 1: KeyError\('backbone'\)"):
        benchmark("speed_accuracy").read_lines(file)


def test_gpu_script_goes_on_after_a_failure(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "ran $*"\ncase "$*" in *runtimes.py*) exit 3;; esac\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "out")}
    call = [str(FOLDER / "gpu.sh")]
    found = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60)
    assert not found.stderr
    ran = [line.split()[1:] for line in found.stdout.splitlines() if line.startswith("ran ")]
    assert found.returncode == 1
    end = "FAILED: prediction (exit code 3)\nFAILED: export to ONNX (exit code 3)\n"
    assert found.stdout.endswith(end)
    assert ran[1][:5] == ["-m", "pytest", "-q", "-m", "gpu"]
    assert "tests/models/test_parity.py" in ran[1]
    scripts = [call[0] for call in ran if call[0].endswith(".py")]
    assert all((FOLDER.parent / script).is_file() for script in scripts)
    assert "benchmarks/growth.py" in scripts


def test_gpu_script_ends_at_once_without_a_gpu(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "out")}
    call = [str(FOLDER / "gpu.sh")]
    found = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert found.stdout.endswith("Without a GPU there is nothing to run.\n")


def test_gpu_scripts_options_are_those_of_the_benchmarks() -> None:
    text = (FOLDER / "gpu.sh").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "--device cuda" in line]
    assert len(lines) >= 4
    for line in lines:
        words = line.split('"$PYTHON" benchmarks/')[1].replace('"$OUT"', "out").split()
        options = benchmark(words[0].removesuffix(".py")).parse(words[1:])
        assert options.device == "cuda"


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = benchmark("packages")
    assert module.main([]) == 0
    assert {"torch", "timm", "pytest"} <= set(module.wanted())
    assert "openvino" in module.wanted()
    assert "openvino" not in module.wanted(gpu=True)
    monkeypatch.setattr(module, "wanted", lambda gpu: {"torch": ">=2", "foveal-nowhere": ">=1"})
    assert module.main([]) == 1
    assert "pip install 'foveal-nowhere>=1'" in capsys.readouterr().out


@pytest.mark.parametrize(("whole", "expected"), [(True, 70), (False, 50)])
def test_peak_memory_of_a_gpu(whole: bool, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch's allocator, in megabytes: 30 are there, 20 are made, 50 added."""
    import torch

    held, peak = [30], [99]

    def make() -> Any:
        held[0] += 20

        def work() -> None:
            peak[0] = held[0] + 50

        return work

    stand_in = {
        "memory_allocated": lambda: held[0] * 2**20,
        "max_memory_allocated": lambda: peak[0] * 2**20,
        "reset_peak_memory_stats": lambda: peak.__setitem__(0, held[0]),
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }
    for name, function in stand_in.items():
        monkeypatch.setattr(torch.cuda, name, function)
    found = benchmark("harness").peak_megabytes(make, device="cuda", whole=whole)
    assert found == (expected, True)
