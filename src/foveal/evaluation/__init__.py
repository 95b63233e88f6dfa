"""How good detections are: COCO and VOC numbers, counts, errors."""
