"""The optimizer and which weights get which learning rate and decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

BACKBONE_PREFIX = "backbone."


def make_optimizer(
    model: nn.Module,
    *,
    name: Literal["sgd", "adamw"],
    momentum: float,
    weight_decay: float,
    decay_norms: bool,
    backbone_factor: float,
    layer_decay: float = 1.0,
    others: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Build the optimizer in its fastest form for the device; learning rates are set every step.

    Args:
        model: only weights that need gradients now are trained.
        name: which optimizer.
        momentum: of SGD; AdamW's first beta.
        weight_decay: of every weight, but see `decay_norms`.
        decay_norms: whether norms and biases decay too.
        backbone_factor: what the learning rate of the backbone is multiplied by (in each
            group as `factor`).
        layer_decay: the backbone's last stage has this further factor, the one before it its
            square, and so on (layer-wise learning rate decay: Clark et al. 2020, ELECTRA).
        others: weights that are no part of the model and are trained with it.
    """
    groups = weight_groups(model, decay_norms=decay_norms)
    for weight in others:
        groups[False, decay_norms or is_matrix(weight)].append(weight)
    settings: list[dict[str, Any]] = [
        {
            "params": weights,
            "weight_decay": weight_decay if decays else 0.0,
            "factor": backbone_factor * factor if of_backbone else 1.0,
        }
        for (of_backbone, decays), group in groups.items()
        for factor, weights in _by_layer(model, group, layer_decay if of_backbone else 1.0)
        if weights
    ]
    fused = _can_fuse(next(model.parameters()).device)
    if name == "sgd":
        return torch.optim.SGD(settings, lr=0.0, momentum=momentum, fused=fused)
    return torch.optim.AdamW(settings, lr=0.0, betas=(momentum, 0.999), fused=fused)


def weight_groups(
    model: nn.Module, *, decay_norms: bool
) -> dict[tuple[bool, bool], list[nn.Parameter]]:
    """The weights that need gradients, by (is the backbone's, decays), in the model's order."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (of_backbone, decays): [] for of_backbone in (True, False) for decays in (True, False)
    }
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = decay_norms or is_matrix(weight)
            groups[name.startswith(BACKBONE_PREFIX), decays].append(weight)
    return groups


def _by_layer(
    model: nn.Module, weights: list[nn.Parameter], decay: float
) -> list[tuple[float, list[nn.Parameter]]]:
    """Weights of the backbone stage by stage, each with its factor; all at once without decay."""
    if decay == 1 or not weights:
        return [(1.0, weights)]
    backbone: Any = model.backbone
    stages = backbone.stages_of_weights()
    count = backbone.stage_count
    return [
        (decay ** (count - stage), [weight for weight in weights if stages[weight] == stage])
        for stage in range(count)
    ]


def is_matrix(weight: Tensor) -> bool:
    """True for weights of convolutions and linear layers, False for biases and norms, [C]."""
    return weight.ndim > 1


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the learning rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


def _can_fuse(device: torch.device) -> bool:
    return device.type in ("cpu", "cuda")
