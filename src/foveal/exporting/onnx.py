"""The network as an ONNX graph, by PyTorch's exporter."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.checkpoints.description import METADATA_KEY
from foveal.errors import MissingExtraError
from foveal.exporting.program import dynamic_shapes
from foveal.runtimes.signature import INPUT, raw_outputs

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from foveal.exporting.network import ExportedNetwork
    from foveal.runtimes.base import InputSizes

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """See that all is there that exporting to ONNX needs.

    Raises:
        MissingExtraError: a package is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Exporting to ONNX needs {', '.join(missing)}. Run: pip install 'foveal[export]'"
        )


def network_to_onnx(network: ExportedNetwork, example: Tensor, sizes: InputSizes) -> ir.Model:
    """Turn the network into a graph with the input `INPUT` and the `raw_outputs`.

    Args:
        network: in evaluation mode, on the CPU.
        example: [B, C, H, W] uint8, with which the network is run once.
        sizes: the inputs that the graph is to take.

    Returns:
        The graph; where batch, height and width are free, they are called so.
    """
    from foveal.exporting.onnx_operators import translations, with_own_operators
    from foveal.exporting.onnx_postprocessing import OPSET

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            with_own_operators(network),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic_shapes(network, sizes),
            input_names=[INPUT],
            output_names=list(raw_outputs(network.levels)),
            custom_translation_table=translations(),
            verbose=False,
        )
    assert program is not None
    model: ir.Model = program.model
    _name_free_sides(model.graph, network, sizes)
    _forget_origin(model)
    return model


def _name_free_sides(graph: ir.Graph, network: ExportedNetwork, sizes: InputSizes) -> None:
    """Call the free sides of input and outputs by names that people understand."""
    import onnx_ir as ir

    batch = sizes.batch or "batch"
    sides = [batch, network.bands, sizes.height or "height", sizes.width or "width"]
    graph.inputs[0].shape = ir.Shape(sides)
    is_fixed = sizes.height is not None and sizes.width is not None
    for output in graph.outputs:
        assert output.shape is not None
        level = str(output.name).rpartition("_")[2]
        anchors = output.shape[1] if is_fixed else f"anchors_{level}"
        output.shape = ir.Shape([batch, anchors, output.shape[2]])


def _forget_origin(model: ir.Model) -> None:
    """Leave out where in whose source code each node came from, and PyTorch's names of shapes."""
    outputs = set(model.graph.outputs)
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in outputs:
                value.shape = None
    for value in (*model.graph.inputs, *outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.producer_name = "foveal"


def to_half(model: ir.Model) -> ir.Model:
    """The graph with weights in float16, and computing in it; input and outputs as they were."""
    import onnx_ir as ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: ir.Model = ir.from_proto(convert_float_to_float16(ir.to_proto(model), keep_io_types=True))
    return half


def write_onnx(model: ir.Model, path: Path, metadata: str) -> None:
    """Write a graph with its description.

    Args:
        model: the graph.
        path: of the file.
        metadata: the description as JSON.
    """
    import onnx_ir as ir

    model.metadata_props.clear()
    model.metadata_props[METADATA_KEY] = metadata
    ir.save(model, path)
