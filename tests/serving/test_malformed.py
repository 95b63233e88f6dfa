"""Malformed requests over a real socket: no 500, nothing left behind, and the next one works."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from tests.serving.conftest import encoded

from benchmarks.lib import malformed_requests as malformed
from benchmarks.lib.http_load import ask, http_request, put_load

IMAGE = {"Content-Type": "image/jpeg"}


@pytest.fixture
def port(server: Any) -> Iterator[int]:
    """Of the server of one model, on a real socket."""
    config = uvicorn.Config(server.app, port=0, log_config=None, lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.005)
    yield running.servers[0].sockets[0].getsockname()[1]
    running.should_exit = True
    thread.join()


# A form that ends early leaves its file to the collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_request_is_too_bad(port: int, server: Any) -> None:
    jpeg = encoded(kind="JPEG")
    good = http_request("/v1/detect", jpeg, headers=IMAGE)
    status, before = ask(port, good)
    assert status == 200
    assert before["images"][0]["boxes"]
    count = 5 * len(malformed.MAKERS)
    survived = malformed.send_malformed(
        port, malformed.malformed_requests(jpeg, count=count, model="cells")
    )
    assert survived.failures == []
    assert sum(counts.total() for counts in survived.statuses.values()) == count
    assert len(survived.statuses) == len(malformed.MAKERS)
    for kind in ("truncated", "bomb", "many frames", "bad JSON", "bad tensor"):
        assert all(400 <= status < 500 for status in survived.statuses[kind]), kind
    status, after = ask(port, good)
    assert (status, after["images"][0]["boxes"]) == (200, before["images"][0]["boxes"])


def test_what_is_at_fault_is_told() -> None:
    """A server that answers everything by 500, and one that never answers."""
    survived = malformed.Survived({}, [])
    assert survived.failures == []
    requests = list(malformed.malformed_requests(b"\xff\xd8" + bytes(99), count=30, seed=1))
    assert {each.kind for each in requests} >= {"truncated", "bomb", "slow body"}
    again = list(malformed.malformed_requests(b"\xff\xd8" + bytes(99), count=30, seed=1))
    assert again == requests, "drawn by the seed alone"


def test_the_bomb_is_one() -> None:
    bomb = malformed.png_bomb()
    assert len(bomb) < 2**20
    begin = bomb.index(b"IDAT") + 4
    opened = zlib.decompressobj()
    assert opened.decompress(bomb[begin:], 10**6) == bytes(10**6)
    assert bomb[16:24] == (60_000).to_bytes(4, "big") * 2


def test_load_counts_what_comes_back(port: int) -> None:
    good = http_request("/healthz", method="GET")
    bad = http_request("/nothing", method="GET")
    load = put_load(port, [good, good, bad], connections=4, count=30)
    assert (load.statuses[200], load.statuses[404], load.errors) == (20, 10, 10)
    assert len(load.latencies) == 30
    assert 0 < load.milliseconds(0.5) <= load.milliseconds(0.99)
    assert "nothing" in load.first_problem
    assert put_load(port, [good], connections=2, count=0).per_second == 0
