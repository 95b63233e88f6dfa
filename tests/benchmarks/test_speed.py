"""Every program that measures speed runs, on the smallest input; no time is asserted."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.conftest import run

from benchmarks.lib import contestants, drawn_scenes, roofline, sample_images
from benchmarks.speed import (
    annotations,
    assignment,
    evaluation,
    growth,
    main_job,
    parts,
    pipeline,
    postprocessing,
    runtimes,
    scenes,
    serving,
    training_step,
)
from foveal import cli
from foveal.exporting.export import export_model

PROGRAMS = (
    annotations, assignment, evaluation, growth, main_job, parts, pipeline, postprocessing,
    runtimes, scenes, serving, training_step,
)  # fmt: skip
TINY = ["--backbone", "resnet18", "--classes", "3", "--size", "64x96", "--rounds", "1"]


def test_training_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--batch", "1", "--objects", "0", "3", "--memory-objects", "--warmup", "0"]
    arguments += ["--torchvision-precision", "float32"]
    content = run(training_step, [*TINY, *arguments, "--precision", "float32"], tmp_path)
    assert [row["objects"] for row in content["rows"]] == [0, 3]
    for row in content["rows"]:
        assert row["same precision"] == row["torchvision's default"] > 0
    assert content["precision"] == "float32"
    assert "torchvision float32 images/s" in capsys.readouterr().out


def test_training_step_wants_the_same_loss_of_both() -> None:
    training_step.check_losses(
        {"foveal": 1.0, "torchvision float32": 1.0004}, "float32", ["float32"]
    )
    with pytest.raises(SystemExit, match="losses differ"):
        training_step.check_losses(
            {"foveal": 1.0, "torchvision float32": 1.01}, "float32", ["float32"]
        )


def test_serving(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: starting one is tested where `foveal serve` is."""
    started = []

    @contextmanager
    def in_a_thread(model: Path, options: Sequence[str] = ()) -> Iterator[Any]:
        started.append((model, list(options)))
        with serving_in_a_thread(model) as port:
            yield SimpleNamespace(port=port, megabytes=9.0, peak_megabytes=10.0, ready_seconds=0.5)

    monkeypatch.setattr(serving, "serving", in_a_thread)
    images = tmp_path / "images"
    images.mkdir()
    sample_images.draw_photographs(images, 2, 64, 48)
    arguments = ["--model", str(small_model), "--images", str(images), "--seconds", "0.1"]
    arguments += ["--connections", "3", "--turns", "1", "--turn-seconds", "0.1", "--requests", "10"]
    content = run(serving, [*arguments, "--malformed", "13"], tmp_path / "out")
    assert started == [(small_model, ["--batch", "8", "--queue", "64"])]
    (row,) = content["rows"]
    assert (row["errors"], row["first problem"]) == (0, "-")
    assert row["requests"] > 0 < row["images/s"]
    assert row["of predict"] * row["predict images/s"] == pytest.approx(row["in turns: images/s"])
    assert row["p50 ms"] <= row["p99 ms"]
    assert [each["requests"] for each in content["memory"]] == list(range(1, 11))
    assert content["malformed"]["requests"] == 13


@contextmanager
def serving_in_a_thread(model: Path) -> Iterator[int]:
    """The port of a server of a model."""
    import uvicorn

    from foveal.serving.app import make_app
    from foveal.serving.limits import Limits
    from foveal.serving.models import ModelSet
    from foveal.serving.observing import NoObserver
    from foveal.serving.security import Access
    from foveal.serving.service import Service

    limits, observer = Limits(), NoObserver()
    models = ModelSet({"model": model}, limits=limits, observer=observer)
    models.load()
    service = Service(models, limits=limits, observer=observer, readers=1)
    app = make_app(service, access=Access(), observer=observer)
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    yield running.servers[0].sockets[0].getsockname()[1]
    running.should_exit = True
    thread.join()


def test_runtimes_beside_torchvision(tmp_path: Path) -> None:
    arguments = ["--contestants", "pytorch-float32", "torchvision-float32", "--batch", "1", "2"]
    content = run(runtimes, [*TINY, *arguments, "--warmup", "0"], tmp_path)
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
        spans = [row[f"{part} ms"] for part in ("preparation", "network", "decoding, NMS")]
        assert min(spans) > 0
        assert max(spans) < row["whole ms"]


