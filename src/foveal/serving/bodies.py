"""What comes in with a request: counted while it streams, and put into files of the server's own.

One image as the body itself, one or many as `multipart/form-data`, or in JSON as base64. No path
and no address that a request names is ever opened.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from foveal.serving.problems import Problem
from foveal.serving.uploads import Upload, upload_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message

_FORM, _JSON = "multipart/form-data", "application/json"
_FIELDS = 16
"""Fields of a form that hold no file: there is no use for any."""
_CHUNK = 1 << 20


class JsonImage(BaseModel):
    """An image in JSON: its content as base64, and what it is to be called."""

    model_config = ConfigDict(extra="forbid")

    data: str
    name: str | None = None


class JsonBody(BaseModel):
    """Images in JSON."""

    model_config = ConfigDict(extra="forbid")

    images: list[JsonImage | str] = Field(min_length=1)


def media_type(request: Request) -> str:
    """What the client says that the body is, in small letters, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def counted(request: Request, *, limit: int, hold: Callable[[int], None]) -> Request:
    """The same request, whose body ends in an error as soon as it has too many bytes.

    Args:
        request: of which nothing was read.
        limit: bytes at most.
        hold: is told of bytes as they come.

    Raises:
        Problem: it says by itself that it is larger; reading it raises the same.
    """
    problem = Problem(
        413,
        f"The body has more than {limit:,} bytes, which is this server's limit. Send fewer or "
        "smaller images, or start the server with a larger --max-body.",
    )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "The body is compressed. Expected it as it is: images are already.")
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise problem
    taken = 0
    receive = request.receive

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        came = len(message.get("body", b""))
        taken += came
        if taken > limit:
            raise problem
        hold(came)
        return message

    return Request(request.scope, counting)


async def read_body(request: Request) -> bytes:
    """A counted request's whole body.

    Raises:
        Problem: it is too large, or the client went away.
    """
    try:
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise _gone() from None


async def receive_images(request: Request, folder: Path, *, most: int) -> list[Upload]:
    """Put a counted request's images into files.

    Args:
        request: of a body of one of the three forms.
        folder: of the request alone.
        most: images.

    Raises:
        Problem: there is none, there are too many, or the body is not what it says.
    """
    kind = media_type(request)
    try:
        if kind == _FORM:
            return await _from_form(request, folder, most=most)
        if kind == _JSON:
            return _from_json(await read_body(request), folder, most=most)
        return [await _from_stream(request, folder)]
    except ClientDisconnect:
        raise _gone() from None


async def _from_stream(request: Request, folder: Path) -> Upload:
    path, total = folder / "0", 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
            total += len(chunk)
    if not total:
        raise Problem(
            422,
            "The body is empty. Expected an image, a form (multipart/form-data) with images as "
            'files, or JSON: {"images": ["<base64>"]}.',
        )
    return Upload(path, upload_name(request.query_params.get("name"), 0))


async def _from_form(request: Request, folder: Path, *, most: int) -> list[Upload]:
    async with request.form(max_files=most, max_fields=_FIELDS, max_part_size=_CHUNK) as form:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise Problem(
                422, "The form holds no file. Expected images as files: curl -F image=@cells.jpg."
            )
        uploads = []
        for number, part in enumerate(files):
            path = folder / str(number)
            with path.open("wb") as file:
                while chunk := await part.read(_CHUNK):
                    file.write(chunk)
            uploads.append(Upload(path, upload_name(part.filename, number), number))
    return uploads


def _from_json(content: bytes, folder: Path, *, most: int) -> list[Upload]:
    try:
        body = JsonBody.model_validate_json(content)
    except ValidationError as error:
        raise Problem(422, f"The JSON is not as expected: {first_mistake(error)}.") from None
    if len(body.images) > most:
        raise too_many(len(body.images), most)
    uploads = []
    for number, each in enumerate(body.images):
        image = JsonImage(data=each) if isinstance(each, str) else each
        name, path = upload_name(image.name, number), folder / str(number)
        path.write_bytes(decode_base64(image.data, name))
        uploads.append(Upload(path, name, number))
    return uploads


def decode_base64(text: str | bytes, name: str) -> bytes:
    """The content of an image in base64.

    Raises:
        Problem: it is something else.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(
            422,
            f"{name}: is not base64. Expected the content of an image; addresses and paths are "
            "not opened.",
        ) from None


def too_many(images: int, most: int) -> Problem:
    """More images came at once than ever wait."""
    return Problem(
        413,
        f"The request holds {images:,} images. This server takes at most {most:,} at once: send "
        "several requests, or start the server with a larger --queue.",
    )


def first_mistake(error: ValidationError) -> str:
    """The first of a document's mistakes, in one line, without its values."""
    first: Any = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _gone() -> Problem:
    return Problem(400, "The client went away before its request was complete.")
