"""Prediction: every kind of image, batches against single images, several looks at one image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.errors import ImageError
from foveal.inference.loading import make_predictor


def test_something_is_found(predictor, picture_folder):
    found = predictor.detect(picture_folder / "smear_0.png")
    assert 3 < len(found) <= 100
    print(len(found), found.scores[:5])
