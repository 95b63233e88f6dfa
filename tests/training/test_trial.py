import copy
import math

import pytest
import torch
from tests.training.conftest import tiny_settings

from foveal.data.synthetic import draw_dataset
from foveal.errors import DeviceMemoryError
from foveal.models.build import build_model
from foveal.training.step import TrainStep
from foveal.training.trial import Trial, fits_into_memory
from foveal.tuning.batch_size import find_batch_size
from foveal.tuning.learning_rate import find_learning_rate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("data"), splits={"train": 6}, size=64)["train"]


def test_a_sweep_leaves_the_model_and_the_random_state(data):
    settings = tiny_settings()
    model = build_model(settings, len(data.classes))
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    with Trial(model, settings, data) as trial:
        curve = find_learning_rate(trial.step, lowest=1e-3, highest=30.0, steps=40)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert 1e-3 < curve.suggestion < 10
    assert min(curve.smoothed) < 0.95 * curve.smoothed[0]


def test_a_loss_that_is_not_finite_is_said(data, monkeypatch):
    settings = tiny_settings("training.clip_gradient=0")
    model = build_model(settings, 3)
    with torch.no_grad():
        model.box.output.bias.fill_(math.nan)
    with Trial(model, settings, data) as trial:
        assert math.isnan(trial.step(0.1))


def test_batch_size_with_a_device_that_holds_five_images(data, monkeypatch):
    real = TrainStep._part_losses

    def losses(self, part):
        if len(part) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, part)

    monkeypatch.setattr(TrainStep, "_part_losses", losses)
    settings = tiny_settings()
    model = build_model(settings, 3)
    assert (
        find_batch_size(lambda images: fits_into_memory(model, settings, data, images=images)) == 4
    )
    with Trial(model, tiny_settings("training.batch=6"), data) as trial:
        assert not trial.fits()
        with pytest.raises(DeviceMemoryError):
            trial.step(0.1)
