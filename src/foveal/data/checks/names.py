"""What `foveal data check` looks for: the names of its checks, in their order, and a sentence each.

Here alone, without the modules that do it, so that help texts cost nothing.
"""

from __future__ import annotations

LOOKS_FOR: dict[str, str] = {
    "annotations": "what reading the annotations meets: boxes without area or outside their image, "
    "ids used twice, unknown classes, guessed encodings",
    "box_convention": "boxes that are impossible as they are read, but not as x, y, width, height "
    "or as corners",
    "nearly_identical_boxes": "two boxes of one image that are nearly the same",
    "tiny_objects": "objects with a side under 2 pixels",
    "small_objects": "objects too small for where the network's anchors stand",
    "huge_boxes": "boxes of more than 90 % of their image",
    "sliver_boxes": "boxes far longer than wide, of classes that are not",
    "turned_boxes": "boxes that fit their image before its orientation (EXIF) turns it, and not "
    "after",
    "equal_labels": "images that differ and have exactly the same boxes, as if labels were copied",
    "images_without_objects": "images without any object",
    "class_names": "one class written in several ways",
    "unseen_classes": "classes in the validation data alone",
    "rare_classes": "classes with a single object, or none",
    "ignore_classes": "classes whose name speaks of regions to ignore",
    "class_shares": "classes that are far more frequent in one split than in another",
    "missing_images": "image files that are missing or empty",
    "duplicate_images": "image files of the same content, within a split and in several",
    "near_duplicates": "images of one split that look alike: copies in another size or encoding, "
    "frames of one view",
    "near_leakage": "images of one split that look like one of another",
    "broken_images": "image files that can't be read",
    "image_sizes": "image files of another size than the annotations say",
    "flat_images": "images of a single value",
}

OF_PIXELS = frozenset({"near_duplicates", "near_leakage", "flat_images"})
"""Checks that look at the pixels of all images, shrunk."""
