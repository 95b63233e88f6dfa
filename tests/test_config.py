"""Settings: presets, TOML, overrides, and mistakes that are named."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.config import PRESETS, Settings, make_settings, parse_settings, to_toml
from foveal.config.renamed import RENAMED, RENAMED_VALUES
from foveal.config.without_effect import describe_without_effect
from foveal.errors import SettingsError
from foveal.files import write_file


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_survives_toml(preset):
    settings = make_settings(preset=preset)
    assert parse_settings(tomllib.loads(to_toml(settings)), where="test") == settings


def test_presets_say_what_the_table_of_differences_says():
    paper, first, second = (
        make_settings(preset=name)
        for name in PRESETS
        if name in ("paper", "torchvision", "torchvision_v2")
    )
    assert not paper.assignment.allow_low_quality_matches
    assert (paper.loss.box, paper.loss.beta, paper.loss.divide_by) == ("smooth_l1", 0.11, "batch")
    assert (paper.preparation.shorter, paper.preparation.longer) == (800, 1333)
    assert (first.model.p6_from, second.model.p6_from) == ("P5", "C5")
    assert (first.loss.box, second.loss.box) == ("l1", "giou")
    assert (first.model.norm_eps, second.model.norm) == (0.0, "live")
    assert first.decoding.max_detections == second.decoding.max_detections == 300
    assert first.anchors == second.anchors
    assert first.anchors.compat == "torchvision"


def test_the_plain_preset_is_the_defaults():
    assert make_settings(preset="retinanet") == Settings()
    assert make_settings(preset="retinanet").anchors.model_fields_set == set()


@pytest.mark.parametrize(
    ("preset", "method"),
    [
        ("standard", "task_aligned"),
        ("medium", "task_aligned"),
        ("light", "task_aligned"),
        ("scenes", "atss"),
    ],
)
def test_the_presets_for_people_have_one_anchor_of_8_strides(preset, method):
    found = make_settings(preset=preset)
    assert found.assignment.method == method
    assert (found.anchors.per_location, found.anchors.ratios) == (1, (1.0,))
    assert found.anchors.sizes == tuple(8 * stride for stride in found.anchors.strides)
    assert found.loss.classification == "quality_focal"
    assert (found.loss.box, found.loss.box_weight) == ("giou", 2.0)
    assert box_coding_of(found) == DISTANCES


DISTANCES, DELTAS = ("distances", 17, True), ("deltas", 0, False)


def box_coding_of(settings):
    return settings.model.box_coding, settings.model.box_bins, settings.model.level_scales


PLAIN = ("iou", "focal", "giou")
WON = ("task_aligned", "quality_focal", "giou")


@pytest.mark.parametrize(
    ("given", "anchors", "learning"),
    [
        ("anchors.scales=[1, 1.4]", 6, PLAIN),
        ("anchors.ratios=[0.5, 1, 2]", 9, PLAIN),
        ("anchors.shapes=" + str([[[-4, -4, 4, 4], [-8, -4, 8, 4]]] * 5), 2, PLAIN),
        ("assignment.method=iou", 9, PLAIN),
        ("anchors.scales=[1.4]", 1, WON),
        ("anchors.sizes=[32, 64, 128, 256, 512]", 1, WON),
        ("assignment.method=fcos", 1, ("fcos", "quality_focal", "giou")),
        (
            "anchors.scales=[1, 1.4] assignment.method=atss",
            6,
            ("atss", "quality_focal", "giou"),
        ),
        (
            "assignment.method=iou loss.classification=quality_focal",
            9,
            ("iou", "quality_focal", "giou"),
        ),
    ],
)
@pytest.mark.parametrize("preset", ["standard", "light"])
def test_assignment_and_losses_follow_anchors_that_are_set(preset, given, anchors, learning):
    overrides = re.split(r" (?=[a-z]+\.[a-z]+=)", given)
    found = make_settings(preset=preset, overrides=overrides)
    assert found.anchors.per_location == anchors
    assert (found.assignment.method, found.loss.classification, found.loss.box) == learning
    assert box_coding_of(found) == (DISTANCES if anchors == 1 else DELTAS)


@pytest.mark.parametrize("preset", ["standard", "light"])
@pytest.mark.parametrize(
    ("given", "coding"),
    [
        ("anchors.ratios=[2]", DELTAS),  # one anchor, and no square
        ("model.box_coding=deltas", DELTAS),
        ("model.box_bins=0", ("distances", 0, True)),
    ],
)
def test_distances_go_with_one_square_and_can_be_left_out(preset, given, coding):
    found = make_settings(preset=preset, overrides=[given])
    assert box_coding_of(found) == coding
    assert (found.assignment.method, found.anchors.per_location) == ("task_aligned", 1)


@pytest.mark.parametrize("preset", ["standard", "scenes", "fcos", "atss"])
def test_strides_that_are_set_give_the_size_of_single_anchors(preset):
    found = make_settings(preset=preset, overrides=["anchors.strides=[4, 8, 16, 32]"])
    assert found.anchors.sizes == (32, 64, 128, 256)
    sizes = "anchors.sizes=[9, 10, 11, 12]"
    both = make_settings(preset=preset, overrides=["anchors.strides=[4, 8, 16, 32]", sizes])
    assert both.anchors.sizes == (9, 10, 11, 12)


def test_later_sources_win(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[training]\nepochs = 7\nbatch = 4\n[model]\nbackbone = "resnet18"\n')
    settings = make_settings(preset="paper", file=file, overrides=["training.epochs=9"])
    assert settings.training.epochs == 9
    assert settings.training.batch == 4
    assert settings.model.backbone == "resnet18"
    assert settings.training.warmup_steps == 500


def test_making_settings_leaves_the_presets_alone():
    make_settings(preset="paper", overrides=["training.epochs=99"])
    assert make_settings(preset="paper").training.epochs == 12


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("training.epochs=20", "training", "epochs", 20),
        ("training.learning_rate=1e-3", "training", "learning_rate", 1e-3),
        ("training.learning_rate=None", "training", "learning_rate", None),
        ("model.weights=none", "model", "weights", "none"),
        ("model.weights=my weights/a.safetensors", "model", "weights", "my weights/a.safetensors"),
        ("model.backbone=resnet18", "model", "backbone", "resnet18"),
        ('model.backbone="resnet18"', "model", "backbone", "resnet18"),
        ("model.relu_before_p7=false", "model", "relu_before_p7", False),
        ("anchors.ratios=[0.5, 1, 2]", "anchors", "ratios", (0.5, 1.0, 2.0)),
        ("loss.alpha=null", "loss", "alpha", None),
        ("loss.alpha=none", "loss", "alpha", None),
        ("loss.box=smooth_l1", "loss", "box", "smooth_l1"),
        (" training.epochs = 20 ", "training", "epochs", 20),
        ("augmentation.scale=[0.5, 2]", "augmentation", "scale", (0.5, 2.0)),
    ],
)
def test_overrides_are_read_as_people_write_them(override, section, name, value):
    settings = make_settings(overrides=[override])
    assert getattr(getattr(settings, section), name) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("anchors.order=ratio-major", "order is unknown. anchors.compat='torchvision' took the pl"),
        ("anchors.compat=mmdetection", "= 'mmdetection': Value error, expected 'none' or 'torchv"),
        ("training.epoch=3", r"training\.epoch is unknown.*epochs"),
        ("trainin.epochs=3", r"trainin is unknown.*training"),
        ("training.epochs=many", r"training\.epochs = 'many'"),
        ("training.epochs=0", r"training\.epochs = 0"),
        ("training.epochs=2.5", r"training\.epochs = 2\.5"),
        ("training.epochs", r"expected section\.name=value"),
        ("epochs=3", r"expected section\.name=value"),
        ("decoding.score_threshold=1.5", r"decoding\.score_threshold = 1\.5"),
        ("model.norm=batch", r"model\.norm = 'batch'.*frozen"),
        ("anchors.sizes=[32]", r"sizes has 1 entries and strides 5"),
        ("preparation.longer=10", r"longer \(10\) is below shorter"),
        ("loss.alpha=1.0", r"loss\.alpha = 1\.0"),
        (
            "assignment.method=fcos",
            r": assignment\.method = 'fcos' has one anchor a .* give 9\. Add",
        ),
    ],
)
def test_a_wrong_override_names_itself(override, message):
    with pytest.raises(SettingsError, match=message):
        make_settings(preset="retinanet", overrides=[override])


@pytest.mark.parametrize("name", ["w\udcf6.pth", r"C:\udcf6\w.pth", "a\\\udcf6", "ö.pth"])
def test_a_file_name_of_any_kind_survives_a_file_of_settings(tmp_path, name):
    settings = make_settings(overrides=[f"model.weights='{name}'"])
    write_file(tmp_path / "config.toml", to_toml(settings))
    assert make_settings(file=tmp_path / "config.toml").model.weights == name


def test_a_balance_that_the_loss_does_not_have_is_an_error():
    quality = "loss.classification=quality_focal"
    with pytest.raises(SettingsError, match=r"^settings: loss: alpha = 0\.5 has no effect"):
        make_settings(overrides=[quality, "loss.alpha=0.5"])
    assert make_settings(overrides=[quality, "loss.alpha=none"]).loss.alpha is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["loss.quality_weight=2"],
            r"^settings: loss\.quality_weight = 2, .* model\.quality=center",
        ),
        (
            ["model.box_bins=0", "loss.distribution_weight=1"],
            r"loss\.distribution_weight = 1, .* model\.box_bins=17",
        ),
        (
            ["loss.classification=quality_focal", "model.quality=iou"],
            r"'quality_focal' .* 'iou': it would count twice\. Give --set .*=focal\.$",
        ),
    ],
)
def test_losses_of_what_the_network_lacks_are_errors(overrides, message):
    with pytest.raises(SettingsError, match=message):
        make_settings(overrides=overrides)


def test_losses_of_what_the_network_has():
    quality = ["model.quality=iou", "loss.quality_weight=2"]
    bins = ["model.box_bins=9", "model.box_coding=distances", "loss.distribution_weight=0"]
    found = make_settings(preset="fcos", overrides=[*quality, *bins]).loss
    assert (found.quality_weight, found.distribution_weight) == (2, 0)


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        make_settings(overrides=["training.epochs=0", "model.fpn=3"])
    assert "training.epochs" in str(caught.value)
    assert "model.fpn" in str(caught.value)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(SettingsError, match=r"'papper' is unknown.*paper"):
        make_settings(preset="papper")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3\n", "'epochs' stands outside any section"),
        ("[training\n", "no valid TOML"),
        ("[training]\nepochs = 'x'\n", "training.epochs"),
    ],
)
def test_a_wrong_file_names_itself(tmp_path, text, message):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        make_settings(file=file)
    assert "wrong.toml" in str(caught.value)


def test_a_file_that_is_absent_or_no_text_names_itself(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml: can't be read"):
        make_settings(file=tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"binary\.toml: is no valid TOML"):
        make_settings(file=tmp_path / "binary.toml")


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings().training.epochs = 3


@given(
    epochs=st.integers(1, 10**6),
    rate=st.one_of(st.none(), st.floats(1e-12, 1e3)),
    alpha=st.one_of(st.none(), st.floats(0.01, 0.99)),
    ratios=st.lists(st.floats(0.01, 100), max_size=5),
    weights=st.text(),
)
@settings(max_examples=40)
def test_toml_loses_nothing(epochs, rate, alpha, ratios, weights):
    settings = parse_settings(
        {
            "training": {"epochs": epochs, "learning_rate": rate},
            "loss": {"alpha": alpha},
            "anchors": {"ratios": ratios},
            "model": {"weights": weights},
        },
        where="test",
    )
    assert parse_settings(tomllib.loads(to_toml(settings)), where="test") == settings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoding.most=300", "decoding.most is unknown. It is now decoding.max_detections."),
        ("training.average=0.9", "training.average is unknown. It is now training.ema_decay."),
        ("anchors.order=ratio-major", "order is unknown. anchors.compat='torchvision' took the pl"),
        ("anchors.compat=mmdetection", "= 'mmdetection': Value error, expected 'none' or 'torchv"),
        ("training.epoch=3", "Did you mean 'training.epochs'?"),
        ("loss.box=smooth l1", "It is now 'smooth_l1'."),
    ],
)
def test_a_setting_of_the_first_edition_leads_to_its_new_name(override, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_settings(overrides=[override])


def test_a_preset_of_the_first_edition_leads_to_its_new_name():
    with pytest.raises(SettingsError, match="It is now 'torchvision_v2'"):
        make_settings(preset="torchvision v2")


def test_every_renamed_setting_is_there_under_its_new_name():
    for (section, old), new in RENAMED.items():
        fields = type(getattr(Settings(), section)).model_fields
        assert new in fields
        assert old not in fields
    for (section, name, _), new in RENAMED_VALUES.items():
        changed = make_settings(overrides=[f"{section}.{name}={new}"])
        assert getattr(getattr(changed, section), name) == new


_ONE_LEVEL = ("anchors.strides=[32]", "anchors.shapes=[[[-4, -4, 4, 4], [-8, -8, 9, 9]]]")


def test_anchors_given_one_by_one_survive_toml():
    given = make_settings(overrides=_ONE_LEVEL)
    assert given.anchors.per_location == 2
    assert parse_settings(tomllib.loads(to_toml(given)), where="test") == given


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("anchors.strides=[32, 64]", "shapes has 1 levels with 2 boxes: expected 2 levels"),
        ("anchors.shapes=[[[4, -4, 4, 4]]]", "the box [4.0, -4.0, 4.0, 4.0] of level 0 has no"),
        ("anchors.shapes=[[]]", "shapes has 1 levels with 0 boxes"),
        ("anchors.scales=[1]", "shapes takes the place of sizes, scales and ratios"),
        ("assignment.method=fcos", "give 2"),
        ("model.box_coding=distances", "anchors.shapes gives others"),
    ],
)
def test_anchors_given_one_by_one_fit_the_rest(more, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_settings(overrides=[*_ONE_LEVEL, more])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_nothing_in_vain(preset):
    assert describe_without_effect(make_settings(preset=preset)) == ""


@pytest.mark.parametrize(
    ("changed", "needs"),
    [
        ("loss.beta=0.5", "loss.box=smooth_l1"),
        ("assignment.foreground_iou=0.6", "assignment.method=iou"),
        ("decoding.nms_sigma=0.3", "decoding.nms_method=soft_gaussian"),
        ("preparation.scale=2", "preparation.mode=windows"),
        ("training.repeat_threshold=0.5", "training.sampling=repeat_factor"),
        ("training.momentum=0.8", "training.optimizer=sgd"),
        ("training.step_epochs=[0.5]", "training.schedule=steps"),
    ],
)
def test_what_does_nothing_is_named_until_it_has_what_it_needs(changed, needs):
    name = changed.partition("=")[0]
    idle = make_settings(overrides=[changed])
    assert describe_without_effect(idle) == f"Without effect here: {name} (it needs {needs})."
    assert describe_without_effect(make_settings(overrides=[changed, needs])) == ""
