"""A trained model in the form that another program reads, written only if it does the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from foveal.checkpoints.description import Description, Export, to_json
from foveal.data.transforms.preparation import make_preparation
from foveal.errors import SettingsError
from foveal.evaluation.evaluate import quick_numbers
from foveal.exporting.checking import LIMITS, Agreement, Limits, compare, seconds_an_image
from foveal.exporting.images import align, fit, pictures_of, prepare, spread
from foveal.exporting.network import ExportedNetwork
from foveal.exporting.program import (
    DetectingNetwork,
    ProgramRuntime,
    dynamic_shapes,
    least_side,
    network_to_program,
    read_program,
    write_program,
)
from foveal.exporting.quantization import (
    LARGEST_DROP,
    Attempt,
    Judgment,
    float_layers_onnx,
    float_layers_openvino,
    onnx_attempts,
    openvino_attempts,
)
from foveal.exporting.triton import ENTRIES as TRITON_ENTRIES
from foveal.exporting.writing import install, workplace
from foveal.files import write_file
from foveal.inference.opening import Opened
from foveal.models.state_dicts import write_state_dict
from foveal.runtimes.base import InputSizes
from foveal.runtimes.pytorch import PyTorchRuntime
from foveal.text import counted, is_text, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.checkpoints.model_file import LoadedModel
    from foveal.config import DecodingSettings
    from foveal.data.dataset import Dataset
    from foveal.runtimes.base import Runtime
    from foveal.structures import Detections

ExportTarget = Literal["onnx", "openvino", "pt2", "triton", "torchvision", "detectron2"]

ENDINGS: dict[ExportTarget, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "openvino": (".xml",),
    "pt2": (".pt2",),
    "triton": ("",),
    "torchvision": (".pth", ".pt", ".safetensors"),
    "detectron2": (".pth",),
}
"""How the names of a target's files end; Triton's is a folder."""

CALIBRATION_IMAGES = 100
"""Images on which the ranges of 8-bit numbers are found."""

_PICTURES = 4
"""Images on which outputs are compared."""
_JUDGING_SECONDS = 90.0
_FEWEST_JUDGED, _MAX_VALIDATION_IMAGES = 20, 200
"""While layers are tried one by one, the average precision is that of so many images at most."""
_QUANTIZED = Limits(logits=math.inf, boxes=math.inf, fraction=0.9)
"""For 8 bits where no image has an object, so that there is no average precision."""
_DEFAULT = Limits(logits=math.inf, boxes=math.inf, fraction=0.0)
"""For whatever the runtime computes in by itself: it is told, and up to who asks for float32."""


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP of the network and of the export, on the same images.

    Attributes:
        network, export: COCO's AP, 0..1; NaN where no image has an object.
        images: how many images.
        of: whose they are, in words.
    """

    network: float
    export: float
    images: int
    of: str


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export is and how it was found to be the same.

    Attributes:
        path: of the file, or of Triton's folder.
        target: for what it is.
        export: precision, size, what is inside.
        problems: what is beyond the limits, in words; then nothing was written.
        agreements: how it agrees with the network, for each input size that was tried.
        average_precision: of both; None where there was no labeled image.
        seconds: what an image takes on this machine, by what computes it: 'PyTorch float32', ...;
            the network's is first, the export's last.
        notes: what else is to be said, a sentence each.
    """

    path: Path
    target: ExportTarget
    export: Export
    problems: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    average_precision: AveragePrecision | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def is_written(self) -> bool:
        """Whether the file is there."""
        return not self.problems


def export_model(
    loaded: LoadedModel,
    target: ExportTarget,
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    nms: bool = False,
    half: bool = False,
    int8: Dataset | None = None,
    check: Dataset | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Write a model for another program, if it is found to do what the network does.

    Args:
        loaded: the network with its card and settings.
        target: for what: 'onnx', 'openvino' (.xml and .bin), 'pt2' (a `torch.export` program),
            'triton' (a folder, decoding and NMS inside), 'torchvision' (weights only),
            'detectron2' (weights, and a config beside them).
        path: of the file; an older one is replaced at the very end.
        size: (height, width), the only input size; None: any whose sides are multiples of 32.
        batch: the only number of images; None: any.
        nms: put decoding and NMS inside.
        half: store the weights as float16.
        int8: images like those of use, to go to 8 bits with, if AP stays within `LARGEST_DROP`;
            where it doesn't, the export stays in float32 and says so.
        check: labeled images to compare on; without them drawn ones, or some of int8's.
        say: is told what is being done, a sentence each.

    Returns:
        The report. Where it names problems, nothing was written.

    Raises:
        SettingsError: options that do not go together, or that the target does not have.
        DataError: the data has classes that the model does not know, or no images.
        MissingExtraError: a package is not installed.
        ModelFileError: the file can't be written.
        WeightsError: torchvision or detectron2 has no place for something the model has.
    """
    path = Path(path)
    nms = nms or target == "triton"
    check_export(
        loaded.settings.decoding,
        target,
        path,
        size=size,
        batch=batch,
        nms=nms,
        half=half,
        int8=int8 is not None,
    )
    if target == "torchvision":
        return _export_torchvision(loaded, path, check=check)
    if target == "detectron2":
        return _export_detectron2(loaded, path, check=check)
    height, width = size or (None, None)
    with workplace(path) as folder:
        job = _Job(
            loaded,
            folder / (path.name if target != "triton" else "model"),
            name=path.name,
            target=target,
            sizes=InputSizes(height=height, width=width, batch=batch),
            nms=nms,
            half=half,
            say=say,
            int8=None if int8 is None else align(int8, loaded.card),
            check=None if check is None else align(check, loaded.card),
        )
        report = job.run(path)
        if report.is_written:
            for made in job.made():
                install(made, path.with_name(made.name) if target != "triton" else path)
    return report


