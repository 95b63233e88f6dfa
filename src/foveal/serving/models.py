"""The models of a server: opened, called by name, and opened anew when their files change."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foveal.checkpoints.finding import EXPORTED, NETWORK, ONNX, OPENVINO, prediction_file
from foveal.errors import FovealError, MissingExtraError, ModelFileError, SettingsError
from foveal.inference.opening import open_model
from foveal.serving.batching import Batcher
from foveal.serving.problems import Problem, as_problem
from foveal.text import counted, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.loading.prefetch import Input
    from foveal.inference.opening import Opened
    from foveal.inference.predictor import Predictor
    from foveal.runtimes.base import InputSizes, Runtime, RuntimePrecision
    from foveal.serving.limits import Limits
    from foveal.serving.observing import Observer
    from foveal.structures import Detections

LOOK_AGAIN = 1.0
"""Seconds after which model files are looked at again."""

log = logging.getLogger(__name__)


class OneAtATime:
    """A runtime that computes one batch at a time, whoever asks: scenes and single images.

    Args:
        runtime: computes.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """As the runtime's."""
        return self._runtime.name

    @property
    def device(self) -> str:
        """As the runtime's."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """As the runtime's."""
        return self._runtime.precision

    @property
    def sizes(self) -> InputSizes:
        """As the runtime's."""
        return self._runtime.sizes

    def __call__(self, images: NDArray[Any]) -> Any:
        """Compute a batch [B, C, H, W] uint8; see `foveal.runtimes.base.Runtime`."""
        with self._lock:
            return self._runtime(images)


class Options(NamedTuple):
    """What a request may ask for; None takes the model's own.

    Attributes:
        score_threshold: the least score of a detection.
        max_detections: of an image.
    """

    score_threshold: float | None = None
    max_detections: int | None = None


class Batched(NamedTuple):
    """What comes out of a batch for one image.

    Attributes:
        detections: in original pixels.
        seconds: that the batch took.
        waited: seconds from the batch's beginning since the epoch of `time.monotonic`.
    """

    detections: Detections
    seconds: float
    waited: float


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a model's files look like from outside: another stamp is another model.

    Attributes:
        files: of each file its path, time of change, size and number on the disk.
    """

    files: tuple[tuple[str, int, int, int], ...]

    @staticmethod
    def of(files: Sequence[Path]) -> Stamp:
        """That of some files.

        Raises:
            OSError: one is missing.
        """
        stats = [(str(file), file.stat()) for file in files]
        return Stamp(tuple((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in stats))


class ServedModel:
    """A model that answers requests, with the thread that computes its batches.

    Attributes:
        name: what requests call it.
        version: changes with the content of its files.
        opened: the model.
        predictor: with the model's own settings.

    Args:
        name: what requests call it.
        version: of its files.
        opened: the model.
        limits: how many images go through the network together.
        observer: is told of batches.
        adapt: what is to be different in the predictor.
    """

    def __init__(
        self,
        name: str,
        version: str,
        opened: Opened,
        *,
        limits: Limits,
        observer: Observer,
        adapt: Callable[[Predictor], Predictor] | None = None,
    ) -> None:
        self.name, self.version, self.opened = name, version, opened
        runtime = OneAtATime(opened.runtime)
        own = opened.predictor()
        self.predictor: Predictor = replace(
            own if adapt is None else adapt(own), runtime=runtime, batch=limits.batch, workers=1
        )
        self._observer = observer
        self._batcher: Batcher[Any, Input, Batched] = Batcher(
            self._compute, batch=limits.batch, wait=limits.wait, name=f"foveal-{name}"
        )
        self._users = 0
        self._is_retired = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names."""
        return self.predictor.classes

    def predictor_with(self, options: Options) -> Predictor:
        """A predictor with a request's options.

        Raises:
            Problem: the model can't be asked so, as one that decodes inside its file.
        """
        if options == Options():
            return self.predictor
        try:
            chosen = self.opened.predictor(**options._asdict())
        except FovealError as error:
            path = self.opened.path
            raise as_problem(error, {} if path is None else {path: self.name}) from None
        return replace(
            self.predictor,
            score_threshold=chosen.score_threshold,
            max_detections=chosen.max_detections,
            top_per_level=chosen.top_per_level,
        )

    def submit(self, item: Input, options: Options) -> Any:
        """Have an input looked at with others of its size; gives a future of `Batched`.

        Args:
            item: an image as the network's input.
            options: only inputs of the same options are computed together.
        """
        return self._batcher.submit((item.sample.image.shape, options), item)

    @contextmanager
    def used(self) -> Iterator[ServedModel]:
        """While this is entered, the model stays open; called in the event loop only."""
        self._users += 1
        try:
            yield self
        finally:
            self._users -= 1
            if self._is_retired and not self._users:
                self._end()

    def retire(self) -> None:
        """Let it go as soon as nobody uses it; called in the event loop only."""
        self._is_retired = True
        if not self._users:
            self._end()

    def close(self) -> None:
        """Compute what waits, and end its thread."""
        self._batcher.close()

    def describe(self) -> dict[str, Any]:
        """What people and programs should know of it, as JSON values."""
        predictor = self.predictor
        return {
            "name": self.name,
            "version": self.version,
            "classes": list(self.classes),
            "score_threshold": predictor.score_threshold,
            "max_detections": predictor.max_detections,
            "bands": predictor.pixel_range.bands,
            "runtime": predictor.runtime.name,
            "device": predictor.runtime.device,
            "precision": predictor.runtime.precision,
        }

    def _end(self) -> None:
        threading.Thread(target=self.close, name=f"foveal-{self.name}-ends").start()

    def _compute(self, key: tuple[Any, Options], items: Sequence[Input]) -> list[Batched]:
        begin = time.monotonic()
        predictor = self.predictor_with(key[1])
        numbered = ([replace(item, index=number)] for number, item in enumerate(items))
        found = {item.index: detections for item, detections in predictor.look(iter(numbered))}
        seconds = time.monotonic() - begin
        self._observer.computed(self, len(items))
        return [Batched(found[number], seconds, begin) for number in range(len(items))]


