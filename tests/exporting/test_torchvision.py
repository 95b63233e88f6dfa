"""What torchvision's RetinaNet can't hold is refused with the setting's name."""

from __future__ import annotations

import pytest

from foveal.config import make_settings
from foveal.errors import WeightsError
from foveal.exporting.torchvision import export_torchvision
from foveal.models.build import build_model


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("anchors.compat=none", r"anchors\.compat is 'none' instead of 'torchvision'"),
        ("anchors.compat=[0.5, true, true]", r"anchors\.compat is \(0\.5, True, True\)"),
        ("model.head_depth=2", "model.head_depth is 2 instead of 4"),
        ("model.fpn_depthwise=true", "model.fpn_depthwise is True"),
        ("model.head_depthwise=true", "model.head_depthwise is True"),
        ("model.relu_before_p7=false", "model.relu_before_p7 is False"),
        ("model.quality=centerness", "model.quality is 'centerness' instead of 'none'"),
        ("model.level_scales=true", "model.level_scales is True"),
        ("model.norm=group", "model.norm is 'group'"),
        ("model.backbone=test_resnet", "model.backbone is 'test_resnet' instead of resnet18 or"),
    ],
)
def test_refused(override: str, message: str) -> None:
    settings = make_settings(
        preset="torchvision",
        overrides=["model.weights=none", "model.backbone=resnet18", "model.norm=live", override],
    )
    model = build_model(settings, 2)
    with pytest.raises(WeightsError, match=message):
        export_torchvision(model, settings)


def test_what_torchvision_must_be_told() -> None:
    settings = make_settings(
        preset="torchvision",
        overrides=["model.weights=none", "model.backbone=resnet18", "preparation.shorter=640"],
    )
    exported = export_torchvision(build_model(settings, 2), settings)
    assert "on resnet18, with P6 from P5" in exported.constructor
    assert "min_size=640, max_size=1333" in exported.constructor
    assert exported.hints == ("Set eps of every batch norm to 0.0.",)
