"""Where data and weights are that the repository does not hold."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(
    os.environ.get("FOVEAL_SHARED", Path(__file__).resolve().parents[3] / "shared")
).resolve()
BCCD = SHARED / "data" / "bccd"
"""Blood smears in Pascal VOC's layout, with the splits train, val and test."""
HIT_UAV = SHARED / "data" / "hit-uav"
"""Thermal images from above: train.json and val.json, with the class `DontCare`."""
MOBILENET = SHARED / "weights" / "mobilenetv2_100_imagenet.safetensors"
"""MobileNetV2's ImageNet weights, as timm has them."""
RESNET18 = SHARED / "weights" / "resnet18_imagenet_stem_to_layer3.safetensors"
"""ResNet-18's ImageNet weights but for its last stage, which are not known here."""
LIGHT = SHARED / "models" / "bccd_light_format1.safetensors"
"""foveal's preset `light`, trained on `BCCD`."""