def check_export(
    decoding: DecodingSettings,
    target: ExportTarget,
    path: Path,
    *,
    size: tuple[int, int] | None,
    batch: int | None,
    nms: bool,
    half: bool,
    int8: bool,
) -> None:
    """See whether a model can be exported as is asked for, before anything is made.

    Args:
        decoding: of the model.
        target, path, size, batch, nms, half: as for `export_model`.
        int8: whether it goes to 8 bits.

    Raises:
        SettingsError: options that do not go together, or that the target does not have.
        MissingExtraError: a package is not installed.
    """
    nms = nms or target == "triton"
    _check_options(target, size=size, batch=batch, nms=nms, half=half, int8=int8)
    _check_path(target, path)
    if nms:
        _check_nms(target, decoding)
    if target not in ("torchvision", "detectron2"):
        _check_packages(target, nms=nms, int8=int8)


def _check_options(
    target: ExportTarget,
    *,
    size: tuple[int, int] | None,
    batch: int | None,
    nms: bool,
    half: bool,
    int8: bool,
) -> None:
    if size is not None and (min(size) < 1 or any(side % 32 for side in size)):
        raise SettingsError(
            f"size {size[0]}x{size[1]}: expected a height and a width that are multiples of 32, "
            "such as 416x416."
        )
    if batch is not None and batch < 1:
        raise SettingsError(f"batch {batch}: expected at least 1 image.")
    if half and int8:
        raise SettingsError(
            "Half precision and 8 bits exclude each other. Expected --half or --int8."
        )
    given = {
        "a fixed size": size is not None,
        "a fixed batch": batch is not None,
        "NMS inside": nms,
        "half precision": half,
        "8 bits": int8,
    }
    unknown = {
        "torchvision": list(given),
        "detectron2": list(given),
        "pt2": ["half precision", "8 bits"],
        "triton": ["a fixed batch"],
    }.get(target, [])
    wrong = [name for name in unknown if given[name]]
    if wrong:
        instead = {
            "torchvision": "torchvision gets the weights alone. Leave it out, or export to onnx.",
            "detectron2": "detectron2 gets weights and a config. Leave it out, or export to onnx.",
            "pt2": "Export to onnx or openvino for that.",
            "triton": "Triton makes the batches. Leave it out.",
        }[target]
        raise SettingsError(f"An export to {target} does not have {wrong[0]}. {instead}")
    if target == "pt2" and nms and (size is None or batch is None):
        raise SettingsError(
            "A torch.export program with NMS inside is for one input size and number of images. "
            "Expected --size HxW and --batch N too, or no --nms."
        )


