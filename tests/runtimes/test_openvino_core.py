"""One Core for the process: what several would do to signal handlers, and that NNCF makes none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.exporting.models import exported

from foveal.runtimes.openvino_core import only_shared_core, shared_core
from foveal.runtimes.telemetry import import_openvino

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGCHLD")


@needs_signals
def test_signals_are_handled_after_models_have_gone() -> None:
    code = f"""
import faulthandler, signal, subprocess, sys
import numpy as np
from foveal.runtimes.openvino import open_openvino
handled = []
faulthandler.enable()
signal.signal(signal.SIGCHLD, lambda *_: handled.append(1))
images = np.zeros((1, 3, 64, 64), np.uint8)
runtimes = []
for _ in range(3):
    runtime, _ = open_openvino({str(exported("openvino").path)!r})
    runtime(images)
    runtimes.append(runtime)
while runtimes:
    del runtime
    runtime = runtimes.pop(0)
del runtime
subprocess.run([sys.executable, "-S", "-c", ""], check=True)
assert handled
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_others_get_the_shared_one_for_a_while() -> None:
    openvino = import_openvino()
    own = openvino.Core, openvino.compile_model
    with only_shared_core():
        assert openvino.Core() is shared_core()
        assert openvino.compile_model == shared_core().compile_model
    assert (openvino.Core, openvino.compile_model) == own
