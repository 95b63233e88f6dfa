"""Bands of scenes looked at by many machines, which Ray joins."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from foveal.errors import FovealError, MissingExtraError
from foveal.inference.scene_jobs import BandOutcome, BandTask, attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from foveal.inference.scene_jobs import BandJob, BandWorker

LOCAL = "local"
"""The address that starts Ray on this machine."""

_CLIENT, _CLIENT_PORT = "ray://", "10001"
_PATIENCE = 5.0
"""Seconds until a cluster's port answers."""
_MISSING = "Ray is not installed. Install it: pip install 'foveal[ray]'"

_TASKS_AN_ACTOR = 2
_MOST_OF_A_CORE = 0.5
"""What an actor asks Ray for. A whole core each would leave none to others on small machines; how
many threads an actor computes with is another matter."""


class _Actor:
    """Looks at bands on one machine."""

    def __init__(self, job: BandJob, threads: int) -> None:
        self._worker: BandWorker | None = None
        self._failure: FovealError | None = None
        try:
            self._worker = job.open(threads=threads)
        except FovealError as error:  # waits for the first task, which can tell it
            self._failure = error

    def attempt(self, task: BandTask) -> BandOutcome:
        if self._worker is None:
            raise self._failure or AssertionError("opened or failed")
        return attempt(self._worker, task)


def check_ray(address: str) -> None:
    """See whether a Ray cluster can be at an address; connects to nothing but its port.

    Ray itself waits for minutes where there is none, and then ends the whole process.

    Raises:
        MissingExtraError: Ray is not installed.
        FovealError: it is no address, or nothing answers there.
    """
    if find_spec("ray") is None:
        raise MissingExtraError(_MISSING)
    if address in ("auto", LOCAL):
        return
    client = address.startswith(_CLIENT)
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if client and not host:
        host, port = port, _CLIENT_PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise _no_cluster(address, "this is no address")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, UnicodeError) as cause:
        reason = getattr(cause, "strerror", None) or str(cause)
        raise _no_cluster(address, f"nothing answers: {reason}") from cause


def detect_on_ray(
    job: BandJob, tasks: Iterable[BandTask], *, address: str, jobs: int | None = None
) -> Iterator[BandOutcome]:
    """Look at bands on the machines of a Ray cluster.

    All of them must be able to read the model and the scenes under the same paths, and have foveal
    installed. What is found comes back to this machine, which alone writes.

    Args:
        job: is opened once by each actor.
        tasks: the bands; outcomes come as they are ready.
        address: of the cluster, 'auto' for the one that this machine belongs to, or 'local' to
            start one here, which ends with this.
        jobs: how many actors; None takes one for each machine, or one for each GPU.

    Raises:
        MissingExtraError: Ray is not installed.
        FovealError: there is no cluster, or its actors can't open the model or have ended.
    """
    with _connected(address) as ray:
        yield from _detect(ray, job, deque(tasks), jobs=jobs)


def _detect(
    ray: Any, job: BandJob, waiting: deque[BandTask], *, jobs: int | None
) -> Iterator[BandOutcome]:
    actors = _start_actors(ray, job, jobs=jobs, tasks=len(waiting))
    under_way: dict[Any, Any] = {}
    broken: set[int] = set()
    free = deque(actors * _TASKS_AN_ACTOR)
    while waiting or under_way:
        while waiting and free:
            task = waiting.popleft()
            if task.scene not in broken:
                actor = free.popleft()
                under_way[actor.attempt.remote(task)] = actor
        if not under_way:
            continue
        done, _ = ray.wait(list(under_way), num_returns=1)
        for reference in done:
            free.append(under_way.pop(reference))
            outcome = _result(ray, reference)
            if outcome.error is not None:
                if outcome.task.scene in broken:
                    continue
                broken.add(outcome.task.scene)
            yield outcome


def _start_actors(ray: Any, job: BandJob, *, jobs: int | None, tasks: int) -> list[Any]:
    machines = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    cores = sum(int(node["Resources"]["CPU"]) for node in machines)
    gpus = sum(int(node["Resources"].get("GPU", 0)) for node in machines)
    wanted = jobs or gpus or len(machines)
    count = max(1, min(wanted, tasks))
    share = min(_MOST_OF_A_CORE, cores / count / 2)
    options: dict[str, Any] = {"num_cpus": share, "scheduling_strategy": "SPREAD"}
    if gpus:
        options["num_gpus"] = min(1.0, gpus / count)
    remote = ray.remote(_Actor).options(**options)
    return [remote.remote(job, max(1, cores // count)) for _ in range(count)]


def _result(ray: Any, reference: Any) -> BandOutcome:
    try:
        outcome: BandOutcome = ray.get(reference)
    except ray.exceptions.RayTaskError as cause:
        inner = cause.cause if isinstance(cause.cause, FovealError) else None
        raise FovealError(
            f"An actor of Ray failed: {inner or str(cause).strip().splitlines()[-1]} All machines "
            "must be able to read the model and the scenes under the same paths."
        ) from cause
    except ray.exceptions.RayError as cause:
        raise FovealError(
            f"An actor of Ray ended ({str(cause).strip().splitlines()[0]}). What is finished is "
            "kept: go on with --resume."
        ) from cause
    return outcome


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected; nothing is sent to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingExtraError(_MISSING) from None
    here = ray.is_initialized()
    try:
        if not here:
            ray.init(
                address=address,
                include_dashboard=False if address == LOCAL else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as cause:
        said = str(cause).strip().splitlines() or [type(cause).__name__]
        raise _no_cluster(address, said[0]) from cause
    try:
        yield ray
    finally:
        if not here:
            ray.shutdown()


def _no_cluster(address: str, why: str) -> FovealError:
    return FovealError(
        f"--ray {address}: no Ray cluster is there ({why}). Expected the address of one, such as "
        f"10.0.0.1:6379, auto for that of this machine, or {LOCAL} to start one here."
    )
