"""Parameters and operations, counted by hand for a small network."""

from __future__ import annotations

import pytest
from torch import nn

from foveal.checkpoints.complexity import largest_input, measure_complexity
from foveal.checkpoints.description import describe
from foveal.config import PreparationSettings, Settings
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard


def test_counts_are_those_of_the_real_network(small: tuple[RetinaNet, Settings]) -> None:
    model, settings = small
    classes = tuple(map(str, range(model.num_classes)))
    measured = measure_complexity(describe(settings, ModelCard(classes)))
    parameters = sum(value.numel() for value in model.parameters())
    norms = sum(
        module.weight.numel() + module.bias.numel()
        for module in model.modules()
        if not isinstance(module, nn.Conv2d)
        and hasattr(module, "running_mean")
        and not isinstance(module.weight, nn.Parameter)
    )
    assert measured.parameters == parameters + norms
    sizes = largest_input(settings.preparation)
    assert (measured.height, measured.width) == sizes
    operations = 0

    def count(module: nn.Conv2d, _: object, output: object) -> None:
        nonlocal operations
        each = module.weight[0].numel()
        operations += 2 * each * output.numel()  # type: ignore[attr-defined]

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    import torch

    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, *sizes))
    assert measured.operations == operations


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shorter": 800, "longer": 1333}, (800, 1344)),
        ({"shorter": 800, "longer": 1333, "multiple": 128}, (896, 1408)),
        ({"mode": "square", "shorter": 416}, (416, 416)),
        ({"mode": "windows", "shorter": 512}, (512, 512)),
    ],
)
def test_the_largest_input(changes: dict[str, object], expected: tuple[int, int]) -> None:
    assert largest_input(PreparationSettings.model_validate(changes)) == expected
