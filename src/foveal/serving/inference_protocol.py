"""The Open Inference Protocol, version 2: what KServe's and Triton's clients speak.

One input, `images`: files as BYTES of shape [B], or pixels as UINT8 of shape [B, H, W, C]. Outputs
are detections in the images' own pixels, padded to the most of an image: boxes [B, M, 4], scores
[B, M], labels [B, M] and counts [B]. The protocol knows no answer for a part of a request: one
image that can't be read is the answer to all of it.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foveal import __version__
from foveal.serving.bodies import counted, decode_base64, first_mistake, read_body, too_many
from foveal.serving.detect import choose_classes, took_too_long
from foveal.serving.models import Options
from foveal.serving.problems import Problem
from foveal.serving.uploads import Upload

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.serving.models import ServedModel
    from foveal.serving.service import Found, Service

_HEADER = "Inference-Header-Content-Length"
_INPUT = "images"
_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
_OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "boxes": ("FP32", [-1, -1, 4]),
    "scores": ("FP32", [-1, -1]),
    "labels": ("INT64", [-1, -1]),
    "counts": ("INT64", [-1]),
}
_MOST_DETECTIONS = 100_000


class InferInput(BaseModel):
    """An input tensor; its data stands here, or behind the JSON."""

    model_config = ConfigDict(extra="ignore")

    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class InferOutput(BaseModel):
    """An output that is asked for."""

    model_config = ConfigDict(extra="ignore")

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferParameters(BaseModel):
    """What a request may ask for; the protocol lets clients add others, which say nothing here."""

    model_config = ConfigDict(extra="ignore")

    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    max_detections: Annotated[int, Field(ge=1, le=_MOST_DETECTIONS)] | None = None
    classes: str | list[str] | None = None
    binary_data_output: bool = False


class InferRequest(BaseModel):
    """The JSON of a request."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = None
    parameters: InferParameters = Field(default_factory=InferParameters)
    inputs: list[InferInput] = Field(min_length=1)
    outputs: list[InferOutput] | None = None


def inference_routes(service: Service, *, is_ready: Callable[[], bool]) -> APIRouter:
    """The protocol's routes.

    Args:
        service: looks at the images.
        is_ready: whether the server answers.
    """
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    def chosen(name: str, version: str | None) -> ServedModel:
        model = service.models.get(name)
        if version not in (None, model.version):
            raise Problem(
                404, f"The model {name} has no version {version}. Expected {model.version}."
            )
        return model

    @router.get("", summary="The server")
    async def server() -> dict[str, Any]:
        return {"name": "foveal", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", summary="The server lives")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="All models answer")
    async def ready() -> dict[str, bool]:
        if not is_ready() or not len(service.models):
            raise Problem(503, "The server is starting, or ends.", {"Retry-After": "1"})
        return {"ready": True}

    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return describe_model(chosen(name, version))

    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        return {"name": chosen(name, version).name, "ready": True}

    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        model, begin, stage = chosen(name, version), time.monotonic(), "receive"
        try:
            async with asyncio.timeout(service.limits.timeout):
                with service.receiving(model) as reception:
                    limits = service.limits
                    body = counted(request, limit=limits.body, hold=reception.hold)
                    content = await read_body(body)
                    asked, rest = split_request(content, request.headers.get(_HEADER))
                    uploads = read_inputs(asked, rest, reception.folder, most=limits.queue)
                    del content, rest
                    service.observer.took(stage, time.monotonic() - begin)
                    stage = "look"
                    wanted = asked.parameters
                    classes = wanted.classes
                    results = await service.detect(
                        model,
                        uploads,
                        Options(wanted.score_threshold, wanted.max_detections),
                        classes=choose_classes(
                            [classes] if isinstance(classes, str) else classes, model
                        ),
                    )
        except TimeoutError:
            raise took_too_long(stage, service.limits.timeout) from None
        found: list[Found] = []
        for each in results:
            if isinstance(each, Problem):
                raise each
            found.append(each)
        return answer(asked, model, pad(found))

    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        router.add_api_route(path, metadata, summary="A model, its input and outputs")
        router.add_api_route(f"{path}/ready", model_ready, summary="A model answers")
        router.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            summary="Find objects in images",
            response_class=Response,
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _request_schema()}},
                }
            },
        )
    return router


