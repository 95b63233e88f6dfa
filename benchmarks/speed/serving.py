"""`foveal serve` under load, beside predicting the same images in batches without a server.

    python -m benchmarks.speed.serving [--model cells.xml] [--seconds 60] [--requests 10000]

The server is a process of its own, started as a user starts it; the client keeps 32 connections
busy, one image a request. Times of requests hold all of it: HTTP, reading the image, waiting for a
batch, the network, the answer. The client runs on the same machine and takes some of it.

Beside that, in turns with further load, the same images are predicted in batches in this process,
start and drawing aside: a machine that others use is now faster and now slower, for both alike.

--requests sends so many more requests and watches the server's memory; --malformed so many broken
ones, of which none may be answered by 500, and after which a good one must be answered as before.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib.http_load import Load, ask, http_request, put_load
from benchmarks.lib.machine import kilobytes, print_machine
from benchmarks.lib.malformed_requests import malformed_requests, send_malformed
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.sample_images import draw_photographs
from benchmarks.lib.shared_data import BCCD, LIGHT

DETECT = "/v1/detect"
START_SECONDS = 120.0


class Server:
    """A server in a process of its own.

    Attributes:
        port: that it listens on.
        process: it runs in.
        ready_seconds: from the process's start to its first answered request.
    """

    def __init__(self, process: subprocess.Popen[str], port: int, began: float) -> None:
        self.process, self.port = process, port
        while True:
            try:
                if ask(port, http_request("/readyz", method="GET"))[0] == 200:
                    break
            except OSError:
                pass
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise SystemExit("The server did not become ready.")
            time.sleep(0.01)
        self.ready_seconds = time.perf_counter() - began

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        return kilobytes(f"/proc/{self.process.pid}/status", "VmRSS") / 1024

    @property
    def peak_megabytes(self) -> float:
        """The highest resident memory so far."""
        return kilobytes(f"/proc/{self.process.pid}/status", "VmHWM") / 1024


@contextmanager
def serving(model: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server of a model on a free port; ended when this is left."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "foveal", "serve", str(model), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"http://\S+?:(\d+)", line)
            if found:
                break
        else:
            raise SystemExit("The server did not start.")
        yield Server(process, int(found[1]), began)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def predict(model: Path, images: Sequence[Path], *, batch: int, seconds: float) -> float:
    """Images a second that are predicted in batches without a server, as `foveal predict` does."""
    from foveal.inference.opening import open_model

    predictor = replace(open_model(model).predictor(), batch=batch)
    predictor.detect_many(images[: 2 * batch])
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or not done:
        done += sum(1 for _ in predictor.stream(images))
    return done / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        images = _images(options, Path(folder))
        requests = [
            http_request(DETECT, path.read_bytes(), headers={"Content-Type": "image/jpeg"})
            for path in images
        ]
        flags = ["--batch", str(options.batch), "--queue", str(max(64, 2 * options.connections))]
        with serving(options.model, flags) as server:
            status, good = ask(server.port, requests[0])
            if status != 200:
                raise SystemExit(f"The first request is answered by {status}: {good}")
            row = _load_row(server, requests, options) | _turns(server, requests, images, options)
            memory = _memory_rows(server, requests, options)
            survived = _malformed(server, images[0].read_bytes(), requests[0], good, options)
            row["peak MB"] = server.peak_megabytes
    print_table([row], title=f"{options.connections} connections, one image a request")
    if memory:
        print_table(memory, title="Resident memory of the server")
    written = write_result(
        "serving",
        [row],
        folder=options.out,
        memory=memory,
        malformed=survived,
        options=vars(options),
    )
    print("written:", written.name)
    failed = row["errors"] + row["errors in turns"]
    if failed:
        raise SystemExit(f"{failed} requests were no success: {row['first problem']}")


def _images(options: argparse.Namespace, folder: Path) -> list[Path]:
    if options.images is None:
        return draw_photographs(folder, options.count, 640, 480)
    found = sorted(
        path for path in options.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    )
    if not found:
        raise SystemExit(f"{options.images} holds no JPEG.")
    return found[: options.count]


def _load_row(server: Server, requests: list[bytes], options: argparse.Namespace) -> dict[str, Any]:
    begin = server.megabytes
    put_load(server.port, requests, connections=options.connections, count=len(requests))  # warm
    load = put_load(server.port, requests, connections=options.connections, seconds=options.seconds)
    health = put_load(
        server.port,
        [http_request("/healthz", method="GET")],
        connections=options.connections,
        seconds=min(options.seconds, 5),
    )
    return {
        "requests": load.statuses.total(),
        "errors": load.errors + health.errors,
        "p50 ms": load.milliseconds(0.5),
        "p99 ms": load.milliseconds(0.99),
        "images/s": load.per_second,
        "health/s": health.per_second,
        "start s": server.ready_seconds,
        "begin MB": begin,
        "first problem": load.first_problem or health.first_problem or "-",
    }


def _turns(
    server: Server, requests: list[bytes], images: Sequence[Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Images a second that are served and that are predicted, in turns."""
    served, predicted, errors = [], [], 0
    for _ in range(options.turns):
        load = put_load(
            server.port, requests, connections=options.connections, seconds=options.turn_seconds
        )
        served.append(load.per_second)
        errors += load.errors
        predicted.append(
            predict(options.model, images, batch=options.batch, seconds=options.turn_seconds)
        )
    return {
        "in turns: images/s": float(np.mean(served)),
        "predict images/s": float(np.mean(predicted)),
        "of predict": float(np.mean(served) / np.mean(predicted)),
        "errors in turns": errors,
    }


