"""Exported models in OpenVINO: CPUs of all kinds and Intel's GPUs. Loads no torch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.checkpoints.description import METADATA_KEY, Description, from_json
from foveal.errors import ModelFileError, SettingsError
from foveal.files import readable_path
from foveal.runtimes.base import InputSizes, RuntimePrecision
from foveal.runtimes.openvino_cache import compiled_models
from foveal.runtimes.openvino_core import shared_core
from foveal.runtimes.signature import check_shape, order_outputs
from foveal.runtimes.telemetry import import_openvino

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from foveal.structures import PaddedDetections, RawOutput

Aim = Literal["LATENCY", "THROUGHPUT"]
"""OpenVINO's performance hints: one image soon, or many in the least time."""

_COMPILED_SIZES = 6
"""Input sizes of which each gets a compiled model of its own. It is a quarter faster than one for
all sizes, and is compiled in the time of ten images; further sizes share one for all."""

_HEAD = 4096
"""Bytes at the beginning of a file among which OpenVINO's opening tag stands."""

_PRECISIONS = {"f32": "float32", "bf16": "bf16", "f16": "float16"}


class OpenVINORuntime:
    """A model in OpenVINO, compiled for each input size that it meets.

    On a CPU the network takes one image at a time, so that batches of any number share one compiled
    model. A single image is computed by all cores together, of several each core computes its own:
    cores that share an image wait for each other after each layer, and long where another thread,
    such as one that reads the next images, has taken one of them.

    Args:
        model: an `openvino.Model` with the inputs and outputs of an exported model.
        precision: 'auto' leaves it to OpenVINO, which takes bf16 on CPUs that are made for it.
        device: one of OpenVINO's, such as 'cpu' or 'gpu'; 'auto' is the CPU.
        remember: keep what is compiled in the user's cache folder, so that the next process starts
            sooner; for models that will be opened again.
        threads: how many to compute with on a CPU; None takes one for each core.
        where: the file, for messages.

    Raises:
        SettingsError: there is no such device here, or it can't compute in that precision.
        ModelFileError: the model is no exported one.
    """

    name = "OpenVINO"

    def __init__(
        self,
        model: Any,
        *,
        precision: RuntimePrecision = "auto",
        device: str = "auto",
        remember: bool = False,
        threads: int | None = None,
        where: object = "the OpenVINO model",
    ) -> None:
        self._where = where
        self._model = model
        self._order = order_outputs([part.get_names() for part in model.outputs], where=where)
        self._core = shared_core()
        self._device = _choose_device(self._core, device)
        self._settings = _precision_hint(self._core, self._device, precision)
        if threads is not None and self._device == "CPU":
            self._settings["INFERENCE_NUM_THREADS"] = str(threads)
        self._bands, self.sizes = _input_sizes(model)
        self._remember = remember
        self._queues: dict[tuple[Aim, tuple[int, ...]], Any] = {}
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """'cpu', or OpenVINO's name of another device in small letters."""
        return self._device.lower()

    @property
    def precision(self) -> str:
        """'int8' of a quantized model; else what OpenVINO computes in here."""
        if any(node.get_type_name() == "FakeQuantize" for node in self._model.get_ops()):
            return "int8"
        hint = self._settings.get("INFERENCE_PRECISION_HINT")
        if hint is None:
            properties = self._core.get_property(self._device, "INFERENCE_PRECISION_HINT")
            hint = properties.get_type_name()
        return _PRECISIONS.get(hint, hint)

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> RawOutput[NDArray[np.float32]] | PaddedDetections[NDArray[Any]]:
        """Compute a batch; see `foveal.runtimes.base.Runtime`."""
        check_shape(images.shape, sizes=self.sizes, bands=self._bands, where=self._where)
        batch = len(images)
        step = self.sizes.batch or (1 if self._device == "CPU" else batch)
        pieces = [images[start : start + step] for start in range(0, batch, step)]
        with self._lock:
            aim: Aim = "THROUGHPUT" if len(pieces) > 1 else "LATENCY"
            queue = self._queue(aim, (step, *images.shape[1:]), at_once=len(pieces))
            parts = _computed(queue, pieces)
        return self._order.collect(_joined(parts))

    def _queue(self, aim: Aim, shape: tuple[int, ...], *, at_once: int) -> Any:
        """What computes inputs of this shape, compiled when it is first needed.

        Each image that is computed at the same time takes memory of its own; so there are never
        more of them than the first batch has, on a machine of however many cores.
        """
        if (aim, shape) not in self._queues:
            known = sum(each == aim for each, _ in self._queues)
            shape = shape if known < _COMPILED_SIZES else ()
        if (aim, shape) not in self._queues:
            model = self._model
            if shape and model.is_dynamic():
                model = model.clone()
                model.reshape(list(shape))
            with compiled_models(self._remember) as cache:
                settings = {"PERFORMANCE_HINT": aim, **self._settings, **cache}
                settings["PERFORMANCE_HINT_NUM_REQUESTS"] = str(at_once)
                compiled = self._core.compile_model(model, self._device, settings)
            self._queues[aim, shape] = import_openvino().AsyncInferQueue(compiled)
        return self._queues[aim, shape]


