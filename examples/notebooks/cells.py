# %% [markdown]
# # Count blood cells
#
# From labeled images to a table of counts. This page draws its own blood smears, so that there is
# nothing to download; with `DATA` it takes yours. It needs no GPU: some minutes on two cores.

# %% tags=["parameters"]
from pathlib import Path

DATA = None  # your own: what foveal.read takes, such as "cells" (VOC), "train.json", "boxes.csv"
OUT = Path("cells-notebook")  # everything that is written goes here
IMAGES, SIZE, EPOCHS = 100, 160, 12

# %% [markdown]
# ## See what is there
#
# A data set shows what its classes have. `foveal.show` draws some of its images with their boxes,
# the rarest classes first. On the command line: `foveal data show DATA --out sheet.html`.

# %%
import foveal
from foveal.data.synthetic import draw_dataset

if DATA is None:
    splits = {"train": IMAGES, "valid": IMAGES // 5, "test": IMAGES // 5}
    training, validation, test = draw_dataset(OUT / "data", splits=splits, size=SIZE).values()
else:
    rest, test = foveal.read(DATA).split(0.2)
    training, validation = rest.split(0.2)
training

# %%
foveal.show(training, count=3)

# %% [markdown]
# ## Train
#
# A small network from scratch, and plain anchors fitted to the cells. For images of your own leave
# `settings` out: then a ResNet-50 begins with what it knows of photographs. What the training will
# see, augmented and with its anchors, is shown by `foveal data show DATA --as-trained --anchors`.

# %%
settings = {
    "model": {
        "backbone": "resnet10t",
        "weights": "none",
        "norm": "live",
        "fpn_channels": 64,
        "head_channels": 64,
        "head_depth": 2,
        "head_norm": "group",
    },
    "decoding": {"nms_iou": 0.4, "class_agnostic": True},  # a cell has one class
    "preparation": {"shorter": SIZE, "longer": SIZE},
    "augmentation": {"flip_vertical": True, "quarter_turns": True},
    "training": {
        "batch": 4,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "evaluate_every": 4,
        "workers": 0,
        "export": False,
    },
}
detector = foveal.Detector(training, preset="retinanet", settings=settings)
detector.anchors

# %%
detector.fit(valid=validation, epochs=EPOCHS, out=OUT / "run", progress=False, overwrite=True)
{name: round(detector.card.metrics[name], 3) for name in ("AP", "AP50")}

# %% [markdown]
# ## Measure
#
# On images that neither the training nor the choice of the score threshold has seen. In brackets:
# between which values the number would lie on other images of the same kind, 19 times of 20.

# %%
evaluation = detector.evaluate(test)
evaluation

# %%
counts = evaluation.counts
f"{counts.predicted.sum()} counted, {counts.true.sum()} labeled: {counts.relative_error:.0%} off"

# %% [markdown]
# ## Use it
#
# Detections show themselves as a picture. `repr` says what is where, `to_table()` gives rows, which
# `pandas.DataFrame` takes as they are.

# %%
image = max(test, key=len).path  # the fullest one
cells = detector.detect(image)
cells

# %%
print(cells)
for row in cells.to_table()[:3]:
    print(f"{row['label']} {row['score']:.2f} at {row['xmin']:.0f}, {row['ymin']:.0f}")

# %%
foveal.write(detector.detect_many(test.paths), OUT / "counts.csv", counts=True)
print(*(OUT / "counts.csv").read_text().splitlines()[:4], sep="\n")
