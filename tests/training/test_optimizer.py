import pytest
import torch
from tests.training.conftest import tiny_settings
from torch import nn

from foveal.models.build import build_model
from foveal.training.optimizer import make_optimizer, set_learning_rate, weight_groups


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)


def make(**changes):
    settings = {
        "name": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.1,
        "decay_norms": False,
        "backbone_factor": 0.5,
    } | changes
    model = Small()
    return model, make_optimizer(model, **settings)


def test_groups_hold_every_weight_once():
    model = Small()
    groups = weight_groups(model, decay_norms=False)
    assert sum(len(weights) for weights in groups.values()) == len(list(model.parameters()))
    assert groups[True, True] == [model.backbone[0].weight]
    assert groups[False, False] == [model.head.bias]
    assert len(groups[True, False]) == 3


def test_frozen_weights_are_left_out():
    model = Small()
    model.backbone.requires_grad_(False)
    groups = weight_groups(model, decay_norms=True)
    assert groups[True, True] == []
    assert len(groups[False, True]) == 2


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_norms_and_biases_do_not_decay(name):
    model, optimizer = make(name=name)
    set_learning_rate(optimizer, 0.1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1.0)
            weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert model.head.bias.tolist() == [1.0, 1.0]
    assert model.backbone[1].weight.tolist() == [1.0] * 4
    assert model.head.weight.flatten()[0].item() == pytest.approx(1 - 0.1 * 0.1)
    assert model.backbone[0].weight.flatten()[0].item() == pytest.approx(1 - 0.05 * 0.1)


def test_norms_decay_where_asked():
    _model, optimizer = make(decay_norms=True)
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


def test_learning_rate_follows_the_group():
    _model, optimizer = make()
    set_learning_rate(optimizer, 0.2)
    rates = {group["factor"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {0.5: 0.1, 1.0: 0.2}


def test_layers_of_the_backbone_learn_more_slowly_the_earlier_they_are():
    model = build_model(tiny_settings(), 2)
    optimizer = make_optimizer(
        model, name="adamw", momentum=0.9, weight_decay=0.1, decay_norms=False,
        backbone_factor=0.5, layer_decay=0.8,
    )  # fmt: skip
    factor = {
        weight: group["factor"] for group in optimizer.param_groups for weight in group["params"]
    }
    assert len(factor) == len(list(model.parameters()))
    assert {factor[weight] for weight in model.box.parameters()} == {1.0}
    stages = model.backbone.stages_of_weights()
    last = model.backbone.stage_count - 1
    for weight, stage in stages.items():
        assert factor[weight] == pytest.approx(0.5 * 0.8 ** (last - stage + 1))
    assert set(stages.values()) == set(range(last + 1))
    assert any(not group["weight_decay"] for group in optimizer.param_groups)
