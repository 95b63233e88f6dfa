"""What a model file says of itself, so that nothing else is needed to predict. Loads no torch.

The same JSON document stands in the header of a model file, in the metadata of an ONNX file and in
an OpenVINO model's runtime information. What prediction needs is strict; the record of the training
is kept and shown, and never validated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foveal.checkpoints.migration import has_other_outputs, migrate
from foveal.config import (
    AnchorSettings,
    DecodingSettings,
    ModelSettings,
    PreparationSettings,
    Settings,
)
from foveal.errors import DataError, ModelFileError
from foveal.structures import DetectionProfile, ModelCard
from foveal.text import as_text

FORMAT_VERSION = 2

METADATA_KEY = "foveal"
"""Under which name the document stands in every kind of file."""

ExportPrecision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, slots=True)
class Export:
    """How a file differs from the network that it was exported from.

    Attributes:
        precision: of the weights; 'int8' of weights and activations.
        nms: whether decoding and NMS are inside.
        height, width, batch: the only input size and number of images that it takes; None: any
            multiple of 32, any number.
        float_layers: with 'int8', what was kept in float32.
    """

    precision: ExportPrecision = "float32"
    nms: bool = False
    height: int | None = None
    width: int | None = None
    batch: int | None = None
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """All that a file says of its model besides the weights.

    Attributes:
        card: class names, score threshold, where it came from.
        model, anchors, preparation, decoding: what prediction needs.
        record: how it was trained; for people.
        export: how an exported file was made; None in a model file.
    """

    card: ModelCard
    model: ModelSettings
    anchors: AnchorSettings
    preparation: PreparationSettings
    decoding: DecodingSettings
    record: Mapping[str, Any] = field(default_factory=dict)
    export: Export | None = None

    def settings(self) -> Settings:
        """Settings with the parts that prediction needs; the others are the defaults."""
        return Settings(
            model=self.model,
            anchors=self.anchors,
            preparation=self.preparation,
            decoding=self.decoding,
        )

    def exported_as(self, export: Export) -> Description:
        """The same of a file that was exported."""
        return replace(self, export=export)


def describe(
    settings: Settings, card: ModelCard, record: Mapping[str, Any] | None = None
) -> Description:
    """The description of a model with these settings.

    Args:
        settings: all of them; what is no part of prediction goes into the record.
        card: of the model.
        record: what else is to be kept; None makes the record of the settings.
    """
    return Description(
        card,
        settings.model,
        settings.anchors,
        settings.preparation,
        settings.decoding,
        training_record(settings) if record is None else record,
    )


def training_record(settings: Settings) -> dict[str, Any]:
    """How a model is trained: the settings that prediction does not need, as JSON values."""
    return settings.model_dump(mode="json", exclude={"model", "anchors", "preparation", "decoding"})


def to_json(description: Description) -> str:
    """The description as a JSON document."""
    card = description.card
    document: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "card": {
            "classes": list(card.classes),
            "score_threshold": card.score_threshold,
            "threshold_is_chosen": card.threshold_is_chosen,
            "ignored_classes": list(card.ignored_classes),
            "metrics": {
                name: value if math.isfinite(value) else None
                for name, value in card.metrics.items()
            },
            "epoch": card.epoch,
            "origin": card.origin,
            "scale": card.scale,
            "ground_resolution": card.ground_resolution,
            "largest_object": card.largest_object,
            "profile": None if card.profile is None else asdict(card.profile),
        },
        "model": description.model.model_dump(mode="json"),
        "anchors": description.anchors.model_dump(mode="json"),
        "preparation": description.preparation.model_dump(mode="json"),
        "decoding": description.decoding.model_dump(mode="json"),
        "record": dict(description.record),
    }
    if description.export is not None:
        export = description.export
        document["export"] = {
            "precision": export.precision,
            "nms": export.nms,
            "height": export.height,
            "width": export.width,
            "batch": export.batch,
            "float_layers": list(export.float_layers),
        }
    return as_text(json.dumps(document, ensure_ascii=False))


def from_json(text: str, *, where: object) -> Description:
    """Read a description, of this version or of an earlier one.

    Args:
        text: what `to_json` gave.
        where: the file, for messages.

    Raises:
        ModelFileError: it is of a later version, incomplete, or contradicts itself.
    """
    try:
        document = json.loads(text)
        version = document["version"]
    except (ValueError, KeyError, TypeError):
        raise ModelFileError(f"{where}: its description can't be read; get it again.") from None
    if version not in range(1, FORMAT_VERSION + 1):
        raise ModelFileError(
            f"{where}: has format version {version}, expected 1 to {FORMAT_VERSION}. "
            "Use the version of foveal that wrote it, or a later one."
        )
    try:
        read = _Document.model_validate(migrate(document))
        card = ModelCard(
            tuple(read.card.classes),
            score_threshold=read.card.score_threshold,
            threshold_is_chosen=read.card.threshold_is_chosen,
            ignored_classes=tuple(read.card.ignored_classes),
            metrics={
                name: math.nan if value is None else value
                for name, value in read.card.metrics.items()
            },
            epoch=read.card.epoch,
            origin=read.card.origin,
            scale=read.card.scale,
            ground_resolution=read.card.ground_resolution,
            largest_object=read.card.largest_object,
            profile=_profile(read.card),
        )
    except (ValidationError, DataError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{where}: its description is incomplete or contradicts itself ({_said(error)}). "
            "The file was changed after it was written; get it again."
        ) from None
    if has_other_outputs(document):
        raise ModelFileError(
            f"{where}: was exported by an earlier version, with another order of the anchors. "
            "Expected an export of this version: run foveal export on its model again."
        )
    export = None if read.export is None else Export(**read.export.model_dump())
    return Description(
        card, read.model, read.anchors, read.preparation, read.decoding, read.record, export
    )


class _Part(BaseModel):
    """A part of the document: every name known, every value of its type."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Profile(_Part):
    images: int
    score_threshold: Annotated[float, Field(ge=0, le=1)]
    scores: tuple[int, ...]
    sizes: tuple[int, ...]
    classes: tuple[int, ...]


class _Card(_Part):
    classes: list[str]
    score_threshold: Annotated[float, Field(ge=0, le=1)]
    threshold_is_chosen: bool
    ignored_classes: list[str]
    metrics: dict[str, float | None]
    epoch: int | None
    origin: str
    scale: Annotated[float, Field(gt=0)] | None = None
    ground_resolution: Annotated[float, Field(gt=0)] | None = None
    largest_object: Annotated[float, Field(gt=0)] | None = None
    profile: _Profile | None = None


class _Export(_Part):
    precision: ExportPrecision
    nms: bool
    height: int | None
    width: int | None
    batch: int | None
    float_layers: tuple[str, ...]


class _Document(_Part):
    version: Literal[2]
    card: _Card
    model: ModelSettings
    anchors: AnchorSettings
    preparation: PreparationSettings
    decoding: DecodingSettings
    record: dict[str, Any]
    export: _Export | None = None


def _profile(card: _Card) -> DetectionProfile | None:
    """The profile; None in files that were written before there was one."""
    if card.profile is None:
        return None
    if len(card.profile.classes) != len(card.classes):
        raise DataError(
            f"a profile of {len(card.profile.classes)} classes, expected {len(card.classes)}"
        )
    return DetectionProfile(**card.profile.model_dump())


def _said(error: Exception) -> str:
    """The first mistake, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
