"""`foveal serve`: what it refuses to start with, and a process that loses nothing when it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import httpx2
import pytest
from tests import forked
from tests.cli.conftest import answer_in_json, foveal
from tests.serving.conftest import encoded, open_text, write_text

REQUESTS = 12


@pytest.fixture(autouse=True)
def _loggers_as_they_are(monkeypatch):
    """A server's own process is told on the screen what is logged; this one goes on."""
    monkeypatch.setattr(import_module("foveal.cli.serve"), "_log_to_screen", lambda: None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Expected MODEL, or --models FOLDER"),
        (["no.onnx"], "no such file"),
        (["--models", "nothing"], "is no folder"),
        (["no.onnx", "--host", "0.0.0.0"], "Expected --token TOKEN"),
        (["no.onnx", "--host", "0.0.0.0", "--token", "short"], "at least 16"),
        (["no.onnx", "--no-auth", "--token", "0123456789abcdef"], "expected one of them"),
        (["no.onnx", "--scale", "10cm"], "Expected auto or a factor"),
        (["no.onnx", "--tile", "x"], "--tile x"),
        (["no.onnx", "--host", "203.0.113.7", "--no-auth"], "can't be listened on"),
        (["no.onnx", "--profile", "metrics.json"], "metrics.json: can't be read"),
        (["--models", ".", "--profile", "metrics.json"], "of which model?"),
    ],
)
def test_what_it_does_not_start_with(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOVEAL_TOKEN", raising=False)
    assert foveal(monkeypatch, "serve", *arguments, "--port", 0) == 2
    assert said in capsys.readouterr().err


def test_json_says_where_it_listens(monkeypatch, capsys, tmp_path):
    from foveal.serving import models

    serve = import_module("foveal.cli.serve")  # its name in the package is the function's
    monkeypatch.setattr(models, "open_model", open_text)
    ports = []

    def run_not(app, listening):
        ports.append(listening.getsockname()[1])
        listening.close()

    monkeypatch.setattr(serve, "_run", run_not)
    model = write_text(tmp_path / "cells.onnx")
    served = answer_in_json(monkeypatch, capsys, "serve", model, "--port", 0)
    assert served["url"] == f"http://127.0.0.1:{ports[0]}"
    assert served["models"] == ["cells"]
    assert served["open_to_all"] is False


def test_a_profile_of_another_model(monkeypatch, capsys, tmp_path):
    from foveal.serving import models

    monkeypatch.setattr(models, "open_model", open_text)
    said = {"images": 1, "score_threshold": 0.3, "scores": [0] * 10, "sizes": [0] * 16}
    (tmp_path / "metrics.json").write_text(json.dumps({"profile": {**said, "classes": [0] * 3}}))
    model = write_text(tmp_path / "cells.onnx")
    options = ["--port", 0, "--profile", tmp_path / "metrics.json"]
    assert foveal(monkeypatch, "serve", model, *options) == 2
    assert "--profile: is of 3 classes, and the model cells has 2" in capsys.readouterr().err


def run(arguments: list[str], output: str) -> None:
    """Serve models that are texts, in a process of its own."""
    from foveal import cli
    from foveal.serving import models

    models.open_model = open_text
    with Path(output).open("w") as stream:
        sys.stdout = sys.stderr = stream
        sys.argv = ["foveal", "serve", *arguments]
        cli.main()


def address(said: Path) -> str:
    """Where the server listens, as it says."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        lines = said.read_text().splitlines() if said.exists() else []
        for line in lines:
            if line.startswith("http://"):
                return line.split()[0]
        time.sleep(0.02)
    raise AssertionError(said.read_text())


def test_sigterm_under_load_loses_nothing_that_was_taken(tmp_path):
    model = write_text(tmp_path / "cells.onnx", seconds=0.05)
    said = tmp_path / "said"
    arguments = [str(model), "--port", "0", "--batch", "1"]
    process = forked._CONTEXT.Process(target=run, args=(arguments, str(said)))
    process.start()
    try:
        url, content = address(said), encoded()
        with (
            ThreadPoolExecutor(REQUESTS) as pool,
            httpx2.Client(base_url=url, timeout=30) as client,
        ):
            until = time.monotonic() + 30
            while time.monotonic() < until:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx2.ConnectError:
                    time.sleep(0.02)
            asked = [
                pool.submit(client.post, "/v1/detect", content=content) for _ in range(REQUESTS)
            ]
            while client.get("/readyz").json()["images"] < REQUESTS - 4:
                time.sleep(0.005)
            taken = client.get("/readyz").json()["images"]
            os.kill(process.pid, signal.SIGTERM)
            results = [each for each in asked if each.exception(60) is None]
        process.join(60)
        statuses = [each.result().status_code for each in results]
        assert statuses == [200] * len(statuses)
        assert len(statuses) >= taken
        assert process.exitcode == -signal.SIGTERM
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{url}/healthz", verify=False)
        assert "Traceback" not in said.read_text()
    finally:
        process.kill()
        process.join()