def _request_schema() -> dict[str, Any]:
    """The schema of a request, whole: what it refers to would be looked for in the whole page."""
    schema = InferRequest.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return whole(parts[value["$ref"].rpartition("/")[2]])
        return {name: whole(each) for name, each in value.items()}

    described: dict[str, Any] = whole(schema)
    return described


def describe_model(model: ServedModel) -> dict[str, Any]:
    """A model's metadata, as the protocol has it."""
    runtime = model.predictor.runtime.name.lower().replace(" ", "")
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": f"foveal_{runtime}",
        "inputs": [{"name": _INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, (datatype, shape) in _OUTPUTS.items()
        ],
    }


def split_request(content: bytes, header_length: str | None) -> tuple[InferRequest, memoryview]:
    """The JSON of a request, and the tensors' bytes behind it.

    Args:
        content: the body.
        header_length: how many bytes of it are JSON, as the client says it; None: all.

    Raises:
        Problem: it is something else.
    """
    length = len(content)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 18:
            raise Problem(400, f"{_HEADER}: expected a number of bytes.")
        length = int(header_length)
    if length > len(content):
        raise Problem(400, f"{_HEADER} says {length:,} bytes, and the body has {len(content):,}.")
    try:
        asked = InferRequest.model_validate_json(content[:length])
    except ValidationError as error:
        raise Problem(400, f"The JSON is not as expected: {first_mistake(error)}.") from None
    unknown = [each.name for each in asked.outputs or () if each.name not in _OUTPUTS]
    if unknown:
        raise Problem(
            400, f"There is no output {unknown[0]!r}. Expected some of: {', '.join(_OUTPUTS)}."
        )
    return asked, memoryview(content)[length:]


def read_inputs(asked: InferRequest, rest: memoryview, folder: Path, *, most: int) -> list[Upload]:
    """The images of a request.

    Args:
        asked: the JSON.
        rest: the tensors' bytes behind it.
        folder: of the request alone, which files are put into.
        most: images.

    Raises:
        Problem: they are not as the protocol and this server expect them.
    """
    if len(asked.inputs) > 1 or asked.inputs[0].name != _INPUT:
        names = ", ".join(each.name for each in asked.inputs[:8])
        raise Problem(400, f"The inputs are {names}. Expected one, which is called {_INPUT}.")
    tensor = asked.inputs[0]
    images = tensor.shape[0] if tensor.shape else 0
    if not images:
        raise Problem(400, f"{_INPUT}: has the shape {tensor.shape}. Expected at least one image.")
    if images > most:
        raise too_many(images, most)
    size = tensor.parameters.get("binary_data_size")
    if size is not None and (not isinstance(size, int) or size != len(rest)):
        raise Problem(400, f"{_INPUT}: has binary_data_size {size}, and {len(rest):,} bytes came.")
    if size is None and tensor.data is None:
        raise Problem(400, f"{_INPUT}: has no data.")
    if tensor.datatype == "BYTES":
        files = _read_files(tensor, rest if size is not None else None)
        uploads = []
        for number, content in enumerate(files):
            path = folder / str(number)
            path.write_bytes(content)
            uploads.append(Upload(path, f"image {number + 1}", number))
        return uploads
    if tensor.datatype == "UINT8":
        pixels = _read_pixels(tensor, rest if size is not None else None)
        return [Upload(each, f"image {number + 1}", number) for number, each in enumerate(pixels)]
    raise Problem(
        400,
        f"{_INPUT}: is {tensor.datatype}. Expected BYTES of shape [B], files of images, or UINT8 "
        "of shape [B, H, W, C], their pixels.",
    )


