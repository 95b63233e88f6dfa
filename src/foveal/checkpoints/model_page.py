"""`MODEL.md`: what a person should know of a model, beside its file. Loads no torch.

All of it stands in the file's own description, so that the page can be written anew wherever the
file goes. Names of data sets are kept and no paths: the page may be shared with the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.checkpoints.finding import BEST
from foveal.files import write_file
from foveal.text import between, counted, decimal, printable, shorten

if TYPE_CHECKING:
    from foveal.checkpoints.description import Description

MODEL_PAGE = "MODEL.md"
_MOST_CLASSES = 100
_LONGEST_NAME = 80
_PLAIN_WORD = re.compile(r"[\w./-]+")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def write_model_page(
    model: Path,
    description: Description | None = None,
    *,
    seconds: Mapping[str, float] | None = None,
    machine: str = "",
    page: Path | None = None,
) -> Path:
    """Write `MODEL.md` beside a model file, at one stroke.

    Args:
        model: the file; one called best.safetensors is loaded by its folder's name.
        description: of the model; None reads the file.
        seconds: what an image takes, by what computes it, where that was measured.
        machine: on which it was.
        page: the page's own place, where the folder is not the model's alone.

    Returns:
        The page.

    Raises:
        ModelFileError: the file is no model.
        FovealError: the page can't be written.
    """
    from foveal.checkpoints.header import read_description

    described = read_description(model) if description is None else description
    name = model.absolute().parent.name if model.name == BEST else model.name
    text = make_model_page(described, name=name or model.name, seconds=seconds, machine=machine)
    page = model.with_name(MODEL_PAGE) if page is None else page
    write_file(page, text)
    return page


def make_model_page(
    description: Description,
    *,
    name: str,
    seconds: Mapping[str, float] | None = None,
    machine: str = "",
) -> str:
    """The page as Markdown.

    Args:
        description: of the model.
        name: by which it is loaded, from the folder that it lies in.
        seconds, machine: as for `write_model_page`.
    """
    from foveal import __version__

    card, record = description.card, description.record
    sections = [
        f"# {_plain(name)}\n\nA RetinaNet ({_plain(description.model.backbone)}) that detects "
        f"{counted(len(card.classes), 'class')}: {_classes(card.classes)}.",
        _use(name),
        _section("Data", _data(description)),
        _section("How good it is", _quality(description)),
        _section(
            "What it sees",
            [
                f"Input: {describe_input(description)}.",
                f"Anchors: {describe_anchors(description)}.",
                f"Objects in training: {scale}." if (scale := describe_scale(description)) else "",
                f"Detections: at most {description.decoding.max_detections} an image, NMS above "
                f"IoU {description.decoding.nms_iou:g}.",
            ],
        ),
        _section("How fast it is", _speed(record, seconds, machine)),
        _section("Where it comes from", _origin(description)),
        f"Written by foveal {__version__} from the model's own description: foveal models show "
        f"{_typed(name)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def describe_input(description: Description) -> str:
    """What an image becomes at the network's input, in words."""
    preparation, bands = description.preparation, description.model.bands
    sides = {
        "keep": f"shorter side {preparation.shorter}, longer at most {preparation.longer} pixels",
        "square": f"{preparation.shorter} x {preparation.shorter} pixels, padded",
        "windows": f"windows of {preparation.shorter} x {preparation.shorter} pixels at "
        f"{preparation.scale:g} times the image's size",
    }[preparation.mode]
    return f"{sides}, {'RGB' if bands == 3 else counted(bands, 'band')}"


def describe_anchors(description: Description) -> str:
    """Anchors of a location, their sizes in input pixels and strides, in words."""
    anchors = description.anchors
    strides = ", ".join(map(str, anchors.strides))
    if getattr(anchors, "shapes", ()):
        each = len(anchors.shapes[0])
        return f"{each} at each location, given one by one, at strides {strides}"
    lists = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (anchors.sizes, anchors.scales, anchors.ratios)
    )
    sizes, scales, ratios = lists
    each = len(anchors.scales) * len(anchors.ratios)
    return (
        f"{each} at each location: sizes {sizes} pixels (strides {strides}), times {scales}; "
        f"height / width {ratios}"
    )


def describe_scale(description: Description) -> str:
    """At which scale objects were shown in training, in words; '' where it is not known."""
    card = description.card
    parts = []
    if card.scale is not None:
        parts.append(f"images were shown at {card.scale:.3g} times their size")
    if card.ground_resolution is not None:
        parts.append(f"{card.ground_resolution:.3g} m of ground a pixel")
    if card.largest_object is not None:
        parts.append(f"99 of 100 objects below {card.largest_object:.0f} pixels")
    return ", ".join(parts)


def _use(name: str) -> str:
    return (
        "## Use\n\nFrom the folder that it lies in:\n\n"
        f"```bash\nfoveal predict {_typed(name)} IMAGES --out detections\n```\n\nIn Python:\n\n"
        f'```python\nimport foveal; detections = foveal.load({name!r}).detect("image.jpg")\n```'
    )


