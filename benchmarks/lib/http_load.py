"""A client that keeps many connections to a server busy, and takes little of the machine itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Load:
    """What a client saw.

    Attributes:
        seconds: from its first request to its last answer.
        latencies: seconds of each answered request.
        statuses: how often each HTTP status came; 0 where a connection broke.
        first_problem: of an answer that was no success, its body; "" where there was none.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    first_problem: str = ""

    @property
    def errors(self) -> int:
        """How many requests were no success."""
        return sum(count for status, count in self.statuses.items() if status != 200)

    @property
    def per_second(self) -> float:
        """Successful requests a second."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def milliseconds(self, share: float) -> float:
        """So many of the requests were answered in this time or less; NaN without any."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def http_request(
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request as it goes over the wire; its connection stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer.

    Raises:
        OSError, asyncio.IncompleteReadError: the connection ended before.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length = head.partition("content-length:")[2].split("\r\n", 1)[0].strip()
    if length.isdecimal():
        return status, await reader.readexactly(int(length))
    if "transfer-encoding: chunked" not in head:
        return status, await reader.read()
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return status, b"".join(parts)


def put_load(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float | None = None,
    count: int | None = None,
    watch: Callable[[int], None] | None = None,
) -> Load:
    """Send requests in turn over several connections, each of which waits for its answer.

    Args:
        port: of the server on this machine.
        requests: what is sent, again and again.
        connections: that are kept busy at once.
        seconds: after which no new request is sent.
        count: of requests, where not a time is given.
        watch: is called about once a second with the number of answers.
    """
    return asyncio.run(
        _put_load(
            port, requests, connections=connections, seconds=seconds, count=count, watch=watch
        )
    )


async def _put_load(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float | None,
    count: int | None,
    watch: Callable[[int], None] | None,
) -> Load:
    load, sent, begin = Load(), 0, time.perf_counter()

    def next_request() -> bytes | None:
        nonlocal sent
        is_over = seconds is not None and time.perf_counter() - begin >= seconds
        if is_over or (count is not None and sent >= count):
            return None
        sent += 1
        return requests[(sent - 1) % len(requests)]

    async def keep_busy() -> None:
        writer: asyncio.StreamWriter | None = None
        while (request := next_request()) is not None:
            started = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                await writer.drain()
                status, body = await read_answer(reader)
            except (OSError, EOFError, ValueError) as error:
                status, body = 0, repr(error).encode()
                if writer is not None:
                    writer.close()
                writer = None
            else:
                load.latencies.append(time.perf_counter() - started)
            load.statuses[status] += 1
            if status != 200 and not load.first_problem:
                load.first_problem = body.decode(errors="replace")[:500]
        if writer is not None:
            writer.close()

    async def tell() -> None:
        while True:
            await asyncio.sleep(1)
            if watch is not None:
                watch(load.statuses.total())

    teller = asyncio.create_task(tell())
    await asyncio.gather(*(keep_busy() for _ in range(connections)))
    load.seconds = time.perf_counter() - begin
    teller.cancel()
    return load


def ask(port: int, request: bytes) -> tuple[int, Any]:
    """Status and body, read as JSON where it is some, of one request."""

    async def once() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await read_answer(reader)
        finally:
            writer.close()

    status, body = asyncio.run(once())
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body
