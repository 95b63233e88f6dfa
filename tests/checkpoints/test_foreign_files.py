"""Checkpoints as training programs leave them: weights out of all that is around them."""

from __future__ import annotations

import json
import sys
import types
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foveal.checkpoints.foreign_files import read_foreign
from foveal.errors import WeightsError

HDF5 = b"\x89HDF\r\n\x1a\n"
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def same(found: dict[str, Any]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """A module with classes that is there while a file is written, and gone when it is read."""
    module = types.ModuleType("faraway")
    source = """
class History:
    def __init__(self, values): self.values = values
class Config(dict):
    pass
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        self.head = torch.nn.Linear(4, 2)
        self.register_buffer("passing", torch.ones(1), persistent=False)
"""
    module.__dict__["torch"] = torch
    exec(compile(source, "faraway", "exec"), module.__dict__)
    sys.modules["faraway"] = module
    yield module
    del sys.modules["faraway"]


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request: pytest.FixtureRequest, foreign: Any) -> Any:
    def write(content: Any, path: Path) -> None:
        with warnings.catch_warnings():  # the older format keeps the source of modules
            warnings.simplefilter("ignore", UserWarning)
            torch.save(content, path, _use_new_zipfile_serialization=request.param)
        sys.modules["faraway"] = types.ModuleType("faraway")

    return write


def test_a_training_script_of_torchvision(save: Any, tmp_path: Path) -> None:
    """Its options are an object, with a path among them."""
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.02}]}
    args = Namespace(model="retinanet_resnet50_fpn", output_dir=Path("runs/a"), lr=0.02)
    save({"model": STATE, "optimizer": optimizer, "args": args, "epoch": 25}, tmp_path / "c.pth")
    read = read_foreign(tmp_path / "c.pth")
    assert same(read.tensors)
    assert read.found_under == "model"
    expected = {"model": "retinanet_resnet50_fpn", "output_dir": "runs/a", "lr": 0.02}
    assert read.values["args"] == expected
    assert read.values["epoch"] == 25
    assert read.values["optimizer"]["param_groups"] == [{"lr": 0.02}]
    assert "argparse.Namespace" in read.stand_ins


def test_a_training_of_mmengine(save: Any, foreign: Any, tmp_path: Path) -> None:
    content = {
        "meta": {"dataset_meta": {"classes": ("ship", "buoy")}, "cfg": "style='caffe'"},
        "message_hub": {"log": foreign.History(np.arange(1000.0)), "n": np.int64(3)},
        "ema_state_dict": {f"module.{name}": value + 1 for name, value in STATE.items()},
        "state_dict": STATE,
    }
    save(content, tmp_path / "c.pth")
    read = read_foreign(tmp_path / "c.pth")
    assert same(read.tensors)
    assert read.values["meta"]["dataset_meta"]["classes"] == ("ship", "buoy")
    assert read.values["message_hub"]["n"] == 3
    assert read.others == ("ema_state_dict",)
    averaged = read_foreign(tmp_path / "c.pth", under="ema_state_dict").tensors
    assert torch.equal(averaged["module.a.bias"], STATE["a.bias"] + 1)


def test_a_dictionary_of_another_class(save: Any, foreign: Any, tmp_path: Path) -> None:
    """Configurations are kinds of dictionaries in many programs."""
    config = foreign.Config(label_dict=foreign.Config(Tree=0))
    save({"state_dict": STATE, "hyper_parameters": config}, tmp_path / "c.ckpt")
    read = read_foreign(tmp_path / "c.ckpt")
    assert read.values["hyper_parameters"] == {"label_dict": {"Tree": 0}}
    assert same(read.tensors)


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel, lambda net: {"model": net}])
def test_a_whole_module(wrap: Any, save: Any, foreign: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = foreign.Net()
    net.head.bias.requires_grad_(False)
    save(wrap(net), tmp_path / "c.pt")
    read = read_foreign(tmp_path / "c.pt")
    wrapped = wrap(net)
    expected = (wrapped["model"] if isinstance(wrapped, dict) else wrapped).state_dict()
    assert list(read.tensors) == list(expected)
    assert all(torch.equal(read.tensors[name], value) for name, value in expected.items())


def test_tensors_as_they_are_shared_and_turned(save: Any, tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    content = {
        "whole": whole,
        "part": whole[1:3, ::2],
        "turned": whole.t(),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 4),
        "tied": nn.Parameter(whole),
        "flags": torch.tensor([True, False]),
    }
    save(content, tmp_path / "c.pt")
    read = read_foreign(tmp_path / "c.pt").tensors
    assert list(read) == list(content)
    for name, value in content.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value), name


