"""The option that says which stored values of images become black and white."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from foveal.inference.predictor import Predictor

BandRange = Annotated[
    str | None,
    typer.Option(
        "--band-range",
        metavar="LOW,HIGH",
        help="Which stored values become black and white, of images of more than 8 bits, or of "
        "all where the model was trained on such; by default the model's own, else what the "
        "images themselves say. Write --band-range=-5,40 where LOW is below 0.",
        show_default=False,
    ),
]


def with_band_range(predictor: Predictor, text: str | None) -> Predictor:
    """The predictor, with the range as it was typed, if one was.

    Raises:
        SettingsError: it is not two numbers, the smaller one first.
    """
    if text is None:
        return predictor
    low, high = _parse(text)
    known = predictor.pixel_range
    if known.low:
        return replace(predictor, pixel_range=replace(known, low=(low,), high=(high,)))
    return replace(predictor, pixel_range=replace(known, deep=(low, high)))


def _parse(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not -1e30 < low < high < 1e30:
        raise SettingsError(
            f"--band-range {text}: expected two numbers, the smaller one first, such as 0,4095."
        )
    return low, high
