"""ONNX Runtime computes what was exported to it, and says what is wrong with what was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.exporting.models import exported, noise

from foveal.errors import MissingExtraError, ModelFileError, SettingsError
from foveal.runtimes import onnx as module
from foveal.runtimes.onnx import ONNXRuntime, open_onnx


def path() -> Path:
    return exported("onnx").path


def test_what_it_says_of_itself() -> None:
    runtime, description = open_onnx(path(), device="cpu")
    assert (runtime.name, runtime.device, runtime.precision) == ("ONNX Runtime", "cpu", "float32")
    assert (runtime.sizes.height, runtime.sizes.width, runtime.sizes.batch) == (None, None, None)
    assert description.export is not None


def test_the_number_of_threads_can_be_chosen_and_changes_nothing() -> None:
    images = noise(1)
    found = []
    for threads in (1, 2):
        runtime, _ = open_onnx(path(), device="cpu", threads=threads)
        assert runtime._session.get_session_options().intra_op_num_threads == threads
        found.append(runtime(images).logits)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_smaller_inputs_than_the_exporter_saw() -> None:
    runtime, _ = open_onnx(path(), device="cpu")
    # The coarsest level is one place.
    assert [part.shape for part in runtime(noise(2, 32, 32)).logits] == [
        (2, 16 * 9, 3),
        (2, 4 * 9, 3),
        (2, 9, 3),
    ]


def test_any_memory_order() -> None:
    runtime, _ = open_onnx(path(), device="cpu")
    images = noise(1)
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(runtime(images).logits[0], runtime(channels_last).logits[0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 64, 100), "Expected multiples of 32"),
        ((1, 4, 64, 64), "takes images with 3 bands, and these have 4"),
    ],
)
def test_inputs_that_it_does_not_take(shape: tuple[int, ...], message: str) -> None:
    runtime, _ = open_onnx(path(), device="cpu")
    with pytest.raises(SettingsError, match=message):
        runtime(np.zeros(shape, np.uint8))


def test_precisions() -> None:
    assert open_onnx(path(), precision="float32", device="cpu")[0].precision == "float32"
    with pytest.raises(
        SettingsError, match=r"is in float32.*precision 'bf16' can't be had.*--half"
    ):
        open_onnx(path(), precision="bf16", device="cpu")


@pytest.mark.parametrize(
    ("available", "device", "providers"),
    [
        (["CPU"], "auto", ["CPU"]),
        (["CPU"], "cpu", ["CPU"]),
        (["CUDA", "CPU"], "cpu", ["CPU"]),
        (["CUDA", "CPU"], "auto", [("CUDA", {"device_id": "0"}), "CPU"]),
        (["CUDA", "CPU"], "cuda:1", [("CUDA", {"device_id": "1"}), "CPU"]),
    ],
)
def test_devices(available: list[str], device: str, providers: Any) -> None:
    def full(each: Any) -> Any:
        return (full(each[0]), each[1]) if isinstance(each, tuple) else f"{each}ExecutionProvider"

    chosen = module._choose_providers([full(each) for each in available], device)
    assert chosen == [full(each) for each in providers]


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "pip install onnxruntime-gpu"), ("mps", "Expected auto or cpu"), ("gpu", "cpu")],
)
def test_a_device_that_is_not_there(device: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        module._choose_providers(["CPUExecutionProvider"], device)


def test_files_that_are_broken(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    with pytest.raises(ModelFileError, match=r"model\.onnx: no such file"):
        open_onnx(broken)
    whole = path().read_bytes()
    for content in (b"", b"not protobuf at all", whole[: len(whole) // 2], whole[:-1]):
        broken.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"model\.onnx: can't be read as ONNX"):
            open_onnx(broken)


def save_other(target: Path, names: tuple[str, str]) -> None:
    shape = [1, 3, 64, 64]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape) for name in names
    ]
    node = onnx.helper.make_node("Identity", [names[0]], [names[1]])
    graph = onnx.helper.make_graph([node], "other", values[:1], values[1:])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10), target)


def test_files_of_others(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    save_other(other, ("input", "classes"))
    with pytest.raises(ModelFileError, match=r"has the outputs classes\. Expected boxes, scores"):
        open_onnx(other)
    model = onnx.load(path())
    del model.metadata_props[:]
    onnx.save(model, other)
    with pytest.raises(ModelFileError, match="none that foveal exported"):
        open_onnx(other)


def test_a_file_of_a_later_version(tmp_path: Path) -> None:
    model = onnx.load(path())
    model.metadata_props[0].value = '{"version": 99}'
    onnx.save(model, tmp_path / "later.onnx")
    with pytest.raises(ModelFileError, match="has format version 99"):
        open_onnx(tmp_path / "later.onnx")


def test_a_model_in_memory() -> None:
    runtime = ONNXRuntime(path().read_bytes(), device="cpu")
    assert runtime(noise(1)).logits[0].shape == (1, 864, 3)


def test_onnxruntime_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    file = path()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[export\]'"):
        open_onnx(file)


def test_it_predicts_without_torch() -> None:
    code = f"""
import sys
import numpy as np
from foveal.inference.opening import open_model
predictor = open_model({str(path())!r}, device="cpu").predictor()
found = predictor.detect(np.full((64, 96, 3), 127, np.uint8))
assert len(found) == 0
loaded = {{"torch", "torchvision", "timm", "accelerate", "openvino", "onnx"}} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
