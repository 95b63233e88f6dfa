"""The app: who may ask, how many may wait, how long, and errors as problems."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.serving.conftest import encoded, write_text

from foveal.errors import SettingsError
from foveal.serving.app import begin_to_end
from foveal.serving.observing import NoObserver
from foveal.serving.security import Access, choose_access, is_loopback

TOKEN = "0123456789abcdef"


class Counts(NoObserver):
    """Remembers what it is told."""

    def __init__(self):
        self.answers, self.queue, self.batches, self.images = [], [], [], 0

    def answered(self, route, status, seconds):
        self.answers.append((route, status))

    def queued(self, images):
        self.queue.append(images)

    def computed(self, model, images):
        self.batches.append(images)

    def detected(self, model, detections, *, score_threshold):
        self.images += 1


def test_health_and_models(server):
    assert server.ask("/healthz").json() == {"status": "ok"}
    assert server.ask("/readyz").json() == {"status": "ready", "images": 0}
    said = server.ask("/v1/models").json()
    assert said["models"][0]["name"] == "cells"
    assert said["limits"]["image_pixels"] == 100_000_000
    server.app.state.is_ready = False
    assert server.ask("/readyz").status_code == 503


def test_a_server_that_ends_answers_on_and_closes_each_connection(server):
    assert "connection" not in server.ask("/v1/detect", encoded()).headers
    begin_to_end(server.app)
    answer = server.ask("/v1/detect", encoded())
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert server.ask("/readyz").status_code == 503


def test_what_is_not_there_is_a_problem_without_traces(server):
    for path, content, status in (("/nothing", None, 404), ("/v1/detect", None, 405)):
        answer = server.ask(path, content)
        assert answer.status_code == status
        assert answer.json()["status"] == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
    assert server.ask("/docs").status_code == 404  # it would load scripts from elsewhere


def test_the_page_of_the_interface_says_all_routes(server):
    document = server.ask("/openapi.json").json()
    assert {"/v1/detect", "/v1/models", "/healthz", "/v2/models/{name}/infer"} <= set(
        document["paths"]
    )
    content = document["paths"]["/v1/detect"]["post"]["requestBody"]["content"]
    assert set(content) >= {"multipart/form-data", "application/json", "image/*"}


def test_a_mistake_of_ours_is_told_to_the_log_alone(server, monkeypatch, caplog):
    def fail(name):
        raise KeyError("a secret")

    monkeypatch.setattr(server.models, "get", fail)
    with caplog.at_level(logging.ERROR):
        answer = server.ask("/v1/detect", encoded())
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ", 401),
        ("Bearer \u00fc", 401),
    ],
)
def test_a_token(serve, model, given, status):
    server = serve(model, access=Access(TOKEN, local_only=False))
    headers = {} if given is None else {"authorization": given.encode("latin-1")}
    answer = server.ask("/v1/models", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    assert server.ask("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:8000", "origin": "http://evil.example"}, 403),
        ({"host": "localhost:8000", "origin": "null"}, 403),
    ],
)
def test_without_a_token_only_local_names_are_answered(server, headers, status):
    assert server.ask("/v1/models", headers=headers).status_code == status


def test_who_may_ask_is_chosen_by_the_address():
    assert choose_access("127.0.0.1", token=None, no_auth=False) == Access()
    assert choose_access("0.0.0.0", token=None, no_auth=True) == Access(None, local_only=False)
    assert choose_access("0.0.0.0", token=TOKEN, no_auth=False).token == TOKEN
    for token, no_auth, host in ((None, False, "0.0.0.0"), (TOKEN, True, "::1"),
                                 ("short", False, "::1")):  # fmt: skip
        with pytest.raises(SettingsError, match="--token"):
            choose_access(host, token=token, no_auth=no_auth)
    addresses = ["localhost", "127.0.0.5", "::1", "[::1]", "0.0.0.0", "example.org", ""]
    assert [is_loopback(each) for each in addresses] == [True] * 4 + [False] * 3


def test_a_full_queue_says_when_to_come_again(serve, tmp_path):
    counts = Counts()
    slow = write_text(tmp_path / "slow.onnx", seconds=0.1)
    server = serve(slow, queue=3, batch=1, observer=counts)
    answers = server.ask_all([("/v1/detect", encoded(), {})] * 8)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 3 + [503] * 5
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert "busy" in refused.json()["detail"]
    assert server.ask("/v1/detect", encoded()).status_code == 200
    assert (max(counts.queue), counts.queue[-1], counts.images) == (3, 0, 4)
    assert counts.answers.count(("/v1/detect", 503)) == 5


def test_requests_that_come_together_are_computed_together(serve, tmp_path):
    counts = Counts()
    slow = write_text(tmp_path / "slow.onnx", seconds=0.02)
    server = serve(slow, batch=4, wait=0.2, observer=counts)
    answers = server.ask_all([("/v1/detect", encoded(), {})] * 8)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum(counts.batches) == 8
    assert max(counts.batches) == 4


def test_what_takes_too_long_is_given_up(serve, tmp_path):
    server = serve(write_text(tmp_path / "slow.onnx", seconds=0.3), timeout=0.1)
    answer = server.ask("/v1/detect", encoded())
    assert (answer.status_code, "--timeout" in answer.json()["detail"]) == (504, True)

    async def slowly():
        yield b"\x89PNG"
        await asyncio.sleep(0.3)
        yield b"more"

    answer = server.ask("/v1/detect", slowly())
    assert (answer.status_code, "not complete" in answer.json()["detail"]) == (408, True)


def test_nothing_stays_on_the_disk(server):
    from pathlib import Path

    server.ask("/v1/detect", files=[("i", ("a.png", encoded())), ("i", ("b.png", b"bad"))])
    assert list(Path(server.service._folder.name).iterdir()) == []