def _memory_rows(
    server: Server, requests: list[bytes], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Resident memory after each tenth of the requests."""
    rows = []
    for tenth in range(10 if options.requests else 0):
        count = options.requests // 10
        load: Load = put_load(server.port, requests, connections=options.connections, count=count)
        rows.append(
            {"requests": (tenth + 1) * count, "errors": load.errors, "MB": server.megabytes}
        )
    return rows


def _malformed(
    server: Server, image: bytes, request: bytes, good: Any, options: argparse.Namespace
) -> dict[str, Any]:
    if not options.malformed:
        return {}
    status, models = ask(server.port, http_request("/v1/models", method="GET"))
    name = models["models"][0]["name"] if status == 200 else "model"
    before = server.megabytes
    survived = send_malformed(
        server.port, malformed_requests(image, count=options.malformed, model=name)
    )
    rows = [
        {"mistake": kind, "answers": ", ".join(f"{key} x {n}" for key, n in sorted(counts.items()))}
        for kind, counts in survived.statuses.items()
    ]
    print_table(rows, title="Malformed requests (0: the connection ended without an answer)")
    status, again = ask(server.port, request)
    if status != 200 or again["images"][0]["boxes"] != good["images"][0]["boxes"]:
        raise SystemExit(f"After malformed requests a good one is answered by {status}: {again}")
    print(f"memory before {before:.0f} MB, after {server.megabytes:.0f} MB")
    if survived.failures:
        raise SystemExit("\n".join(["The server is at fault:", *survived.failures[:20]]))
    return {
        "requests": options.malformed,
        "MB before": before,
        "MB after": server.megabytes,
        "statuses": {kind: dict(counts) for kind, counts in survived.statuses.items()},
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=LIGHT, help="any that foveal serve takes")
    parser.add_argument(
        "--images",
        type=Path,
        default=BCCD if BCCD.is_dir() else None,
        help="a folder with JPEGs; without the data drawn ones",
    )
    parser.add_argument("--count", type=int, default=64, help="images that are sent in turn")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="of load")
    parser.add_argument("--turns", type=int, default=4, help="of serving and predicting")
    parser.add_argument("--turn-seconds", type=float, default=15, help="of each of both")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--requests", type=int, default=0, help="more of them, to watch memory")
    parser.add_argument("--malformed", type=int, default=0, help="broken requests")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
