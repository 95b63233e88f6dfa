"""The network as an OpenVINO model, by OpenVINO's own converter of PyTorch modules."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.checkpoints.description import METADATA_KEY
from foveal.runtimes.openvino_core import shared_core
from foveal.runtimes.signature import INPUT, raw_outputs
from foveal.runtimes.telemetry import import_openvino

if TYPE_CHECKING:
    from foveal.config import DecodingSettings
    from foveal.detection.anchors import AnchorGrid
    from foveal.exporting.network import ExportedNetwork
    from foveal.runtimes.base import InputSizes


def network_to_openvino(network: ExportedNetwork, example: Tensor, sizes: InputSizes) -> Any:
    """Turn the network into an `openvino.Model` with the input `INPUT` and the `raw_outputs`.

    Args:
        network: in evaluation mode, on the CPU.
        example: [B, C, H, W] uint8, with which the network is run once.
        sizes: the inputs that the model is to take.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    openvino = import_openvino()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer about its own age
        model = openvino.convert_model(network, example_input=example)
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, raw_outputs(network.levels), strict=True):
        output.get_tensor().set_names({name})
    free = -1
    sides = (sizes.batch, network.bands, sizes.height, sizes.width)
    model.reshape([free if side is None else side for side in sides])
    return model


def append_postprocessing(
    model: Any, grid: AnchorGrid, decoding: DecodingSettings, *, num_classes: int
) -> Any:
    """A model with decoding and NMS behind a network's raw output, converted from their ONNX form.

    Args:
        model: the network's; it is not to be used afterwards.
        grid: the network's anchors.
        decoding: threshold, most candidates of a level, NMS, most detections.
        num_classes: K.
    """
    import onnx_ir

    from foveal.exporting.onnx_postprocessing import postprocessing_model

    openvino = import_openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.onnx"
        onnx_ir.save(postprocessing_model(grid, decoding, num_classes=num_classes), path)
        detections = shared_core().read_model(path)
    sources = {output.get_any_name(): output.get_node().input_value(0) for output in model.outputs}
    sources[INPUT] = model.inputs[0]
    for parameter in detections.get_parameters():
        output = parameter.output(0)
        output.replace(sources[output.get_any_name()])
    return openvino.Model(detections.get_results(), model.get_parameters(), "foveal")


def write_openvino(model: Any, path: Path, metadata: str, *, half: bool) -> None:
    """Write a model with its description: the .xml file and beside it the .bin file.

    Args:
        model: the model.
        path: of the .xml file.
        metadata: the description as JSON.
        half: store the weights as float16.
    """
    model.set_rt_info(metadata, [METADATA_KEY])
    import_openvino().save_model(model, path, compress_to_fp16=half)
