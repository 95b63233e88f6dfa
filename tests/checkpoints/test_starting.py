"""A training that begins from another model: what is taken from it, and class by class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.conftest import make_small

from foveal.checkpoints import model_file
from foveal.checkpoints.description import describe
from foveal.checkpoints.starting import (
    START_SECTIONS,
    Start,
    describe_preset,
    describe_start,
    load_start,
    read_start,
)
from foveal.config import NETWORK_SECTIONS, gather_settings, make_settings
from foveal.errors import ModelFileError, SettingsError
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard

CLASSES = ("red", "white", "Plättchen")
IMAGES = torch.arange(3 * 64 * 64).remainder(251).to(torch.uint8).view(1, 3, 64, 64)


def start_of(*overrides: str, classes: tuple[str, ...] = CLASSES) -> tuple[RetinaNet, Start]:
    """A model whose every value is its own, and a training's start from it."""
    model, settings = make_small(*overrides, classes=len(classes))
    generator = torch.Generator().manual_seed(1)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=generator) * 0.01)
    loaded = model_file.LoadedModel(model.eval(), settings, ModelCard(classes))
    return model, Start.of(loaded, name="old.safetensors")


def begun(start: Start, classes: tuple[str, ...], *overrides: str) -> RetinaNet:
    settings = start.settings(gather_settings(preset="retinanet", overrides=overrides))
    torch.manual_seed(5)
    model = build_model(settings, len(classes), empty=True).eval()
    load_start(model, start, classes)
    return model


@pytest.mark.parametrize("overrides", [(), ("model.head_depthwise=true",)])
@pytest.mark.parametrize(
    "classes",
    [
        CLASSES,
        ("Plättchen", "red", "white"),
        ("new", "white", "red", "other", "Plättchen"),
        ("white", "new"),
        ("Plättchen",),
    ],
)
def test_each_class_keeps_its_scores(overrides: tuple[str, ...], classes: tuple[str, ...]) -> None:
    old, start = start_of(*overrides)
    new = begun(start, classes)
    with torch.inference_mode():
        before, now = old(IMAGES), new(IMAGES)
    for stored, found in zip(before.deltas, now.deltas, strict=True):
        assert torch.equal(stored, found)
    for stored, found in zip(before.logits, now.logits, strict=True):
        for place, name in enumerate(classes):
            if name in CLASSES:
                expected = stored[..., CLASSES.index(name)]
                torch.testing.assert_close(found[..., place], expected, rtol=1e-5, atol=1e-5)
    *_, bias = new.classification.output.parameters()
    prior = bias.detach().unflatten(0, (-1, len(classes)))
    for place, name in enumerate(classes):
        if name not in CLASSES:
            assert prior[:, place].tolist() == pytest.approx([-4.59512] * len(prior))


def test_classes_that_are_all_others_leave_the_class_layer_alone() -> None:
    old, start = start_of()
    classes = ("a", "b", "c")
    model, _ = make_small()
    before = model.classification.output.weight.clone()
    left = load_start(model, start, classes)
    assert left == ("classification.output.weight", "classification.output.bias")
    assert torch.equal(model.classification.output.weight, before)
    assert torch.equal(model.box.output.weight, old.box.output.weight)


def test_other_numbers_of_anchors_leave_the_output_layers_alone() -> None:
    old, start = start_of()
    settings = start.settings(
        gather_settings(preset="retinanet", overrides=["anchors.scales=[1.0, 1.5]"])
    )
    model = build_model(settings, 3, empty=True)
    left = load_start(model, start, CLASSES)
    assert [name.partition(".")[0] for name in left] == ["classification"] * 2 + ["box"] * 2
    assert torch.equal(model.fpn.output[0].weight, old.fpn.output[0].weight)
    told = describe_start(start, settings, CLASSES)
    assert "anchors.scales = [1, 1.5] (there [1, 1.26, 1.587])" in told[0]
    assert "output layers begin anew: a location has 6 anchors and had 9" in told[1]


def test_the_settings_are_the_files_but_for_what_is_set() -> None:
    _, start = start_of("preparation.shorter=96", "anchors.compat=torchvision")
    given = gather_settings(
        preset="torchvision_v2",
        overrides=["preparation.longer=200", "training.epochs=3"],
        without=NETWORK_SECTIONS,
    )
    settings = start.settings(given)
    assert (settings.preparation.shorter, settings.preparation.longer) == (96, 200)
    assert settings.model == start.description.model
    assert settings.anchors == start.description.anchors
    assert (settings.loss.box, settings.training.epochs) == ("giou", 3)
    (told,) = describe_start(start, settings, CLASSES)
    assert "but for preparation.longer = 200 (there 1066)" in told
    said = describe_preset("torchvision_v2", settings)
    assert said.startswith("Of the preset torchvision_v2, model, preparation, decoding are not")
    assert describe_preset("retinanet", start.settings({})) == ""
    with pytest.raises(SettingsError, match=r"on top of those of old\.safetensors"):
        start.settings(gather_settings(preset="retinanet", overrides=["preparation.shorter=9000"]))


def test_mean_and_deviation_that_are_set_stand_in_the_network() -> None:
    _, start = start_of()
    model = begun(start, CLASSES, "preparation.mean=[0.1, 0.2, 0.3]")
    assert model.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("before", "now"), [("live", "frozen"), ("frozen", "live"), ("live", "group")]
)
def test_norms_of_another_kind_take_what_they_have(before: str, now: str) -> None:
    old, start = start_of(f"model.norm={before}")
    model = begun(start, CLASSES, f"model.norm={now}")
    for name, value in old.state_dict().items():
        if name in model.state_dict():
            assert torch.equal(model.state_dict()[name], value), name


