"""The small network of the models' tests."""

from __future__ import annotations

import pytest
from tests.models.conftest import make_small

from foveal.config import Settings
from foveal.models.retinanet import RetinaNet


@pytest.fixture
def small() -> tuple[RetinaNet, Settings]:
    return make_small()
