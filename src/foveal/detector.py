"""The short Python API: `Detector(data).fit().detect(image)`, which the command line calls too.

What it calls lives elsewhere: `tuning` prepares, `training` trains, `inference` predicts and
measures, `reports` and `exporting` write what leaves. Nothing here loads PyTorch before a network
is needed: an exported model predicts without it.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.checkpoints.description import describe
from foveal.checkpoints.finding import BEST, EXPORTED, network_file
from foveal.config import (
    NETWORK_SECTIONS,
    Settings,
    change_settings,
    gather_settings,
    parse_settings,
)
from foveal.data.dataset import Dataset
from foveal.data.formats import read
from foveal.errors import DataError, SettingsError, TrainingError
from foveal.inference.opening import Opened, open_model, open_network
from foveal.outputs.capped import CappedTally
from foveal.structures import ModelCard
from foveal.text import counted, decimal, listed
from foveal.tuning.data_defaults import ANCHOR_SHAPES, fit_to_data
from foveal.tuning.limits import LIMITS, limit_in_words

if TYPE_CHECKING:
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.checkpoints.starting import Start
    from foveal.data.images.inputs import ImageLike
    from foveal.data.images.rasters import Raster
    from foveal.data.loading.batches import BadImages
    from foveal.evaluation.results import Evaluation
    from foveal.inference.predictor import Predictor
    from foveal.models.retinanet import RetinaNet
    from foveal.runtimes.base import RuntimePrecision
    from foveal.structures import Detections
    from foveal.training.pseudo_labels import PseudoLabels, SureScore
    from foveal.training.reporters import Reporter
    from foveal.training.validation import Validation
    from foveal.tuning.learning_rate import LearningRateCurve

logger = logging.getLogger(__name__)

_MAX_NAMES = 8

DataLike = Dataset | str | Path
Unlabeled = Dataset | str | Path | Sequence[str | Path]


class Detector:
    """A RetinaNet with its classes and settings: made from data, trained, measured, used, saved.

    Attributes:
        settings: the effective ones, with those that follow from the data.
        card: class names, score threshold, metrics, where the model came from.
        anchors: how well the anchors, or locations with one each, fit the data; None where anchors
            were not fitted.
        history: one entry for each epoch of the last training.

    Examples:
        >>> detector = foveal.Detector("cells:train", preset="light")
        >>> detector.fit(epochs=20, valid="cells:val")  # doctest: +SKIP
        >>> detector = foveal.load("run")
        >>> found = detector.detect("smear.jpg", score_threshold=0.5)
        >>> found.width, found.height
        (64, 64)
        >>> detector.save("own.safetensors")
    """

    def __init__(
        self,
        data: DataLike,
        *,
        backbone: str | None = None,
        weights: str | Path | None = None,
        scales: Sequence[float] | None = None,
        ratios: Sequence[float] | None = None,
        size: int | None = None,
        ignore: Sequence[str] = (),
        preset: str = "standard",
        settings: Settings | Mapping[str, Mapping[str, Any]] | None = None,
        start: str | Path | None = None,
        refit_anchors: bool = False,
    ) -> None:
        """Prepare a network for a data set; nothing is trained yet.

        Args:
            data: the training images, or the path that `foveal.read` takes.
            backbone: a timm name; None keeps the settings'.
            weights: of the backbone: 'none', 'pretrained', 'package' or a file; None keeps the
                settings'.
            scales, ratios: of the anchors, several at a location, which are assigned by their IoU.
                Without either the preset's: one at each, or (retinanet) those fitted to the data.
            size: the shorter side of the network's input in pixels; None keeps the settings'.
            ignore: classes whose boxes mark regions to ignore, in every data set given later too.
            preset: where the settings begin, see `foveal.config.PRESETS`.
            settings: complete settings instead of a preset, or by section and name those that
                differ from it.
            start: a model file, the folder of a run or a checkpoint that `foveal import` can read,
                to begin from. Its weights, network, anchors, preparation and decoding are taken;
                what is set explicitly here, but for the preset, stands above them. Class weights
                go by the classes' names.
            refit_anchors: fit the anchors to the data all the same, beginning with the file's.

        Raises:
            DataError: the data can't be read or has no classes.
            SettingsError: settings are wrong or contradict one another.
            ModelFileError: `start` is no model that can be trained.
        """
        self._data = _read(data, ignore)
        given: dict[str, dict[str, Any]] = {
            "model": _given(backbone=backbone, weights=None if weights is None else str(weights)),
            "anchors": _given(scales=_numbers("scales", scales), ratios=_numbers("ratios", ratios)),
            "preparation": _size(size),
        }
        from foveal.checkpoints.starting import START_SECTIONS

        # Without what a model to begin from gives in place of the preset.
        self._explicit = _values(settings, preset, given, without=START_SECTIONS)
        self._preset = preset
        self.history: tuple[Any, ...] = ()
        self._model: RetinaNet | None = None
        self._opened: Opened | None = None
        self._told: set[str] = set()
        self._capped = CappedTally()
        self._path: Path | None = None
        self._record: Mapping[str, Any] | None = None
        self._start: Start | None = None
        if start is not None:
            self._begin_from(start, refit_anchors=refit_anchors)
        elif refit_anchors:
            raise SettingsError(
                "--refit-anchors (in Python refit_anchors=True) goes with a model to begin from: "
                "--start MODEL. Without one they are fitted anyway where locations have several."
            )
        else:
            chosen = parse_settings(_values(settings, preset, given), where="settings")
            self.settings, self.anchors = fit_to_data(chosen, self._data)
        self.card = self._new_card(tuple(ignore))

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read a model file, an exported model or the folder of a run; see `foveal.load`."""
        opened = open_model(path)
        card = opened.description.card
        no_images = Dataset((), card.classes, Path(path).parent)
        detector = cls(no_images, settings=opened.description.settings())
        detector.card, detector._path = card, Path(path)
        detector._explicit = {}
        detector._opened, detector._model = opened, opened.network
        detector._record = opened.description.record
        return detector

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names."""
        return self.card.classes

    @property
    def model(self) -> RetinaNet:
        """The network, built or read when it is first needed.

        Raises:
            WeightsError: the backbone's weights can't be got, read or matched.
            ModelFileError: there is an exported model only, which can do nothing but predict.
        """
        if self._model is None and self._path is not None:
            from foveal.checkpoints.model_file import load as load_network

            self._model = load_network(network_file(self._path)).model
        if self._model is None:
            from foveal.training.setup import make_model

            started = self._start is not None
            self._model = make_model(self.settings, len(self.classes), empty=started)
            if self._start is not None:
                from foveal.checkpoints.starting import load_start

                load_start(self._model, self._start, self.classes)
        return self._model

    def __repr__(self) -> str:
        measured = [
            f"{name} {decimal(self.card.metrics[name])}"
            for name in ("AP", "AP50")
            if name in self.card.metrics
        ]
        told = f"{', '.join(measured)} on its validation images, " if measured else ""
        return (
            f"<Detector {self.settings.model.backbone}, {counted(len(self.classes), 'class')} "
            f"({listed(self.classes, _MAX_NAMES)}); {told}detections count from the score "
            f"{self.score_threshold:.2f} on>"
        )

    @property
    def score_threshold(self) -> float:
        """From which score a detection counts: the card's."""
        return self.card.score_threshold

    # Training --------------------------------------------------------------------------------

    def fit(
        self,
        data: DataLike | None = None,
        *,
        valid: DataLike | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        start: str | Path | None = None,
        refit_anchors: bool = False,
        augment: object = None,
        teacher: str | Path | None = None,
        progress: bool = True,
        reporter: Reporter | None = None,
    ) -> Detector:
        """Train on the data; the weights of the best epoch stay.

        Args:
            data: other training images than those that the detector was made of, which a loaded
                one needs. The training begins from this detector, as by `start`.
            valid: validation images; None holds out `training.validation_fraction` of the data, by
                its seed. Where that is 0, all images are trained on, nothing is measured and the
                last epoch's weights stay.
            epochs: how often each image is seen; None keeps the settings'.
            minutes: how long training and validations may take, in place of epochs; None keeps the
                settings'.
            out: the run's folder, for the model files, metrics.jsonl and the report.
            resume: go on with the run in `out`; where there is none, begin.
            overwrite: replace the run in `out`.
            start: a model file or the folder of a run to begin from; see `Detector`.
            refit_anchors: with `start` or `data`: fit the anchors to the data all the same.
            augment: changes the training images in place of the settings' augmentation: a function
                from (sample, generator) to sample, one of torchvision.transforms.v2 or of
                albumentations, or 'package.module:name' of one of these. The function gets a
                `foveal.Sample` in original pixels and a numpy generator for its random choices.
            teacher: a trained model that the network imitates (`training.distillation` says in
                what): a model file, the folder of a run, or a checkpoint that `foveal import` can
                read; None keeps the settings'.
            progress: show how it goes, with a bar on a terminal or in a notebook and as lines
                elsewhere; False tells the logger `foveal.training.reporters` instead.
            reporter: is told how it goes, in place of both.

        Returns:
            This detector.

        Raises:
            TrainingError: the run can't start, go on or be resumed.
        """
        from foveal.data.transforms.user import as_change, name_of
        from foveal.training.checked_data import check_run, naming_the_way_out
        from foveal.training.conclusion import conclude, keeping_run
        from foveal.training.distillation_choice import check_teacher
        from foveal.training.missing_objects import describe_missing_objects
        from foveal.training.progress import reporting_to
        from foveal.training.provenance import make_record
        from foveal.training.run_folder import RunFolder
        from foveal.training.trainer import train
        from foveal.training.tried_augmentation import try_augmentation
        from foveal.training.unassigned_objects import describe_unassigned_objects

        if epochs is not None and minutes is not None:
            raise SettingsError(f"epochs={epochs} and minutes={minutes:g}: expected one of them.")
        if data is not None:
            self._begin_with(data, start, refit_anchors=refit_anchors)
        elif start is not None:
            self._check_data()
            self._begin_from(start, refit_anchors=refit_anchors)
            self.card = self._new_card(self.card.ignored_classes)
        self._check_data()
        settings = change_settings(
            self.settings,
            {
                "training": _given(
                    epochs=epochs,
                    minutes=minutes,
                    teacher=None if teacher is None else str(teacher),
                ),
                "augmentation": _given(custom=name_of(augment)),
            },
        )
        check_teacher(settings)
        change = None if augment is None or isinstance(augment, str) else as_change(augment)
        # What is wrong without the images is told before all of them are looked at:
        if out is not None:
            RunFolder(Path(out)).check(resume=resume, overwrite=overwrite)
        model = self.model
        with reporting_to(reporter, progress=progress) as listener:
            training, held_out = check_run(
                *self._split(settings, valid, listener),
                bad_images=settings.training.bad_images,
                reporter=listener,
            )
            if not len(held_out):
                listener.say(
                    f"No image is held out: all {len(training):,} are trained on, nothing is "
                    "measured, and the last epoch's weights are kept."
                )
            if told := limit_in_words(settings.decoding, self._data, settings.preparation):
                listener.say(told)
            if not (resume and out is not None and RunFolder(Path(out)).can_resume):
                for line in self._describe_start():
                    listener.say(line)
            for warning in (
                *describe_missing_objects(training, held_out),
                *describe_unassigned_objects(training, settings),
            ):
                listener.warn(warning)
            self.card = self._measured(settings, training, listener)
            with naming_the_way_out(settings.training.bad_images):
                for warning in try_augmentation(settings, training, augment=change):
                    listener.warn(warning)
            validation = self._validation(settings, held_out) if len(held_out) else None
            record = make_record(
                settings,
                training=training,
                validation=held_out,
                before=None if self._start is None else self._start.description.record,
            )
            with naming_the_way_out(settings.training.bad_images):
                result = train(
                    model,
                    settings,
                    training,
                    out=None if out is None else Path(out),
                    validate=validation,
                    resume=resume,
                    overwrite=overwrite,
                    reporter=listener,
                    card=self.card,
                    augment=change,
                    record=record,
                )
            self.settings, self.history, self._start = settings, result.history, None
            self._opened, self._record = None, record
            self.card = replace(self.card, metrics=dict(result.best), epoch=result.best_epoch)
            evaluation = None
            if validation is not None:
                with keeping_run(listener, "choosing the score threshold"):
                    end = conclude(
                        self.model,
                        settings,
                        card=self.card,
                        result=result,
                        validation=validation,
                        record=record,
                    )
                    self.card, evaluation = end.card, end.evaluation
                    self._record = end.record or record
            if evaluation is not None and result.folder is not None:
                with keeping_run(listener, "writing the report"):
                    self._report(result.folder, evaluation, held_out, training=training)
                    listener.say(f"The report is {result.folder / 'report.html'}.")
                with keeping_run(listener, "exporting the best model"):
                    self._export(result.folder, training, held_out, listener)
        if change is not None:  # no later run can find it by its name
            self.settings = change_settings(settings, {"augmentation": {"custom": None}})
        return self

    def self_train(
        self,
        unlabeled: Unlabeled,
        *,
        out: str | Path,
        rounds: int = 1,
        minutes: float | None = None,
        valid: DataLike | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
        reporter: Reporter | None = None,
        **training: Any,
    ) -> Detector:
        """Train on the data, let the result label other images, and train anew on both.

        Of each class, detections become labels from the score on that makes nine of ten right on
        the validation images; those below it become regions to ignore. Every training begins from
        this detector as it is now. Where boxes are predicted in bins (`model.box_bins`) and no
        other teacher is named, the later ones imitate the model that made their labels, too. The
        best by AP on the validation images stays. See `foveal.training.self_training`.

        Args:
            unlabeled: images without labels: a folder, a glob or several of them, or a data set,
                of which the labels are not looked at. Those that are among the training or
                validation images too are left out.
            out: the folder of all rounds, with the model files, the pseudo labels and the report
                of the best round.
            rounds: how many trainings follow the first one.
            minutes: how long all trainings together may take, shared out evenly; None keeps the
                settings'.
            valid, resume, overwrite, progress, reporter: as for `fit`.
            training: further arguments of `fit`: epochs, augment, teacher.

        Returns:
            This detector.

        Raises:
            TrainingError: a training can't start, go on or be resumed.
            DataError: there are no unlabeled images.
            ImageError: images can't be read.
        """
        from foveal.config import to_toml
        from foveal.distributed import is_first_process
        from foveal.training.conclusion import keeping_run
        from foveal.training.progress import reporting_to
        from foveal.training.self_training import Lesson, SelfTrainingFolder, self_train

        self._check_data()
        if rounds < 1:
            raise SettingsError(f"--rounds {rounds} (in Python rounds=): expected at least 1.")
        folder = SelfTrainingFolder(Path(out))
        settings = change_settings(self.settings, {"training": _given(minutes=minutes)})
        with reporting_to(reporter, progress=progress) as listener:
            folder.check(resume=resume, overwrite=overwrite)
            labeled, held_out = self._split(settings, valid, listener)
            if not len(held_out):
                raise SettingsError(
                    "Which detections are sure, and which round is best, is measured on validation "
                    "images, and there are none. Give some: --valid DATA (in Python valid=), or a "
                    "training.validation_fraction above 0."
                )
            images = self._unlabeled(unlabeled, [labeled, held_out], folder.path, listener)
            if overwrite and is_first_process():
                folder.clear()
            parts = _share_minutes(settings, rounds + 1, listener)
            trained: list[Detector] = []

            def train(number: int, lesson: Lesson | None) -> float:
                data, given = labeled, dict(training)
                if lesson is not None:
                    data = labeled.merge(lesson.labels.aligned(self.classes))
                    if settings.model.box_bins and settings.training.teacher is None:
                        given.setdefault("teacher", folder.round(lesson.teacher).best)
                trained.append(self._for_round(data, parts, is_first=number == 0))
                listener.say(f"Round {number}: {counted(len(data), 'image')} to train on.")
                trained[number].fit(
                    valid=held_out,
                    out=folder.round(number).path,
                    resume=resume,
                    overwrite=overwrite,
                    reporter=listener,
                    **given,
                )
                return float(trained[number].card.metrics.get("AP", math.nan))

            state = self_train(
                folder,
                images,
                rounds=rounds,
                settings=to_toml(settings),
                resume=resume,
                train=train,
                label=lambda teacher: trained[teacher]._label(images, held_out, listener),
                reporter=listener,
            )
            best = trained[state.best]
            self._model, self.card, self.history = best._model, best.card, best.history
            mine = {"export", "minutes"} | ({"teacher"} - training.keys())
            whole = settings.training.model_dump(include=mine)
            self.settings = change_settings(best.settings, {"training": whole})
            self._opened = self._start = None
            self._record = best._record
            if is_first_process():
                with keeping_run(listener, "exporting the best model"):
                    self._export(folder.path, labeled, held_out, listener)
        return self

    def _unlabeled(
        self, unlabeled: Unlabeled, labeled: Sequence[Dataset], out: Path, reporter: Reporter
    ) -> Dataset:
        """The images without labels that can be read and are in none of the labeled data sets."""
        from foveal.data.checks.images import shared_images
        from foveal.data.checks.readiness import Readiness
        from foveal.inference.image_paths import find_images, open_stacks, without_labels

        if isinstance(unlabeled, Dataset):
            paths = unlabeled.paths
        else:
            names = [unlabeled] if isinstance(unlabeled, str | Path) else list(unlabeled)
            found, stacks = open_stacks(find_images(map(str, names), leave_out=out), None)
            for line in (found.describe_passed_over(), stacks):
                if line:
                    reporter.say(line)
            paths = [each.path for each in found.images]
        data = without_labels(paths, self.classes)
        shared: dict[Path, str] = {}
        for known in labeled:
            shared |= shared_images(known, data)
        if shared:
            reporter.say(
                f"{len(shared):,} of {counted(len(data), 'unlabeled image')} "
                f"{'is' if len(shared) == 1 else 'are'} among the labeled ones and left out, the "
                f"first: {next(iter(shared.values()))}."
            )
            data = data.take([n for n, path in enumerate(data.paths) if path not in shared])
        if not len(data):
            raise DataError(
                "There are no unlabeled images but those that are labeled too. Expected others."
            )
        ready = Readiness(
            self.settings.training.bad_images, say=reporter.say, warn=reporter.warn, decode=True
        )
        return ready.make_ready(data)

    def _for_round(self, data: Dataset, settings: Settings, *, is_first: bool) -> Detector:
        """A detector that begins as this one does, with other images to train on."""
        twin = copy.copy(self)
        twin._data, twin.settings = data, settings
        twin._model = copy.deepcopy(self.model)
        twin._opened = twin._path = None
        if not is_first:
            twin._start = None  # it was told of
        return twin

    def _label(
        self, images: Dataset, validation: Dataset, reporter: Reporter
    ) -> tuple[PseudoLabels, tuple[SureScore, ...]]:
        """Labels of the unlabeled images, where the validation images say that they are sure."""
        from foveal.distributed import parallel_map
        from foveal.training.checked_data import naming_the_way_out
        from foveal.training.pseudo_labels import (
            IGNORED_FROM,
            describe_sure_scores,
            label_images,
            least_score,
            sure_scores,
        )
        from foveal.training.self_training import telling

        # Where it was trained: each of several processes has a device of its own.
        predictor = open_network(self._loaded(), device=None).measuring_predictor()
        known = parallel_map(validation.paths, predictor.detect_many)
        sure = sure_scores(known, validation.targets, self.classes)
        for line in describe_sure_scores(sure):
            reporter.say(line)
        ignored_from = IGNORED_FROM * self.score_threshold
        predictor = replace(predictor, score_threshold=least_score(sure, ignored_from=ignored_from))
        broken: dict[Path, Exception] = {}

        def detect(paths: list[Path]) -> list[Detections | None]:
            found: dict[int, Detections] = {}

            def skip(index: int, error: Exception) -> None:
                broken[paths[index]] = error

            on_error = skip if self.settings.training.bad_images == "skip" else None
            stream = predictor.stream(paths, on_error=on_error)
            for each in telling(stream, len(paths), reporter):
                found[each.index] = each.detections
            return [found.get(index) for index in range(len(paths))]

        with naming_the_way_out(self.settings.training.bad_images):
            found = parallel_map(images.paths, detect)
        if broken:
            first, error = next(iter(broken.items()))
            reporter.warn(
                f"{counted(len(broken), 'unlabeled image')} can't be read and "
                f"{'is' if len(broken) == 1 else 'are'} left out, the first: {first} ({error})."
            )
        there = [index for index, each in enumerate(found) if each is not None]
        detections = [each for each in found if each is not None]
        made = label_images(images.take(there), detections, sure, ignored_from=ignored_from)
        return made, sure

    def find_learning_rate(self) -> LearningRateCurve:
        """Sweep the learning rate on the training data and say which suits; nothing is changed.

        Raises:
            TrainingError: there is no training data, or the loss never fell.
        """
        from foveal.training.checked_data import check_training
        from foveal.training.reporters import LoggingReporter
        from foveal.training.trial import Trial
        from foveal.tuning.learning_rate import find_learning_rate

        self._check_data()
        data = check_training(
            self._data, bad_images=self.settings.training.bad_images, reporter=LoggingReporter()
        )
        with Trial(self.model, self.settings, data) as trial:
            return find_learning_rate(trial.step)

    lr_find = find_learning_rate

    def _split(
        self, settings: Settings, valid: DataLike | None, reporter: Reporter
    ) -> tuple[Dataset, Dataset]:
        """Training and validation images."""
        if valid is not None:
            return self._data, self._read(valid).aligned(self.classes)
        from foveal.training.validation import split_off_validation

        fraction, seed = settings.training.validation_fraction, settings.training.seed
        if fraction == 0:
            return self._data, self._data.take([])
        return split_off_validation(self._data, fraction=fraction, seed=seed, reporter=reporter)

    def _new_card(self, ignored: tuple[str, ...]) -> ModelCard:
        """The card before any training: what it shows is known from a model to begin from alone."""
        card = ModelCard(self._data.classes, ignored_classes=ignored)
        if self._start is None:
            return card
        before = self._start.description.card
        return replace(
            card,
            origin=self._start.origin,
            scale=before.scale,
            ground_resolution=before.ground_resolution,
            largest_object=before.largest_object,
        )

    def _measured(self, settings: Settings, data: Dataset, reporter: Reporter) -> ModelCard:
        """The card with the scale of the training images and the size of their objects."""
        from foveal.tuning.training_scale import measure_scale

        measured = measure_scale(data, settings.preparation)
        ground = measured.ground_resolution
        if ground is None and self.card.ground_resolution is not None:
            ground = self.card.ground_resolution
            reporter.say(
                f"That an input pixel shows {ground:.3g} m of ground is taken from the model to "
                "begin from: the images do not say it."
            )
        return replace(
            self.card,
            scale=measured.scale,
            ground_resolution=ground,
            largest_object=measured.largest_object,
        )

    def _check_data(self) -> None:
        if not len(self._data):
            raise TrainingError(
                "A loaded model has no training data. Give them: fit(DATA), or make a Detector "
                "from the data that begins from the model: Detector(DATA, start=MODEL)."
            )

    def _begin_with(self, data: DataLike, start: str | Path | None, *, refit_anchors: bool) -> None:
        """Take other training images, and as a start another model or what there is."""
        from foveal.checkpoints.starting import Start

        begin: str | Path | Start
        if start is None:
            begin = Start.of(self._loaded(), name=str(self._path or "the detector itself"))
            self._explicit = self.settings.model_dump(
                exclude_unset=True, exclude=set(NETWORK_SECTIONS)
            )
        else:
            begin = start
        self._data = self._read(data)
        self._begin_from(begin, refit_anchors=refit_anchors)
        self.card = self._new_card(self.card.ignored_classes)

    def _begin_from(self, start: str | Path | Start, *, refit_anchors: bool) -> None:
        """Take settings and weights from a model; see `Detector`.

        Raises:
            ModelFileError: it is no model that can be trained.
            SettingsError: settings contradict one another.
        """
        from foveal.checkpoints.starting import Start, read_start

        self._start = start if isinstance(start, Start) else read_start(start)
        set_anchors = self._explicit.get("anchors", {}).keys() & ANCHOR_SHAPES
        if refit_anchors and set_anchors:
            raise SettingsError(
                f"anchors.{min(set_anchors)} is set, and --refit-anchors (in Python "
                "refit_anchors=True) is to fit it to the data. Leave one of them out."
            )
        self.settings, self.anchors = fit_to_data(
            self._start.settings(self._explicit),
            self._data,
            refit_anchors=refit_anchors,
            free_limits=LIMITS - self._explicit.get("decoding", {}).keys(),
        )
        self._model = self._opened = self._path = self._record = None

    def _describe_start(self) -> list[str]:
        """What is taken from the model to begin from; nothing where there is none."""
        if self._start is None:
            return []
        from foveal.checkpoints.starting import describe_preset, describe_start
        from foveal.tuning.anchor_fitting import describe_fit

        lines = describe_start(self._start, self.settings, self.classes)
        if self.anchors is None and (said := describe_fit(self._data, self.settings)):
            lines.append(said)
        preset = describe_preset(self._preset, self.settings)
        return [*lines, preset] if preset else lines

    def _read(self, data: DataLike) -> Dataset:
        """A data set, with the classes to ignore made regions to ignore."""
        return _read(data, self.card.ignored_classes)

    def _validation(self, settings: Settings, data: Dataset) -> Validation:
        """Measures the network while it is trained, by the code that predicts."""
        from foveal.checkpoints.model_file import LoadedModel
        from foveal.training.setup import make_criterion
        from foveal.training.validation import Validation
        from foveal.training.validation_loss import ValidationLoss

        loss = None
        if settings.training.validation_loss:
            loss = ValidationLoss(
                make_criterion(settings, self.classes),
                min_visibility=settings.augmentation.min_visibility,
            )

        def detect(model: RetinaNet, paths: list[Path]) -> list[Detections]:
            opened = open_network(LoadedModel(model, settings, self.card), device=None)
            predictor = opened.measuring_predictor()
            if loss is not None:
                predictor = replace(predictor, observe=loss.observer(model))
            return predictor.detect_many(paths)

        limit = settings.decoding.max_detections
        return Validation(data, detect, max_detections=limit, loss=loss)

    def _export(
        self, folder: Path, training: Dataset, validation: Dataset, reporter: Reporter
    ) -> None:
        """Export a run's best model to what predicts fastest, where it was trained on a CPU."""
        settings = self.settings.training
        if not settings.export or self.model.mean.device.type != "cpu":
            return
        from foveal.exporting.after_training import export_best

        export_best(
            folder / BEST,
            folder / EXPORTED,
            calibration=training if settings.int8 else None,
            check=validation,
            say=reporter.say,
        )

    # Use -------------------------------------------------------------------------------------

    def detect(self, image: ImageLike, *, score_threshold: float | None = None) -> Detections:
        """Find objects in one image: a path, a PIL image, an array [H, W, C], a tensor [C, H, W].

        An image that would be shrunk too far is looked at in windows, as by `detect_scene`.

        Args:
            image: see above; values as `foveal.data.images.inputs.to_pixels` says.
            score_threshold: the least score of a detection; None takes the card's.

        Returns:
            Boxes in original pixels, best first. Where a limit left some out, they are `capped`;
            of a loop over many images the log says so at the first, the tenth, the hundredth ...

        Raises:
            ImageError: the image can't be read.
        """
        return self.detect_many([image], score_threshold=score_threshold)[0]

    def detect_many(
        self, images: Iterable[ImageLike], *, score_threshold: float | None = None
    ) -> list[Detections]:
        """Find objects in many images of any sizes: one Detections for each, in their order.

        What is to be told of images is logged at the first of them, and not again by this detector;
        of those where a limit left detections out that there are ten, a hundred, and so on.
        """
        from foveal.data.images.survey import telling_depth
        from foveal.inference.image_paths import telling_stacks

        opened = self._open("auto", "auto")
        predictor = opened.predictor(score_threshold=score_threshold)
        detections = predictor.detect_many(
            telling_depth(telling_stacks(images, self._told), predictor.pixel_range, self._told),
            told=self._told,
        )
        capped = self._capped.add(
            detections,
            max_detections=predictor.max_detections,
            decodes_inside=opened.decodes_inside,
        )
        if capped:
            logger.warning("%s", capped)
        return detections

    def detect_scene(
        self,
        scene: ImageLike | Sequence[Path | str],
        *,
        tile: int | None = None,
        overlap: int | None = None,
        scale: float | None = None,
        whole: bool = False,
        score_threshold: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Detections:
        """Find objects in an image of any size, window by window, in constant memory.

        What is found equals what one look at all of it would find, up to what the network sees of
        the surroundings of a window; see `foveal.inference.scenes`.

        Args:
            scene: a file such as a GeoTIFF or a large JPEG, or what `detect` takes; several files,
                or a folder of them, that lie side by side on the map are looked at as one.
            tile: the side of the windows in input pixels; None takes what computes least.
            overlap: input pixels that windows share at least; None takes what the largest objects
                of the training need.
            scale: input pixels that a pixel of the scene becomes; None takes the training's ground
                resolution where the model and the scene both have one, else the training's scale,
                else 1.
            whole: look once more at the whole scene, shrunk, for objects that no window shows
                whole.
            score_threshold: the least score of a detection; None takes the card's.
            progress: is told (windows done, windows).

        Returns:
            Boxes in the scene's pixels, best first, with its place on the map where it has one.
            What should be known of them, such as boxes that may be cut, is logged.

        Raises:
            ImageError: the scene can't be read.
            MissingExtraError: what reads it is not installed.
            SettingsError: a tile, overlap or scale that can't be.
        """
        from foveal.data.images.mosaics import open_mosaic
        from foveal.data.images.rasters import raster_of
        from foveal.inference.scenes import SceneDetector, describe_summaries

        predictor = replace(
            self._open("auto", "auto").predictor(score_threshold=score_threshold),
            tile="auto" if tile is None else tile,
            overlap=overlap,
            tile_scale=scale,
        )
        several = isinstance(scene, (list, tuple)) or (
            isinstance(scene, str | Path) and Path(scene).is_dir()
        )
        opening: Callable[..., Raster] = open_mosaic if several else raster_of
        with opening(scene, predictor.pixel_range) as raster:
            detector = SceneDetector(predictor, predictor.scene_tiling(raster), whole)
            detections, summary = detector.look(raster, progress)
        for line in describe_summaries([summary]):
            logger.warning("%s", line)
        return detections

    def predictor(
        self,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        device: str = "auto",
        precision: RuntimePrecision = "auto",
    ) -> Predictor:
        """The detector as a Predictor, which has more options.

        Args:
            score_threshold: the least score of a detection; None takes the card's.
            max_detections: how many detections of an image at most; None takes the model's own.
            device: 'auto' takes CUDA, else MPS, else the CPU; or 'cpu', 'cuda', 'cuda:1', 'mps'.
            precision: 'auto' takes what is fastest here.

        Raises:
            SettingsError: a device or precision that can't be had, or another limit of detections
                than that inside an exported file.
        """
        return self._open(device, precision).predictor(
            score_threshold=score_threshold, max_detections=max_detections
        )

    def _open(self, device: str, precision: RuntimePrecision) -> Opened:
        """What computes; kept for the next time where nothing special is wanted."""
        usual = device == precision == "auto"
        if usual and self._opened is not None:
            return self._opened.described(describe(self.settings, self.card))
        if self._path is not None and self._model is None:
            opened = open_model(self._path, device=device, precision=precision)
        else:
            opened = open_network(self._loaded(), device=device, precision=precision)
        if usual:
            self._opened = opened
        return opened

    def _loaded(self) -> LoadedModel:
        from foveal.checkpoints.model_file import LoadedModel

        return LoadedModel(self.model, self.settings, self.card, self._record or {})

    def evaluate(
        self,
        data: DataLike,
        *,
        out: str | Path | None = None,
        overwrite: bool = False,
        predictor: Predictor | None = None,
        bad_images: BadImages = "stop",
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """Measure the detector on labeled images.

        Args:
            data: the images, or the path that `foveal.read` takes.
            out: a folder for metrics.json and report.html.
            overwrite: replace those of an earlier evaluation in `out`.
            predictor: finds the objects; None takes the model's own, with low scores still in.
            bad_images: "skip" leaves out images that can't be read, with a warning.
            progress: is told (images done, images).

        Raises:
            DataError: the data can't be read, or has classes that the model does not know; or
                images have another size than the annotations say.
            ImageError: images can't be read; the message names them all.
            FovealError: `out` holds the results of an earlier evaluation, or can't be written.
        """
        from foveal.data.checks.readiness import SKIP_IN_EVALUATION, Readiness
        from foveal.evaluation.metrics_file import write_metrics
        from foveal.inference.measurement import measure
        from foveal.reports.evaluation import check_evaluation_folder

        folder = None if out is None else Path(out)
        results = None if folder is None else check_evaluation_folder(folder, overwrite=overwrite)
        ready = Readiness(bad_images, skip=SKIP_IN_EVALUATION, decode=True)
        dataset = ready.make_ready(self._read(data).aligned(self.classes))
        evaluation = measure(
            predictor or self._open("auto", "auto").measuring_predictor(),
            dataset,
            score_threshold=self.score_threshold if self.card.threshold_is_chosen else None,
            progress=progress,
        )
        if folder is not None and results is not None:
            results.record()
            write_metrics(folder / "metrics.json", evaluation)
            self._report(folder, evaluation, dataset, training=None)
        return evaluation

    def save(self, path: str | Path) -> None:
        """Write a model file: weights, settings, class names, preparation, anchors, threshold.

        Raises:
            ModelFileError: it can't be written, or there is an exported model only.
        """
        from foveal.checkpoints.model_file import save

        save(Path(path), self.model, self.settings, self.card, self._record)

    def _report(
        self, folder: Path, evaluation: Evaluation, data: Dataset, *, training: Dataset | None
    ) -> None:
        from foveal.reports.evaluation import report_on_model

        anchors = self.anchors
        if anchors is not None:  # else no PyTorch is needed, of which a small device has none
            from foveal.tuning.location_fitting import LocationFit

            anchors = None if isinstance(anchors, LocationFit) else anchors
        report_on_model(
            folder,
            evaluation,
            self.settings,
            dataset=data,
            training=training,
            anchors=anchors,
            home=self._path if self._path is None or self._path.is_dir() else self._path.parent,
        )


def load(path: str | Path) -> Detector:
    """Read a model file that foveal wrote or exported.

    Args:
        path: a model file (.safetensors), an exported model (.xml, .onnx), the folder of a run, of
            which the fastest file for this machine is taken, or a name in the library (`foveal
            models`). Exported models predict without PyTorch.

    Raises:
        ModelFileError: it is missing, cut short, not foveal's or of a later format version.
        MissingExtraError: the runtime of an exported model is not installed.

    Examples:
        >>> foveal.load("run").classes
        ('normal', 'infected', 'platelet')
    """
    return Detector.load(path)


def _read(data: DataLike, ignored: Sequence[str]) -> Dataset:
    """A data set, with the classes to ignore made regions to ignore."""
    if isinstance(ignored, str):
        raise SettingsError(
            f"--ignore (in Python ignore={ignored!r}): expected a list of class names, such as "
            f"ignore=[{ignored!r}]."
        )
    dataset = data if isinstance(data, Dataset) else read(data)
    present = [name for name in ignored if name in dataset.classes]
    return dataset.ignoring(present) if present else dataset


def _values(
    settings: Settings | Mapping[str, Mapping[str, Any]] | None,
    preset: str,
    given: Mapping[str, Mapping[str, Any]],
    *,
    without: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """What is set, by section and name: in complete settings, or in a preset and on top of it."""
    if not (settings is None or isinstance(settings, (Settings, Mapping))):
        raise SettingsError(
            f"The settings are {type(settings).__name__}. Expected foveal.Settings, or a table by "
            "section and name such as {'training': {'epochs': 20}}; a preset is called by "
            "--preset NAME (in Python preset='light')."
        )
    if isinstance(settings, Settings):
        values: dict[str, dict[str, Any]] = settings.model_dump(exclude_unset=True)
    else:
        changes = {
            section: {**(settings or {}).get(section, {}), **given.get(section, {})}
            for section in {**(settings or {}), **given}
        }
        return gather_settings(preset=preset, changes=changes, without=without)
    for section, part in given.items():
        if part:
            values.setdefault(section, {}).update(part)
    return values


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(name: str, values: Sequence[float] | None) -> tuple[float, ...] | None:
    """Scales or ratios of anchors; None for none."""
    if isinstance(values, int | float):
        raise SettingsError(
            f"--set anchors.{name} (in Python {name}={values!r}): expected several numbers or one, "
            f"in a list such as [{values!r}]."
        )
    return tuple(values) if values else None


def _size(size: int | None) -> dict[str, int]:
    """A shorter side, and a longer one in the usual proportion of 5 to 3."""
    if not (size is None or isinstance(size, int)):
        raise SettingsError(
            f"--set preparation.shorter (in Python size={size!r}): expected whole pixels, such as "
            "640."
        )
    return {} if size is None else {"shorter": size, "longer": max(size, round(size * 5 / 3))}


def _share_minutes(settings: Settings, parts: int, reporter: Reporter) -> Settings:
    """The settings of each of several trainings, which share the minutes of all."""
    changes: dict[str, Any] = {"export": False}  # of the best one alone, at the end
    minutes = settings.training.minutes
    if minutes is not None:
        changes["minutes"] = minutes / parts
        reporter.say(
            f"training.minutes = {minutes:g} is for {counted(parts, 'training')}: "
            f"{minutes / parts:.3g} each. Looking at the unlabeled images comes on top."
        )
    return change_settings(settings, {"training": changes})