def test_another_network_is_named_and_changes_nothing() -> None:
    _, start = start_of()
    model, _ = make_small("model.fpn_channels=8")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ModelFileError, match=r"is of another network: fpn\.lateral\.0\.weight is"):
        load_start(model, start, CLASSES)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("white", "red", "Plättchen"), "the same in another order; each keeps its weights"),
        (("red", "new"), "red keep their weights; new new, from the prior; white, Plättchen left"),
        (("Red", "White"), "none of Red, White is one of its classes (red, white, Plättchen)"),
    ],
)
def test_what_becomes_of_the_classes_is_said(classes: tuple[str, ...], words: str) -> None:
    _, start = start_of()
    settings = start.settings({})
    assert len(describe_start(start, settings, CLASSES)) == 1
    assert words in describe_start(start, settings, classes)[1]


def test_a_file_a_run_and_an_export(tmp_path: Path) -> None:
    model, start = start_of()
    card = start.description.card
    model_file.save(tmp_path / "best.safetensors", model, start.settings({}), card)
    for path in (tmp_path, tmp_path / "best.safetensors"):
        read = read_start(path)
        assert read.name == str(tmp_path / "best.safetensors")
        assert read.tensors.keys() == start.tensors.keys()
    for name in ("best.xml", "best.onnx"):
        with pytest.raises(ModelFileError, match="an exported model, which can only predict"):
            read_start(tmp_path / name)


ONE_ANCHOR = ("anchors.scales=[1]", "anchors.ratios=[1]")
ADDITIONS = ("model.quality=centerness", "model.level_scales=true")


def test_additions_to_the_box_subnet_begin_anew_and_the_rest_is_kept() -> None:
    old, start = start_of(*ONE_ANCHOR)
    settings = start.settings(gather_settings(preset="retinanet", overrides=ADDITIONS))
    model = build_model(settings, 3, empty=True).eval()
    left = load_start(model, start, CLASSES)
    assert set(left) == {"box.scales", "box.quality.weight", "box.quality.bias"}
    with torch.inference_mode():
        for stored, found in zip(old(IMAGES).deltas, model(IMAGES).deltas, strict=True):
            torch.testing.assert_close(found, stored, rtol=1e-5, atol=1e-5)
    said = describe_start(start, settings, CLASSES)[1]
    assert said == "New in the box subnet: the quality branch and the factors of the levels."


def test_what_the_new_network_does_not_have_is_left_out() -> None:
    old, start = start_of(*ONE_ANCHOR, *ADDITIONS)
    model = begun(start, CLASSES, "model.quality=none", "model.level_scales=false")
    assert torch.equal(model.box.output.weight, old.box.output.weight)
    same = begun(start, CLASSES)
    assert torch.equal(same.box.scales, old.box.scales)


@pytest.mark.parametrize("bins", [0, 5])
def test_a_box_layer_that_predicts_something_else_begins_anew(bins: int) -> None:
    old, start = start_of(*ONE_ANCHOR)
    overrides = ["model.box_coding=distances", f"model.box_bins={bins}"]
    settings = start.settings(gather_settings(preset="retinanet", overrides=overrides))
    model = build_model(settings, 3, empty=True)
    left = load_start(model, start, CLASSES)
    assert left == ("box.output.weight", "box.output.bias")
    assert torch.equal(model.classification.output.weight, old.classification.output.weight)
    assert (
        f"'distances' with {bins} bins and was 'deltas'"
        in (describe_start(start, settings, CLASSES)[1])
    )


@pytest.mark.parametrize(
    ("preset", "record", "expected"),
    [
        ("light", {"assignment": {"method": "atss"}}, ("atss", "quality_focal")),
        ("light", {}, ("task_aligned", "quality_focal")),
        ("atss", {}, ("atss", "focal")),
        ("retinanet", {}, ("iou", "focal")),
        ("retinanet", {"assignment": {"force_best": False}, "loss": 3}, ("iou", "focal")),
        ("retinanet", {"assignment": {"method": "of tomorrow"}}, ("iou", "focal")),
    ],
)
def test_assignment_and_losses_are_those_of_the_model_to_begin_from(
    preset: str, record: dict[str, object], expected: tuple[str, str]
) -> None:
    settings = make_settings(preset=preset)
    described = describe(settings, ModelCard(CLASSES), {"note": "by hand", **record})
    start = Start("old.safetensors", described, {})
    given = gather_settings(preset="light", without=START_SECTIONS)
    found = start.settings(given)
    assert (found.assignment.method, found.loss.classification) == expected
    assert found.assignment.allow_low_quality_matches == ("force_best" not in str(record))
    own = start.settings(given | {"assignment": {"method": "fcos"}} if preset == "light" else given)
    assert own.assignment.method == ("fcos" if preset == "light" else expected[0])


def test_of_a_record_the_weights_of_classes_stay_behind() -> None:
    settings = make_settings(preset="retinanet", overrides=['loss.class_weights={"red" = 3.0}'])
    start = Start("old.safetensors", describe(settings, ModelCard(CLASSES)), {})
    assert start.settings({}).loss.class_weights == {}
    said = describe_preset("light", start.settings({}))
    assert "Its 9 anchors a location get their objects by 'iou'" in said
