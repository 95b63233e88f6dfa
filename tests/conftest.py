"""What the tests share: one thread, no network, and the real data where it is at hand."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: more threads only wait
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("FOVEAL_CACHE", tempfile.mkdtemp(prefix="foveal-"))

SHARED = Path(os.environ.get("FOVEAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))

SMALL_MODEL = {
    "backbone": "resnet18",
    "weights": "none",
    "fpn_channels": 16,
    "head_channels": 16,
    "head_depth": 1,
}
"""Settings of a network that is built and run in no time."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and weights; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the data in {SHARED} (set FOVEAL_SHARED to another folder)")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
