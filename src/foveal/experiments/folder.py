"""The folder of an experiment: its runs, what it has come to, and whether it may begin there."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foveal.checkpoints.model_page import write_model_page
from foveal.errors import TrainingError, TrainingInterrupted
from foveal.files import replacing, write_file, writing
from foveal.text import without_nan
from foveal.training.run_folder import HOW_TO_GO_ON, RunFolder
from foveal.training.self_training import SelfTrainingFolder
from foveal.training.state import check_same_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.data.dataset import Dataset, Record
    from foveal.data.opening import Source

Kind = Literal["folds", "fractions"]

FORMAT = 1
"""Of folds.json and fractions.json."""
DETECTIONS = "detections.json"
ALL = "all"
"""The run of folds that learns from all images."""
_KINDS: tuple[Kind, ...] = ("folds", "fractions")


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """The places of an experiment's files.

    Attributes:
        path: holds the model that is kept and the report, as a run's folder does.
        kind: of the experiment.
    """

    path: Path
    kind: Kind

    @property
    def log(self) -> Path:
        """What it consists of and has come to: folds.json or fractions.json."""
        return self.path / f"{self.kind}.json"

    @property
    def detections(self) -> Path:
        """What was detected in all images, each by a model that did not learn from it (folds)."""
        return self.path / DETECTIONS

    @property
    def top(self) -> RunFolder:
        """The places of the model that is kept."""
        return RunFolder(self.path)

    @property
    def fingerprint(self) -> Path:
        """What must be the same when it goes on."""
        return self.path / "state" / f"{self.kind}.json"

    def run(self, name: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.path / name)

    def detections_of(self, name: str) -> Path:
        """What a run's model detects in the images that it did not learn from."""
        return self.path / name / DETECTIONS

    @property
    def can_resume(self) -> bool:
        """Whether there is something to go on with."""
        return self.log.is_file() and self.fingerprint.is_file()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """See whether the experiment may start here; nothing is changed.

        Raises:
            TrainingError: it may not; the message says what to pass.
        """
        check_no_other(self.path, self.kind, overwrite=overwrite)
        if self.can_resume:
            if not (resume or overwrite):
                raise TrainingError(
                    f"{self.path}: holds a training in {self.kind}. Go on with it by --resume, "
                    "replace it by --overwrite, or choose another folder."
                )
        elif resume and self.top.can_resume:
            raise TrainingError(
                f"{self.path}: holds a run without --{self.kind}, which can't go on with it. "
                "Choose another folder."
            )
        elif resume:
            self.top.check_fresh()
        else:
            self.top.check(resume=False, overwrite=overwrite)

    def begin(
        self, document: Mapping[str, Any], *, settings: str, fingerprint: Mapping[str, Any]
    ) -> None:
        """Write what the experiment consists of; what was there before is removed.

        Args:
            document: for the log.
            settings: of the whole, as TOML.
            fingerprint: of `foveal.training.state.fingerprint_of`, of all images.

        Raises:
            TrainingError: the folder can't be written.
        """
        self.clear()
        self.write(document)
        write_file(self.top.config, settings, error=TrainingError, advice=HOW_TO_GO_ON)
        # Last, since it says that the others are there.
        text = json.dumps(fingerprint, ensure_ascii=False) + "\n"
        write_file(self.fingerprint, text, error=TrainingError, advice=HOW_TO_GO_ON)

    @contextmanager
    def discarding_failed_start(self) -> Iterator[None]:
        """Leave no files of an experiment that fails before any of its runs got anywhere.

        One that was stopped by a signal leaves what it wrote.
        """
        missing = [each for each in (self.path, *self.path.parents) if not each.exists()]
        try:
            yield
        except TrainingInterrupted:
            raise
        except BaseException:
            if self.log.is_file() and not any(
                self.run(name).can_resume for name in self._run_names()
            ):
                self.clear()
                with suppress(OSError):
                    for each in missing:
                        each.rmdir()
            raise

    def clear(self) -> None:
        """Remove the files of an earlier run, self-training or experiment, and only those.

        Raises:
            TrainingError: the folder can't be written.
        """
        SelfTrainingFolder(self.path).clear()
        with writing(self.path, error=TrainingError, advice="Choose a folder you may write to."):
            for kind in _KINDS:
                other = ExperimentFolder(self.path, kind)
                for name in other._run_names():
                    folder = other.run(name)
                    other.detections_of(name).unlink(missing_ok=True)
                    folder.remove((folder.path,))
                for file in (other.fingerprint, other.log, other.detections):
                    file.unlink(missing_ok=True)
            with suppress(OSError):
                self.fingerprint.parent.rmdir()

    def write(self, document: Mapping[str, Any]) -> None:
        """Write the log at a stroke; undefined numbers become null.

        Raises:
            TrainingError: it can't be written; what was there before still is.
        """
        text = json.dumps(without_nan(document), indent=1, ensure_ascii=False, allow_nan=False)
        write_file(self.log, text + "\n", error=TrainingError, advice=HOW_TO_GO_ON)

    def read(self) -> dict[str, Any]:
        """What the log says.

        Raises:
            TrainingError: it can't be read, or is of another version.
        """
        try:
            document = json.loads(self.log.read_text(encoding="utf-8"))
            if document["format"] != FORMAT or not isinstance(document[self.kind], list):
                raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self.log}: can't be read ({error}). Start again in another folder, or with "
                "--overwrite."
            ) from None
        whole: dict[str, Any] = document
        return whole

    def find_images(self, entries: Sequence[Mapping[str, Any]], data: Dataset) -> list[list[int]]:
        """The indices of the images that entries of the log name.

        Raises:
            TrainingError: they are not in the data set.
        """
        index = {name: n for n, name in enumerate(image_names(data, data.records))}
        try:
            return [[index[name] for name in entry["images"]] for entry in entries]
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"{self.log}: is not about these images ({error}). Start again in another folder."
            ) from None

    def check_same(self, fingerprint: Mapping[str, Any]) -> None:
        """See whether data and settings are those with which the experiment began.

        Raises:
            TrainingError: they differ; the message says in what.
        """
        try:
            before = json.loads(self.fingerprint.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{self.fingerprint}: can't be read ({error}). Start again in another folder."
            ) from None
        check_same_run(before, fingerprint, where=self.fingerprint)

    def keep(self, name: str) -> None:
        """Make a run's model that of the whole.

        Raises:
            TrainingError: the file can't be written.
        """
        for file in self.top.exported:  # of a model that was there before
            file.unlink(missing_ok=True)
        target = self.top.best
        with (
            writing(target, error=TrainingError, advice=HOW_TO_GO_ON),
            replacing(target) as new,
        ):
            shutil.copyfile(self.run(name).best, new)
        if self.run(name).model_page.is_file():
            write_model_page(target)

    def _run_names(self) -> list[str]:
        """The runs of an earlier experiment; none where there was none."""
        try:
            document = self.read()
        except TrainingError:
            return []
        names = [part.get("run") for part in document[self.kind] if isinstance(part, dict)]
        names += [ALL] if self.kind == "folds" else []
        return [name for name in names if isinstance(name, str) and Path(name).name == name]


