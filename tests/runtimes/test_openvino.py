"""OpenVINO computes what was exported to it, and says what is wrong with what was not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exporting.models import exported, noise

from foveal.errors import MissingExtraError, ModelFileError, SettingsError
from foveal.runtimes import openvino as module
from foveal.runtimes.openvino import CompiledRuntime, OpenVINORuntime, open_openvino
from foveal.runtimes.openvino_core import shared_core
from foveal.runtimes.telemetry import import_openvino


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of an exported model to break."""
    for ending in (".xml", ".bin"):
        shutil.copy(exported("openvino").path.with_suffix(ending), tmp_path / f"model{ending}")
    return tmp_path / "model.xml"


def test_what_it_says_of_itself() -> None:
    runtime, description = open_openvino(exported("openvino").path, precision="float32")
    assert (runtime.name, runtime.device, runtime.precision) == ("OpenVINO", "cpu", "float32")
    assert (runtime.sizes.height, runtime.sizes.width, runtime.sizes.batch) == (None, None, None)
    assert description.export is not None


def test_by_itself_it_takes_what_the_processor_is_made_for() -> None:
    core = shared_core()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    runtime, _ = open_openvino(exported("openvino").path)
    assert runtime.precision == ("bf16" if has_bf16 else "float32")
    assert runtime(noise(1)).logits[0].dtype == np.float32


def test_bf16_where_the_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> Any:
            return {"OPTIMIZATION_CAPABILITIES": ["FP32"], "FULL_DEVICE_NAME": "Old CPU "}[name]

    with pytest.raises(SettingsError, match=r"this processor \(Old CPU\) does not compute in bf16"):
        module._precision_hint(Core(), "CPU", "bf16")


def test_an_image_does_not_depend_on_its_batch() -> None:
    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    images = noise(3)
    together = runtime(images)
    for index in range(3):
        alone = runtime(images[index : index + 1])
        for one, other in zip(alone.logits, together.logits, strict=True):
            np.testing.assert_array_equal(one[0], other[index])


def test_the_number_of_threads_can_be_chosen_and_changes_nothing() -> None:
    images = noise(2)
    found = []
    for threads in (1, 2):
        runtime, _ = open_openvino(exported("openvino").path, precision="float32", threads=threads)
        found.append(runtime(images).logits)
        (queue,) = runtime._queues.values()
        compiled = queue[0].get_compiled_model()
        assert int(compiled.get_property("INFERENCE_NUM_THREADS")) == threads
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_more_input_sizes_than_are_compiled_alone() -> None:
    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    sizes = [(64, 32 * side) for side in range(2, 11)]
    first = [runtime(noise(1, *size)) for size in sizes]
    again = [runtime(noise(1, *size)) for size in sizes]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.logits[0], other.logits[0])


def test_one_image_is_computed_by_all_cores_and_several_by_a_core_each() -> None:
    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    runtime(noise(1))
    runtime(noise(3))
    runtime(noise(2))
    hints = [
        str(queue[0].get_compiled_model().get_property("PERFORMANCE_HINT"))
        for queue in runtime._queues.values()
    ]
    assert [hint.rpartition(".")[2] for hint in hints] == ["LATENCY", "THROUGHPUT"]


def test_results_come_in_the_order_of_the_images() -> None:
    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    images = noise(7)
    forward, backward = runtime(images), runtime(images[::-1])
    for one, other in zip(forward.logits, backward.logits, strict=True):
        np.testing.assert_array_equal(one, other[::-1])
        assert len(np.unique(one.reshape(7, -1), axis=0)) == 7


