"""Exported models in ONNX Runtime: CPUs, and NVIDIA's GPUs with its GPU package. Loads no torch."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.checkpoints.description import METADATA_KEY, Description, from_json
from foveal.errors import MissingExtraError, ModelFileError, SettingsError
from foveal.files import readable_path
from foveal.runtimes.base import InputSizes, RuntimePrecision
from foveal.runtimes.signature import INPUT, check_shape, order_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import PaddedDetections, RawOutput

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ONLY_ERRORS = 3
"""Of ONNX Runtime's severities; warnings are about its own optimizations."""


class ONNXRuntime:
    """A model in ONNX Runtime.

    Args:
        model: the file, or what it holds.
        device: 'cpu', 'cuda', 'cuda:1' ...; 'auto' takes a GPU where ONNX Runtime has one.
        where: the file, for messages.
        opens_quickly: for a model that sees few images: without the optimizations that take longer
            than they gain there, and without threads that wait busily for the next one.
        threads: how many to compute with on a CPU; None takes one for each core.

    Raises:
        ModelFileError: the file is cut short, is something else, or is no exported model.
        SettingsError: there is no such device here.
        MissingExtraError: ONNX Runtime is not installed.
    """

    name = "ONNX Runtime"

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        where: object = "the ONNX model",
        opens_quickly: bool = False,
        threads: int | None = None,
    ) -> None:
        self._where = where
        self._session = _open_session(
            model, device=device, where=where, opens_quickly=opens_quickly, threads=threads
        )
        inputs = self._session.get_inputs()
        names = [[output.name] for output in self._session.get_outputs()]
        self._order = order_outputs(names, where=where)
        if [part.name for part in inputs] != [INPUT] or len(inputs[0].shape) != 4:
            raise ModelFileError(
                f"{where}: has the inputs {', '.join(part.name for part in inputs)}. Expected "
                f"{INPUT}: a model that foveal export wrote. Export it again."
            )
        batch, self._bands, height, width = (
            side if isinstance(side, int) else None for side in inputs[0].shape
        )
        self.sizes = InputSizes(height=height, width=width, batch=batch)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def device(self) -> str:
        """'cpu' or 'cuda'."""
        return "cuda" if self._session.get_providers()[0] == _CUDA else "cpu"

    @property
    def precision(self) -> str:
        """What the file is in: 'float32', 'float16' or 'int8'."""
        if METADATA_KEY not in self.metadata:
            return "float32"
        export = from_json(self.metadata[METADATA_KEY], where=self._where).export
        return "float32" if export is None else export.precision

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> RawOutput[NDArray[np.float32]] | PaddedDetections[NDArray[Any]]:
        """Compute a batch; see `foveal.runtimes.base.Runtime`."""
        check_shape(images.shape, sizes=self.sizes, bands=self._bands, where=self._where)
        outputs = self._session.run(None, {INPUT: np.ascontiguousarray(images)})
        return self._order.collect(outputs)


def open_onnx(
    path: Path | str,
    *,
    precision: RuntimePrecision = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> tuple[ONNXRuntime, Description]:
    """Read a model that was exported to ONNX.

    Args:
        path: the .onnx file.
        precision: 'auto', or what the file is in.
        device, threads: as for `ONNXRuntime`.

    Raises:
        ModelFileError: the file is missing or cut short, or was not written by foveal.
        SettingsError: there is no such device here, or the file is in another precision.
        MissingExtraError: ONNX Runtime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file. Expected a model that foveal exported.")
    runtime = ONNXRuntime(path, device=device, threads=threads, where=path)
    if METADATA_KEY not in runtime.metadata:
        raise ModelFileError(
            f"{path}: is an ONNX model, but none that foveal exported: it does not say which "
            "classes, anchors and preparation it has. Expected one that foveal export wrote."
        )
    description = from_json(runtime.metadata[METADATA_KEY], where=path)
    if precision not in ("auto", runtime.precision):
        raise SettingsError(
            f"{path}: is in {runtime.precision}, and ONNX Runtime computes a file in what it is "
            f"in; precision {precision!r} can't be had. Expected auto. A file in float16 is made "
            "by foveal export --half, one in 8 bits by --int8."
        )
    return runtime, description


def _open_session(
    model: Path | bytes,
    *,
    device: str,
    where: object,
    opens_quickly: bool,
    threads: int | None,
) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError(
            f"{where}: needs ONNX Runtime. Run: pip install 'foveal[export]'"
        ) from None
    onnxruntime.disable_telemetry_events()  # there are some on Windows
    providers = _choose_providers(onnxruntime.get_available_providers(), device)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ONLY_ERRORS
    if threads is not None:
        options.intra_op_num_threads = threads
    if opens_quickly:
        # The last level lays the memory of convolutions out anew: half of the time to open.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with nullcontext(model) if isinstance(model, bytes) else readable_path(model) as source:
            named = source if isinstance(source, bytes) else str(source)
            session = onnxruntime.InferenceSession(named, options, providers=providers)
    except Exception as error:  # its kinds of errors are private to it
        reason = str(error).partition(":")[2].strip().splitlines()[0][:200]
        raise ModelFileError(
            f"{where}: can't be read as ONNX ({reason}). It was cut short or is something else; "
            "export the model again."
        ) from None
    if device.startswith("cuda") and session.get_providers()[0] != _CUDA:
        raise SettingsError(
            f"device {device!r}: ONNX Runtime can't use it, its CUDA libraries do not load. "
            "Expected auto or cpu, or the CUDA version that its GPU package was made for."
        )
    return session


def _choose_providers(available: Sequence[str], device: str) -> list[Any]:
    has_cuda = _CUDA in available
    kind, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and not has_cuda):
        return [_CPU]
    if kind in ("auto", "cuda") and has_cuda and (not number or number.isdecimal()):
        return [(_CUDA, {"device_id": number or "0"}), _CPU]
    advice = "Expected auto or cpu" + (", or cuda." if has_cuda else ".")
    if kind == "cuda" and not has_cuda:
        advice += " For NVIDIA's GPUs: pip install onnxruntime-gpu in place of onnxruntime."
    raise SettingsError(f"device {device!r} can't be used by ONNX Runtime here. {advice}")
