"""How far apart locations are that have one square anchor each: small objects need near ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.config.presets import square_sizes
from foveal.tables import html_table
from foveal.text import counted, percent
from foveal.tuning.anchor_fitting import FINEST_FITTED_STRIDE, finer_strides, gather_objects

if TYPE_CHECKING:
    from foveal.config import AnchorSettings, PreparationSettings
    from foveal.data.dataset import Dataset
    from foveal.tuning.anchor_metrics import Objects

SMALL_IN_STRIDES = 2.0
"""An object whose root of the area is below so many strides has too few locations to itself."""
MAX_SMALL = 0.2
"""The share of small objects from which nearer locations are worth four times as many. Of hit-uav's
objects 28 % are under 16 px: from stride 4 AP rose by 0.02 (docs/journal/accuracy.md)."""


@dataclass(frozen=True, slots=True)
class LocationFit:
    """What was found about the locations for a data set.

    Attributes:
        settings: the anchors that training should use.
        given: those that were given, at another stride where a finer one was chosen.
        objects: how many there are.
        small: the share of them that is small at the given strides; NaN where there are none.
        windows: whether the network sees windows of larger images.
    """

    settings: AnchorSettings
    given: AnchorSettings
    objects: int
    small: float
    windows: bool

    @property
    def text(self) -> str:
        """The choice in a sentence or two."""
        finest, before = self.settings.strides[0], self.given.strides[0]
        text = f"locations: one every {finest} px of the network's input, with one anchor each"
        if not self.objects:
            return f"{text}; there are no objects to compare them with"
        limit = SMALL_IN_STRIDES * before
        small = f"{percent(self.small, 1)} of {counted(self.objects, 'object')}"
        if finest < before:
            return (
                f"{text}, since {small} are smaller than {limit:g} px there (else every {before})"
            )
        if self.small < MAX_SMALL:
            return f"{text}; {small} are smaller than {limit:g} px there"
        return (
            f"{text}; {small} are smaller than {limit:g} px there, and such small ones are often "
            f"missed. {self._advice()}"
        )

    def to_table(self) -> list[dict[str, int | float]]:
        """One row for each level: its stride and the side of its anchor, input pixels."""
        sides = zip(self.settings.strides, self.settings.sizes, strict=True)
        return [{"stride": stride, "side": side} for stride, side in sides]

    def __repr__(self) -> str:
        return f"<LocationFit {self.text}>"

    def _repr_html_(self) -> str:
        """The levels, for a notebook."""
        rows = [
            {"stride, px": str(row["stride"]), "side of the anchor, px": f"{row['side']:g}"}
            for row in self.to_table()
        ]
        return html_table(self.text, rows)

    def _advice(self) -> str:
        if self.windows:
            return "What helps: a larger scale, --set preparation.scale=2 (in Python settings=)."
        return (
            "What helps: a larger input, --set preparation.shorter=N (in Python size=N); or "
            "--preset scenes (preset='scenes'), which shrinks nothing and has nearer locations."
        )


def fit_locations(
    dataset: Dataset,
    *,
    anchors: AnchorSettings,
    preparation: PreparationSettings | None,
    fit_strides: bool,
) -> LocationFit:
    """Compare locations with a data set's objects as the network will see them.

    Args:
        dataset: as for `foveal.tuning.anchor_fitting.fit_anchors`.
        anchors: one square at each location.
        preparation: how images are scaled to the network's input; None: not at all.
        fit_strides: halve the strides while MAX_SMALL of the objects or more are small, down to 4.
    """
    objects = gather_objects(dataset, preparation)
    windows = preparation is not None and preparation.mode == "windows"
    return fit_locations_to(objects, anchors=anchors, fit_strides=fit_strides, windows=windows)


def fit_locations_to(
    objects: Objects, *, anchors: AnchorSettings, fit_strides: bool, windows: bool = False
) -> LocationFit:
    """As `fit_locations`, for objects that are in input pixels already."""
    roots = np.sqrt(objects.sides.prod(axis=1))

    def small(strides: tuple[int, ...]) -> float:
        return float((roots < SMALL_IN_STRIDES * strides[0]).mean()) if len(roots) else np.nan

    chosen = anchors
    while fit_strides and small(chosen.strides) >= MAX_SMALL:
        finer = finer_strides(chosen)
        if finer is None or finer.strides[0] < FINEST_FITTED_STRIDE:
            break
        chosen = finer
    return LocationFit(chosen, anchors, len(objects), small(anchors.strides), windows)


def are_squares_of_strides(anchors: AnchorSettings) -> bool:
    """Whether each location has the one square that its stride gives."""
    return anchors.per_location == 1 and (
        not anchors.shapes
        and anchors.ratios == (1.0,)
        and anchors.scales == (1.0,)
        and anchors.sizes == square_sizes(anchors.strides)
    )
