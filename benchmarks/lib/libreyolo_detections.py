"""Run in LibreYOLO's environment: what a trained model finds in images, and how fast.

python libreyolo_detections.py WEIGHTS IMAGES.json OUT.json SIDE DEVICE SCORE DETECTIONS
"""

import json
import statistics
import sys
import time
from pathlib import Path


def main() -> None:
    from libreyolo import LibreYOLO

    weights, images, out, side, device, score, limit = sys.argv[1:]
    model = LibreYOLO(weights, device=device)
    found, seconds = {}, []
    for path in json.loads(Path(images).read_text()):
        start = time.perf_counter()
        result = model(path, conf=float(score), imgsz=int(side), max_det=int(limit))
        if isinstance(result, list):
            (result,) = result
        boxes = result.boxes
        found[Path(path).stem] = [
            part.tolist() for part in (boxes.xyxy, boxes.conf, boxes.cls.long())
        ]
        seconds.append(time.perf_counter() - start)
    content = {
        "found": found,
        "ms": 1000 * statistics.median(seconds),
        "parameters": sum(weights.numel() for weights in model.model.parameters()),
    }
    Path(out).write_text(json.dumps(content))


if __name__ == "__main__":
    main()
