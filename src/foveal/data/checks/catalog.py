"""The checks of `foveal data check` by their names: what each is done by, and how some are chosen.

A check is a small function that gives findings, each with a sentence and an advice; what it looks
for is said in `names.py`. A new one is written into the file of its kind, named there and here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from foveal.data.checks.boxes import (
    check_convention,
    check_huge,
    check_nearly_identical,
    check_slivers,
    check_tiny,
    check_without_objects,
)
from foveal.data.checks.classes import (
    check_class_names,
    check_ignore_names,
    check_rare,
    check_shares,
    check_unseen,
)
from foveal.data.checks.findings import Finding
from foveal.data.checks.images import (
    check_broken,
    check_duplicates,
    check_missing,
    check_sizes,
)
from foveal.data.checks.input_sizes import check_input_sizes
from foveal.data.checks.labels import check_equal_labels
from foveal.data.checks.names import LOOKS_FOR
from foveal.data.checks.pixels import check_flat, check_near_duplicates, check_near_leakage
from foveal.data.checks.reading import check_annotations
from foveal.data.checks.subject import Part, Subject
from foveal.data.checks.turned import check_turned
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

Check = Callable[[Subject], list[Finding]]
"""Finds what it looks for in all parts."""


def _in_each(check: Callable[[Part], list[Finding]]) -> Check:
    """The check of one part, made in each; with two it is said of which a finding is."""

    def check_parts(subject: Subject) -> list[Finding]:
        findings = [check(part) for part in subject.parts]
        if len(findings) == 1:
            return findings[0]
        names = "training data", "validation data"
        return [
            replace(finding, what=f"{finding.what} ({name})")
            for name, of_part in zip(names, findings, strict=True)
            for finding in of_part
        ]

    return check_parts


CHECKS: dict[str, Check] = {
    "annotations": _in_each(check_annotations),
    "box_convention": _in_each(check_convention),
    "nearly_identical_boxes": _in_each(check_nearly_identical),
    "tiny_objects": _in_each(check_tiny),
    "small_objects": _in_each(check_input_sizes),
    "huge_boxes": _in_each(check_huge),
    "sliver_boxes": _in_each(check_slivers),
    "turned_boxes": _in_each(check_turned),
    "equal_labels": _in_each(check_equal_labels),
    "images_without_objects": _in_each(check_without_objects),
    "class_names": check_class_names,
    "unseen_classes": check_unseen,
    "rare_classes": check_rare,
    "ignore_classes": check_ignore_names,
    "class_shares": check_shares,
    "missing_images": check_missing,
    "duplicate_images": check_duplicates,
    "near_duplicates": check_near_duplicates,
    "near_leakage": check_near_leakage,
    "broken_images": check_broken,
    "image_sizes": check_sizes,
    "flat_images": check_flat,
}
"""Each check by its name, in the order in which they are made."""
assert list(CHECKS) == list(LOOKS_FOR)


def choose_checks(checks: Iterable[str] | None = None, skip: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of the checks to make, in their order.

    Args:
        checks: those alone; None for all.
        skip: those not.

    Raises:
        DataError: there is no check of a name, or none is left.
    """
    given = None if checks is None else list(checks)
    left_out = list(skip)
    for option, names in (("--checks", given or []), ("--skip", left_out)):
        for name in names:
            if name not in LOOKS_FOR:
                near = get_close_matches(name, LOOKS_FOR, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise DataError(
                    f"{option} {name}: there is no such check.{hint} foveal data check "
                    "--list-checks lists them (in Python foveal.data.checks.names.LOOKS_FOR)."
                )
    chosen = [
        name for name in LOOKS_FOR if (given is None or name in given) and name not in left_out
    ]
    if not chosen:
        raise DataError(
            "No check is left to make. Expected at least one: name it in --checks, or leave it out "
            "of --skip."
        )
    return tuple(chosen)
