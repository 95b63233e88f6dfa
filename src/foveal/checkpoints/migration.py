"""Descriptions of models as earlier versions wrote them, brought to today's form."""

from __future__ import annotations

import math
from typing import Any

from foveal.config.renamed import is_ratio_major, rename_settings
from foveal.structures import DEFAULT_SCORE_THRESHOLD

PREDICTION = ("model", "anchors", "preparation", "decoding")
"""The settings that prediction needs: all else of format 1's settings becomes the record."""

CARD_NOTES = ("threshold", "ignore", "validation", "epoch", "imported")
"""The notes of format 1 that have a place on the card."""


def migrate(document: dict[str, Any]) -> dict[str, Any]:
    """Bring a description of an earlier format version to today's.

    Args:
        document: with its `version`; one of today's is given back as it is.

    Raises:
        KeyError, TypeError, ValueError: it lacks something.
    """
    if document["version"] == 1:
        document = _from_format_1(document)
    return {**document, **rename_settings({name: document[name] for name in PREDICTION})}


def ratio_major_anchors(document: dict[str, Any]) -> tuple[int, int] | None:
    """How many scales and ratios a file has whose weights are to be permuted.

    Args:
        document: as it stands in the file, before `migrate`.

    Returns:
        Their numbers; None where the order of the anchors is ours.
    """
    settings = document.get("settings", document)  # all of format 1's stand in one part
    anchors = settings.get("anchors")
    if not isinstance(anchors, dict) or not is_ratio_major(anchors):
        return None
    return len(anchors["scales"]), len(anchors["ratios"])


def has_other_outputs(document: dict[str, Any]) -> bool:
    """Whether an exported network gives its output in an order of anchors that is not ours."""
    export, counts = document.get("export"), ratio_major_anchors(document)
    if not isinstance(export, dict) or export.get("nms") or counts is None:
        return False
    return 1 not in counts  # with one scale or one ratio both orders are the same


def _from_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Format 1 held all settings, the class names and free notes.

    Ranges for its own 8-bit engine ("int8") have no use any more and are dropped.
    """
    settings, notes = rename_settings(document["settings"]), dict(document["notes"])
    threshold = notes.get("threshold")
    imported = notes.get("imported", "")
    # Before the best epoch was known the numbers of the epoch stood among the notes themselves.
    numbers = notes.get("validation") or {
        name: value
        for name, value in notes.items()
        if name not in CARD_NOTES and isinstance(value, int | float) and not isinstance(value, bool)
    }
    known = {*CARD_NOTES, *numbers}
    record = {name: value for name, value in settings.items() if name not in PREDICTION}
    others = {name: value for name, value in notes.items() if name not in known}
    if others:
        record["notes"] = others
    return {
        "version": 2,
        "card": {
            "classes": document["classes"],
            "score_threshold": DEFAULT_SCORE_THRESHOLD if threshold is None else threshold,
            "threshold_is_chosen": threshold is not None,
            "ignored_classes": list(notes.get("ignore", ())),
            "metrics": {
                name: value if math.isfinite(value) else None for name, value in numbers.items()
            },
            "epoch": notes.get("epoch"),
            "origin": f"imported: {imported}" if imported else "",
        },
        **{name: settings[name] for name in PREDICTION},
        "record": record,
    }
