"""Requests that a detection server has to survive: cut, bent, oversized, slow, or lying."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image

from benchmarks.lib.http_load import http_request, read_answer

BOMB = 60_000
"""Pixels a side that a small file claims to have."""
FRAMES = 300
PATIENCE = 20.0
"""Seconds after which a request that gets no answer counts as one that hangs."""

DETECT = "/v1/detect"
INFER = "/v2/models/{model}/infer"
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request that is wrong.

    Attributes:
        kind: of the mistake, in words.
        parts: what goes over the wire, one after the other.
        pause: seconds between the parts.
        hangs_up: whether the client goes away in place of waiting for an answer.
    """

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    hangs_up: bool = False


@cache
def png_bomb() -> bytes:
    """A PNG of 60,000 x 60,000 black pixels in some hundred kilobytes, each row there."""

    def chunk(name: bytes, content: bytes) -> bytes:
        summed = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + summed

    header = struct.pack(">IIBBBBB", BOMB, BOMB, 1, 0, 0, 0, 0)
    row, together = 1 + BOMB // 8, 100
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    # Blocks that need nothing of what was before, so that one is enough.
    block = packer.compress(bytes(row * together)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(wbits=-zlib.MAX_WBITS).flush()
    check = struct.pack(">I", (BOMB * row % 65521) << 16 | 1)  # Adler-32 of zeros
    packed = b"\x78\xda" + block * (BOMB // together) + end + check
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def many_frames(kind: str) -> bytes:
    """A GIF, TIFF or WebP of many small frames."""
    frames = [Image.new("RGB", (16, 16), (7 * n % 256, 3 * n % 256, 9)) for n in range(FRAMES)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def malformed_requests(
    image: bytes, *, count: int, seed: int = 0, model: str = "model", slow: bool = True
) -> Iterator[Malformed]:
    """So many requests of all kinds in turn.

    Args:
        image: a good one, of JPEG, which is bent.
        count: of requests.
        seed: of all that is drawn.
        model: the name of a model that is served.
        slow: with those that only wait.
    """
    chance = random.Random(seed)
    makers = [maker for maker in MAKERS if slow or maker is not slow_body]
    for number in range(count):
        yield makers[number % len(makers)](chance, image, model)


def _post(
    kind: str, body: bytes, path: str = DETECT, content_type: str = "image/jpeg"
) -> Malformed:
    return Malformed(kind, (http_request(path, body, headers={"Content-Type": content_type}),))


def truncated(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """An image that ends early."""
    return _post("truncated", image[: chance.randrange(1, len(image))])


def bent(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """An image with bytes that were changed."""
    bytes_ = bytearray(image)
    for _ in range(chance.choice((1, 10, 200))):
        bytes_[chance.randrange(2, len(bytes_))] = chance.randrange(256)
    return _post("changed bytes", bytes(bytes_))


def noise(chance: random.Random, _image: bytes, _model: str) -> Malformed:
    """Anything, with a beginning that images have, or none."""
    begin = chance.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM"))
    begin += chance.choice((b"", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "))
    return _post("noise", begin + chance.randbytes(chance.choice((0, 1, 10, 1000, 100_000))))


def bomb(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """A small file of very many pixels."""
    kind = chance.choice(("PNG", "BMP", "TIFF", "JPEG", "GIF"))
    if kind == "PNG":
        return _post("bomb", png_bomb())
    if kind == "BMP":
        size = struct.pack("<IiiHHIIiiII", 40, BOMB, BOMB, 1, 24, 0, 0, 0, 0, 0, 0)
        return _post("bomb", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + size)
    if kind == "GIF":
        return _post("bomb", b"GIF89a" + struct.pack("<HHBBB", BOMB, BOMB, 0x80, 0, 0) + bytes(99))
    if kind == "TIFF":
        tags = ((256, BOMB), (257, BOMB), (258, 8), (259, 1), (262, 1), (273, 8), (278, BOMB))
        tags += ((279, BOMB * BOMB % 2**32),)
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        return _post("bomb", b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4))
    at = max(image.find(b"\xff\xc0"), image.find(b"\xff\xc2"))
    size = struct.pack(">HH", BOMB, BOMB)
    return _post("bomb", image[: at + 5] + size + image[at + 9 :])


def frames(chance: random.Random, _image: bytes, _model: str) -> Malformed:
    """An animation, or a stack."""
    return _post("many frames", many_frames(chance.choice(("GIF", "TIFF", "WEBP"))))


def wrong_length(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """A Content-Length that is not the body's."""
    length = chance.choice(
        (str(len(image) * 2), str(len(image) // 2), "-1", "1e3", "", "0x10", "9" * 30, "0")
    )
    head = f"POST {DETECT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
    if chance.random() < 0.2:
        head += "Content-Length: 7\r\n"
    hangs_up = length.isdecimal() and int(length) > len(image)
    return Malformed("wrong length", (head.encode() + b"\r\n" + image,), hangs_up=hangs_up)


def bad_chunks(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """A body in chunks that are none."""
    head = f"POST {DETECT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    size = chance.choice((b"zz", b"-5", b"ffffffffffffffff", b"5;" + b"x" * 5000, b""))
    parts = (head.encode() + size + b"\r\n" + image[:100] + b"\r\n0\r\n\r\n",)
    # For what a chunk promises the server may wait as long as for any other body.
    return Malformed("bad chunks", parts, hangs_up=size.startswith(b"ff"))


def slow_body(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """A body that comes drop by drop and then no more."""
    head = f"POST {DETECT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n"
    drops = tuple(image[n : n + 3] for n in range(0, 30, 3))
    return Malformed(
        "slow body", (head.encode(), *drops), pause=chance.choice((0.01, 0.05)), hangs_up=True
    )


def bad_json(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """JSON that is large, deep, of other types, or none."""
    encoded = base64.b64encode(image).decode()
    body = chance.choice(
        (
            "[" * 100_000,
            '{"images":' * 20_000,
            '{"images": [' + "1," * 200_000 + "1]}",
            '{"images": ["' + "A" * 3_000_001 + '"]}',
            json.dumps({"images": [encoded[:-3] + "*"]}),
            json.dumps({"images": [{"data": encoded, "path": "/etc/passwd"}]}),
            json.dumps({"images": [{"url": "http://localhost/"}]}),
            json.dumps({"images": ["file:///etc/passwd", "../../etc/passwd"]}),
            json.dumps({"images": []}),
            json.dumps({"images": [""] * 5000}),
            json.dumps({"images": None}),
            json.dumps({"images": {"a": 1}}),
            json.dumps([encoded]),
            '{"images": [NaN, 1e999, -0]}',
            "\ud83d".encode("utf-16", "surrogatepass").decode("latin-1"),
            "null",
            "",
        )
    )
    return _post("bad JSON", body.encode("latin-1"), content_type="application/json")


def bad_form(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """A form without an end, with names that are paths, or with too many parts."""
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n%s\r\n'
    name = chance.choice((b"../../../etc/passwd", b"a\0b.jpg", b"a" * 9000, b"\xff\xfe", b""))
    ours, field = "multipart/form-data; boundary=x", b'Content-Disposition: form-data; name="a"'
    body, kind = chance.choice(
        (
            (part % (name, image[:999]), ours),
            (part % (name, image[:999]) * 300 + b"--x--\r\n", ours),
            (part % (name, image[:999]) + b"--x--\r\n", "multipart/form-data"),
            (part % (name, image[:999]) + b"--x--\r\n", "multipart/form-data; boundary="),
            (b"--x\r\n\r\n--x--", ours),
            (b"--x\r\n" + b"A: b\r\n" * 3000 + b"\r\n--x--", ours),
            ((b"--x\r\n" + field + b"\r\n\r\nb\r\n") * 99 + b"--x--\r\n", ours),
            (b"a=b&" * 1000, "application/x-www-form-urlencoded"),
        )
    )
    return _post("bad form", body, content_type=kind)


def bad_query(chance: random.Random, image: bytes, _model: str) -> Malformed:
    """Options that can't be."""
    query = chance.choice(
        (
            *(f"score_threshold={value}" for value in ("nan", "-1", "2", "1e999", "x", "")),
            *(f"max_detections={value}" for value in ("0", "-5", "9" * 40, "1.5", "all")),
            *(f"format={value}" for value in ("exe", "", "json,csv", "image%00")),
            *(f"model={value}" for value in ("../../etc/passwd", "", "%2e%2e%2f", "x" * 3000)),
            *(f"classes={value}" for value in ("nobody", ",,,", "%ff%fe", "x" * 3000)),
            "format=geojson",
            "%ff=%ff",
            "score_threshold=0.5&score_threshold=0.6",
        )
    )
    return _post("bad options", image, path=f"{DETECT}?{query}")


def bad_head(chance: random.Random, _image: bytes, _model: str) -> Malformed:
    """What is no request, or one for nothing."""
    host = b"Host: localhost\r\n"
    request = chance.choice(
        (
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /page/../../../etc/passwd HTTP/1.1\r\n" + host + b"\r\n",
            b"GET /page/%2e%2e/%2e%2e/app.py HTTP/1.1\r\n" + host + b"\r\n",
            b"DELETE /v1/detect HTTP/1.1\r\n" + host + b"\r\n",
            b"BREW /v1/detect HTTP/1.1\r\n" + host + b"\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\0\1\2\3\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"Accept: " + b"x;q=z," * 500 + b"\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\n" + host + b"X: " + b"y" * 60_000 + b"\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"GET /v1/models/../../x HTTP/1.1\r\n" + host + b"\r\n",
        )
    )
    return Malformed("bad head", (request,))


def bad_tensor(chance: random.Random, image: bytes, model: str) -> Malformed:
    """Tensors of the inference protocol whose parts contradict each other."""
    encoded = base64.b64encode(image).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [encoded]}
    changes: tuple[dict[str, object], ...] = (
        {"shape": [2]},
        {"shape": [-1]},
        {"shape": [2**62, 2**62, 3]},
        {"shape": []},
        {"shape": "1"},
        {"datatype": "FP8"},
        {"datatype": "UINT8", "shape": [1, 60_000, 60_000, 3], "data": [0]},
        {"datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [300] * 12},
        {"datatype": "UINT8", "shape": [1, 2, 2, 3], "data": ["a"] * 12},
        {"data": [1, 2]},
        {"data": None},
        {"data": [[[[]]]]},
        {"name": 7},
        {"name": "other"},
        {"parameters": {"binary_data_size": 10**12}},
    )
    body: object = {"inputs": [{**tensor, **chance.choice(changes)}]}
    body = chance.choice((body, body, body, {"inputs": []}, {"inputs": 1}, {}, [], None))
    headers = dict(_JSON)
    if chance.random() < 0.2:
        headers["Inference-Header-Content-Length"] = chance.choice(("-1", "99999999", "x", "3"))
    path = INFER.format(model=chance.choice((model, model, "nobody", "..%2f..")))
    return Malformed(
        "bad tensor", (http_request(path, json.dumps(body).encode(), headers=headers),)
    )


Maker = Callable[[random.Random, bytes, str], Malformed]
MAKERS: tuple[Maker, ...] = (
    truncated, bent, noise, bomb, frames, wrong_length, bad_chunks, slow_body, bad_json, bad_form,
    bad_query, bad_head, bad_tensor,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Survived:
    """How a server answered what is malformed.

    Attributes:
        statuses: how often which status came, by kind of mistake; 0 where the connection ended
            without an answer, -1 where nothing came in time.
        failures: answers that say that the server is at fault, with the request's kind.
    """

    statuses: dict[str, Counter[int]]
    failures: list[str]


def send_malformed(port: int, requests: Iterator[Malformed], *, at_once: int = 8) -> Survived:
    """Send malformed requests to a server on this machine, some at once.

    A status of 500 and above counts as a failure, but 503, which says that there is no room, and
    501 and 505, of methods and versions of HTTP.
    """
    return asyncio.run(_send_all(port, requests, at_once=at_once))


async def _send_all(port: int, requests: Iterator[Malformed], *, at_once: int) -> Survived:
    survived = Survived({}, [])

    async def send_next() -> None:
        for request in requests:
            try:
                async with asyncio.timeout(PATIENCE):
                    status, body = await _send(port, request)
            except TimeoutError:
                status, body = -1, b"no answer in time"
            survived.statuses.setdefault(request.kind, Counter())[status] += 1
            if status == -1 or (status >= 500 and status not in (501, 503, 505)):
                sent = request.parts[0][:80]
                survived.failures.append(f"{request.kind}: {status} {body[:300]!r} for {sent!r}")

    await asyncio.gather(*(send_next() for _ in range(at_once)))
    return survived


async def _send(port: int, request: Malformed) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in request.parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(request.pause)
        if request.hangs_up:
            return 0, b""
        return await read_answer(reader)
    except (OSError, EOFError, ValueError):
        return 0, b""
    finally:
        writer.close()