def _check_nms(target: ExportTarget, decoding: DecodingSettings) -> None:
    if decoding.nms_method == "hard":
        return
    way = (
        "Export to onnx for a server that decodes with foveal"
        if target == "triton"
        else "Leave --nms out: decoding is then outside the file, as foveal predict does it"
    )
    raise SettingsError(
        f"This model has decoding.nms_method = {decoding.nms_method}, and inside an exported file "
        f"there is hard NMS only. {way}; or train with --set decoding.nms_method=hard."
    )


def _check_path(target: ExportTarget, path: Path) -> None:
    endings = ENDINGS[target]
    if not is_text(path.name):
        raise SettingsError(
            f"{path}: the libraries that write exports take no name that is not UTF-8. Expected "
            "another name."
        )
    if target == "triton":
        if path.suffix:
            raise SettingsError(
                f"{path}: Triton reads a folder. Expected a name without an ending, such as "
                f"{path.with_suffix('')}."
            )
        if path.is_file() or (path.is_dir() and not (path / "config.pbtxt").is_file()):
            raise SettingsError(
                f"{path}: is there and is no model for Triton. Expected a new folder, or an older "
                "export to replace."
            )
        others = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
        others = [name for name in others if name not in TRITON_ENTRIES]
        if others:
            raise SettingsError(
                f"{path}: holds more than an export writes ({listed(others, 4)}), and replacing it "
                "would remove that. Expected a new folder: --out DIR, or move those elsewhere."
            )
    elif path.suffix.lower() not in endings:
        raise SettingsError(
            f"{path}: expected a name that ends in {' or '.join(endings)} for an export to "
            f"{target}, such as {path.with_suffix(endings[0]).name}."
        )
    elif path.is_dir():
        raise SettingsError(f"{path}: is a folder. Expected the name of a file.")


def _check_packages(target: ExportTarget, *, nms: bool, int8: bool) -> None:
    """Fail at once, not after half of the work."""
    from foveal.runtimes.telemetry import import_nncf, import_openvino

    if target == "openvino":
        import_openvino()
    if target in ("onnx", "triton") or (target == "openvino" and nms):
        from foveal.exporting.onnx import require_onnx

        require_onnx()
    if int8:
        import_nncf()


def _export_torchvision(loaded: LoadedModel, path: Path, *, check: Dataset | None) -> ExportReport:
    from foveal.exporting.torchvision import export_torchvision

    exported = export_torchvision(loaded.model, loaded.settings)
    write_state_dict(path, exported.state)
    notes = [
        f"These are weights for {exported.constructor}, loaded with strict=True. torchvision "
        "counts classes from 1: our first class is its label 1.",
        *exported.hints,
    ]
    if check is not None:
        notes.append("They were not run: what torchvision needs beside them is not in the file.")
    return ExportReport(path, "torchvision", Export(), notes=tuple(notes))


def _export_detectron2(loaded: LoadedModel, path: Path, *, check: Dataset | None) -> ExportReport:
    from foveal.exporting.detectron2 import export_detectron2, to_yaml

    exported = export_detectron2(loaded.model, loaded.settings)
    config = path.with_suffix(".yaml")
    replaced = ", in place of an earlier one" if config.exists() else ""
    with workplace(path) as folder:
        made, text = folder / path.name, folder / config.name
        write_state_dict(made, exported.state)
        write_file(text, to_yaml(exported.config, weights=path.name, classes=loaded.card.classes))
        install(text, config)
        install(made, path)
    notes = [
        f"These are weights for detectron2's RetinaNet; {config} is its config{replaced}: "
        "merge_from_file, and MODEL.WEIGHTS to where the weights are.",
        *exported.hints,
    ]
    if check is not None:
        notes.append("They were not run: detectron2 is not needed here.")
    return ExportReport(path, "detectron2", Export(), notes=tuple(notes))


