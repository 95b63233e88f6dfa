"""8 bits by NNCF, for OpenVINO and for ONNX, with what the average precision demands in float32."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from foveal.runtimes.openvino import CompiledRuntime, OpenVINORuntime
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
"""About what ranking the layers may take, and about what taking them back one by one may take.

What one candidate takes is measured once: to open a model is often more than to run it.
"""
_MIN_RANKED, _MAX_RANKED = 2, 16
"""Images on which each layer's part in the loss is looked at."""
_MIN_REVERTED, _MAX_REVERTED = 3, 30
"""Groups of layers that are taken back at most."""

_SEARCH = (
    "Looking for the layers that cause it, to keep them in float32: this can take several minutes."
)

_BACKBONE = "backbone."
"""How the names of its layers in `ExportedNetwork` begin."""

_SCALING = ("Multiply", "Subtract", "Reshape", "Convert", "FakeQuantize")
"""What stands between 8-bit weights and their convolution in OpenVINO."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """How the average precision of a network is found.

    Attributes:
        detect: what a runtime finds in the images with these indices.
        score: the average precision of that, NaN where these images have no objects.
        images: how many images there are.
    """

    detect: Callable[[Runtime, Sequence[int]], list[Detections]]
    score: Callable[[Sequence[Detections], Sequence[int]], float]
    images: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A way to go to 8 bits.

    Attributes:
        plan: for people, a sentence: what is tried.
        make: gives the model; takes about half a minute, or minutes where layers are looked for.
    """

    plan: str
    make: Callable[[], Any]


def openvino_attempts(
    model: Any, calibration: Sequence[NDArray[np.uint8]], judgment: Judgment
) -> list[Attempt]:
    """Ways to put an `openvino.Model` in 8 bits, the fastest first.

    Args:
        model: the network's, in float32, for the sizes of the calibration's inputs.
        calibration: inputs [B, C, H, W].
        judgment: finds the average precision, of which a search for layers may lose little.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    layers = [node for node in model.get_ordered_ops() if "Convolution" in node.get_type_name()]
    depthwise = {
        node.get_friendly_name(): _module_of(node)
        for node in layers
        if _module_of(node).startswith(_BACKBONE) and _is_depthwise(node)
    }
    return _attempts(
        _Network(
            model,
            list(calibration),
            judgment,
            layers=len(layers),
            open_model=OpenVINORuntime,
            as_runtime=CompiledRuntime,  # NNCF compiles its candidates itself
        ),
        depthwise,
    )


def onnx_attempts(
    proto: Any, calibration: Sequence[NDArray[np.uint8]], judgment: Judgment
) -> list[Attempt]:
    """Ways to put an `onnx.ModelProto` in 8 bits; arguments as `openvino_attempts`.

    The calibration is of images [B, C, H, W].
    """
    from foveal.runtimes.onnx import ONNXRuntime

    nncf = import_nncf()

    def as_runtime(part: Any) -> ONNXRuntime:
        return ONNXRuntime(part.SerializeToString(), device="cpu", opens_quickly=True)

    layers = [node for node in proto.graph.node if node.op_type == "Conv"]
    shapes = {each.name: each.dims for each in proto.graph.initializer}
    depthwise = {
        node.name: node.input[1].removesuffix(".weight")
        for node in layers
        if node.input[1].startswith(_BACKBONE)
        and shapes[node.input[1]][0] > 1 == shapes[node.input[1]][1]
    }
    # ONNX Runtime's integer convolution takes one scale for all channels of its input.
    whole = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    return _attempts(
        _Network(
            proto,
            [{INPUT: images} for images in calibration],
            judgment,
            layers=len(layers),
            open_model=as_runtime,
            as_runtime=as_runtime,
            advanced={"activations_quantization_params": whole},
        ),
        depthwise,
    )


def float_layers_openvino(model: Any) -> tuple[str, ...]:
    """The convolutions of an `openvino.Model` that are not in 8 bits, by their names in PyTorch."""
    names = [
        _module_of(node)
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


@dataclass(frozen=True, slots=True)
class _Network:
    """What is to be put in 8 bits, in either format.

    Attributes:
        model: in float32.
        calibration: its inputs, as the format wants them.
        judgment: finds the average precision.
        layers: its convolutions.
        open_model: opens a model in its runtime.
        as_runtime: opens what NNCF validates.
        advanced: further parameters of NNCF's.
    """

    model: Any
    calibration: list[Any]
    judgment: Judgment
    layers: int
    open_model: Callable[[Any], Runtime]
    as_runtime: Callable[[Any], Runtime]
    advanced: dict[str, Any] = field(default_factory=dict)


def _attempts(network: _Network, depthwise: dict[str, str]) -> list[Attempt]:
    """All layers; all but the backbone's first depthwise one; all but those that a search finds.

    Channels of that layer's input are rarely active, and where they are, some weights make much of
    them: of all layers it costs most on smears.

    Args:
        network: the model.
        depthwise: the backbone's depthwise layers in their order, each with its name in PyTorch.
    """
    attempts = [Attempt("All layers in 8 bits.", partial(_quantize, network, []))]
    first = list(depthwise)[:1]
    if first:
        plan = f"Trying it with {depthwise[first[0]]} in float32."
        attempts.append(Attempt(plan, partial(_quantize, network, first)))
    return [*attempts, Attempt(_SEARCH, partial(_search, network, first))]


def _quantize(network: _Network, in_float: Sequence[str]) -> Any:
    """The network in 8 bits, but for the layers with these names."""
    nncf = import_nncf()
    with only_shared_core(), _quietly():
        return nncf.quantize(
            network.model,
            nncf.Dataset(network.calibration),
            advanced_parameters=_parameters(network),
            **_usual(network, in_float),
        )


def _search(network: _Network, in_float: Sequence[str]) -> Any:
    """The same, and layers back in float32 until little average precision is lost."""
    nncf = import_nncf()
    judgment = network.judgment
    known: list[Any] = [None, None]  # a candidate and its runtime: it is asked image by image

    def validate(candidate: Any, items: Any) -> tuple[float, list[float] | None]:
        if known[0] is not candidate:
            known[:] = candidate, network.as_runtime(candidate)
        indices = list(items)
        detections = judgment.detect(known[1], indices)
        score = _or_zero(judgment.score(detections, indices))
        if len(indices) < judgment.images:
            # Layers are ranked by the whole; nobody asks for each image's own.
            return score, None
        each = [
            _or_zero(judgment.score([image], [index]))
            for image, index in zip(detections, indices, strict=True)
        ]
        return score, each

    opening, image = _seconds_of_a_candidate(lambda: network.open_model(network.model), judgment)
    ranked = round((_SEARCH_SECONDS / max(network.layers, 1) - opening) / image)
    reverted = round(_SEARCH_SECONDS / (opening + judgment.images * image))
    with only_shared_core(), _quietly():
        return nncf.quantize_with_accuracy_control(
            network.model,
            nncf.Dataset(network.calibration),
            nncf.Dataset(list(range(judgment.images))),
            validate,
            max_drop=_AIMED_DROP,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_quantization_parameters=_parameters(network),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=min(max(reverted, _MIN_REVERTED), _MAX_REVERTED),
                ranking_subset_size=min(max(ranked, _MIN_RANKED), _MAX_RANKED),
                num_ranking_workers=1,
            ),
            **_usual(network, in_float),
        )


def _usual(network: _Network, in_float: Sequence[str]) -> dict[str, Any]:
    """NNCF's arguments that both ways share."""
    nncf = import_nncf()
    return {
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(network.calibration),
        "ignored_scope": nncf.IgnoredScope(names=list(in_float)) if in_float else None,
    }