def test_an_interrupted_call_leaves_nothing_for_the_next() -> None:
    class Stopped(KeyboardInterrupt):
        pass

    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    wanted = runtime(noise(3, seed=2))
    queue = next(iter(runtime._queues.values()))

    def inputs() -> Iterator[np.ndarray]:
        yield from noise(2, seed=1)[:, None]
        raise Stopped

    with pytest.raises(Stopped):
        module._computed(queue, inputs())
    assert queue.is_ready()
    found = runtime(noise(3, seed=2))
    for one, other in zip(wanted.logits, found.logits, strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_are_not_overwritten_by_the_next_call() -> None:
    runtime, _ = open_openvino(exported("openvino").path)
    first = runtime(noise(1, seed=1))
    kept = first.logits[0].copy()
    runtime(noise(1, seed=2))
    np.testing.assert_array_equal(first.logits[0], kept)


def test_any_memory_order() -> None:
    runtime, _ = open_openvino(exported("openvino").path)
    images = noise(1)
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(runtime(images).logits[0], runtime(channels_last).logits[0])


def test_a_model_that_is_compiled_already() -> None:
    core = shared_core()
    model = core.read_model(exported("openvino").path)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = OpenVINORuntime(model, precision="float32")(noise(2))
    found = CompiledRuntime(compiled)(noise(2))
    np.testing.assert_allclose(found.logits[0], wanted.logits[0], atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 64, 100), "Expected multiples of 32"),
        ((1, 4, 64, 64), "takes images with 3 bands, and these have 4"),
    ],
)
def test_inputs_that_it_does_not_take(shape: tuple[int, ...], message: str) -> None:
    runtime, _ = open_openvino(exported("openvino").path)
    with pytest.raises(SettingsError, match=message):
        runtime(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("device", ["cuda", "gpu.7", "nonsense"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(SettingsError, match=rf"device '{device}' .* Expected one of: auto, cpu"):
        open_openvino(exported("openvino").path, device=device)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_files_that_are_broken(model: Path) -> None:
    weights = model.with_suffix(".bin")
    whole = weights.read_bytes()
    cut(weights)
    with pytest.raises(ModelFileError, match=r"Incorrect weights in bin file.*model\.bin was cut"):
        open_openvino(model)
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"the weights are missing. Expected model\.bin"):
        open_openvino(model)
    weights.write_bytes(whole)
    cut(model)
    with pytest.raises(ModelFileError, match=r"model\.xml: can't be read \("):
        open_openvino(model)
    model.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"model\.xml: is no OpenVINO model"):
        open_openvino(model)
    model.unlink()
    with pytest.raises(ModelFileError, match=r"model\.xml: no such file"):
        open_openvino(model)


def test_files_of_others(model: Path) -> None:
    model.write_text("<annotation><object/></annotation>")
    with pytest.raises(ModelFileError, match="is no OpenVINO model"):
        open_openvino(model)
    openvino = import_openvino()
    side = openvino.op.Parameter(openvino.Type.u8, openvino.PartialShape([1, 3, 64, 64]))
    openvino.save_model(openvino.Model([side], [side], "other"), model)
    with pytest.raises(ModelFileError, match="none that foveal exported"):
        open_openvino(model)


def test_a_model_with_other_outputs() -> None:
    openvino = import_openvino()
    side = openvino.op.Parameter(openvino.Type.u8, openvino.PartialShape([1, 3, 64, 64]))
    model = openvino.Model([side], [side], "other")
    model.outputs[0].get_tensor().set_names({"classes"})
    with pytest.raises(ModelFileError, match=r"has the outputs classes\. Expected boxes, scores"):
        OpenVINORuntime(model)


def test_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported("openvino").path
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(module, "shared_core", shared_core.__wrapped__)
    with pytest.raises(MissingExtraError, match="pip install openvino"):
        open_openvino(path)


def test_it_predicts_without_torch(tmp_path: Path) -> None:
    code = f"""
import sys
import numpy as np
from foveal.inference.opening import open_model
predictor = open_model({str(exported("openvino").path)!r}).predictor()
found = predictor.detect(np.full((64, 96, 3), 127, np.uint8))
assert len(found) == 0
loaded = {{"torch", "torchvision", "timm", "accelerate", "onnxruntime", "nncf"}} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
