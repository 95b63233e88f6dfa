"""Published weights: from the cache, from a hub, and without a network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from foveal.errors import WeightsError
from foveal.models import pretrained
from foveal.models.backbones import make_backbone

NAME = "mobilenetv3_small_100"
FILE = f"timm/{NAME}.lamb_in1k/resolve/main/model.safetensors"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment as a user has it, with an empty cache; returns the cache's folder."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "PROBE_SECONDS", 0.3)
    return tmp_path / "cache"


class _Hub(http.server.SimpleHTTPRequestHandler):
    """As much of a hub as fetching one file takes."""

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"')
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: Path
) -> Iterator[tuple[Path, http.server.ThreadingHTTPServer]]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Hub, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield folder, server
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_answer_is_known_in_time() -> None:
    assert pretrained.PROBE_SECONDS < 2


def test_a_hub_that_never_answers(online: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        with pytest.raises(WeightsError) as error:
            make_backbone(NAME, weights="pretrained")
    assert f"Get {address}/{FILE}" in str(error.value)
    assert "--set model.weights=FILE (in Python weights=FILE)" in str(error.value)


def test_a_name_look_up_that_hangs(online: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(5) and [])
    try:
        with pytest.raises(WeightsError, match=r"no answer within 0\.3 s"):
            make_backbone(NAME, weights="pretrained")
    finally:
        released.set()


def test_a_refused_connection(online: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(WeightsError, match="refused"):
        make_backbone(NAME, weights="pretrained")


def test_offline_by_wish(online: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        make_backbone(NAME, weights="pretrained")


def test_a_network_nobody_published_weights_for(online: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet200: has no published weights.*weights=none"):
        make_backbone("resnet200", weights="pretrained")


def test_fetched_once_then_from_the_cache(
    serve: tuple[Path, http.server.ThreadingHTTPServer],
    online: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = serve
    state = timm.create_model(NAME).state_dict()
    (folder / FILE).parent.mkdir(parents=True)
    save_file(state, folder / FILE)
    assert pretrained.published_weights(NAME, fetch=False) is None  # only asked for
    assert not list(online.rglob("*.safetensors"))
    backbone = make_backbone(NAME, weights="pretrained")
    assert backbone.initialized == ()
    assert pretrained.published_weights(NAME, fetch=False) is not None
    assert torch.equal(backbone.body.conv_stem.weight, state["conv_stem.weight"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = make_backbone(NAME, weights="pretrained")
    assert torch.equal(again.body.conv_stem.weight, state["conv_stem.weight"])


def test_a_hub_without_the_file(serve: tuple[Path, http.server.ThreadingHTTPServer]) -> None:
    with pytest.raises(WeightsError, match="can't be fetched"):
        make_backbone(NAME, weights="pretrained")


def test_a_mirror_that_wants_a_token_gets_it(
    serve: tuple[Path, http.server.ThreadingHTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Guarded(_Hub):
        def send_head(self) -> object:
            if self.headers.get("Authorization") != "Bearer secret":
                self.send_error(401)
                return None
            return super().send_head()

    folder, server = serve
    server.RequestHandlerClass = functools.partial(Guarded, directory=str(folder))
    state = timm.create_model(NAME).state_dict()
    (folder / FILE).parent.mkdir(parents=True)
    save_file(state, folder / FILE)
    with pytest.raises(WeightsError, match="can't be fetched"):
        make_backbone(NAME, weights="pretrained")
    monkeypatch.setenv("HF_TOKEN", "secret")
    backbone = make_backbone(NAME, weights="pretrained")
    assert torch.equal(backbone.body.conv_stem.weight, state["conv_stem.weight"])