def _parameters(network: _Network) -> Any:
    nncf = import_nncf()
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet
    return nncf.AdvancedQuantizationParameters(
        # Processors without VNNI add two products in 16 bits: weights of 7 bits fit there.
        overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.ENABLE,
        # The usual range is the mean of the images': it cuts off what is high in one of them.
        activations_range_estimator_params=ranges.MINMAX,
        **network.advanced,
    )


def _or_zero(average_precision: float) -> float:
    """Images without objects have no average precision, and nothing can be lost on them."""
    return 0.0 if math.isnan(average_precision) else average_precision


def _seconds_of_a_candidate(
    open_runtime: Callable[[], Runtime], judgment: Judgment
) -> tuple[float, float]:
    """What opening a model takes, and what finding and scoring the objects of an image takes."""
    began = time.perf_counter()
    runtime = open_runtime()
    judgment.detect(runtime, [0])  # some of the work of opening is done by the first image
    opened = time.perf_counter()
    judgment.score(judgment.detect(runtime, [0]), [0])
    image = time.perf_counter() - opened
    return max(opened - began - image, 0.0), max(image, 1e-6)


def _module_of(node: Any) -> str:
    """The module in PyTorch that an OpenVINO node was."""
    name: str = node.get_friendly_name()
    return name.partition("/")[0].removeprefix("__module.")


def _is_depthwise(convolution: Any) -> bool:
    """Whether each channel of an OpenVINO convolution's output has one of its input."""
    if convolution.get_type_name() != "GroupConvolution":
        return False
    groups, outputs, inputs, *_ = convolution.input_value(1).get_shape()
    return bool(groups > 1 and outputs == inputs == 1)


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