def test_a_value_beside_the_weights_is_not_taken_for_them(tmp_path: Path) -> None:
    torch.save({"best_loss": torch.tensor(0.3), "state_dict": STATE}, tmp_path / "c.pt")
    read = read_foreign(tmp_path / "c.pt")
    assert same(read.tensors)
    with pytest.raises(WeightsError, match=r"no named tensors under 'ema'.*state_dict"):
        read_foreign(tmp_path / "c.pt", under="ema")


def test_the_folder_of_a_hub(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a folder without model\.safetensors or pytorch_"):
        read_foreign(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps({"label_dict": {"Tree": 0}}))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        read = read_foreign(path)
        assert same(read.tensors)
        assert read.values == {"metadata": {"format": "pt"}, "config": {"label_dict": {"Tree": 0}}}
        assert read.container == "safetensors file"
        assert read.path == tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: can't be read"):
        read_foreign(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (HDF5 + bytes(50), "is an HDF5 file, as Keras writes, without the layers"),
        (HDF5 + bytes(2**20 - 18) + b"pyramid_classification_0", "keras-retinanet.*COCO results"),
        (HDF5 + b"\0lateral_conv_P3\0", "KerasHub's RetinaNet.*foveal models list"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "only a pointer of Git LFS"),
        (b'{"label_dict": {}}', "is JSON"),
        (b"\x1f\x8b\x08", "is compressed with gzip"),
        (b"PK\x03\x04" + bytes(60), "a zip archive that is cut short"),
        (b"\x08\x07\x12\x07pytorch", "is of no kind that is known"),
    ],
)
def test_files_that_are_no_weights(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"c\.pth: can't be read as weights: .*{message}"):
        read_foreign(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [("m.onnx", "ONNX models are, which can only predict"), ("saved_model.pb", "as TensorFlow's")],
)
def test_files_of_other_frameworks_are_told_by_their_names(
    name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(WeightsError, match=message):
        read_foreign(tmp_path / name)


def test_an_optimizer_without_weights(tmp_path: Path) -> None:
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save(optimizer, tmp_path / "alone.pth")
    torch.save({"optimizer": optimizer, "epoch": 3}, tmp_path / "inside.pth")
    for name, message in (("alone", "optimizer alone"), ("inside", "under 'optimizer', and no we")):
        with pytest.raises(WeightsError, match=message):
            read_foreign(tmp_path / f"{name}.pth")


def test_an_archive_around_the_file(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "rn50.zip", "w") as archive:
        archive.writestr("retinanet_rn50fpn.pth", b"")
    with pytest.raises(WeightsError, match=r"around retinanet_rn50fpn\.pth; unpack it first"):
        read_foreign(tmp_path / "rn50.zip")


def test_quantized_tensors_are_left_out(tmp_path: Path) -> None:
    """They are no plain values; the name stands among what was stood in for."""
    program = b"\x80\x02}X\x01\0\0\0qctorch._utils\n_rebuild_qtensor\n)Rs."
    (tmp_path / "c.pkl").write_bytes(program)
    with pytest.raises(WeightsError, match="holds no named tensors"):
        read_foreign(tmp_path / "c.pkl")
