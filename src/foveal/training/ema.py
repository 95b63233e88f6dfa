"""Averaged weights (EMA): a second model that follows the trained one and often detects better."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

ModelType = TypeVar("ModelType", bound=nn.Module)


class EmaModel(Generic[ModelType]):
    """A copy whose weights and buffers are the exponential moving average of a model's.

    The decay grows from 0.1 to its full value, (1 + n) / (10 + n) after n updates, so that the
    start of training is soon forgotten.

    Attributes:
        model: the averaged model, in evaluation mode, on the same device.
        updates: how many steps have been averaged.
    """

    def __init__(self, model: ModelType, *, decay: float) -> None:
        self.model: ModelType = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model: average = decay * average + (1 - decay) * model."""
        self.updates += 1
        decay = averaging_decay(self.updates, self.decay)
        averages = []
        values = []
        for average, value in zip(_state(self.model), _state(model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        average_all = get_ema_multi_avg_fn(decay)
        average_all(averages, values, self.updates)


def averaging_decay(updates: int, decay: float) -> float:
    """The decay after so many updates."""
    return min(decay, (1 + updates) / (10 + updates))


def _state(model: nn.Module) -> list[Tensor]:
    return [value.detach() for value in model.state_dict(keep_vars=True).values()]