def _data(description: Description) -> list[str]:
    data = _part(description.record, "data")
    lines = []
    for use, word in (("training", "Trained on"), ("validation", "Validated on")):
        part = _part(data, use)
        if not part:
            continue
        name = f"{_plain(str(part['name']))}: " if part.get("name") else ""
        empty = part.get("without_objects") or 0
        lines.append(
            f"{word} {name}{counted(int(part.get('images', 0)), 'image')}, "
            f"{counted(int(part.get('objects', 0)), 'object')}"
            + (f", {empty:,} images without objects." if empty else ".")
        )
    if lines:
        lines.append(_class_table(description.card.classes, data))
    if description.card.ignored_classes:
        lines.append(f"Regions to ignore were: {_classes(description.card.ignored_classes)}.")
    return lines or ["What it was trained on is not in its file."]


def _class_table(classes: Sequence[str], data: Mapping[str, Any]) -> str:
    counts = [_part(_part(data, use), "classes") for use in ("training", "validation")]
    rows = [
        f"| {_plain(name)} | " + " | ".join(_count(each, name) for each in counts) + " |"
        for name in classes[:_MOST_CLASSES]
    ]
    head = ["| class | objects to train on | to validate on |", "|---|---:|---:|"]
    more = len(classes) - _MOST_CLASSES
    return "\n".join([*head, *rows, *([f"| and {more:,} more | | |"] if more > 0 else [])])


def _count(counts: Mapping[str, Any], name: str) -> str:
    value = counts.get(name)
    return f"{value:,}" if isinstance(value, int) else "–"


def _quality(description: Description) -> list[str]:
    card, measured = description.card, _part(description.record, "measured")
    lines = []
    if "AP" in card.metrics:
        numbers = [
            f"{name} {decimal(card.metrics[name])}{_interval(measured, name)}"
            for name in ("AP", "AP50", "AP75")
            if name in card.metrics
        ]
        lines.append(f"On the validation images: {', '.join(numbers)}.")
        if measured:
            lines.append(
                "In brackets the 95 % interval by resampling the "
                f"{counted(int(measured.get('images', 0)), 'image')}. The best epoch and the score "
                "threshold were chosen on these images too: on new ones it may do a little worse. "
                "foveal evaluate measures it there."
            )
    else:
        lines.append("It was not measured: foveal evaluate does.")
    how = "chosen on the validation images (best F1)" if card.threshold_is_chosen else "by default"
    lines.append(f"Score threshold: {card.score_threshold:.3g}, {how}.")
    return lines


def _interval(measured: Mapping[str, Any], name: str) -> str:
    ends = measured.get(name)
    if not (isinstance(ends, (list, tuple)) and len(ends) == 2) or None in ends:
        return ""
    return f" ({between(float(ends[0]), float(ends[1]))})"


def _speed(
    record: Mapping[str, Any], seconds: Mapping[str, float] | None, machine: str
) -> list[str]:
    lines = []
    speed = _part(record, "speed")
    if speed.get("seconds") and speed.get("images"):
        each = 1000 * float(speed["seconds"]) / float(speed["images"])
        lines.append(
            f"Validating {counted(int(speed['images']), 'image')} took {each:.1f} ms an image, "
            f"reading and measuring included ({_plain(str(speed.get('machine', '')))})."
        )
    if seconds:
        times = [f"{name} {1000 * value:.1f} ms" for name, value in seconds.items()]
        lines.append(f"The network alone, an image: {', '.join(times)} ({_plain(machine)}).")
    return lines


def _origin(description: Description) -> list[str]:
    card, weights = description.card, _part(description.record, "backbone_weights")
    lines = []
    if card.origin:
        lines.append(f"It began from: {_plain(card.origin)}. That model's own license applies.")
    if weights:
        license_ = weights.get("license") or "none that is stated; ask whoever gave the file"
        lines.append(
            f"The backbone began with the weights {_plain(str(weights.get('name', '')))}; their "
            f"license: {_plain(str(license_))}."
        )
    elif not card.origin:
        lines.append("All weights began at random.")
    if card.epoch is not None:
        lines.append(f"The weights are those after epoch {card.epoch}.")
    if description.export is not None:
        export = description.export
        inside = "with" if export.nms else "without"
        lines.append(f"Exported in {export.precision}, {inside} NMS inside.")
    return lines


def _section(title: str, lines: Sequence[str]) -> str:
    shown = [line for line in lines if line]
    return "\n\n".join([f"## {title}", *shown]) if shown else ""


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of the record, which nobody validates: nothing where it is none."""
    part = values.get(name)
    return part if isinstance(part, Mapping) else {}


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(_plain(name) for name in names[:_MOST_CLASSES])
    more = len(names) - _MOST_CLASSES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _plain(text: str) -> str:
    """Text that Markdown shows letter for letter."""
    return _MARKUP.sub(r"\\\1", shorten(text, _LONGEST_NAME * 4))


def _typed(name: str) -> str:
    """A name as it is typed in a shell."""
    import shlex

    shown = printable(name, lines=False)
    return shown if _PLAIN_WORD.fullmatch(shown) else shlex.quote(shown)
