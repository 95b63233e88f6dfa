"""What people and programs look at: the page at `/`, and `GET /metrics`."""

from __future__ import annotations

from hashlib import blake2b
from importlib import resources
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from foveal.serving.metrics import Metrics

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX = "index.html"

PAGE_HEADERS = {
    # Nothing from elsewhere, nothing to elsewhere, and no foreign page around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> APIRouter:
    """The page and its parts, read once."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("foveal.serving").joinpath("page")
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is None:
            continue
        path = "/" if file.name == _INDEX else f"/page/{file.name}"
        router.add_api_route(path, _sends(file.read_bytes(), kind), methods=["GET", "HEAD"])
    return router


def _sends(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    tag = f'"{blake2b(content, digest_size=8).hexdigest()}"'
    headers = {**PAGE_HEADERS, "ETag": tag}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(None, 304, headers)
        return Response(content, 200, headers, media_type=media_type)

    return send


def metrics_routes(metrics: Metrics) -> APIRouter:
    """`GET /metrics`, as Prometheus reads it."""
    router = APIRouter()

    @router.get(
        "/metrics",
        summary="What the server does, for Prometheus",
        tags=["health"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def read_metrics(request: Request) -> Response:
        content, media_type = metrics.render(request.headers.get("accept", ""))
        return Response(content, 200, {"Cache-Control": "no-store"}, media_type=media_type)

    return router
