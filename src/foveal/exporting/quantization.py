"""8 bits by NNCF, for OpenVINO and for ONNX, with what the average precision demands in float32."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
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
    "In 8 bits AP would be {1:.3f} instead of {0:.3f}. Looking for the layers that cause it, to "
    "keep them in float32: this can take several minutes."
)

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


def quantize_openvino(
    model: Any,
    calibration: Sequence[NDArray[np.uint8]],
    judgment: Judgment,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Any:
    """An `openvino.Model` in 8 bits, some layers perhaps not.

    Args:
        model: the network's, in float32, for the sizes of the calibration's inputs.
        calibration: inputs [B, C, H, W].
        judgment: finds the average precision, of which little may be lost.
        say: is told if layers are looked for that are to stay in float32, which takes minutes.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    layers = sum("Convolution" in node.get_type_name() for node in model.get_ops())
    return _quantize(
        model,
        list(calibration),
        judgment,
        say=say,
        layers=layers,
        open_model=OpenVINORuntime,
        as_runtime=CompiledRuntime,  # NNCF compiles its candidates itself
    )


def quantize_onnx(
    proto: Any,
    calibration: Sequence[NDArray[np.uint8]],
    judgment: Judgment,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Any:
    """An `onnx.ModelProto` in 8 bits, some layers perhaps not; arguments as `quantize_openvino`.

    The calibration is of images [B, C, H, W].
    """
    from foveal.runtimes.onnx import ONNXRuntime

    nncf = import_nncf()

    def as_runtime(part: Any) -> ONNXRuntime:
        return ONNXRuntime(part.SerializeToString(), device="cpu", opens_quickly=True)

    # ONNX Runtime's integer convolution takes one scale for all channels of its input.
    whole = nncf.quantization.advanced_parameters.QuantizationParameters(per_channel=False)
    return _quantize(
        proto,
        [{INPUT: images} for images in calibration],
        judgment,
        say=say,
        layers=sum(node.op_type == "Conv" for node in proto.graph.node),
        open_model=as_runtime,
        as_runtime=as_runtime,
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
    say: Callable[[str], None],
    layers: int,
    open_model: Callable[[Any], Runtime],
    as_runtime: Callable[[Any], Runtime],
    **advanced: Any,
) -> Any:
    nncf = import_nncf()
    parameters = nncf.quantization.advanced_parameters

    known: list[Any] = [None, None]  # a candidate and its runtime: it is asked image by image
    scores: list[float] = []  # of all images, by candidates: float32, 8 bits, those of the search

    def validate(candidate: Any, items: Any) -> tuple[float, list[float] | None]:
        if known[0] is not candidate:
            known[:] = candidate, as_runtime(candidate)
            if len(scores) == 2:
                say(_SEARCH.format(*scores))
            scores.append(math.nan)
        indices = list(items)
        detections = judgment.detect(known[1], indices)
        if len(indices) < judgment.images:
            # Layers are ranked by the whole; nobody asks for each image's own.
            return _or_zero(judgment.score(detections, indices)), None
        each = [
            _or_zero(judgment.score([image], [index]))
            for image, index in zip(detections, indices, strict=True)
        ]
        scores[-1] = _or_zero(judgment.score(detections, indices))
        return scores[-1], each

    opening, image = _seconds_of_a_candidate(lambda: open_model(model), judgment)
    ranked = round((_SEARCH_SECONDS / max(layers, 1) - opening) / image)
    reverted = round(_SEARCH_SECONDS / (opening + judgment.images * image))
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
                max_num_iterations=min(max(reverted, _MIN_REVERTED), _MAX_REVERTED),
                ranking_subset_size=min(max(ranked, _MIN_RANKED), _MAX_RANKED),
                num_ranking_workers=1,
            ),
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
