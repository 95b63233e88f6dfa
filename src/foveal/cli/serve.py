"""`foveal serve`: models behind a port."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from foveal.cli.answers import Answer, verb
from foveal.cli.band_range import BandRange, with_band_range
from foveal.cli.console import say
from foveal.cli.scene_options import (
    Overlap,
    Scale,
    Tile,
    Whole,
    parse_scale,
    parse_tile,
)
from foveal.errors import FovealError, MissingExtraError, SettingsError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from foveal.inference.predictor import Predictor
    from foveal.serving.limits import Limits
    from foveal.serving.models import ServedModel
    from foveal.serving.security import Access
    from foveal.structures import DetectionProfile

Precision = Literal["auto", "float32", "bf16"]

_NEEDED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
}
_MEBIBYTE = 1 << 20
_KEEP_ALIVE = 75
"""Seconds that a connection stays open without a request."""
_MOST_READERS = 4
_GRACE = 1.0
"""Seconds from a signal to when connections without a request are closed."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers from now on.

    Attributes:
        url: where it does.
        models: the names of its models; the first is the one that answers where a request names
            none.
        open_to_all: whether everybody who reaches it may ask it.
    """

    url: str
    models: tuple[str, ...]
    open_to_all: bool


@verb(
    "serve",
    Served,
    examples=(
        "foveal serve runs/cells",
        "foveal serve cells.xml ships.onnx --port 9000",
        "foveal serve --models models/ --host 0.0.0.0 --no-auth --json",
    ),
)
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Model files (.safetensors), exported models (.xml, .onnx) or folders of runs. "
            "The first is the one that answers where a request names none.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen on. Any but this machine's own needs --token or --no-auth.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="FOVEAL_TOKEN",
            help="What requests must bring: Authorization: Bearer TOKEN. Others on the machine may "
            "see it in the list of processes: rather set FOVEAL_TOKEN in the environment.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Everybody who reaches the server may ask it.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="FOLDER",
            help="Serve all models of a folder too: new ones are found, those that go are left "
            "out.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in one pass.")] = 8,
    wait_ms: Annotated[
        float,
        typer.Option(min=0, help="Milliseconds that an image waits for others of its input size."),
    ] = 5,
    queue: Annotated[
        int,
        typer.Option(min=1, help="Images that wait or are looked at; more are refused with 503."),
    ] = 64,
    max_body: Annotated[
        float, typer.Option(min=0.001, metavar="MIB", help="Mebibytes of a request at most.")
    ] = 64,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Pixels of an image at most, known before it is decoded. Large ones are looked "
            "at in windows.",
        ),
    ] = 100_000_000,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="That a request takes at most.")
    ] = 60,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="What to compute in; auto: what is fastest here.")
    ] = "auto",
    band_range: BandRange = None,
    tile: Tile = "auto",
    overlap: Overlap = None,
    scale: Scale = "auto",
    whole: Whole = False,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that an exported model computes with on a CPU; without it one a core.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="METRICS",
            help="metrics.json of foveal evaluate with the first model: what its detections look "
            "like on validation images, from which foveal_drift is measured. Models that foveal "
            "trained know it by themselves.",
            show_default=False,
        ),
    ] = None,
) -> Answer:
    """Answer requests over HTTP with what models find in images.

    POST /v1/detect takes one image as the body, many as a form (multipart/form-data), or JSON with
    base64. /v2 speaks the Open Inference Protocol, /metrics Prometheus, / shows a page, and
    /openapi.json says all of it. A model whose file changes is opened anew. Ctrl+C or SIGTERM ends
    the server when it has answered what it took.

    Try it with curl -F image=@smear.jpg 'http://127.0.0.1:8000/v1/detect?score_threshold=0.5'
    beside it. With --json the document comes when it answers, and then nothing more.
    """
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise MissingExtraError(f"foveal serve needs {package}: pip install 'foveal[serve]'")
    if not models and folder is None:
        raise SettingsError("No model is named. Expected MODEL, or --models FOLDER.")
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"--models {folder}: is no folder. Expected one with models.")

    if profile is not None and not models:
        raise SettingsError("--profile: of which model? Expected MODEL, which it belongs to.")

    from foveal.evaluation.metrics_file import read_profile
    from foveal.serving.limits import Limits
    from foveal.serving.security import choose_access

    known = None if profile is None else read_profile(profile)
    access = choose_access(host, token=token, no_auth=no_auth)
    limits = Limits(
        batch=batch,
        wait=wait_ms / 1000,
        queue=queue,
        body=int(max_body * _MEBIBYTE),
        pixels=max_pixels,
        timeout=timeout,
    )
    length = parse_scale(scale)
    if length.meters is not None:
        raise SettingsError(
            f"--scale {scale}: images without a place on the map come too. Expected auto or a "
            "factor, such as 0.5: the network's pixels for one of the image."
        )
    adapt = partial(
        _adapted,
        band_range=band_range,
        tile=parse_tile(tile),
        overlap=overlap,
        tile_scale=length.factor,
        whole=whole,
    )
    listening = _bound(host, port)
    try:
        return _prepare(
            models or [],
            listening,
            folder=folder,
            limits=limits,
            access=access,
            device=device,
            threads=threads,
            profile=known,
            precision=precision,
            adapt=adapt,
        )
    except BaseException:
        listening.close()
        raise


def _adapted(predictor: Predictor, *, band_range: str | None, **options: Any) -> Predictor:
    """A model's predictor as the command line wants it."""
    return replace(with_band_range(predictor, band_range), **options)


