"""`POST /v1/detect`: images in, detections out; and `GET /v1/models`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from foveal.serving.answers import Form, make_answer
from foveal.serving.bodies import counted, receive_images
from foveal.serving.models import Options
from foveal.serving.problems import MEDIA_TYPE, Problem
from foveal.text import listed

if TYPE_CHECKING:
    from foveal.serving.models import ServedModel
    from foveal.serving.service import Service

_MOST_DETECTIONS = 100_000

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        "image/*": _IMAGE,
        "application/octet-stream": _IMAGE,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "additionalProperties": False,
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "anyOf": [
                                {"type": "string", "format": "byte"},
                                {
                                    "type": "object",
                                    "required": ["data"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "data": {"type": "string", "format": "byte"},
                                        "name": {"type": ["string", "null"]},
                                    },
                                },
                            ]
                        },
                    }
                },
            }
        },
    },
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_ANSWER = {
    "type": "object",
    "required": ["model", "images", "milliseconds"],
    "properties": {
        "model": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "classes": {"type": "array", "items": {"type": "string"}},
                "score_threshold": {"type": "number"},
            },
        },
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "width": {"type": "integer"},
                    "height": {"type": "integer"},
                    "boxes": {
                        "type": "array",
                        "items": {**_NUMBERS, "minItems": 4, "maxItems": 4},
                        "description": "xmin, ymin, xmax, ymax in pixels of the image as it came",
                    },
                    "scores": _NUMBERS,
                    "labels": {"type": "array", "items": {"type": "integer"}},
                    "names": {"type": "array", "items": {"type": "string"}},
                    "capped": {"type": "boolean"},
                    "georeference": {"type": ["object", "null"]},
                    "notes": {"type": "array", "items": {"type": "string"}},
                    "milliseconds": {"type": "object"},
                    "problem": {"type": "object"},
                },
            },
        },
        "milliseconds": {"type": "number"},
    },
}
_PROBLEM = {
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    }
}
_SAID = {
    400: "The request is not complete, or no form that can be read.",
    401: "The token is missing or another.",
    403: "The server is called by a name that it does not answer to.",
    404: "There is no such model.",
    408: "The body took too long.",
    413: "The body, an image or the number of images is beyond the server's limits.",
    415: "An image is of a kind that is not taken.",
    422: "An image or an option is not as expected.",
    501: "A package that this needs is not installed where the server runs.",
    503: "Too many images wait: ask again after the seconds that Retry-After says.",
    504: "The answer took too long.",
}
PROBLEMS_SAID: dict[int | str, dict[str, Any]] = {
    status: {"description": said, **_PROBLEM} for status, said in _SAID.items()
}
"""What may be answered instead, as OpenAPI has it."""


def detect_routes(service: Service) -> APIRouter:
    """The routes of our own protocol.

    Args:
        service: looks at the images.
    """
    router = APIRouter(responses=PROBLEMS_SAID)

    @router.get("/v1/models", summary="The models, and the server's limits")
    def models() -> dict[str, Any]:
        limits = service.limits
        return {
            "models": [each.describe() for each in service.models.all()],
            "limits": {
                "body_bytes": limits.body,
                "image_pixels": limits.pixels,
                "images": limits.queue,
                "seconds": limits.timeout,
            },
        }

    @router.post(
        "/v1/detect",
        summary="Find objects in images",
        openapi_extra={"requestBody": _BODY},
        response_class=Response,
        responses={
            200: {
                "description": "What was found, in the form that was asked for.",
                "content": {
                    "application/json": {"schema": _ANSWER},
                    "text/csv": {"schema": {"type": "string"}},
                    "application/geo+json": {"schema": {"type": "object"}},
                    "image/jpeg": _IMAGE,
                },
            }
        },
    )
    async def detect(
        request: Request,
        form: Annotated[Form, Query(alias="format", description="Of the answer.")] = "json",
        score_threshold: Annotated[
            float | None, Query(ge=0, le=1, description="The least score; else the model's own.")
        ] = None,
        max_detections: Annotated[
            int | None,
            Query(ge=1, le=_MOST_DETECTIONS, description="Of an image; else the model's own."),
        ] = None,
        classes: Annotated[
            list[str] | None, Query(description="Only these, by name; else all.")
        ] = None,
        model: Annotated[str | None, Query(description="By name; else the first.")] = None,
    ) -> Response:
        begin = time.monotonic()
        chosen = service.models.get(model)
        names = choose_classes(classes, chosen)
        stage = "receive"
        try:
            async with asyncio.timeout(service.limits.timeout):
                with service.receiving(chosen) as reception:
                    limits = service.limits
                    body = counted(request, limit=limits.body, hold=reception.hold)
                    uploads = await receive_images(body, reception.folder, most=limits.queue)
                    if form == "image" and len(uploads) > 1:
                        raise Problem(
                            422,
                            f"format=image gives one picture, and {len(uploads)} images came. "
                            "Send one.",
                        )
                    service.observer.took(stage, time.monotonic() - begin)
                    stage = "look"
                    results = await service.detect(
                        chosen,
                        uploads,
                        Options(score_threshold, max_detections),
                        classes=names,
                        draw=form == "image",
                    )
        except TimeoutError:
            raise took_too_long(stage, service.limits.timeout) from None
        answering = time.monotonic()
        answer = await asyncio.to_thread(
            make_answer,
            form,
            chosen,
            results,
            [each.name for each in uploads],
            seconds=answering - begin,
        )
        service.observer.took("answer", time.monotonic() - answering)
        return Response(answer.content, answer.status, answer.headers, media_type=answer.media_type)

    return router


def choose_classes(wanted: Sequence[str] | None, model: ServedModel) -> tuple[str, ...]:
    """The classes that a request asks for; none stands for all of them.

    Args:
        wanted: names, each by itself or several with commas between them.
        model: that has them.

    Raises:
        Problem: there is no such class.
    """
    names: list[str] = []
    for each in wanted or ():
        parts = [each] if each in model.classes else [part.strip() for part in each.split(",")]
        names += [part for part in parts if part]
    unknown = [name for name in names if name not in model.classes]
    if unknown:
        raise Problem(
            422,
            f"The model {model.name} has no class {unknown[0]!r}. Expected some of: "
            f"{listed(model.classes, 20)}.",
        )
    return tuple(dict.fromkeys(names))


def took_too_long(stage: str, seconds: float) -> Problem:
    """A request that took longer than the server's limit.

    Args:
        stage: 'receive' while the body came; else the images were looked at.
        seconds: the limit.
    """
    if stage == "receive":
        return Problem(408, f"The body was not complete after {seconds:g} seconds.")
    return Problem(
        504,
        f"The images were not looked at after {seconds:g} seconds. Send fewer or smaller ones, or "
        "start the server with a larger --timeout.",
    )
