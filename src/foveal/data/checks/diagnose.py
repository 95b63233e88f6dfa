"""The doctor: finds what is wrong with a data set before training does. Loads no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.data.checks.catalog import CHECKS, choose_checks
from foveal.data.checks.findings import Diagnosis, in_order
from foveal.data.checks.names import OF_PIXELS
from foveal.data.checks.subject import Part, Passes, Subject
from foveal.data.statistics import measure_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from foveal.data.checks.subject import InputGrid
    from foveal.data.opening import Reading

QUICK_IMAGES, QUICK_BYTES = 1_000, 1 << 26
"""Images and bytes of their files up to which their pixels are looked at without being asked: that
takes about a second."""


def diagnose(
    data: Reading,
    valid: Reading | None = None,
    *,
    grid: InputGrid | None = None,
    images: bool = False,
    checks: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    mirrored: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Look for everything that is wrong, or may be, with a data set.

    Args:
        data: the training data.
        valid: the validation data that belongs to it.
        grid: the network's input, to find objects too small for it; None leaves that out.
        images: decode every image, instead of its header and ending alone.
        checks: the names of the checks to make; None makes all, but for those of the pixels where
            there are more than QUICK_IMAGES images or QUICK_BYTES and `images` is not said.
        skip: the names of checks that are not to be made.
        mirrored: whether images that are mirrored or turned look alike, too.
        workers: processes that decode; 0 does it in this one.
        progress: called with (images looked at, images in all).

    Raises:
        DataError: there is no check of a name.
    """
    chosen = choose_checks(checks, skip)
    readings = [data] if valid is None else [data, valid]
    passes, headers = Passes(progress), Passes(progress)
    subject = Subject(
        tuple(Part(reading, grid, headers) for reading in readings),
        decode=images,
        workers=workers,
        mirrored=mirrored,
        passes=passes,
    )
    slow: tuple[str, ...] = ()
    if checks is None and not images and not _is_quick(subject):
        slow = tuple(name for name in chosen if name in OF_PIXELS)
    made = tuple(name for name in chosen if name not in slow)
    passes.count = bool(OF_PIXELS & set(made)) + (images and "broken_images" in made)
    if passes.count:  # beside which reading headers takes no time
        headers.progress = None
    findings = [replace(found, check=name) for name in made for found in CHECKS[name](subject)]
    return Diagnosis(
        statistics=tuple(measure_dataset(part.data) for part in subject.parts),
        findings=in_order(findings),
        opened=images,
        checks=made,
        left_out=slow,
    )


def _is_quick(subject: Subject) -> bool:
    """Whether the pixels of all images are looked at in next to no time."""
    sizes = subject.file_sizes
    return len(sizes) <= QUICK_IMAGES and sum(size or 0 for size in sizes) <= QUICK_BYTES
