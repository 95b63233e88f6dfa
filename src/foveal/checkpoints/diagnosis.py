"""What a checkpoint looks like that no importer knows: other detectors, classifiers, our own."""

from __future__ import annotations

import re
from collections.abc import Iterable

from foveal.checkpoints.description import METADATA_KEY
from foveal.checkpoints.foreign_files import ForeignFile
from foveal.text import listed

_LOOKS: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(roi_heads?|rpn_head|proposal_generator)\..*mask", "Mask R-CNN, which has two stages"),
    (r"(^|\.)(roi_heads?|rpn_head|rpn|proposal_generator)\.", "Faster R-CNN, which has two stages"),
    (r"(^|\.)head\.classification_head\.module_list\.", "SSD of torchvision"),
    (r"(^|\.)(bbox_ctrness|conv_centerness|ctrness)\.", "FCOS"),
    (r"(^|\.)(atss_centerness|gfl_cls|gfl_reg|vfnet_cls)\.", "ATSS or one of its kind"),
    (r"(^|\.)(class_embed|bbox_embed|query_embed)\.", "DETR or one of its kind"),
    (r"(^|\.)model\.\d+\.(conv|cv1|m)\.", "YOLO"),
    (r"(^|\.)(patch_embed|cls_token|pos_embed)", "a vision transformer"),
)
"""Names of tensors, and what has such."""

_CLASSIFIER = r"(^|\.)(fc|classifier(\.\d+)?|head\.fc)\.weight$"
_BODY = r"(^|\.)(layer1\.0\.conv1|features\.\d+\.|blocks\.0\.)"


def looks_like(file: ForeignFile) -> str:
    """What a file seems to be, in words that go on after 'It'."""
    names = list(file.tensors)
    if METADATA_KEY in file.values.get("metadata", {}):
        return (
            "is a model of foveal's already, which needs no import: pass it to foveal predict, "
            "evaluate, export or train --start as it is"
        )
    if "classification.output.weight" in file.tensors and _any(names, r"^fpn\.lateral\."):
        return "has the names of foveal's own network, without the description of a model file"
    for pattern, what in _LOOKS:
        if _any(names, pattern):
            return f"looks like {what}"
    if _any(names, _CLASSIFIER) and _any(names, _BODY):
        return (
            "looks like a network for classification, which has no boxes; as weights for a "
            "backbone pass it to foveal train: --set model.weights=FILE"
        )
    if _any(names, _BODY) and not _any(names, r"head|fpn|neck|Model\."):
        return (
            "looks like a backbone alone; to train with it, foveal train --set model.weights=FILE"
        )
    if _any(names, r"backbone\.body\.|fpn\.inner_blocks\."):
        return "looks like a part of torchvision's RetinaNet: its stem or its heads are not there"
    shown = listed(names, 4, longest=60)
    return f"has {len(names):,} tensors of a network that is not known: {shown}"


def _any(names: Iterable[str], pattern: str) -> bool:
    find = re.compile(pattern).search
    return any(find(name) for name in names)