@dataclass(slots=True)
class _Place:
    """A model's place among the others: where it is, and what is known of it."""

    source: Path
    stamp: Stamp | None = None
    seen: Stamp | None = None
    failed: Stamp | None = None
    model: ServedModel | None = None


class ModelSet:
    """The models of a server.

    A model is opened from a copy of its files, so that they can be written over at any time. When
    they have changed and stay so for a moment, they are opened anew; requests that came before are
    answered by the model that they came to. Files that can't be opened change nothing, which is
    said once.

    Args:
        named: models by the names that requests call them by; the first is the default.
        folder: whose models are served too: model files, exported models and folders of runs.
        limits: how many images go through a network together.
        observer: is told of batches.
        device, precision, threads: as for `foveal.inference.opening.open_model`.
        adapt: what is to be different in each model's predictor.
    """

    def __init__(
        self,
        named: Mapping[str, Path],
        *,
        folder: Path | None = None,
        limits: Limits,
        observer: Observer,
        device: str = "auto",
        precision: RuntimePrecision = "auto",
        threads: int | None = None,
        adapt: Callable[[Predictor], Predictor] | None = None,
    ) -> None:
        self._adapt = adapt
        self._places = {name: _Place(path) for name, path in named.items()}
        self._given = frozenset(named)
        self._folder, self._limits, self._observer = folder, limits, observer
        self._device, self._precision, self._threads = device, precision, threads
        self._copies = tempfile.TemporaryDirectory(
            prefix="foveal-models-", ignore_cleanup_errors=True
        )
        self._passed_over: set[Path] = set()
        self._number = 0

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> list[ServedModel]:
        """The models that are open, the default first."""
        return [each.model for each in list(self._places.values()) if each.model is not None]

    def get(self, name: str | None = None) -> ServedModel:
        """The model of a name; the default where there is none.

        Raises:
            Problem: there is no such model.
        """
        models = self.all()
        if not models:
            raise Problem(503, "No model is open yet.", {"Retry-After": "1"})
        if name is None:
            return models[0]
        for model in models:
            if model.name == name:
                return model
        names = listed([model.name for model in models], 8)
        raise Problem(404, f"There is no model {name!r}. Expected one of: {names}.")

    def load(self) -> None:
        """Open all models.

        Raises:
            ModelFileError: one can't be opened, or there is none.
        """
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        self._find()
        for name, place in self._places.items():
            try:
                place.stamp = place.seen = self._stamp(place.source)
                place.model = self._open(name, place.source)
            except (FovealError, OSError) as error:
                if name in self._given:
                    raise
                place.failed, place.stamp = place.stamp, None
                log.warning("Model %s is not served: %s", name, error)
        if not self.all():
            raise ModelFileError(
                f"{self._folder}: holds no model that can be opened. Expected model files "
                f"({NETWORK}, {OPENVINO}, {ONNX}) or folders of runs."
            )

    async def watch(self) -> None:
        """Look again and again whether files have changed, until it is canceled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                await self.refresh()
            except OSError as error:
                log.warning("Models can't be looked at: %s.", error.strerror or error)

    async def refresh(self) -> list[str]:
        """Open anew what has changed since the look before the last, and stays so.

        Returns:
            The names of the models that were opened, or are served no more.
        """
        changed = []
        await asyncio.to_thread(self._find)
        for name, place in list(self._places.items()):
            try:
                stamp = await asyncio.to_thread(self._stamp, place.source)
            except (FovealError, OSError):
                if name not in self._given and not place.source.exists():
                    del self._places[name]
                    changed.append(name)
                    log.info("Model %s is gone.", name)
                    if place.model is not None:
                        place.model.retire()
                continue
            is_steady, place.seen = stamp == place.seen, stamp
            if not is_steady or stamp in (place.stamp, place.failed):
                continue
            try:
                model = await asyncio.to_thread(self._open, name, place.source)
            except FovealError as error:
                place.failed = stamp
                log.warning("Model %s stays as it was: %s", name, error)
                continue
            before, place.model, place.stamp = place.model, model, stamp
            changed.append(name)
            log.info("Model %s is opened anew, version %s.", name, model.version)
            if before is not None:
                before.retire()
        return changed

    def close(self) -> None:
        """Compute what waits, and let all models go."""
        for model in self.all():
            model.close()
        self._copies.cleanup()

    def _find(self) -> None:
        """Give every model of the folder a place."""
        if self._folder is None:
            return
        for path in sorted(self._folder.iterdir()):
            if path in self._passed_over or not _is_model(path):
                continue
            name = path.stem if path.is_file() else path.name
            place = self._places.setdefault(name, _Place(path))
            if place.source != path:
                self._passed_over.add(path)
                log.warning("%s is not served: %s is called %s already.", path, place.source, name)

    def _stamp(self, source: Path) -> Stamp:
        return Stamp.of(_files(source, self._device))

    def _open(self, name: str, source: Path) -> ServedModel:
        files = _files(source, self._device)
        self._number += 1
        folder = Path(self._copies.name) / str(self._number)
        folder.mkdir()
        digest = blake2b(digest_size=6)
        try:
            for file in files:
                shutil.copyfile(file, folder / file.name)
                digest.update((folder / file.name).read_bytes())
            copy = folder / files[0].name
            opened = open_model(
                copy, device=self._device, precision=self._precision, threads=self._threads
            )
        except MissingExtraError:
            raise
        except FovealError as error:
            said = str(error).replace(str(folder / files[0].name), str(source))
            raise type(error)(said) from None
        except OSError as error:
            raise ModelFileError(f"{source}: can't be read ({error.strerror or error}).") from None
        finally:
            self._forget(folder)
        return ServedModel(
            name,
            digest.hexdigest(),
            opened,
            limits=self._limits,
            observer=self._observer,
            adapt=self._adapt,
        )

    def _forget(self, folder: Path) -> None:
        """What is open stays readable on systems where files can go while they are open."""
        shutil.rmtree(folder, ignore_errors=True)


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """What models are called: as their file, or as the folder of the run.

    Args:
        paths: of models, such as runs/cells, cells.xml or runs/cells/best.safetensors.

    Raises:
        SettingsError: two have one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        in_run = path.is_file() and path.name in (EXPORTED, f"best{NETWORK}", f"last{NETWORK}")
        name = path.resolve().parent.name if in_run else path.resolve().name
        if path.is_file() and not in_run:
            name = path.stem
        if name in named:
            raise SettingsError(
                f"{named[name]} and {path} are both called {name}. Expected names that differ: "
                "rename one, or serve a folder of models by --models."
            )
        named[name] = path
    return named


def describe_models(models: Sequence[ServedModel]) -> str:
    """What is served, in a sentence."""
    names = [
        f"{each.name} ({counted(len(each.classes), 'class')}, {each.predictor.runtime.name})"
        for each in models
    ]
    return f"Serving {listed(names, 8)}."


def _is_model(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (NETWORK, OPENVINO, ONNX)
    return path.is_dir() and any((path / name).is_file() for name in (EXPORTED, f"best{NETWORK}"))


def _files(source: Path, device: str) -> list[Path]:
    """The files of a model, that which is opened first.

    Raises:
        ModelFileError: there is none.
    """
    file = prediction_file(source, device=device)
    beside = [file.with_suffix(".bin")] if file.suffix.lower() == OPENVINO else []
    return [file, *(each for each in beside if each.is_file())]
