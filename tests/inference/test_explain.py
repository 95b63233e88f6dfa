"""What is said when nothing is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from foveal.inference.explain import explain_nothing
from foveal.structures import RawOutput


def test_it_names_the_highest_scores_and_sizes(predictor, picture_folder):
    paths = sorted(picture_folder.iterdir())
    text = explain_nothing(replace(predictor, score_threshold=1.0), paths)
    best = max((predictor.detect(path) for path in paths), key=lambda found: found.scores[0])
    assert "No score reaches the threshold 1." in text
    assert f"{best.names[0]} {best.scores[0]:.3f} in {best.path}" in text
    for name in predictor.classes:
        assert name in text
    assert "a lower threshold" in text


def test_it_says_how_large_objects_may_be(predictor):
    image = np.full((48, 48, 3), 128, np.uint8)  # scaled by 2 to 96
    text = explain_nothing(replace(predictor, score_threshold=1.0), [image])
    assert "48 x 48 pixels is scaled by 2" in text
    assert "about 4 to 102 pixels" in text  # anchors from 8 to 128 * 2^(2/3), halved
    assert "in image 0" in text


def test_an_untrained_network_is_called_so(predictor, loaded):
    bias = loaded.model.classification.output.bias
    kept = bias.detach().clone()
    try:
        with torch.no_grad():
            bias.fill_(-30.0)
        text = explain_nothing(predictor, [np.zeros((64, 64, 3), np.uint8)])
        assert "training it, or for longer" in text
        with torch.no_grad():
            bias.fill_(torch.nan)
        text = explain_nothing(predictor, [np.zeros((64, 64, 3), np.uint8)])
        assert "no finite score" in text
    finally:
        with torch.no_grad():
            bias.copy_(kept)


def test_broken_images_are_passed_over(predictor, tmp_path):
    assert explain_nothing(predictor, [tmp_path / "absent.png"]).endswith("no image can be read.")


def test_of_one_anchor_a_location_it_says_how_far_they_are_apart(predictor):
    grid = replace(predictor.grid, scales=(1.0,), ratios=(1.0,))
    runtime = predictor.runtime
    raw = RawOutput(
        *(
            tuple(
                np.zeros((1, rows * columns, values), np.float32)
                for rows, columns in grid.level_sizes(96, 96)
            )
            for values in (len(predictor.classes), 4)
        )
    )
    silent = replace(predictor, grid=grid, runtime=Answering(runtime, raw), score_threshold=1.0)
    text = explain_nothing(silent, [np.full((48, 48, 3), 128, np.uint8)])  # scaled by 2 to 96
    assert "whose finest locations are then 4 pixels apart" in text


class Answering:
    """A runtime that gives the same answer always."""

    def __init__(self, runtime, raw):
        self.name, self.device, self.sizes = runtime.name, runtime.device, runtime.sizes
        self.precision, self.raw = runtime.precision, raw

    def __call__(self, images):
        return self.raw