def test_runtimes_of_a_trained_model(
    small_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def in_float32(own: Any, kind: str, file: Path, **chosen: Any) -> Any:
        """The export alone; what NNCF does is tested where it is called."""
        made.append((kind, sorted(chosen)))
        return export_model(own, kind, file)

    monkeypatch.setattr(contestants, "export_model", in_float32)
    names = ["openvino-float32", "openvino-int8", "torchvision-float32"]
    arguments = ["--model", "light", "--file", str(small_model), "--data", str(drawn)]
    arguments += ["--size", "64", "--batch", "1", "--candidates", "few", "--images", "2"]
    arguments += ["--rounds", "1", "--warmup", "0", "--contestants", *names]
    content = run(runtimes, arguments, tmp_path / "out")
    assert content["trained"]
    assert [row["contestant"] for row in content["rows"]] == names
    assert content["rows"][0]["found again"] == 1
    assert all(0 <= row["AP"] <= 1 for row in content["rows"][:2])
    assert made == [("openvino", []), ("openvino", ["check", "int8"])]
    assert set(content["exports"]) == {"openvino float32", "openvino int8"}
    assert content["same_as_torchvision"] == "-", "other weights"


def test_a_contestant_that_is_none_is_refused(tmp_path: Path) -> None:
    arguments = ["--contestants", "openvino-int4", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="openvino-int4 can't be measured on cpu"):
        runtimes.main([*TINY, *arguments])


def test_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "PRODUCT", {"cpu": 256})
    monkeypatch.setattr(roofline, "COPIED", {"cpu": 2**22})
    content = run(parts, [*TINY, "--batch", "1", "--objects", "2"], tmp_path)
    training = {row["part"]: row for row in content["rows"]}
    assert {"backbone", "FPN", "heads", "assignment", "losses", "optimizer"} <= set(training)
    assert all(row["ms"] > 0 for row in content["rows"])
    for part in ("backbone", "FPN", "heads"):
        forward, backward = training[part], training[f"{part}, backward"]
        assert forward["GFLOP"] > 0
        # The gradients of inputs and of weights each take as much; the images need none.
        assert backward["GFLOP"] == pytest.approx(2 * forward["GFLOP"], rel=0.15)
    marked = [
        row for row in content["rows"] if "whole" not in row["part"] and "beside" not in row["part"]
    ]
    assert sum(row["% of whole"] for row in marked) == pytest.approx(100)
    for rows in content["predictions"].values():
        assert {"backbone", "decoding", "NMS"} <= {row["part"] for row in rows}
    assert [row["candidates"] for row in content["target"]] == ["few", "many"]


def test_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = {
        "objects": growth.Curve((0, 2), {"side": 64, "batch": 1, "classes": 2}),
        "size": growth.Curve((64, 128), {"batch": 1, "classes": 2, "objects": 1}),
    }
    monkeypatch.setattr(growth, "CURVES", curves)
    arguments = ["--curves", "objects", "size", "--rounds", "1", "--no-memory"]
    arguments += ["--backbone", "test_resnet"]
    content = run(growth, arguments, tmp_path)
    rows = content["rows"]
    assert [row["curve"] for row in rows] == ["objects"] * 2 + ["size"] * 2
    assert all(row["losses ms"] > 0 for row in rows)
    assert rows[1]["exponents"]["losses ms"] is None, "nothing can be said of growth from 0"
    assert "growth with size" in capsys.readouterr().out


def test_growth_is_measured_between_neighbors() -> None:
    rows = [{"size": 10, "losses ms": 5.0}, {"size": 20, "losses ms": 40.0}]
    assert growth.exponents(rows, power=1)[1] == {"losses ms": pytest.approx(3)}
    powers = growth.exponents(rows, power=2)
    assert powers[1] == {"losses ms": pytest.approx(1.5)}
    assert growth.with_exponents(rows, powers)[1]["losses ms"] == "40 (1.50)!"
    assert growth.worse_than_linear(rows, powers) == ["size 10 to 20: losses ms, exponent 1.50"]
    linear = [{"size": 10, "losses ms": 5.0}, {"size": 20, "losses ms": 10.0}]
    assert not growth.worse_than_linear(linear, growth.exponents(linear, power=1))


@pytest.mark.usefixtures("empty_charts")
def test_main_job(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal import cli

    def in_this_process(arguments: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["foveal", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code

    monkeypatch.setattr(main_job, "run_foveal", in_this_process)
    arguments = ["--data", str(drawn), "--weights", "none", "--backbone", "test_resnet"]
    arguments += ["--size", "64", "--epochs", "1", "--batch", "4", "--ignore"]
    arguments += ["--set", "training.workers=0", "--set", "training.export=false"]
    content = run(main_job, arguments, tmp_path)
    assert [row["epoch"] for row in content["rows"]] == [1]
    assert 0 <= content["waiting"] <= 1
    assert 0 < content["training_seconds"] < content["wall_seconds"]
    assert content["options"]["data"] == drawn.name


def test_waiting_is_a_fraction_of_all_epochs() -> None:
    rows = [{"seconds": 30.0, "waiting %": 10.0}, {"seconds": 10.0, "waiting %": 2.0}]
    assert main_job.waiting_fraction(rows) == pytest.approx(3.2 / 40)


def test_assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "HEIGHT", 64)
    monkeypatch.setattr(assignment, "WIDTH", 96)
    monkeypatch.setattr(assignment, "peak_megabytes", lambda make, objects: (8.0, make(objects)))
    (row,) = run(assignment, ["--objects", "5", "--rounds", "1"], tmp_path)["rows"]
    assert row["foveal s"] > 0 < row["torchvision s"]
    assert row["times as fast"] > 0


def test_evaluation(tmp_path: Path) -> None:
    arguments = ["--images", "6", "--classes", "2", "--rounds", "1"]
    rows = run(evaluation, arguments, tmp_path)["rows"]
    assert [row["contestant"] for row in rows][2:] == ["faster-coco-eval", "pycocotools"]
    assert all(row["seconds"] > 0 for row in rows)


def test_evaluation_wants_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "other", lambda *_: [0.5] * 12)
    with pytest.raises(SystemExit, match="faster-coco-eval gives other numbers"):
        evaluation.main(["--images", "6", "--classes", "2"])


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
def test_pipeline(tmp_path: Path) -> None:
    arguments = ["--images", "4", "--width", "64", "--height", "48", "--side", "64"]
    rows = run(pipeline, [*arguments, "--rounds", "1"], tmp_path)["rows"]
    assert [row["steps"].split(" + ")[-1] for row in rows] == list(pipeline.STEPS)
    assert all(row["foveal images/s"] > 0 < row["torchvision images/s"] for row in rows)


def test_postprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocessing, "NETWORKS", {"light": (64, 3)})
    arguments = ["--networks", "light", "--batches", "1", "--threads", "1", "--rounds", "1"]
    content = run(postprocessing, arguments, tmp_path)
    assert [row["kind"] for row in content["rows"]] == ["few", "many"]
    assert all(row["numpy"] > 0 < row["torch"] for row in content["rows"])
    assert all(row["candidates"] > 0 < row["OpenCV"] for row in content["nms"])


