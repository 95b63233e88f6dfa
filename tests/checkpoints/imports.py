"""Foreign tensors imported without a file, and compared with what plain functions say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.checkpoints.plain_networks import Output
from tests.models.parity import in_our_order
from torch import Tensor

from foveal.checkpoints.foreign_files import ForeignFile
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.importing import Importer
from foveal.checkpoints.model_file import LoadedModel
from foveal.detection.box_coding import decode_boxes
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard

SIZES = [(160, 224), (75, 118)]
"""Height and width of inputs; the last is no multiple of 32."""

NOWHERE = Path("/nowhere/model.pth")


def foreign_file(
    tensors: dict[str, Tensor], values: Mapping[str, Any] | None = None, path: Path = NOWHERE
) -> ForeignFile:
    return ForeignFile(path, tensors, values or {})


def with_weights(imported: ImportedModel) -> RetinaNet:
    """The network with these weights, each of which must be there and no other."""
    classes = len(imported.state["classification.output.bias"])
    settings = imported.settings
    with torch.device("meta"):
        model = build_model(settings, classes // settings.anchors.per_location, empty=True)
    state = {
        name: value
        for name, value in imported.state.items()
        if settings.model.norm == "live" or not name.endswith("num_batches_tracked")
    }
    normalization = {
        name: torch.tensor(getattr(settings.preparation, name)) for name in ("mean", "std")
    }
    model.load_state_dict(state | normalization, assign=True)
    return model.eval()


def convert(
    importer: Importer, file: ForeignFile, options: ImportOptions | None = None
) -> tuple[ImportedModel, LoadedModel]:
    """A file as its importer converts it, and as a model."""
    assert importer.recognize(file)
    imported = importer.convert(file, options or ImportOptions())
    model = with_weights(imported)
    names = imported.classes or tuple(f"class {n}" for n in range(model.num_classes))
    return imported, LoadedModel(model, imported.settings, ModelCard(names))


def own_output(loaded: LoadedModel, image: Tensor) -> Output:
    """What our network makes of an image [3, H, W] RGB, 0..255."""
    with torch.inference_mode():
        raw = loaded.model(image[None])
    anchors = loaded.model.anchors(*image.shape[1:])
    return Output(torch.cat(raw.logits, 1)[0], torch.cat(raw.deltas, 1)[0], anchors)


def ratio_major_as_ours(output: Output) -> Output:
    """In our order of the anchors, where it was ratio by ratio."""
    return Output(*(in_our_order(part[None])[0] for part in output))


def is_equal(own: Output, other: Output) -> bool:
    """Whether two networks say the same of the same anchors, in the same order."""

    def relative(one: Tensor, two: Tensor) -> float:
        return float((one - two).abs().max() / two.abs().max())

    return (
        own.logits.shape == other.logits.shape
        and relative(own.logits, other.logits) < 1e-5
        and relative(own.deltas, other.deltas) < 1e-5
        and float((own.anchors - other.anchors).abs().max()) < 1e-4
        and float((decode_boxes(own.deltas, own.anchors) - other.boxes()).abs().max()) < 1e-3
    )


def image_of(height: int, width: int) -> Tensor:
    """Random pixels whose bands differ, [3, H, W] RGB, 0..255."""
    generator = torch.Generator().manual_seed(height)
    tint = torch.tensor([0.5, 0.8, 1.0])[:, None, None]
    return (torch.rand(3, height, width, generator=generator) * 255 * tint).round()
