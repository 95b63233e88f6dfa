"""foveal import and foveal export --to torchvision, from checkpoint to model and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
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


def test_settings_are_passed_on(checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    run("import", checkpoint, "--out", model, "--set", "decoding.score_threshold=0.25")
    assert model_file.load(model).settings.decoding.score_threshold == 0.25


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
    assert "file that was there" not in run("import", checkpoint, "--out", model)
    assert "m.safetensors: the file that was there is replaced." in run(
        "import", checkpoint, "--out", model
    )
    before = checkpoint.read_bytes()
    with pytest.raises(FovealError, match=r"trained\.pth: is the checkpoint itself"):
        run("import", checkpoint, "--out", checkpoint)
    assert checkpoint.read_bytes() == before
