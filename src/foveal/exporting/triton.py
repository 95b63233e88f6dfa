"""A model in the folders that NVIDIA's Triton Inference Server reads, served by ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.checkpoints.model_page import MODEL_PAGE, make_model_page
from foveal.files import write_text
from foveal.runtimes.signature import DETECTIONS, INPUT

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.checkpoints.description import Description
    from foveal.runtimes.base import InputSizes

MODEL = "1/model.onnx"
"""The first version of the model, below its folder."""
CONFIG = "config.pbtxt"
LABELS = "labels.txt"
ENTRIES = frozenset({MODEL.partition("/")[0], CONFIG, LABELS, MODEL_PAGE})
"""What an export has in its folder; other versions of the model would be beside them."""

_LARGEST_BATCH = 8
"""Images that Triton puts together at most, where requests of one size come at once."""


def write_triton_config(
    folder: Path, name: str, description: Description, sizes: InputSizes
) -> None:
    """Write what Triton must know of the model: inputs, outputs, batches, class names.

    Args:
        folder: of the model.
        name: what Triton calls the model: the name that the folder will have.
        description: of the model, with decoding and NMS inside.
        sizes: the inputs that it takes; any number of images.
    """
    max_detections = description.decoding.max_detections
    write_text(
        folder / CONFIG,
        _CONFIG.format(
            name=name,
            batch=_LARGEST_BATCH,
            images=INPUT,
            bands=description.model.bands,
            height=sizes.height or -1,
            width=sizes.width or -1,
            boxes=DETECTIONS[0],
            scores=DETECTIONS[1],
            labels=DETECTIONS[2],
            counts=DETECTIONS[3],
            max_detections=max_detections,
            label_file=LABELS,
        ),
    )
    names = "".join(f"{name}\n" for name in description.card.classes)
    write_text(folder / LABELS, names)
    write_text(folder / MODEL_PAGE, make_model_page(description, name=MODEL))


_CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
dynamic_batching {{ }}
input [
  {{ name: "{images}" data_type: TYPE_UINT8 dims: [ {bands}, {height}, {width} ] }}
]
output [
  {{ name: "{boxes}" data_type: TYPE_FP32 dims: [ {max_detections}, 4 ] }},
  {{ name: "{scores}" data_type: TYPE_FP32 dims: [ {max_detections} ] }},
  {{ name: "{labels}" data_type: TYPE_INT64 dims: [ {max_detections} ]
    label_filename: "{label_file}" }},
  {{ name: "{counts}" data_type: TYPE_INT64 dims: [ 1 ] reshape: {{ shape: [ ] }} }}
]
"""
