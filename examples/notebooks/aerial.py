# %% [markdown]
# # Find ships in scenes
#
# From labeled GeoTIFFs to a layer for a map. Scenes are larger than a network's input, and their
# objects small: so both training and prediction go through them window by window. This page draws
# its own coast, so that there is nothing to download. It needs `pip install 'foveal[geo]'` and no
# GPU: some minutes on two cores.

# %% tags=["parameters"]
from pathlib import Path

DATA = None  # your own: scenes with labels, such as "ports" or "ports/annotations.json"
OUT = Path("aerial-notebook")  # everything that is written goes here
SCENES, SIDE, WINDOW, EPOCHS = 8, 600, 128, 12

# %% [markdown]
# ## Draw scenes
#
# Water, land and ships, 10 m a pixel, with a place on the map. The labels are a table, one line for
# each ship: what `foveal.read` takes of yours as well.

# %%
import csv

import numpy as np
import rasterio

import foveal


def draw_scene(path, generator):
    """Write a scene as a GeoTIFF, and give the boxes of its ships."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    coast = SIDE * (0.3 + 0.06 * np.sin(columns / 90) + 0.03 * np.sin(columns / 31))
    land = rows < coast
    pixels = np.where(land[..., None], (94, 104, 78), (24, 46, 66)).astype(float)
    pixels[land] += generator.normal(0, 22, (SIDE, SIDE, 1))[land]  # fields and roofs
    pixels += generator.normal(0, 5, pixels.shape)
    boxes = []
    for _ in range(SIDE * SIDE // 20_000):
        length, angle = generator.uniform(9, 22), generator.uniform(0, np.pi)
        left = int(generator.uniform(0, SIDE - 26))
        top = int(generator.uniform(SIDE * 0.42, SIDE - 26))
        down, right = np.mgrid[-12:13, -12:13]
        along = right * np.cos(angle) + down * np.sin(angle)
        across = down * np.cos(angle) - right * np.sin(angle)
        hull = (along / length * 2) ** 4 + (across / (0.3 * length) * 2) ** 2 < 1
        pixels[top : top + 25, left : left + 25][hull] = generator.uniform(150, 240)
        y, x = np.nonzero(hull)
        corners = x.min() + left, y.min() + top, x.max() + 1 + left, y.max() + 1 + top
        boxes.append([int(corner) for corner in corners])
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4.6e6)}
    shape = {"count": 3, "height": SIDE, "width": SIDE, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape, **place) as file:
        file.write(pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
    return boxes


if DATA is None:
    DATA = OUT / "scenes" / "ships.csv"
    DATA.parent.mkdir(parents=True, exist_ok=True)
    with DATA.open("w", newline="") as table:
        lines = csv.writer(table)
        lines.writerow(["image", "xmin", "ymin", "xmax", "ymax", "label"])
        for number in range(SCENES):
            scene = DATA.parent / f"port_{number}.tif"
            for box in draw_scene(scene, np.random.default_rng(number)):
                lines.writerow([scene.name, *box, "ship"])
scenes = foveal.read(DATA)
scenes

# %% [markdown]
# ## See what is there
#
# Of scenes much larger than their objects the part with most of them is shown.

# %%
foveal.show(scenes, count=3)

# %% [markdown]
# ## Train
#
# Whole scenes are held out: windows of one scene are too alike to measure on. The preset `scenes`
# shrinks nothing, and has locations as near to one another as such small ships need. A few minutes
# from random weights are enough to find most ships, in loose boxes. For scenes of your own leave
# `settings` out: then training begins with what a network knows of photographs, and takes longer.

# %%
training, validation = scenes.split(0.34)
settings = {
    "model": {
        "backbone": "resnet10t",
        "weights": "none",
        "norm": "live",
        "fpn_channels": 64,
        "head_channels": 64,
        "head_norm": "group",
        "frozen_stages": 0,
    },
    "preparation": {"shorter": WINDOW},
    "training": {
        "batch": 4,
        "learning_rate": 2e-3,
        "evaluate_every": 4,
        "workers": 0,
        "export": False,
    },
}
detector = foveal.Detector(training, preset="scenes", settings=settings)
detector.anchors

# %%
detector.fit(valid=validation, epochs=EPOCHS, out=OUT / "run", progress=False, overwrite=True)
detector.evaluate(validation)

# %% [markdown]
# ## Look at a whole scene
#
# In constant memory, however large it is. Ships that are too small for boxes are drawn as dots.

# %%
ships = detector.detect_scene(validation.paths[0])
print(ships)
ships

# %% [markdown]
# ## Take it to the map
#
# A GeoPackage opens in QGIS as it is, with the style beside it.

# %%
foveal.write(ships, OUT / "ships.gpkg")
foveal.write(ships, OUT / "ships.csv")
rows = list(csv.DictReader((OUT / "ships.csv").read_text().splitlines()))
for row in rows[:3]:
    print(row["label"], row["score"], "at", row["map_x"], row["map_y"], row["crs"])
