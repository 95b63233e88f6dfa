"""Checkpoints of yhenon's pytorch-retinanet: state dicts and whole modules.

Its anchors are ours, but in another order, and its deltas are multiplied by fixed factors before
they are decoded; both go into the output layers. It does not limit how much a box grows; ours may
be up to 62 times as large as its anchor.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from foveal.checkpoints.anchor_order import from_ratio_major
from foveal.checkpoints.folding import fold_box_factors
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.renaming import (
    foreign_name,
    outputs_a_location,
    own_names,
    without_prefix,
)
from foveal.checkpoints.resnets import find_resnet
from foveal.errors import WeightsError

if TYPE_CHECKING:
    from foveal.checkpoints.foreign_files import ForeignFile

KNOWN = "fpn.P7_2.weight"
FACTORS = (0.1, 0.1, 0.2, 0.2)
"""Of dx, dy, dw and dh."""
SCALES = RATIOS = 3

PREFIXES = (
    *((f"fpn.P{level}_1.", f"fpn.lateral.{level - 3}.") for level in (3, 4, 5)),
    *((f"fpn.P{level}_2.", f"fpn.output.{level - 3}.") for level in (3, 4, 5)),
    ("fpn.P6.", "fpn.extra.0."),
    ("fpn.P7_2.", "fpn.extra.1."),
    *(
        (f"classificationModel.conv{n}.", f"classification.tower.{n - 1}.conv.")
        for n in range(1, 5)
    ),
    *((f"regressionModel.conv{n}.", f"box.tower.{n - 1}.conv.") for n in range(1, 5)),
    ("classificationModel.output.", "classification.output."),
    ("regressionModel.output.", "box.output."),
    ("", "backbone.body."),
)


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of yhenon's RetinaNet, in a few words; None where it is not."""
    return None if without_prefix(file.tensors, KNOWN) is None else f"{KNOWN} is there"


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a checkpoint of yhenon's RetinaNet into ours, with the same raw output.

    Raises:
        WeightsError: the network can't be held, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    found = without_prefix(file.tensors, KNOWN)
    assert found is not None, "recognize is asked first"
    options.check_no_background("yhenon", where=file.path)
    tensors, unused = found
    anchors, classes = outputs_a_location(
        tensors,
        scores="classificationModel.output",
        boxes="regressionModel.output",
        where=file.path,
    )
    if anchors != SCALES * RATIOS:
        raise WeightsError(
            f"{file.path}: has {anchors} anchors at each location. Expected {SCALES * RATIOS}, "
            "as yhenon's RetinaNet has: the sizes and ratios of others are not in the file."
        )
    unused += [key for key in tensors if key.startswith("fc.")]
    tensors = {key: value for key, value in tensors.items() if not key.startswith("fc.")}
    state = own_names(tensors, PREFIXES)
    for layer in ("classification.output", "box.output"):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            state[key] = from_ratio_major(state[key], scales=SCALES, ratios=RATIOS)
    state["box.output.weight"], state["box.output.bias"] = fold_box_factors(
        state["box.output.weight"], state["box.output.bias"], factors=FACTORS
    )
    settings = options.settings(
        [
            f"model.backbone={find_resnet(tensors, prefix='', where=file.path)}",
            f"model.backbone_stride_in={options.backbone_stride_in or '3x3'}",
            "model.norm=frozen",
            "model.norm_eps=1e-5",
            f"model.fpn_channels={state['fpn.extra.1.weight'].shape[0]}",
            f"model.head_channels={state['box.output.weight'].shape[1]}",
            "preparation.shorter=608",
            "preparation.longer=1024",
        ]
    )
    return ImportedModel(
        settings,
        state,
        options.names(classes, where=file.path),
        (
            "Images are shown at 608 x 1024 pixels at most, as yhenon's scripts do; for others: "
            "--set preparation.shorter=N --set preparation.longer=N.",
            "yhenon's RetinaNet gives any number of detections of an image, this model at most "
            f"{settings.decoding.max_detections}: --set decoding.max_detections=N.",
        ),
        tuple(unused),
        foreign_name=partial(foreign_name, prefixes=PREFIXES),
    )
