"""The page's files and `/metrics`, as they come over HTTP."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from foveal.serving.metrics import Metrics
from foveal.serving.watching import metrics_routes, page_routes


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page_routes())
    metrics = Metrics()
    metrics.answered("/v1/detect", 200, 0.1)
    app.include_router(metrics_routes(metrics))
    return TestClient(app)


def test_everything_that_the_page_names_is_there(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert sorted(named) == ["page/icon.svg", "page/page.css", "page/page.js"]
    scripts = client.get("/page/page.js").text
    named += [f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', scripts)]
    for name in named:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert "javascript" in answer.headers["content-type"] or not name.endswith(".js")
        # Nothing is loaded from elsewhere; the drawing's namespace is only a name.
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", ""), name


def test_every_element_that_the_script_asks_for_is_on_the_page(client: TestClient) -> None:
    ids = set(re.findall(r'id="([^"]+)"', client.get("/").text))
    script = client.get("/page/page.js").text
    asked = set(re.findall(r'\bat\("([^"]+)"\)', script))
    assert asked <= ids, asked - ids


def test_the_page_may_load_and_ask_nothing_else(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<(script|style)>|\bstyle=|\bon\w+=", client.get("/").text)


def test_what_is_known_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/page/page.css").headers["etag"]
    again = client.get("/page/page.css", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/app.py", "/page/..%2fapp.py", "/page/../metrics.py", "/page/x/page.js"],
)
def test_nothing_else_is_sent(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_metrics_in_both_of_prometheus_formats(client: TestClient) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert 'foveal_requests_total{route="/v1/detect",status="200"} 1.0' in plain.text
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    assert client.get("/metrics", headers=accept).text.endswith("# EOF\n")
