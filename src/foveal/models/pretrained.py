"""Published backbone weights: cached or fetched; without a network a quick, clear error."""

from __future__ import annotations

import queue
import threading
import urllib.error
import urllib.request
from pathlib import Path

import timm

from foveal.errors import WeightsError
from foveal.models.package_weights import INSTALL, PACKAGES

PROBE_SECONDS = 1.5
PACKAGE_OPTIONS = f"--set model.backbone={min(PACKAGES)} --set model.weights=package"
FILES = ("model.safetensors", "pytorch_model.bin")


def published_weights(name: str, *, fetch: bool = True) -> Path | None:
    """The file with timm's weights for a network, fetched unless it is in the cache.

    Args:
        name: timm's name of the network.
        fetch: get what is not in the cache; else see only whether somebody answers who has it.

    Returns:
        The file; None where it could be fetched and was not.

    Raises:
        WeightsError: there are none, or they are neither in the cache nor within reach. Known
            within two seconds, and the message says which file to get and how to pass it.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"{name}: has no published weights. "
            "Pass a file with --set model.weights=FILE (in Python weights=FILE), or start without: "
            "--set model.weights=none (weights='none')."
        )
    repository = config.hf_hub_id
    files = (config.hf_hub_filename,) if config.hf_hub_filename else FILES
    return _cached(repository, files) or _fetch(name, repository, files, wanted=fetch)


def published_license(name: str) -> tuple[str, str]:
    """What timm calls a network's published weights, and their license as timm states it.

    Args:
        name: timm's name of the network.

    Returns:
        Both may be without content where timm states nothing; nothing is fetched.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return name, ""
    return config.hf_hub_id or name, config.license or ""


def _cached(repository: str, files: tuple[str, ...]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    return None


def _fetch(name: str, repository: str, files: tuple[str, ...], *, wanted: bool) -> Path | None:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    endpoint = constants.ENDPOINT.rstrip("/")
    address = f"{endpoint}/{repository}/resolve/main/{files[0]}"
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _unreachable(address)
    if reason is None and not wanted:
        return None
    if reason is None:
        for file in files:
            try:
                return Path(hf_hub_download(repository, file))
            except Exception as error:  # the hub's client raises its transport's errors as well
                absent = isinstance(error, EntryNotFoundError)
                if absent and not isinstance(error, LocalEntryNotFoundError):
                    continue
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                break
    raise WeightsError(
        f"{name}: its published weights are not in the cache and can't be fetched "
        f"({reason or 'the repository has no such file'}). Get {address} on a machine with a "
        f"network and pass it with --set model.weights=FILE (in Python weights=FILE); or take "
        f"weights from a package: {INSTALL}, then {PACKAGE_OPTIONS} (backbone={min(PACKAGES)!r}, "
        "weights='package'); or start without: --set model.weights=none (weights='none')."
    )


def _unreachable(address: str) -> str | None:
    """Why an address does not answer within PROBE_SECONDS; None if it does.

    In a thread, since looking up a host's name has no time limit of its own.
    """
    answers: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: answers.put(_probe(address)), daemon=True).start()
    try:
        return answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        return f"no answer within {PROBE_SECONDS} s"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _probe(address: str) -> str | None:
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.build_opener(_NoRedirect).open(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        # Whoever answers is there: a mirror that wants a token gets it with the download itself.
        return None if error.code < 500 else f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None
