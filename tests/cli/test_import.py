"""foveal import and foveal export --to torchvision, from checkpoint to model and back."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import answer_in_json
from torchvision.models import resnet18
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from typer.testing import CliRunner

from foveal.checkpoints import model_file
from foveal.cli import app
from foveal.errors import DataError, FovealError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    body = _resnet_fpn_extractor(resnet18(weights=None), 5, [2, 3, 4], LastLevelP6P7(256, 256))
    path = tmp_path_factory.mktemp("foreign") / "trained.pth"
    torch.save({"model": RetinaNet(body, 3).state_dict(), "epoch": 2}, path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, FovealError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_there_and_back(checkpoint: Path, tmp_path: Path) -> None:
    names, model, out = (tmp_path / name for name in ("names.txt", "m.safetensors", "back.pth"))
    names.write_text("ship\n\n Öltanker \n", encoding="utf-8")
    printed = run("import", checkpoint, "--from", "torchvision", "--out", model, "--classes", names)
    assert "resnet18, 2 classes (ship, Öltanker)" in printed
    assert model_file.load(model).card.classes == ("ship", "Öltanker")
    assert "RetinaNet" in run("export", model, "--to", "torchvision", "--out", out)
    before, after = torch.load(checkpoint)["model"], torch.load(out)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key.rsplit(".", 1)[0] for key in changed} == {"head.classification_head.cls_logits"}


def test_json_and_a_dry_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "m.safetensors"
    words = ("import", checkpoint, "--out", out)
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(out)]
    assert "of torchvision, since it has" in planned["steps"][0]
    assert not out.exists()
    written = answer_in_json(monkeypatch, capsys, *words)
    assert (written["source"], written["backbone"]) == ("torchvision", "resnet18")
    assert (written["replaced"], len(written["classes"])) == (False, 2)
    words = ("export", out, "--to", "torchvision", "--out", tmp_path / "back.pth")
    assert not answer_in_json(monkeypatch, capsys, *words, "--dry-run")["replaces"]
    exported = answer_in_json(monkeypatch, capsys, *words)
    assert (exported["written"], exported["replaced"]) == (True, False)
    wrong = answer_in_json(monkeypatch, capsys, *words[:-1], out, "--dry-run", code=2)
    assert "is the model itself" in wrong["error"]["message"]


def test_what_was_assumed_is_said_and_can_be_said_otherwise(
    checkpoint: Path, tmp_path: Path
) -> None:
    model, twice = tmp_path / "m.safetensors", tmp_path / "twice.pth"
    state = torch.load(checkpoint)["model"]
    averaged = {name: value + 1 for name, value in state.items()}
    torch.save({"model": state, "model_ema": averaged, "args": Namespace(lr=1)}, twice)
    printed = run("import", twice, "--out", model, "--set", "decoding.score_threshold=0.25")
    assert "a torch file of torchvision, since it has backbone.body.conv1.weight and" in printed
    assert "file that was there" not in printed
    assert "1 name of other programs in it (argparse.Namespace) did nothing" in printed
    assert "others under model_ema: --weights-under model_ema" in printed
    assert "The first of 3 class channels is taken for torchvision's background" in printed
    assert "It says no names of classes, and they are numbered" in printed
    first = model_file.load(model)
    assert first.settings.decoding.score_threshold == 0.25
    assert first.card.classes == ("class 1", "class 2")
    printed = run(
        *("import", twice, "--out", model, "--no-background", "--weights-under", "model_ema")
    )
    assert "model_ema" not in printed
    assert "background" not in printed
    second = model_file.load(model)
    assert second.card.classes == ("class 0", "class 1", "class 2")
    assert torch.equal(second.model.fpn.lateral[0].bias, first.model.fpn.lateral[0].bias + 1)


def test_a_stride_that_torchvision_never_has(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("import", checkpoint, "--out", tmp_path / "m", "--backbone-stride-in", "1x1")
    with pytest.raises(FovealError, match="have their stride in the 3x3 convolution"):
        run(*arguments)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("content", "message"), [("a\na\n", "a stand there more than once"), (None, "can't be read")]
)
def test_names_that_are_wrong(
    content: str | None, message: str, checkpoint: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_text(content)
    with pytest.raises(DataError, match=message):
        run("import", checkpoint, "--out", tmp_path / "m.safetensors", "--classes", names)


def test_an_unknown_library(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["import", str(checkpoint), "--from", "keras", "--out", str(tmp_path / "m")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "torchvision" in result.output


def test_what_is_there_is_replaced_with_a_word_and_the_checkpoint_never(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"older")
    assert "m.safetensors: the file that was there is replaced." in run(
        "import", checkpoint, "--out", model
    )
    before = checkpoint.read_bytes()
    with pytest.raises(FovealError, match=r"trained\.pth: is the checkpoint itself"):
        run("import", checkpoint, "--out", checkpoint)
    assert checkpoint.read_bytes() == before
