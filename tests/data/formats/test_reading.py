import gc
from pathlib import Path

import pytest

from foveal.data.formats import read
from foveal.errors import DataError


def test_an_address_may_climb(tmp_path, monkeypatch):
    """As a person types it: ../cells from a folder beside the data."""
    import numpy as np
    from PIL import Image

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats import FORMATS, write

    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    box = np.array([[2, 3, 20, 15]], np.float32)
    record = Record(tmp_path / "a.png", 32, 24, box, np.array([0]), np.array([False]))
    beside = tmp_path / "beside"
    beside.mkdir()
    monkeypatch.chdir(beside)
    for name in FORMATS:
        write(Dataset((record,), ("cell",), tmp_path), tmp_path / name, name, splits={"train": [0]})
        for address in (f"../{name}:train", f"{beside}/../{name}:train"):
            assert read(address, name).records[0].boxes.shape == (1, 4), (name, address)


@pytest.mark.parametrize("rests", [True, False])
def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path, rests: bool) -> None:
    broken = tmp_path / "annotations.json"
    broken.write_text('{"images": [')
    was = gc.isenabled()
    try:
        (gc.disable if rests else gc.enable)()
        with pytest.raises(DataError, match="not JSON"):
            read(broken, "coco")
        assert gc.isenabled() is not rests
    finally:
        (gc.enable if was else gc.disable)()
