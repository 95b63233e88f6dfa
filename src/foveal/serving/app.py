"""The server's app: routes, who may ask, and errors as problem JSON."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from foveal import __version__
from foveal.errors import FovealError
from foveal.serving.detect import detect_routes
from foveal.serving.inference_protocol import inference_routes
from foveal.serving.problems import MEDIA_TYPE, Problem, as_problem
from foveal.serving.watching import metrics_routes, page_routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from foveal.serving.metrics import Metrics
    from foveal.serving.observing import Observer
    from foveal.serving.security import Access
    from foveal.serving.service import Service

log = logging.getLogger(__name__)


def make_app(
    service: Service, *, access: Access, observer: Observer, metrics: Metrics | None = None
) -> FastAPI:
    """The app of some models.

    Args:
        service: looks at images; it is closed when the app ends.
        access: who may ask.
        observer: is told of every answer.
        metrics: what `GET /metrics` says; None: nothing.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.models.watch())
        app.state.is_ready = True
        try:
            yield
        finally:
            app.state.is_ready = False
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await asyncio.to_thread(service.close)
            await asyncio.to_thread(service.models.close)

    app = FastAPI(
        title="foveal",
        version=__version__,
        lifespan=lifespan,
        # Its pages are loaded from elsewhere; /openapi.json stays.
        docs_url=None,
        redoc_url=None,
    )
    app.state.is_ready = False
    app.state.is_ending = False
    app.state.service = service

    app.add_middleware(_Gate, access=access, observer=observer)

    @app.exception_handler(FovealError)
    async def explain(request: Request, error: Exception) -> Response:
        assert isinstance(error, FovealError)
        return _answer(request, as_problem(error))

    @app.exception_handler(RequestValidationError)
    async def explain_options(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _answer(request, Problem(422, f"{where}: {first['msg']}."))

    @app.exception_handler(HTTPException)
    async def explain_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = Problem(error.status_code, _said_of(request, error), error.headers)
        return _answer(request, problem)

    @app.get("/healthz", summary="The server lives", tags=["health"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="The server answers", tags=["health"])
    async def readyz() -> dict[str, Any]:
        if not app.state.is_ready or not len(service.models):
            raise Problem(503, "The server is starting, or ends.", {"Retry-After": "1"})
        return {"status": "ready", "images": service.taken}

    app.include_router(page_routes())
    if metrics is not None:
        app.include_router(metrics_routes(metrics))
    app.include_router(detect_routes(service))
    app.include_router(inference_routes(service, is_ready=lambda: bool(app.state.is_ready)))
    return app


class _Gate:
    """Lets in who may ask, tells the observer of every answer, and answers where nobody else does.

    Args:
        app: what lies behind.
        access: who may ask.
        observer: is told of every answer.
    """

    def __init__(self, app: ASGIApp, access: Access, observer: Observer) -> None:
        self._app, self._access, self._observer = app, access, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, begin, status = Request(scope), time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                if scope["app"].state.is_ending:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._access.check(request.url.path, request.headers)
            await self._app(scope, receive, sending)
        except Problem as problem:
            await _answer(request, problem)(scope, receive, sending)
        except Exception:
            log.exception("A request can't be answered.")
            if status:  # pyrefly: ignore[redundant-condition]  # `sending` changes it
                raise  # its answer has begun: the connection is closed in its middle
            mistake = Problem(500, "The server made a mistake, which its log tells.")
            await _answer(request, mistake)(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "")
            self._observer.answered(route, status, time.monotonic() - begin)


def begin_to_end(app: FastAPI) -> None:
    """Let an app say that it ends: it answers on, and closes each connection with the answer.

    Who keeps a connection then asks nothing on it in the moment in which it is closed.

    Args:
        app: of `make_app`.
    """
    app.state.is_ready, app.state.is_ending = False, True


def _said_of(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"There is nothing at {request.url.path}. Expected /v1/detect, or see /openapi.json."
    if error.status_code == 405:
        return f"{request.url.path} takes no {request.method}. See /openapi.json."
    return str(error.detail)


def _answer(request: Request, problem: Problem) -> Response:
    """A problem as the route's protocol has it."""
    if request.url.path.startswith("/v2"):
        return JSONResponse({"error": problem.detail}, problem.status, problem.headers)
    return JSONResponse(problem.document(), problem.status, problem.headers, media_type=MEDIA_TYPE)
