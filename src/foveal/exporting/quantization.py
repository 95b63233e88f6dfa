"""8 bits by NNCF, for OpenVINO and for ONNX, with what the average precision demands in float32."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.runtimes.openvino import CompiledRuntime
from foveal.runtimes.openvino_core import only_shared_core
from foveal.runtimes.signature import INPUT
from foveal.runtimes.telemetry import import_nncf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.runtimes.base import Runtime
    from foveal.structures import Detections

LARGEST_DROP = 0.002
"""What average precision may lose."""

_AIMED_DROP = 0.0015
"""What the search aims at: it measures with another compiled model, which rounds differently."""

_SEARCH_SECONDS = 60.0
"""About what ranking the layers may take, and about what taking them back one by one may take."""
_FEWEST_RANKED, _MOST_RANKED = 2, 16
"""Images on which each layer's share in the loss is looked at."""
_FEWEST_REVERTED, _MOST_REVERTED = 3, 30
"""Groups of layers that are taken back at most."""


_SCALING = ("Multiply", "Subtract", "Reshape", "Convert", "FakeQuantize")
"""What stands between 8-bit weights and their convolution in OpenVINO."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """How the average precision of a network is found.

    Attributes:
        detect: what a runtime finds in the images with these indices.
        score: the average precision of that, NaN where these images have no objects.
        images: how many images there are.
        seconds: what one image takes, about.
    """

    detect: Callable[[Runtime, Sequence[int]], list[Detections]]
    score: Callable[[Sequence[Detections], Sequence[int]], float]
    images: int
    seconds: float


def quantize_openvino(
    model: Any, calibration: Sequence[NDArray[np.uint8]], judgment: Judgment
) -> Any:
    """An `openvino.Model` in 8 bits, some layers perhaps not.

    Args:
        model: the network's, in float32, for the sizes of the calibration's inputs.
        calibration: inputs [B, C, H, W].
        judgment: finds the average precision, of which little may be lost.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    layers = sum("Convolution" in node.get_type_name() for node in model.get_ops())
    return _quantize(model, list(calibration), judgment, layers=layers, as_runtime=CompiledRuntime)


def quantize_onnx(proto: Any, calibration: Sequence[NDArray[np.uint8]], judgment: Judgment) -> Any:
    """An `onnx.ModelProto` in 8 bits, some layers perhaps not; arguments as `quantize_openvino`.

    The calibration is of images [B, C, H, W].
    """
    from foveal.runtimes.onnx import ONNXRuntime

    nncf = import_nncf()
    # ONNX Runtime's integer convolution takes one scale for all channels of its input.
    whole = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    return _quantize(
        proto,
        [{INPUT: images} for images in calibration],
        judgment,
        layers=sum(node.op_type == "Conv" for node in proto.graph.node),
        as_runtime=lambda part: ONNXRuntime(part.SerializeToString(), device="cpu"),
        activations_quantization_params=whole,
    )


def float_layers_openvino(model: Any) -> tuple[str, ...]:
    """The convolutions of an `openvino.Model` that are not in 8 bits, by their names in PyTorch."""
    names = [
        node.get_friendly_name().partition("/")[0].removeprefix("__module.")
        for node in model.get_ordered_ops()
        if "Convolution" in node.get_type_name() and not _is_quantized(node)
    ]
    return tuple(dict.fromkeys(names))


def float_layers_onnx(proto: Any) -> tuple[str, ...]:
    """The same of an `onnx.ModelProto`."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    names = []
    for node in proto.graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            maker = makers.get(weight)
            if maker is None or maker.op_type != "DequantizeLinear":
                names.append(weight.removesuffix(".weight"))
    return tuple(dict.fromkeys(names))


def _quantize(
    model: Any,
    calibration: list[Any],
    judgment: Judgment,
    *,
    layers: int,
    as_runtime: Callable[[Any], Runtime],
    **advanced: Any,
) -> Any:
    nncf = import_nncf()
    parameters = nncf.quantization.advanced_parameters

    known: list[Any] = [None, None]  # a candidate and its runtime: it is asked image by image

    def validate(candidate: Any, items: Any) -> tuple[float, list[float]]:
        if known[0] is not candidate:
            known[:] = candidate, as_runtime(candidate)
        indices = list(items)
        found = judgment.detect(known[1], indices)
        each = [
            judgment.score([detections], [index])
            for detections, index in zip(found, indices, strict=True)
        ]
        # Images without objects have no average precision, and nothing can be lost on them.
        each = [0.0 if math.isnan(value) else value for value in each]
        return (each[0] if len(each) == 1 else judgment.score(found, indices)), each

    ranked = round(_SEARCH_SECONDS / (max(layers, 1) * judgment.seconds))
    reverted = round(_SEARCH_SECONDS / (judgment.images * judgment.seconds))
    with only_shared_core(), _quietly():
        return nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(calibration),
            nncf.Dataset(list(range(judgment.images))),
            validate,
            max_drop=_AIMED_DROP,
            drop_type=nncf.DropType.ABSOLUTE,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            # Processors without VNNI add two products in 16 bits: weights of 7 bits fit there.
            advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=parameters.OverflowFix.ENABLE, **advanced
            ),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=min(max(reverted, _FEWEST_REVERTED), _MOST_REVERTED),
                ranking_subset_size=min(max(ranked, _FEWEST_RANKED), _MOST_RANKED),
                num_ranking_workers=1,
            ),
        )


def _is_quantized(convolution: Any) -> bool:
    """Whether a convolution's weights are 8-bit numbers that are scaled."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() in _SCALING:
        node = node.input_value(0).get_node()
    return bool(node.get_element_type().get_type_name() in ("i8", "u8"))


@contextmanager
def _quietly() -> Iterator[None]:
    """NNCF without its progress bars and notes."""
    import_nncf()
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
