import pytest
import torch
from torch import nn

from foveal.training.ema import EmaModel, averaging_decay


def test_decay_grows_to_its_value():
    assert averaging_decay(0, 0.99) == pytest.approx(0.1)
    assert averaging_decay(8, 0.99) == pytest.approx(0.5)
    assert averaging_decay(10_000, 0.99) == 0.99


def test_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average = EmaModel(model, decay=0.1)
        model.weight.fill_(2.0)
    average.update(model)
    assert average.model.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    average.update(model)
    assert average.model.weight.item() == pytest.approx(0.1 * 1.9 + 0.9 * 2)


def test_buffers_are_averaged_and_counters_copied():
    model = nn.BatchNorm1d(2)
    average = EmaModel(model, decay=0.5)
    model.running_mean.fill_(4.0)
    model.num_batches_tracked.fill_(7)
    for _ in range(60):
        average.update(model)
    assert average.model.num_batches_tracked.item() == 7
    assert average.model.running_mean.tolist() == pytest.approx([4.0, 4.0])


def test_average_is_apart_from_the_model():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    average = EmaModel(model, decay=0.9)
    assert not any(weight.requires_grad for weight in average.model.parameters())
    assert not average.model.training
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
