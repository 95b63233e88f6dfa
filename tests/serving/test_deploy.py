"""The files of deploy/ agree with what they are for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foveal.cli.serve import serve
from foveal.evaluation.profile import make_profile
from foveal.serving.metrics import Metrics
from foveal.structures import Detections, ModelCard

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OPTIONS = {f"--{name.replace('_', '-')}" for name in serve.__annotations__} - {"--folder"}
OPTIONS.add("--models")


def metric_names() -> set[str]:
    """All that a server says once each thing has happened."""
    metrics = Metrics()
    found = Detections(np.array([[0, 0, 9, 9]], np.float32), [0.9], [0], classes=("a",))
    card = ModelCard(("a",), profile=make_profile([found], classes=1, score_threshold=0.3))
    model: Any = SimpleNamespace(name="m", version="1", predictor=SimpleNamespace(card=card))
    metrics.detected(model, found, score_threshold=0.3)
    metrics.computed(model, 1)
    metrics.took("model", 1)
    metrics.answered("/v1/detect", 200, 1)
    return set(re.findall(r"^(\w+)", metrics.render()[0].decode(), re.MULTILINE))


def test_grafana_asks_for_what_there_is() -> None:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\b(?:foveal|process)_\w+", " ".join(queries)))
    assert asked
    assert asked <= metric_names()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert dashboard["uid"]


def test_the_documentation_names_every_metric_of_ours() -> None:
    ours = {name for name in metric_names() if re.match(r"foveal_(?!.*_created$)", name)}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    text = (ROOT / "docs" / "how-to" / "serving.md").read_text()
    assert sorted(name for name in stems if f"`{name}`" not in text) == []


@pytest.mark.parametrize("file", ["Dockerfile", "foveal.service"])
def test_the_options_are_those_of_foveal_serve(file: str) -> None:
    text = (DEPLOY / file).read_text()
    started = [line for line in text.splitlines() if re.match(r"(ENTRYPOINT|CMD|ExecStart)", line)]
    named = set(re.findall(r"--[a-z-]+", " ".join(started)))
    assert named
    assert named <= OPTIONS


def test_the_image_installs_what_the_project_pins() -> None:
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    names = {re.split(r"[<>=\[]", each)[0] for each in known}
    assert wanted <= names
    assert "torch" not in wanted
    pins = (ROOT / "constraints.txt").read_text()
    assert [name for name in wanted if f"\n{name}==" not in f"\n{pins}"] == []


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    text = (DEPLOY / "foveal.service").read_text()
    unit = tmp_path / "foveal.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if "foveal.service" in line]
    assert (done.returncode, said) == (0, [])
