"""Find ships in Sentinel-2 scenes: from labels to a GeoPackage for QGIS.

    python examples/ships.py PATH/TO/sen2ships
    python examples/ships.py PATH/TO/sen2ships --quick            # some minutes, to see it run
    python examples/ships.py PATH/TO/sen2ships --stack R10m       # and look at a scene of your own

The folder holds GeoTIFFs of four bands of 16 bits, 10 m a pixel, and their labels, annotations.json
(COCO), in pixels of the scenes. This data set has blue first: blue, green, red, near infrared. Most
ships are smaller than 32 pixels. So the preset `scenes` reads windows out of the scenes and shrinks
nothing; whole scenes are looked at in windows too, and what is found is written with its place on
the map.

docs/tutorials/scenes.md tells where scenes come from. Of a downloaded one, --stack takes the folder
GRANULE/.../IMG_DATA/R10m and puts its four bands into one GeoTIFF, in the order of the training
scenes: a model knows a band by its place alone. The page stacks them red first, since its scenes
are its own; then train on such scenes too, or name their order by --bands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import foveal

BANDS = ("B02", "B03", "B04", "B08")  # as the data set has them: blue, green, red, near infrared
VALID = ("klang", "valencia", "honolulu")


def expect_bands(scene: Path, bands: Sequence[str]) -> None:
    """See that a training scene has the bands in this order, as far as it names them."""
    import rasterio

    with rasterio.open(scene) as file:
        named = file.descriptions
    if len(named) != len(bands):
        raise SystemExit(f"{scene}: has {len(named)} bands. Expected {len(bands)}: --bands NAMES.")
    for name, band in zip(named, bands, strict=True):
        if name and name[0] == "B" and not name.startswith(band):
            raise SystemExit(
                f"{scene}: its bands are {', '.join(map(str, named))}, and a model knows a band by "
                f"its place. Expected {', '.join(bands)}: give their order by --bands."
            )


def stack_bands(folder: Path, path: Path, bands: Sequence[str] = BANDS) -> None:
    """Put the bands of 10 m of a Sentinel-2 granule into one GeoTIFF, block by block."""
    import rasterio

    files = []
    for band in bands:
        found = sorted(folder.glob(f"*_{band}_10m.jp2"))
        if len(found) != 1:
            raise SystemExit(f"{folder}: expected one file *_{band}_10m.jp2, found {len(found)}.")
        files.append(rasterio.open(found[0]))
    profile = files[0].profile | {
        "driver": "GTiff",
        "count": len(files),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "predictor": 2,
        "bigtiff": "if_safer",
        "nodata": 0,  # where the satellite saw nothing
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as stack:
        for number, (band, file) in enumerate(zip(bands, files, strict=True), start=1):
            stack.set_band_description(number, band)
            for _, window in stack.block_windows(number):
                stack.write(file.read(1, window=window), number, window=window)
    for file in files:
        file.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find ships in Sentinel-2 scenes.")
    parser.add_argument("data", type=Path, help="a folder with scenes and annotations.json")
    parser.add_argument(
        "--out", type=Path, default=Path("ships"), help="the folder for all results"
    )
    parser.add_argument("--stack", type=Path, help="a granule's folder R10m, to look at it too")
    parser.add_argument(
        "--bands", nargs="+", default=BANDS, help="of the scenes, in their order: B04 B03 B02 B08"
    )
    parser.add_argument("--valid", nargs="+", default=VALID, help="scenes to measure on, by name")
    parser.add_argument("--weights", default="pretrained", help="'pretrained', a file or 'none'")
    parser.add_argument("--size", type=int, default=416, help="side of a window, pixels")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="two epochs of small windows")
    options = parser.parse_args(arguments)
    if options.quick:
        options.epochs, options.size = 2, 256

    # Whole scenes are held out: windows of one scene are too alike to measure on.
    scenes = foveal.read(options.data / "annotations.json")
    held_out = [record.path.stem in options.valid for record in scenes]
    training = scenes.take([index for index, out in enumerate(held_out) if not out])
    validation = scenes.take([index for index, out in enumerate(held_out) if out])
    print(training.summary())
    expect_bands(scenes.records[0].path, options.bands)

    # Four bands instead of three; what of their 16 bits is dark and bright follows from the data.
    detector = foveal.Detector(
        training,
        preset="scenes",
        weights=options.weights,
        size=options.size,
        settings={"model": {"bands": len(options.bands)}},
    )
    if detector.anchors is not None:
        print(detector.anchors.text)
    detector.fit(epochs=options.epochs, valid=validation, out=options.out / "run")

    # AP over whole scenes.
    evaluation = detector.evaluate(validation, out=options.out / "evaluation")
    print(f"AP {evaluation.ap:.3f}, AP50 {evaluation.ap50:.3f}")

    paths = [record.path for record in validation]
    if options.stack is not None:
        paths.append(options.out / "scene.tif")
        stack_bands(options.stack, paths[-1], options.bands)
    found = detector.detect_many(paths)
    for path, ships in zip(paths, found, strict=True):
        print(f"{path.name}: {len(ships)} ships")

    # One layer with all ships, at their places. QGIS opens it with the style beside it.
    foveal.write(found, options.out / "ships.gpkg")
    foveal.write(found, options.out / "ships.csv")
    print(f"{options.out / 'ships.gpkg'}: drag it into QGIS, onto the scenes")


if __name__ == "__main__":
    main()
