"""What `foveal predict` says of the files that it writes for maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foveal.cli.predict_results import write_results
from foveal.geometry.georeference import Georeference
from foveal.structures import Detections


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        ((32617, 32618), "2 coordinate reference systems: a GeoPackage has a layer for each"),
        ((32617, 32617), ""),
        ((32617, None), "1 image without a place on the map: not in detections.gpkg."),
    ],
)
def test_layers_and_images_without_a_place_are_told(tmp_path, capsys, zones, said):
    pytest.importorskip("pyogrio")
    boxes, labels = np.array([[1, 2, 3, 4]], np.float32), np.zeros(1, np.int64)
    found = Detections(boxes, np.full(1, 0.5, np.float32), labels, ("a",), 9, 9)
    transform = (10, 0, 5e5, 0, -10, 4e6)
    places = [None if zone is None else Georeference(f"EPSG:{zone}", transform) for zone in zones]
    detections = [
        replace(found, path=tmp_path / f"{number}.tif", georeference=place)
        for number, place in enumerate(places)
    ]
    maps = ["detections.gpkg", "detections.qml"]
    written, failures = write_results(detections, tmp_path, kinds=None, maps=maps)
    assert failures == []
    assert set(written) == {path.name for path in tmp_path.iterdir()}
    printed = " ".join(capsys.readouterr().err.split())
    assert said in printed
    assert bool(said) == bool(printed)
