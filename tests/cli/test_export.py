"""`foveal export` as a user meets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import answer_in_json, foveal
from tests.exporting.models import sharing_conversions, small_model

from foveal.checkpoints import model_file
from foveal.checkpoints.description import Export
from foveal.data.synthetic import draw_dataset
from foveal.exporting import checking, export
from foveal.inference.opening import open_model
from foveal.structures import ModelCard


@pytest.fixture(autouse=True)
def one_conversion() -> Iterator[None]:
    with sharing_conversions():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: data and a model."""
    folder = tmp_path_factory.mktemp("run")
    loaded = small_model()
    card = ModelCard(("normal", "infected", "platelet"))
    model_file.save(folder / "best.safetensors", loaded.model, loaded.settings, card)
    draw_dataset(folder / "data", splits={"val": 3}, size=64)
    return folder


def test_a_run_becomes_a_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cells.xml"
    data = run / "data" / "val.json"
    assert (
        foveal(monkeypatch, "export", run, "--to", "openvino", "--out", out, "--check", data) == 0
    )
    told = capsys.readouterr()
    assert "Turning the network into an OpenVINO model." in told.err
    assert "Beside PyTorch in float32" in told.out
    assert "logits differ" in told.out
    assert "AP on the checked images (3 images): PyTorch 0." in told.out
    assert "An image takes, on this machine: PyTorch" in told.out
    assert f"Written: {out}" in told.out
    page = (tmp_path / "cells.xml.md").read_text()
    assert "foveal predict cells.xml IMAGES" in page
    assert "Exported in float32, without NMS inside." in page
    assert "The network alone, an image: PyTorch" in page
    assert open_model(out).description.card.classes == ("normal", "infected", "platelet")


def test_beyond_the_limits_the_exit_code_is_1(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = checking.Limits(logits=1.0, boxes=-1.0, fraction=0.9)
    monkeypatch.setitem(checking.LIMITS, "float32", limits)
    out = tmp_path / "cells.xml"
    options = ("--to", "openvino", "--out", out, "--size", "64x96", "--nms", "--batch", 1)
    assert foveal(monkeypatch, "export", run, *options) == 1
    told = capsys.readouterr().out
    assert "Beyond the limits: 1 x 96 x 64" in told
    assert "Nothing was written." in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("problems", [(), ("logits differ by 0.1",)])
def test_json(
    problems: tuple[str, ...],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "cells.xml"
    report = export.ExportReport(
        out,
        "openvino",
        Export(precision="int8", float_layers=("stem",)),
        problems=problems,
        agreements=(checking.Agreement("float32", 64, 96, 1, float("nan"), 0.1, 4, 5, True),),
        average_precision=export.AveragePrecision(0.5, float("nan"), 3, "drawn images"),
        seconds={"PyTorch float32": 0.1},
    )
    monkeypatch.setattr(export, "export_model", lambda *_, **__: report)
    words = ("export", run, "--to", "openvino", "--out", out)
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    page = tmp_path / "cells.xml.md"
    assert planned["writes"] == [str(out), str(out.with_suffix(".bin")), str(page)]
    exported = answer_in_json(monkeypatch, capsys, *words, code=int(bool(problems)))
    assert exported["outcome"] == ("faults" if problems else "done")
    assert exported["written"] is not bool(problems)
    assert exported["page"] == (None if problems else str(page))
    assert page.exists() is not bool(problems)
    assert exported["agreements"][0]["largest_difference"] is None
    assert exported["average_precision"]["export"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "onnx", "--out", "m.onnx", "--size", "big"), "--size big: expected height x"),
        (("--to", "onnx", "--out", "m.xml"), "expected a name that ends in .onnx"),
        (("--to", "pt2", "--out", "m.pt2", "--half"), "does not have half precision"),
        (("--to", "onnx", "--out", "m.onnx", "--int8", "nowhere"), "nowhere"),
    ],
)
def test_mistakes(
    options: tuple[str, ...],
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert foveal(monkeypatch, "export", run, *options) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_not_exported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.onnx").write_text("")
    options = ("--to", "openvino", "--out", tmp_path / "m.xml")
    assert foveal(monkeypatch, "export", tmp_path / "m.onnx", *options) == 2
    assert "is an exported model, which can only predict" in capsys.readouterr().err


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert foveal(monkeypatch, "export", "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Examples: foveal export runs/cells --to openvino" in told
    assert "trtexec --onnx=model.onnx" in told
