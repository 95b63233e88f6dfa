"""What the tests share: one thread, no network, and the real data where it is at hand."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: more threads only wait
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")
if "FOVEAL_TESTS" not in os.environ:  # the run's first process; the others inherit its folder
    os.environ["FOVEAL_TESTS"] = tempfile.mkdtemp(prefix="foveal-tests-")
    atexit.register(shutil.rmtree, os.environ["FOVEAL_TESTS"], ignore_errors=True)
os.environ["FOVEAL_CACHE"] = os.environ["FOVEAL_TESTS"]

with contextlib.suppress(ImportError):  # a GPU's tests do without
    from hypothesis import HealthCheck, settings

    # A busy machine makes any drawing of examples slow; no test is about time.
    patience = [HealthCheck.too_slow]
    settings.register_profile("patient", deadline=None, suppress_health_check=patience)
    settings.load_profile("patient")

SHARED = Path(os.environ.get("FOVEAL_SHARED", Path(__file__).resolve().parents[2] / "shared"))

TESTS = Path(__file__).parent
LOADING_MORE = (
    *("acceleration", "benchmarks", "exporting", "models", "runtimes"),
    *("cli/test_export.py", "journeys/test_exported.py", "journeys/test_readme_use.py"),
    "docs/test_blocks.py",
    *("inference/test_scene_ray.py", "training/test_validation.py"),
)
"""What compiles networks, exports them or starts processes, beside the tests that import forked."""

SMALL_MODEL = {
    "backbone": "test_resnet",
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


class NoAxes:
    """In place of matplotlib's axes: takes whatever is drawn, and has nothing to name."""

    legend_handles = ()

    def __getattr__(self, name: str) -> NoAxes:
        return self

    def __getitem__(self, key: object) -> NoAxes:
        return self

    def __call__(self, *_: object, **__: object) -> NoAxes:
        return self

    def __iter__(self) -> Iterator[tuple[()]]:
        """No handles and no labels."""
        return iter(((), ()))

    def items(self) -> tuple[()]:
        """No spines."""
        return ()


@pytest.fixture
def empty_charts() -> Iterator[None]:
    """Let reports be written with empty charts: a tiny run spends most of its time on drawing.

    For tests that ask nothing of the charts; tests/reports and tests/visualization draw them. It
    stays where a test undoes its own changes.
    """
    from markupsafe import Markup

    from foveal.tuning import anchor_chart
    from foveal.visualization import charts

    with pytest.MonkeyPatch.context() as patch:
        for module in (charts, anchor_chart):
            patch.setattr(module, "new_axes", lambda *_, **__: NoAxes())
            patch.setattr(module, "to_svg", lambda axes: Markup("<svg></svg>"))
        yield


@pytest.fixture
def short_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep the learning rate in 30 steps, for tests of what is done with the curve."""
    from foveal.tuning import learning_rate

    sweep = partial(learning_rate.find_learning_rate, steps=30)
    monkeypatch.setattr(learning_rate, "find_learning_rate", sweep)


def _loads_more(item: pytest.Item) -> bool:
    """Whether a test needs what takes seconds to load: compilers, NNCF, the server of processes."""
    path = item.path.relative_to(TESTS).as_posix()
    return path.startswith(LOADING_MORE) or "forked" in vars(item.getparent(pytest.Module).obj)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing is let go of while tests are imported, so nothing is looked for."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What has been imported stays: the garbage collector goes seldom, and not through that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_unconfigure() -> None:
    """Let the interpreter free everything when it ends: triton counts what is left."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Of two processes the first begins with these, and its imports and its server serve them all.
    items.sort(key=lambda item: not _loads_more(item))
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
