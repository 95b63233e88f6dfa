"""How large a network is, and how much it computes: counted without its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from foveal.checkpoints.description import Description
from foveal.config import PreparationSettings
from foveal.models.build import build_model


@dataclass(frozen=True, slots=True)
class Complexity:
    """Of one network and one size of its input.

    Attributes:
        parameters: all its numbers, but for the statistics of batch norms.
        operations: of one image, a multiplication and an addition counted as two; convolutions
            alone, beside which the rest is nothing.
        height, width: of the input, pixels.
    """

    parameters: int
    operations: int
    height: int
    width: int


def measure_complexity(description: Description) -> Complexity:
    """Count for the largest input that the model makes of an image.

    Args:
        description: of the model.

    Raises:
        SettingsError: no network can be built from it.
    """
    height, width = largest_input(description.preparation)
    with torch.device("meta"):
        model = build_model(description.settings(), len(description.card.classes), empty=True)
        images = torch.zeros(1, description.model.bands, height, width)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.eval()(images)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    parameters = sum(
        value.numel()
        for name, value in model.state_dict().items()
        if name not in ("mean", "std") and not name.endswith(statistics)
    )
    return Complexity(parameters, counter.get_total_flops(), height, width)


def largest_input(preparation: PreparationSettings) -> tuple[int, int]:
    """Height and width of the largest input, a wide image's, in pixels."""
    longer = preparation.longer if preparation.mode == "keep" else preparation.shorter
    height, width = (
        -(-side // preparation.multiple) * preparation.multiple
        for side in (preparation.shorter, longer)
    )
    return height, width