def holds_experiment(path: Path) -> bool:
    """Whether a folder is that of an experiment that can go on."""
    return any(ExperimentFolder(path, kind).can_resume for kind in _KINDS)


def check_no_other(path: Path, kind: Kind | None, *, overwrite: bool) -> None:
    """See that a folder holds no experiment of another kind.

    Args:
        path: the folder.
        kind: of what is to begin or go on there; None for a plain run.
        overwrite: what is there is to be replaced. A plain run does not replace an experiment.

    Raises:
        TrainingError: it holds one.
    """
    for other in _KINDS:
        folder = ExperimentFolder(path, other)
        if other == kind or not folder.log.is_file() or (overwrite and kind is not None):
            continue
        raise TrainingError(
            f"{path}: holds a training in {other} ({folder.log.name}). Go on with it by "
            f"--{other} ... --resume, or choose another folder."
        )


def source_of(data: object) -> Source | None:
    """The source of data that were given as a path; None for a data set."""
    from foveal.data.opening import AS_FOUND

    return (data, AS_FOUND) if isinstance(data, str | Path) else None


def describe_source(data: Dataset, source: Source | None) -> dict[str, Any]:
    """How the data set can be opened again, as plain JSON values; see `open_source`.

    Args:
        data: as it was opened.
        source: where from and how; None where that is not known.
    """
    if source is None:
        return {"address": None, "options": {}, "name": data.name, "root": str(data.root)}
    address, options = source
    said = asdict(options)
    if said.get("images") is not None:
        said["images"] = str(Path(said["images"]).absolute())
    # A path from the root on means the same from any folder; splits stay behind it.
    return {"address": str(Path(address).absolute()), "options": said}


def open_source(source: Mapping[str, Any]) -> Dataset:
    """Open the data set of an experiment again.

    Args:
        source: the entry "data" of its log.

    Raises:
        TrainingError: the log does not say where the data set is.
        DataError: it can't be read.
    """
    from foveal.data.opening import DataOptions, open_data

    if source.get("address") is None:
        raise TrainingError(
            f"The data set {source.get('name') or ''!r} was given as an object in Python, so that "
            "its address is not known. Give it: DATA."
        )
    options = dict(source.get("options") or {})
    for name in ("ignore", "only"):
        options[name] = tuple(options.get(name) or ())
    return open_data(source["address"], DataOptions(**options))


def image_names(data: Dataset, records: Sequence[Record]) -> list[str]:
    """The images' files as the log names them: below the data set's root, else whole paths."""
    return [
        record.path.relative_to(data.root).as_posix()
        if record.path.is_relative_to(data.root)
        else record.path.as_posix()
        for record in records
    ]
