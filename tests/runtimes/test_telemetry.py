"""OpenVINO and NNCF send nothing: no socket, no thread, no file in the user's home."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tests import forked

from foveal.errors import MissingExtraError
from foveal.runtimes.telemetry import import_nncf, import_openvino, turn_telemetry_off

SOURCES = Path(__file__).parents[2] / "src" / "foveal"


def convert_quantize_and_predict(home: Path, work: Path) -> None:
    """Where no connection can be opened; says what was left. OpenVINO and NNCF come in here."""
    assert not {"openvino", "nncf", "openvino_telemetry"} & set(sys.modules)
    warnings.simplefilter("ignore")
    os.chdir(work)
    for name in ("CI", "TF_BUILD"):
        os.environ.pop(name, None)
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(work / "cache")}

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("somebody opens a connection")

    class Forbidden(socket.socket):
        def __init__(self, *arguments: object, **options: object) -> None:
            forbidden()

    started = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    socket.socket = Forbidden  # type: ignore[misc]
    socket.create_connection = forbidden  # type: ignore[assignment]
    socket.getaddrinfo = forbidden  # type: ignore[assignment]
    threading.Thread.start = noted  # type: ignore[method-assign]

    import torch
    from tests.exporting.models import noise, small_model

    from foveal.exporting.network import ExportedNetwork
    from foveal.exporting.openvino import network_to_openvino, write_openvino
    from foveal.exporting.quantization import Judgment, openvino_attempts
    from foveal.runtimes.base import InputSizes
    from foveal.runtimes.openvino import OpenVINORuntime

    model = network_to_openvino(
        ExportedNetwork(small_model().model), torch.from_numpy(noise(1)), InputSizes()
    )
    images = [noise(1, seed=seed) for seed in range(2)]
    judgment = Judgment(lambda runtime, indices: [0] * len(indices), lambda found, indices: 1.0, 2)
    quantized = openvino_attempts(model, images, judgment)[-1].make()
    write_openvino(quantized, Path("model.xml"), "{}", half=False)
    runtime = OpenVINORuntime(quantized)
    assert runtime.precision == "int8", runtime.precision
    assert runtime(images[0]).logits[0].shape == (1, 864, 3)
    threads = [name for name in started if "ThreadPool" in name or "elemetry" in name]
    left = sorted(str(each.relative_to(home)) for each in home.rglob("*"))
    said = f"threads {threads}\nhome {left}\nloggers {logging.getLoggerClass().__name__}\n"
    sys.stdout.write(said)
    sys.stdout.flush()


@pytest.mark.slow
def test_nothing_is_sent_while_converting_quantizing_and_predicting(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (done,) = forked.run(convert_quantize_and_predict, home, work, folder=tmp_path)
    assert done.code == 0, done.complaint
    assert done.said.splitlines() == ["threads []", "home []", "loggers Logger"]


def test_the_telemetry_package_is_as_if_it_were_not_there() -> None:
    import_openvino()
    with pytest.raises(ModuleNotFoundError):
        import openvino_telemetry  # noqa: F401


def test_a_sender_that_is_there_already_drops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []

    class TelemetrySender:
        def send(self, *message: object) -> None:
            sent.append(message)

    package, module = ModuleType("openvino_telemetry"), ModuleType("sender")
    module.TelemetrySender = TelemetrySender  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino_telemetry", package)
    monkeypatch.setitem(sys.modules, "openvino_telemetry.utils", ModuleType("utils"))
    monkeypatch.setitem(sys.modules, "openvino_telemetry.utils.sender", module)
    turn_telemetry_off()
    TelemetrySender().send("backend", SimpleNamespace(text="usage"))
    assert sent == []
    assert sys.modules["openvino_telemetry"] is package


@pytest.mark.parametrize(("load", "name"), [(import_openvino, "openvino"), (import_nncf, "nncf")])
def test_a_package_that_is_missing(
    load: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingExtraError, match=f"{name} is not installed. Run: pip install {name}"
    ):
        load()  # type: ignore[operator]


def test_loggers_stay_as_they_were() -> None:
    import_nncf()
    assert logging.getLoggerClass() is logging.Logger


def test_every_import_goes_through_here() -> None:
    imports = re.compile(r"^\s*(import|from) (openvino|nncf)\b", re.MULTILINE)
    for path in SOURCES.rglob("*.py"):
        assert not imports.search(path.read_text(encoding="utf-8")), path