@dataclass(eq=False)
class _Job:
    """One export: what was asked for, and what has become known on the way."""

    loaded: LoadedModel
    file: Path
    name: str
    target: ExportTarget
    sizes: InputSizes
    nms: bool
    half: bool
    say: Callable[[str], None]
    int8: Dataset | None
    check: Dataset | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        loaded = self.loaded
        self.settings = loaded.settings
        self.description = loaded.description
        self.grid = loaded.model.grid
        on_cpu = loaded.model.mean.device.type == "cpu"
        # Reference is what PyTorch computes on a CPU: others may round to fewer bits.
        model = loaded.model if on_cpu else copy.deepcopy(loaded.model).cpu()
        self.reference = PyTorchRuntime(model, device=None, precision="float32")
        self.usual = PyTorchRuntime(model, device=None)
        self.calibration, self.judged, self.judged_of = self._divide()
        self.pictures = pictures_of(self.judged, self.settings, _PICTURES)

    def run(self, path: Path) -> ExportReport:
        """Make the files in the workplace and compare them with the network."""
        network = ExportedNetwork(self.loaded.model)
        self.say(f"Turning the network into {_NAMES[self.target]}.")
        match self.target:
            case "openvino":
                export = self._make_openvino(network)
            case "onnx" | "triton":
                export = self._make_onnx(network)
            case _:
                export = self._make_program(network)
        self.say("Comparing it with PyTorch.")
        runtimes = self._open(export)
        least = least_side(network)
        agreements = []
        problems: list[str] = []
        for runtime in runtimes:
            limits = self._limits(runtime, runtimes, export)
            for images in self._batches(least):
                agreement = compare(
                    self.reference, runtime, images, grid=self.grid, decoding=self.settings.decoding
                )
                agreements.append(agreement)
                problems += agreement.problems(limits)
        if self.nms and not any(each.detections for each in agreements):
            self.notes.append(
                "The network finds nothing in the images that it was compared on, so that says "
                "little. Compare on images with objects: --check DATA."
            )
        usual = runtimes[-1]
        average_precision = self._average_precision(usual, export)
        if average_precision is not None and export.precision != "float32":
            drop = average_precision.network - average_precision.export
            if drop > LARGEST_DROP:
                problems.append(f"AP falls by {drop:.4f}, limit {LARGEST_DROP}")
        if self.target == "pt2" and self.sizes.height is None:
            self.notes.append(f"Inputs have at least {least} pixels a side.")
        return ExportReport(
            path,
            self.target,
            export,
            problems=tuple(problems),
            agreements=tuple(agreements),
            average_precision=average_precision,
            seconds=self._seconds(usual, least),
            notes=tuple(self.notes),
        )

    def made(self) -> list[Path]:
        """What is to be put in its place, in this order."""
        if self.target == "openvino":
            return [self.file.with_suffix(".bin"), self.file]
        return [self.file]

    # Making ----------------------------------------------------------------------------------

    def _make_openvino(self, network: ExportedNetwork) -> Export:
        from foveal.exporting import openvino
        from foveal.runtimes.openvino import OpenVINORuntime

        model = openvino.network_to_openvino(network, self._example(network), self.sizes)
        export = self._export("float16" if self.half else "float32")
        if self.int8 is not None:
            quantized = self._quantized(model, OpenVINORuntime, openvino_attempts)
            if quantized is not None:
                model = quantized
                export = self._export("int8", float_layers_openvino(model))
        if self.nms:
            model = openvino.append_postprocessing(
                model,
                self.grid,
                self.settings.decoding,
                num_classes=self.loaded.model.num_classes,
            )
        metadata = to_json(self.description.exported_as(export))
        openvino.write_openvino(model, self.file, metadata, half=self.half)
        return export

    def _make_onnx(self, network: ExportedNetwork) -> Export:
        import onnx_ir

        from foveal.exporting import onnx, triton
        from foveal.exporting.onnx_postprocessing import append_postprocessing
        from foveal.runtimes.onnx import ONNXRuntime

        model = onnx.network_to_onnx(network, self._example(network), self.sizes)
        export = self._export("float16" if self.half else "float32")
        if self.half:
            model = onnx.to_half(model)
        if self.int8 is not None:
            quantized = self._quantized(
                onnx_ir.to_proto(model),
                lambda proto: ONNXRuntime(proto.SerializeToString(), device="cpu"),
                onnx_attempts,
            )
            if quantized is not None:
                model = onnx_ir.from_proto(quantized)
                export = self._export("int8", float_layers_onnx(quantized))
        if self.nms:
            append_postprocessing(
                model.graph,
                self.grid,
                self.settings.decoding,
                num_classes=self.loaded.model.num_classes,
            )
        description = self.description.exported_as(export)
        file = self.file
        if self.target == "triton":
            file = self.file / triton.MODEL
            file.parent.mkdir(parents=True)
            triton.write_triton_config(self.file, self.name, description, self.sizes)
        onnx.write_onnx(model, file, to_json(description))
        return export

    def _make_program(self, network: ExportedNetwork) -> Export:
        export = self._export("float32")
        module: torch.nn.Module = network
        if self.nms:
            assert self.sizes.height is not None
            assert self.sizes.width is not None
            module = DetectingNetwork(
                network,
                self.grid,
                self.settings.decoding,
                height=self.sizes.height,
                width=self.sizes.width,
            )
            self.notes.append("Loading it needs `import torchvision`, for its NMS.")
        free = dynamic_shapes(network, self.sizes)
        program = network_to_program(module, self._example(network), free)
        write_program(program, self.file, to_json(self.description.exported_as(export)))
        return export

    def _export(
        self, precision: Literal["float32", "float16", "int8"], float_layers: tuple[str, ...] = ()
    ) -> Export:
        sizes = self.sizes
        return Export(precision, self.nms, sizes.height, sizes.width, sizes.batch, float_layers)

    def _example(self, network: ExportedNetwork) -> torch.Tensor:
        """A small input to run the network with once, or one of the only size."""
        least = least_side(network)
        shape = (
            self.sizes.batch or 2,
            network.bands,
            self.sizes.height or least,
            self.sizes.width or least + 32,
        )
        return torch.zeros(shape, dtype=torch.uint8)

    # 8 bits ----------------------------------------------------------------------------------

    def _divide(self) -> tuple[Dataset | None, Dataset | None, str]:
        """The images to calibrate on, those to judge by, and whose these are."""
        if self.int8 is None:
            return None, self.check, "the checked images"
        if self.check is not None:
            return spread(self.int8, CALIBRATION_IMAGES), self.check, "the checked images"
        if len(self.int8) == 1:
            return self.int8, self.int8, "the image that it was calibrated on"
        rest, held = self.int8.split(1 / 3)
        return spread(rest, CALIBRATION_IMAGES), held, "a third of the calibration's images"

    def _quantized(
        self,
        model: Any,
        as_runtime: Callable[[Any], Runtime],
        attempts: Callable[..., list[Attempt]],
    ) -> Any | None:
        """The model in 8 bits, or None if too much average precision is lost."""
        assert self.calibration is not None
        assert self.judged is not None
        runtime = as_runtime(model)
        images = self._batches(32)[0]
        seconds = seconds_an_image({"float32": runtime}, images)["float32"]
        self.say(
            f"8 bits: calibrating on {counted(len(self.calibration), 'image')}, judging by "
            f"{self.judged_of} ({len(self.judged)})."
        )
        judged = spread(
            self.judged,
            min(max(round(_JUDGING_SECONDS / seconds), _FEWEST_JUDGED), _MAX_VALIDATION_IMAGES),
        )

        def detect(candidate: Runtime, indices: Sequence[int]) -> list[Detections]:
            return self._detect(candidate, judged.take(list(indices)))

        def score(detections: Sequence[Detections], indices: Sequence[int]) -> float:
            return _score(
                detections,
                judged.take(list(indices)),
                max_detections=self.settings.decoding.max_detections,
            )

        judgment = Judgment(detect, score, len(judged))
        inputs = prepare(self.calibration, self.description, self.sizes)
        network, best = self._network_ap, 0.0
        for number, attempt in enumerate(attempts(model, inputs, judgment)):
            if number:
                self.say(
                    f"In 8 bits AP would be {best:.3f} instead of {network:.3f}. {attempt.plan}"
                )
            quantized = attempt.make()
            reached = self._ap(as_runtime(quantized))
            if not network - reached > LARGEST_DROP:  # also where both are NaN
                return quantized
            best = max(best, reached)
        self.notes.append(
            f"It stays in float32: in 8 bits AP falls by {network - best:.4f}, and {LARGEST_DROP} "
            "is the limit."
        )
        return None

    # Comparing -------------------------------------------------------------------------------

    def _open(self, export: Export) -> list[Runtime]:
        """The written files in their runtime: as they are compared, then as users get them."""
        match self.target:
            case "openvino":
                from foveal.runtimes.openvino import open_openvino

                usual, _ = open_openvino(self.file)
                if export.precision == "int8" or usual.precision == "float32":
                    return [usual]
                exact, _ = open_openvino(self.file, precision="float32")
                self.notes.append(
                    f"OpenVINO computes in {usual.precision} on this machine unless it is asked "
                    "for float32."
                )
                return [exact, usual]
            case "onnx" | "triton":
                from foveal.exporting.triton import MODEL
                from foveal.runtimes.onnx import open_onnx

                file = self.file / MODEL if self.target == "triton" else self.file
                return [open_onnx(file, device="cpu")[0]]
            case _:
                return [ProgramRuntime(read_program(self.file)[0], self.sizes, nms=self.nms)]

    def _limits(self, runtime: Runtime, runtimes: Sequence[Runtime], export: Export) -> Limits:
        if export.precision == "int8":
            return _QUANTIZED if math.isnan(self._network_ap) else _DEFAULT
        if runtime is not runtimes[0]:
            return _DEFAULT
        return LIMITS[export.precision]

    def _batches(self, least: int) -> list[NDArray[np.uint8]]:
        """Inputs to compare on: of the usual size, and of two others where the export takes any."""
        height, width = self.sizes.height, self.sizes.width
        if height is not None and width is not None:
            sizes = [(height, width)]
        else:
            picture = self.pictures[0]
            usual = make_preparation(self.settings.preparation).size_for(
                picture.shape[1], picture.shape[0]
            )
            usual = (max(usual[0], least), max(usual[1], least))
            sizes = [usual, *_other_sizes(usual, least)]
        numbers = [self.sizes.batch] * 3 if self.sizes.batch else [1, 3, 1]
        return [
            fit(self.pictures, self.settings, size=size, batch=number)
            for size, number in zip(sizes, numbers, strict=False)
        ]

    def _seconds(self, usual: Runtime, least: int) -> dict[str, float]:
        images = self._batches(least)[0]
        runtimes: dict[str, Runtime] = {
            f"{runtime.name} {runtime.precision}": runtime for runtime in (self.usual, usual)
        }
        return seconds_an_image(runtimes, images)

    def _average_precision(self, runtime: Runtime, export: Export) -> AveragePrecision | None:
        if self.judged is None:
            return None
        return AveragePrecision(
            self._network_ap, self._ap(runtime, export), len(self.judged), self.judged_of
        )

    @cached_property
    def _network_ap(self) -> float:
        """The network's own average precision, in float32."""
        return self._ap(self.reference)

    def _ap(self, runtime: Runtime, export: Export | None = None) -> float:
        assert self.judged is not None
        detections = self._detect(runtime, self.judged, export)
        return _score(detections, self.judged, max_detections=self.settings.decoding.max_detections)

    def _detect(
        self, runtime: Runtime, dataset: Dataset, export: Export | None = None
    ) -> list[Detections]:
        description: Description = replace(self.description, export=export)
        score_threshold = self.settings.decoding.score_threshold
        predictor = Opened(runtime, description).predictor(score_threshold=score_threshold)
        return predictor.detect_many(dataset.paths)


_NAMES: dict[ExportTarget, str] = {
    "onnx": "ONNX",
    "openvino": "an OpenVINO model",
    "pt2": "a torch.export program",
    "triton": "ONNX for Triton",
    "torchvision": "weights for torchvision",
    "detectron2": "weights for detectron2",
}


def _score(detections: Sequence[Detections], dataset: Dataset, *, max_detections: int) -> float:
    return quick_numbers(
        detections, dataset.targets, dataset.classes, max_detections=max_detections
    )["AP"]


def _other_sizes(usual: tuple[int, int], least: int) -> list[tuple[int, int]]:
    """Two other sizes, smaller if that can be: one higher than wide, one square."""
    shorter, longer = sorted(max(least, round(side * 0.7 / 32) * 32) for side in usual)
    high = (longer + 32, shorter)
    side = max(least, round(max(usual) / 64) * 32)
    while (side, side) in (usual, high):
        side += 32
    return [high if high != usual else (longer + 64, shorter), (side, side)]