def _bound(host: str, port: int) -> socket.socket:
    """A socket on an address, taken before anything is loaded; it does not listen yet.

    Raises:
        FovealError: the address can't be had.
    """
    listening = None
    try:
        kind, how, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(kind, how, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise FovealError(
            f"--host {host} --port {port}: can't be listened on ({error.strerror or error}). "
            "Expected an address of this machine and a port that nobody else has: --port 0 takes "
            "a free one."
        ) from None
    return listening


def _prepare(
    models: list[Path],
    listening: socket.socket,
    *,
    folder: Path | None,
    limits: Limits,
    access: Access,
    device: str,
    threads: int | None,
    profile: DetectionProfile | None,
    precision: Precision,
    adapt: Callable[[Predictor], Predictor],
) -> Answer:
    """Load the models; what is left to do is to listen."""
    from foveal.serving.app import make_app
    from foveal.serving.metrics import Metrics
    from foveal.serving.models import ModelSet, describe_models, name_models
    from foveal.serving.service import Service

    _log_to_screen()
    named = name_models(models)
    metrics = Metrics({} if profile is None else {next(iter(named)): profile})
    served = ModelSet(
        named,
        folder=folder,
        limits=limits,
        observer=metrics,
        device=device,
        threads=threads,
        precision=precision,
        adapt=adapt,
    )
    served.load()
    if profile is not None:
        try:
            _check_profile(profile, served.get(next(iter(named))))
        except SettingsError:
            served.close()
            raise
    readers = min(_MOST_READERS, os.cpu_count() or 1)
    service = Service(served, limits=limits, observer=metrics, readers=readers)
    app = make_app(service, access=access, observer=metrics, metrics=metrics)
    everybody = access.token is None and not access.local_only
    if everybody:
        say("Everybody who reaches this server may ask it: --no-auth.", stderr=True)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def tell() -> None:
        say(describe_models(served.all()))
        say(f"{url} (Ctrl+C ends it)")

    return Answer(Served(url, tuple(named), everybody), tell, then=lambda: _run(app, listening))


def _run(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until a signal comes."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE,
    )
    server = uvicorn.Server(config)
    # pyrefly: ignore[bad-assignment, method-assign]
    server.handle_exit = _ending_gently(server, app)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        say("Stopped.", stderr=True)
    finally:
        listening.close()


def _check_profile(profile: DetectionProfile, model: ServedModel) -> None:
    if len(profile.classes) != len(model.classes):
        raise SettingsError(
            f"--profile: is of {counted(len(profile.classes), 'class')}, and the model "
            f"{model.name} has {len(model.classes)}. Expected the metrics.json of foveal evaluate "
            "with this model."
        )


def _ending_gently(server: uvicorn.Server, app: FastAPI) -> Callable[[int, FrameType | None], None]:
    """What a signal does: the first lets the server answer on for a moment, see `begin_to_end`."""
    from foveal.serving.app import begin_to_end

    end = server.handle_exit

    def handle(number: int, frame: FrameType | None) -> None:
        if app.state.is_ending:
            end(number, frame)
            return
        begin_to_end(app)
        timer = threading.Timer(_GRACE, end, (number, None))
        timer.daemon = True
        timer.start()

    return handle


def _log_to_screen() -> None:
    """What the server has to say goes to standard error, in plain lines."""
    import logging

    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("foveal", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
