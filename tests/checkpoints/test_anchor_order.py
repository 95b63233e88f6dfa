"""The channels of the output layers in torchvision's order and in ours."""

from __future__ import annotations

import torch

from foveal.checkpoints.anchor_order import from_ratio_major, reorder_weights, to_ratio_major


def test_by_hand() -> None:
    """Two ratios (a, b), three scales (1, 2, 3), two values each."""
    theirs = ["a1", "a1", "a2", "a2", "a3", "a3", "b1", "b1", "b2", "b2", "b3", "b3"]
    ours = ["a1", "a1", "b1", "b1", "a2", "a2", "b2", "b2", "a3", "a3", "b3", "b3"]
    order = from_ratio_major(torch.arange(12), scales=3, ratios=2)
    assert [theirs[index] for index in order] == ours
    assert order[:4].tolist() == [0, 1, 6, 7]


def test_there_and_back_is_the_identity() -> None:
    weight = torch.arange(2 * 3 * 4 * 5).view(24, 5, 1, 1)
    back = from_ratio_major(to_ratio_major(weight, scales=3, ratios=2), scales=3, ratios=2)
    assert torch.equal(back, weight)


def test_only_output_layers_are_reordered() -> None:
    names = [
        "classification.output.weight",
        "average.box.output.1.bias",
        "box.output.0.weight",
        "classification.tower.0.conv.weight",
        "fpn.output.1.weight",
        "inbox.output.weight",
    ]
    state = {name: torch.arange(4) for name in names}
    found = reorder_weights(state, scales=2, ratios=2)
    moved = [name for name in names if found[name].tolist() != [0, 1, 2, 3]]
    assert moved == names[:2]
