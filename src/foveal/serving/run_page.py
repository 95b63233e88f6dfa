"""The page over runs behind a port of this machine alone, which follows them by itself.

It needs no package but Python's own: whoever trains can watch.
"""

from __future__ import annotations

import secrets
import threading
import time
from hashlib import blake2b
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.reports.html import render_watched
from foveal.reports.runs import draw_runs, make_runs_report

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.reports.parts import Chart, Report
    from foveal.training.run_records import RunRecord, RunsWatched

HOST = "127.0.0.1"
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_FIND_EVERY = 10.0
"""Seconds from one look for new runs to the next."""
_DRAWING_SHARE = 20.0
"""Curves are drawn anew when so many times the seconds have passed that it took: it takes turns
with the training for the processor."""


class RunPage:
    """The page as it is now; drawn curves are kept until a log has grown.

    Args:
        watched: the runs.
        seconds: from one look of the browser to the next.
    """

    def __init__(self, watched: RunsWatched, *, seconds: float) -> None:
        self._watched, self._seconds = watched, seconds
        self._lock = threading.Lock()
        self._charts: list[Chart] = []
        self._drawn_of: object = None
        self._drawn_at = self._drawing_took = self._found_at = float("-inf")
        self._files: dict[str, Path] = {}

    def render(self, nonce: str) -> str:
        """The page as HTML, with the script that asks for it again.

        Args:
            nonce: a word that only this answer has, by which the browser trusts the script.
        """
        with self._lock:
            return render_watched(self._report(), nonce=nonce, seconds=self._seconds)

    def file(self, key: str) -> Path | None:
        """The report that a link leads to."""
        return self._files.get(key)

    def _report(self) -> Report:
        clock = time.monotonic()
        if clock - self._found_at > _FIND_EVERY:
            self._watched.find()
            self._found_at = clock
        runs = self._watched.read()
        self._files = {_key(run): run.folder.report for run in runs if run.folder.report.is_file()}
        state = [
            (run.name, run.written, len(run.steps), len(run.epochs), run.state) for run in runs
        ]
        waited = clock - self._drawn_at > _DRAWING_SHARE * self._drawing_took
        if state != self._drawn_of and waited:
            self._charts, self._drawn_of = draw_runs(runs), state
            self._drawn_at = time.monotonic()
            self._drawing_took = self._drawn_at - clock
        return make_runs_report(
            runs,
            drawn=self._charts,
            address=lambda run: f"/report/{key}" if (key := _key(run)) in self._files else "",
            now=time.time(),
            is_complete=self._watched.is_complete,
        )


def run_server(page: RunPage, port: int) -> ThreadingHTTPServer:
    """A server of the page on this machine's own address; `serve_forever` begins.

    Args:
        page: what it shows.
        port: 0 takes a free one.

    Raises:
        FovealError: the port can't be had.
    """

    class Handler(_Handler):
        shown = page

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise FovealError(
            f"Port {port} can't be had ({error.strerror}). Choose another one: --port N; 0 takes a "
            "free one."
        ) from None
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for the page and for the reports of its runs, and nothing else."""

    shown: RunPage
    server_version = "foveal"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _OWN_NAMES:  # a name that leads here by a page of somebody else
            self._answer(HTTPStatus.FORBIDDEN, b"Expected this machine's own address.")
            return
        path = self.path.partition("?")[0]
        try:
            if path == "/":
                nonce = secrets.token_urlsafe(16)
                self._answer(HTTPStatus.OK, self.shown.render(nonce).encode(), kind="text/html")
                return
            file = self.shown.file(path.removeprefix("/report/"))
            if file is not None:
                self._answer(HTTPStatus.OK, file.read_bytes(), kind="text/html")
                return
        except (FovealError, OSError) as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode("utf-8", "replace"))
            return
        self._answer(HTTPStatus.NOT_FOUND, b"There is no such page. Expected /.")

    def log_message(self, *_: object, **__: object) -> None:
        """Say nothing."""

    def _answer(self, status: HTTPStatus, content: bytes, *, kind: str = "text/plain") -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _key(run: RunRecord) -> str:
    """A word for a run in addresses."""
    return blake2b(str(run.folder.path).encode("utf-8", "replace"), digest_size=8).hexdigest()
