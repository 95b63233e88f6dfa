"""All image files looked at before a long run: those that can't be read, and of another size."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from foveal.data.formats.image_files import did_you_mean
from foveal.data.image_sizes import fit_sizes
from foveal.data.images.headers import Header, decode_whole, read_headers
from foveal.data.images.pages import file_of
from foveal.errors import ImageError, MissingExtraError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset

logger = logging.getLogger(__name__)

Unreadable = Literal["stop", "skip", "keep"]
"""What is done with image files that can't be read: an error that names them all, left out with a
warning, or nothing (where only the annotations are used)."""

SKIP_IN_TRAINING = "--set training.bad_images=skip (in Python the setting training.bad_images)"
"""What leaves broken images out, where a run's settings decide it."""

SKIP_IN_EVALUATION = "--bad-images skip (in Python bad_images='skip')"
"""What leaves them out of an evaluation."""

_SHOWN = 5
_SECONDS = 3.0
"""A pass that takes longer says how far it is, this often."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is done with what is found.

    Attributes:
        unreadable: what becomes of images that can't be read.
        skip: the option that leaves them out, for the message; "" where there is none.
        say: gets sentences on what goes on.
        warn: gets sentences on what was left out.
        decode: decode the images too, where they are to be left out: what then is read again and
            again never fails.
    """

    unreadable: Unreadable = "stop"
    skip: str = SKIP_IN_TRAINING
    say: Callable[[str], None] = logger.info
    warn: Callable[[str], None] = logger.warning
    decode: bool = False

    def make_ready(self, data: Dataset) -> Dataset:
        """Look at every image file of a data set, at its header and its ending.

        Returns:
            The data set without the images that can't be read, if they are to be left out.

        Raises:
            ImageError: images can't be read and are not to be left out, or none can.
            MissingExtraError: what reads some of them is not installed.
            DataError: files have another size than the annotations say.
        """
        if not len(data):
            return data
        headers = self._read(data)
        if self.decode and self.unreadable == "skip":
            headers = _decoded(data, headers)
        if self.unreadable != "keep":
            _expect_installed(data, headers)
            broken = [i for i, header in enumerate(headers) if header.fault]
            if broken:
                message = _describe(data, headers, broken)
                if self.unreadable == "stop":
                    way = f", or leave them out: {self.skip}" if self.skip else ""
                    raise ImageError(f"{message} Get them again or remove them{way}.")
                if len(broken) == len(data):
                    raise ImageError(f"{message} So there is no image left.")
                self.warn(f"{message} They are left out.")
                gone = set(broken)
                keep = [i for i in range(len(data)) if i not in gone]
                data, headers = data.take(keep), [headers[i] for i in keep]
        return fit_sizes(data, headers, "stop")

    def _read(self, data: Dataset) -> list[Header]:
        began = last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _SECONDS:
                last = time.monotonic()
                self.say(f"Looking at the image files: {done:,} of {total:,}.")

        headers = headers_of(data, progress=progress)
        if last != began:
            self.say(f"Looked at {counted(len(headers), 'image file')}.")
        return headers


def headers_of(
    data: Dataset, *, progress: Callable[[int, int], None] | None = None
) -> list[Header]:
    """The headers of a data set's files, in the images' order; remembered between runs."""
    paths = [str(record.path) for record in data.records]
    return read_headers(paths, cache=str(data.root), progress=progress)


def _decoded(data: Dataset, headers: Sequence[Header]) -> list[Header]:
    """The headers, with the faults that only decoding shows."""
    paths = [str(record.path) for record in data.records]

    def decoded(path: str, header: Header) -> Header:
        return header if header.fault else decode_whole(path)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(decoded, paths, headers))


def _expect_installed(data: Dataset, headers: Sequence[Header]) -> None:
    needing = [i for i, header in enumerate(headers) if header.needs]
    if needing:
        first = data.records[needing[0]].path
        more = f" and {counted(len(needing) - 1, 'other image')}" if len(needing) > 1 else ""
        raise MissingExtraError(headers[needing[0]].needs, f"{first}{more}")


def _describe(data: Dataset, headers: Sequence[Header], broken: Sequence[int]) -> str:
    """How many images can't be read, and why the first ones can't."""
    paths: list[Path] = [data.records[index].path for index in broken]
    missing = [path for path in paths if not file_of(path).exists()]
    near = did_you_mean(missing[:_SHOWN], data.root) if missing else {}
    shown = []
    for index, path in list(zip(broken, paths, strict=True))[:_SHOWN]:
        fault = headers[index].fault
        if path in near:
            fault = f"{path}: does not exist; {near[path]}"
        shown.append(fault if str(path) in fault else f"{path}: {fault}")
    more = f" And {len(broken) - _SHOWN:,} more." if len(broken) > _SHOWN else ""
    count = f"{len(broken):,} of {counted(len(data), 'image')}"
    gone = f" ({len(missing):,} missing)" if missing else ""
    folder = (
        " Their folder can be named: --images FOLDER (in Python images=FOLDER)." if near else ""
    )
    return f"{data.name or data.root}: {count} can't be read{gone}. {' '.join(shown)}{more}{folder}"
