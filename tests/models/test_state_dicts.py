"""Foreign files: nesting and prefixes; nothing in them is ever run. Own files are never half."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foveal.errors import WeightsError
from foveal.models.state_dicts import read_state_dict, strip_prefix, write_state_dict

STATE = {"a.weight": torch.arange(3.0), "b.bias": torch.ones(2)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"model": STATE, "optimizer": {"state": {}}, "epoch": 3},
        {"state_dict": STATE, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2"},
        {"model_state_dict": STATE},
        {"checkpoint": 1, "model": {"state_dict": STATE}},
    ],
)
def test_plain_and_nested(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pt")
    assert same(read_state_dict(tmp_path / "c.pt"))


@pytest.mark.parametrize("name", ["c.safetensors", "c.pth", "new/folder/c.ckpt"])
def test_written_and_read(name: str, tmp_path: Path) -> None:
    write_state_dict(tmp_path / name, STATE)
    assert same(read_state_dict(tmp_path / name))


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("/tmp/foveal-test-must-not-exist").touch, ())


def test_code_in_a_pickle_is_not_run_and_the_weights_beside_it_are_read(tmp_path: Path) -> None:
    torch.save({"a": Bomb(), **STATE}, tmp_path / "a.pt")
    assert same(read_state_dict(tmp_path / "a.pt"))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"a": Bomb(), "b": 1}))
    with pytest.raises(WeightsError, match="holds no named tensors"):
        read_state_dict(tmp_path / "b.pkl")
    assert not Path("/tmp/foveal-test-must-not-exist").exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.98])
def test_cut_short(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    if kind == "safetensors":
        save_file(STATE, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({name: value.numpy() for name, value in STATE.items()}))
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match="can't be read"):
        read_state_dict(path)


def test_a_value_that_was_damaged(tmp_path: Path) -> None:
    """Which torch itself does not notice."""
    torch.save({"a": torch.arange(500.0)}, tmp_path / "c.pt")
    content = bytearray((tmp_path / "c.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="a checksum does not fit; get the file again"):
        read_state_dict(tmp_path / "c.pt")


@pytest.mark.parametrize("content", [b"hello", b"\x80\x02.", b"\x00" * 64, b"\x80\x04]q"])
def test_something_else(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"c\.pth"):
        read_state_dict(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a list"),
        ({"state": {}, "param_groups": []}, "the state of an optimizer alone"),
        ({"epoch": 1, "model": {}}, "the keys epoch, model"),
        (torch.ones(2), "a single tensor"),
    ],
)
def test_no_named_tensors(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=f"holds no named tensors .*{message}"):
        read_state_dict(tmp_path / "c.pt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_state_dict(tmp_path / "c.pt")


@pytest.mark.parametrize("prefix", ["", "model.", "module.net.backbone."])
def test_the_prefix_of_most_keys_goes(prefix: str) -> None:
    state = {prefix + key: value for key, value in STATE.items()} | {"head.b.bias": torch.ones(1)}
    found = strip_prefix(state, STATE)
    assert all(found[key] is STATE[key] for key in STATE)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="can't be written"):
        write_state_dict(tmp_path / "file" / "c.pt", STATE)


@pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
def test_a_full_disk_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    write_state_dict(tmp_path / name, STATE)
    with full_disk(), pytest.raises(WeightsError, match=r"can't be written \(.*File too large"):
        write_state_dict(tmp_path / name, {"large": torch.zeros(10_000)})
    assert same(read_state_dict(tmp_path / name))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a few kilobytes, as where the disk is full."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