class CompiledRuntime:
    """A model that somebody else has compiled in OpenVINO, such as NNCF while it quantizes.

    Args:
        model: an `openvino.CompiledModel`.
    """

    name = "OpenVINO"
    device = "cpu"
    precision = "float32"

    def __init__(self, model: Any) -> None:
        names = [part.get_names() for part in model.outputs]
        self._order = order_outputs(names, where="the compiled model")
        _, self.sizes = _input_sizes(model)
        self._request = model.create_infer_request()

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> RawOutput[NDArray[np.float32]] | PaddedDetections[NDArray[Any]]:
        """Compute a batch; see `foveal.runtimes.base.Runtime`."""
        outputs = self._request.infer([np.ascontiguousarray(images)])
        return self._order.collect(list(outputs.values()))


def open_openvino(
    path: Path | str,
    *,
    precision: RuntimePrecision = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> tuple[OpenVINORuntime, Description]:
    """Read a model that was exported to OpenVINO.

    Args:
        path: the .xml file; the .bin file with the weights lies beside it.
        precision, device, threads: as for `OpenVINORuntime`.

    Raises:
        ModelFileError: a file is missing or cut short, or was not written by foveal.
        SettingsError: there is no such device here, or it can't compute in that precision.
        MissingExtraError: OpenVINO is not installed.
    """
    path = Path(path)
    _check_files(path)
    try:
        with readable_path(path) as name:
            model = shared_core().read_model(name)
    except RuntimeError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1]
        raise ModelFileError(
            f"{path}: can't be read ({reason.strip()}). It or {path.with_suffix('.bin').name} was "
            "cut short or changed; export the model again, or copy both files again."
        ) from None
    if not model.has_rt_info([METADATA_KEY]):
        raise ModelFileError(
            f"{path}: is an OpenVINO model, but none that foveal exported: it does not say which "
            "classes, anchors and preparation it has. Expected one that foveal export wrote."
        )
    text = model.get_rt_info([METADATA_KEY]).value
    description = from_json(text, where=path)
    runtime = OpenVINORuntime(
        model, precision=precision, device=device, remember=True, threads=threads, where=path
    )
    return runtime, description


def _check_files(path: Path) -> None:
    weights = path.with_suffix(".bin")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file. Expected a model that foveal exported.")
    with path.open("rb") as file:
        # OpenVINO tries all its readers on whatever else, and they print what they think of it.
        if b"<net" not in file.read(_HEAD):
            raise ModelFileError(
                f"{path}: is no OpenVINO model. Expected one that foveal export --to openvino "
                "wrote."
            )
    if not weights.is_file():
        raise ModelFileError(
            f"{path}: the weights are missing. Expected {weights.name} beside it: an OpenVINO "
            "model is two files; copy both."
        )


def _choose_device(core: Any, wanted: str) -> str:
    name = "CPU" if wanted == "auto" else wanted.upper()
    try:
        core.get_property(name, "FULL_DEVICE_NAME")
    except RuntimeError:
        names = ", ".join(["auto", *(each.lower() for each in core.available_devices)])
        raise SettingsError(
            f"device {wanted!r} can't be used by OpenVINO here. Expected one of: {names}. "
            "NVIDIA's GPUs compute foveal's own .safetensors files, and .onnx files."
        ) from None
    return name


def _precision_hint(core: Any, device: str, wanted: RuntimePrecision) -> dict[str, str]:
    if wanted == "auto":
        return {}
    if wanted == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        name = core.get_property(device, "FULL_DEVICE_NAME").strip()
        raise SettingsError(
            f"precision 'bf16': this processor ({name}) does not compute in bf16. Expected auto "
            "or float32 here."
        )
    return {"INFERENCE_PRECISION_HINT": "bf16" if wanted == "bf16" else "f32"}


def _input_sizes(model: Any) -> tuple[int | None, InputSizes]:
    """The bands, and the inputs that the model takes."""
    batch, bands, height, width = (
        dimension.get_length() if dimension.is_static else None
        for dimension in model.inputs[0].get_partial_shape()
    )
    return bands, InputSizes(height=height, width=width, batch=batch)


def _computed(queue: Any, inputs: Iterable[NDArray[np.uint8]]) -> list[list[NDArray[Any]]]:
    """The outputs of each input, as many computed at a time as the queue has requests."""
    outputs: dict[int, list[NDArray[Any]]] = {}

    def keep(request: Any, place: int) -> None:
        outputs[place] = [tensor.data.copy() for tensor in request.output_tensors]

    queue.set_callback(keep)
    try:
        for place, piece in enumerate(inputs):
            queue.start_async([np.ascontiguousarray(piece)], place)
    finally:
        queue.wait_all()  # also when interrupted: nothing of this call may end during the next
    return [outputs[place] for place in sorted(outputs)]


def _joined(parts: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """The outputs of several runs as those of one."""
    if len(parts) == 1:
        return list(parts[0])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
