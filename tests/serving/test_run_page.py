"""The page over runs: what it answers, to whom, and that it follows the runs by itself."""

from __future__ import annotations

import http.client
import re
import shutil
import threading
from contextlib import contextmanager

import pytest
from tests.training.run_folders import BEGIN, HERE, epoch, step, write_run

from foveal.errors import FovealError
from foveal.serving.run_page import RunPage, run_server
from foveal.training.run_records import RunsWatched


@contextmanager
def serving(root, **options):
    page = RunPage(RunsWatched([root]), **({"seconds": 5.0} | options))
    with run_server(page, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(port, path="/", *, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


@pytest.mark.usefixtures("empty_charts")
def test_the_page_and_the_reports_of_its_runs(tmp_path):
    run = write_run(tmp_path / "<b>one", BEGIN, epoch(1, 0.25), step(14), presence=HERE)
    (run / "report.html").write_text("the report")
    with serving(tmp_path) as port:
        status, text, headers = ask(port)
        assert status == 200
        assert "&lt;b&gt;one" in text
        assert "0.250" in text
        assert "1.4 of 4" in text
        assert headers["Cache-Control"] == "no-store"
        (nonce,) = set(re.findall(r"nonce[-=]\"?([\w-]+)", text))
        assert nonce not in ask(port)[1]
        (link,) = re.findall(r'href="(/report/\w+)"', text)
        assert ask(port, link)[:2] == (200, "the report")
        write_run(tmp_path / "<b>one", BEGIN, epoch(1, 0.25), epoch(2, 0.75), presence=HERE)
        assert "0.750" in ask(port)[1]


@pytest.mark.usefixtures("empty_charts")
def test_nothing_else_is_answered(tmp_path):
    run = write_run(tmp_path / "one", BEGIN)
    with serving(tmp_path) as port:
        for path in (
            "/report/",
            "/report/0",
            "/../config.toml",
            f"/report/../{run}",
            "/favicon.ico",
        ):
            assert ask(port, path)[0] == 404
        assert ask(port, host="evil.example")[0] == 403
        assert ask(port, host=f"localhost:{port}")[0] == 200
        assert ask(port, method="POST")[0] == 501
        shutil.rmtree(tmp_path / "one")
        with pytest.raises(FovealError, match="Choose another one: --port N"):
            run_server(RunPage(RunsWatched([tmp_path]), seconds=5.0), port)
        assert "1 run" not in ask(port)[1] or "starting" not in ask(port)[1]