def _read_files(tensor: InferInput, binary: memoryview | None) -> list[bytes | memoryview]:
    if len(tensor.shape) != 1:
        raise Problem(400, f"{_INPUT}: has the shape {tensor.shape}. Expected [B] of BYTES.")
    files: list[bytes | memoryview] = []
    if binary is None:
        for number, text in enumerate(tensor.data or ()):
            if not isinstance(text, str):
                raise Problem(400, f"image {number + 1}: expected base64 in a string.")
            files.append(decode_base64(text, f"image {number + 1}"))
    else:
        at = 0
        while at < len(binary) and len(files) <= tensor.shape[0]:
            if at + 4 > len(binary):
                raise Problem(400, f"{_INPUT}: ends within the length of an element.")
            (length,) = struct.unpack_from("<I", binary, at)
            if at + 4 + length > len(binary):
                raise Problem(400, f"{_INPUT}: ends within element {len(files) + 1}.")
            files.append(binary[at + 4 : at + 4 + length])
            at += 4 + length
    if len(files) != tensor.shape[0]:
        raise Problem(400, f"{_INPUT}: has the shape {tensor.shape} and {len(files)} elements.")
    return files


def _read_pixels(tensor: InferInput, binary: memoryview | None) -> NDArray[np.uint8]:
    shape = tensor.shape
    if len(shape) != 4 or 0 in shape or shape[3] > 64:
        raise Problem(400, f"{_INPUT}: has the shape {shape}. Expected [B, H, W, C] of UINT8.")
    size = math.prod(shape)
    if binary is not None:
        values = np.frombuffer(binary, np.uint8)
    else:
        try:
            wide = np.array(tensor.data, np.float64).reshape(-1)
            values = wide.astype(np.uint8)
            if not (values == wide).all():
                raise ValueError
        except (ValueError, TypeError, OverflowError):
            raise Problem(
                400, f"{_INPUT}: holds values that are no whole numbers from 0 to 255."
            ) from None
    if values.size != size:
        raise Problem(
            400, f"{_INPUT}: has the shape {shape}, of {size:,} values, and {values.size:,} came."
        )
    return values.reshape(shape)


def pad(found: Sequence[Found]) -> dict[str, NDArray[Any]]:
    """Detections of B images as arrays of one size.

    Args:
        found: one for each image.

    Returns:
        boxes [B, M, 4] float32 xyxy in original pixels, scores [B, M] float32, labels [B, M] int64
        and counts [B] int64; zeros where padded.
    """
    images, most = len(found), max(len(each.detections) for each in found)
    boxes = np.zeros((images, most, 4), np.float32)
    scores = np.zeros((images, most), np.float32)
    labels = np.zeros((images, most), np.int64)
    for row, each in enumerate(found):
        count = len(each.detections)
        boxes[row, :count] = each.detections.boxes
        scores[row, :count] = each.detections.scores
        labels[row, :count] = each.detections.labels
    counts = np.array([len(each.detections) for each in found], np.int64)
    return {"boxes": boxes, "scores": scores, "labels": labels, "counts": counts}


def answer(asked: InferRequest, model: ServedModel, arrays: dict[str, NDArray[Any]]) -> Response:
    """The protocol's answer: JSON, with the tensors that are wanted so as bytes behind it.

    Args:
        asked: which outputs are wanted, and how.
        model: that found them.
        arrays: boxes [B, M, 4], scores [B, M], labels [B, M] and counts [B].
    """
    wanted = asked.outputs or [InferOutput(name=name) for name in _OUTPUTS]
    outputs = []
    parts = []
    for each in wanted:
        datatype = _OUTPUTS[each.name][0]
        values = np.ascontiguousarray(arrays[each.name], _TYPES[datatype])
        output: dict[str, Any] = {
            "name": each.name,
            "datatype": datatype,
            "shape": list(values.shape),
        }
        if each.parameters.get("binary_data", asked.parameters.binary_data_output) is True:
            parts.append(values.tobytes())
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = values.reshape(-1).tolist()
        outputs.append(output)
    document: dict[str, Any] = {
        "model_name": model.name,
        "model_version": model.version,
        **({} if asked.id is None else {"id": asked.id}),
        "outputs": outputs,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    if not parts:
        return Response(text, media_type="application/json")
    return Response(
        b"".join([text, *parts]),
        headers={_HEADER: str(len(text))},
        media_type="application/octet-stream",
    )
