"""The names of the formats, apart from their modules, so that a command's help loads none."""

from __future__ import annotations

FORMATS = (
    "coco",
    "voc",
    "yolo",
    "csv",
    "kitti",
    "labelme",
    "openimages",
    "cvat",
    "label_studio",
    "via",
    "vott",
    "supervisely",
    "createml",
    "datumaro",
    "geo",
)
"""Each is a module in `data/formats` with `read` and `write`."""