def test_annotations(tmp_path: Path) -> None:
    content = run(annotations, ["--images", "3", "--rounds", "1"], tmp_path)
    assert content["images"] == 3
    assert [row["work"] for row in content["rows"]][1] == "foveal.read"


def test_scenes(tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: test_memory.py starts the one whose memory is measured."""

    def peak_megabytes(look: Any, *arguments: Any, device: str, whole: bool) -> tuple[float, bool]:
        assert pickle.loads(pickle.dumps(look)) is look, "it is sent to another process"
        look(*arguments)()
        return 8.0, True

    monkeypatch.setattr(scenes, "peak_megabytes", peak_megabytes)
    monkeypatch.setattr(scenes, "train", lambda *_, **__: small_model)
    content = run(scenes, ["--sides", "300", "--work", str(tmp_path / "work")], tmp_path)
    for row, side in zip(content["rows"], (300,), strict=True):
        assert row["side"] == side
        assert 0 < row["network"] < 1
        assert row["seconds"] > 0
        assert row["MB"] > 0
        assert row["recall"] == pytest.approx(0, abs=0.5), "the network has random weights"


def test_ways_of_a_scene_are_timed_in_turn(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in this process; what Ray and OpenVINO do is tested where they are."""
    typed: list[list[str]] = []

    def call(*words: str) -> None:
        typed.append([*words])
        monkeypatch.setattr(sys, "argv", ["foveal", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0

    monkeypatch.setattr(scenes, "run_foveal", call)
    monkeypatch.setattr(scenes, "train", lambda *_, **__: small_model)
    ways = {"PyTorch": ("safetensors", ()), "again": ("safetensors", ("--jobs", "1"))}
    monkeypatch.setattr(scenes, "WAYS", ways)
    work = tmp_path / "work"
    (work / "exported").mkdir(parents=True)
    (work / "exported" / "boats.xml").touch()
    content = run(scenes, ["--sides", "300", "--ways", "--work", str(work)], tmp_path)
    assert [row[""] for row in content["rows"]] == ["PyTorch", "again"]
    assert [words[0] for words in typed] == ["predict"] * 4
    assert ["--jobs" in words for words in typed] == [False, True] * 2
    for row in content["rows"]:
        assert len(row["all seconds"]) == 2
        assert row["boats"] > 0


def test_boats_are_found_once() -> None:
    boats = np.array([[0, 0, 10, 10], [100, 0, 110, 10], [0, 300, 10, 310]], np.float32)
    found = np.array(
        [[0, 0, 10, 9], [1, 0, 10, 10], [0, 301, 10, 310], [100, 200, 110, 210]], np.float32
    )
    counts = scenes.count_found(boats, found)
    assert counts == {"boats": 3, "recall": pytest.approx(2 / 3), "precision": 0.75, "twice": 1}
    nothing = scenes.count_found(boats, found[:0])
    assert (nothing["recall"], nothing["twice"]) == (0, 0)


def test_a_drawn_scene_is_the_same_in_parts() -> None:
    objects = drawn_scenes.draw_objects(600)
    whole = drawn_scenes.draw_part(objects, 0, 0, width=600, height=600)
    part = drawn_scenes.draw_part(objects, 130, 77, width=300, height=200)
    assert (part == whole[77:277, 130:430]).all()
    boxes = objects.boxes
    assert (boxes.min(), boxes.max()) > (0, 0)
    inside = whole[round(float(boxes[0, 1:4:2].mean())), round(float(boxes[0, :3:2].mean()))]
    assert inside.min() > 150, "a boat is bright in its middle"


def test_every_program_is_tested_and_in_the_table() -> None:
    folder = Path(runtimes.__file__).parent
    programs = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert programs == {module.__name__.rpartition(".")[2] for module in PROGRAMS}
    table = (folder.parent / "README.md").read_text()
    assert [name for name in programs if f"`speed.{name}`" not in table] == []
