"""A server in the tests' own process, with a detector that is exact and models that are texts."""

from __future__ import annotations

import asyncio
import json
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.inference.scene_stand_ins import FindsRectangles, draw

from foveal.checkpoints.description import describe
from foveal.config import parse_settings
from foveal.errors import ModelFileError
from foveal.inference.opening import Opened
from foveal.serving import models as models_module
from foveal.serving.app import make_app
from foveal.serving.limits import Limits
from foveal.serving.models import ModelSet
from foveal.serving.observing import NoObserver
from foveal.serving.security import Access
from foveal.serving.service import Service
from foveal.structures import ModelCard

BOXES = np.array([[4, 6, 24, 20], [40, 30, 60, 50], [70, 8, 90, 28]])
LEVELS = np.array([0, 1, 2])
"""Two rectangles of class a, one of class b."""


class Slow(FindsRectangles):
    """The detector, which takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, images: np.ndarray) -> Any:
        if 13 in images[:, 0, 0, 0]:
            raise ValueError("an unlucky image")
        time.sleep(self.seconds)
        return super().__call__(images)


def open_text(path: Path, **_: object) -> Opened:
    """What stands in for `open_model`: a file says which classes it knows, and how slow it is."""
    if not path.read_text().startswith("{"):
        raise ModelFileError(f"{path}: is no model.")
    said = json.loads(path.read_text())
    settings = parse_settings(
        {"preparation": {"shorter": 64, "longer": 96, "scale": 1.0}}, where="test"
    )
    classes = tuple(said.get("classes", ("a", "b")))
    card = ModelCard(classes, score_threshold=0.5, scale=said.get("scale"))
    return Opened(Slow(said.get("seconds", 0)), describe(settings, card), path)


def write_text(path: Path, **said: object) -> Path:
    """A file that `open_text` opens."""
    path.write_text(json.dumps(said))
    return path


def encoded(image: np.ndarray | None = None, kind: str = "PNG", **options: object) -> bytes:
    """An image as a file's content; by default one with two objects a and one b."""
    content = BytesIO()
    if image is None:
        image = draw(96, 64, BOXES, LEVELS)
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


class Server:
    """An app and the way to ask it; each `ask` is a loop of its own."""

    def __init__(
        self,
        *paths: Path,
        folder: Path | None = None,
        access: Access | None = None,
        observer: Any = None,
        precision: Any = "auto",
        **limits: Any,
    ) -> None:
        self.limits = Limits(**{"wait": 0.0, **limits})
        observer = observer or NoObserver()
        self.models = ModelSet(
            models_module.name_models(paths),
            folder=folder,
            limits=self.limits,
            observer=observer,
            precision=precision,
        )
        self.models.load()
        self.service = Service(self.models, limits=self.limits, observer=observer, readers=2)
        self.app = make_app(self.service, access=access or Access(), observer=observer)
        self.app.state.is_ready = True

    def ask(self, path: str, content: Any = None, **options: Any) -> httpx2.Response:
        """One request: GET, or POST where there is a content."""
        return self.ask_all([(path, content, options)])[0]

    def ask_all(self, requests: list[tuple[str, Any, dict[str, Any]]]) -> list[httpx2.Response]:
        """Several requests at once."""

        async def all_of_them() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as ask:
                asked = [
                    ask.request(
                        "GET"
                        if content is None and not options.keys() & {"files", "json"}
                        else "POST",
                        path,
                        content=content,
                        **options,
                    )
                    for path, content, options in requests
                ]
                return await asyncio.gather(*asked)

        return asyncio.run(all_of_them())

    def close(self) -> None:
        """End its threads."""
        self.service.close()
        self.models.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch):
    """Makes servers, and ends them."""
    monkeypatch.setattr(models_module, "open_model", open_text)
    made: list[Server] = []

    def make(*paths: Path, **options: Any) -> Server:
        made.append(Server(*paths, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that is called cells."""
    return write_text(tmp_path / "cells.onnx")


@pytest.fixture
def server(serve, model: Path) -> Server:
    """A server of one model."""
    return serve(model)
