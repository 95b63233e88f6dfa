"""Typefaces: letters that the usual one lacks are looked for on the machine."""

from __future__ import annotations

import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from foveal.structures import Detections
from foveal.visualization import fonts
from foveal.visualization.boxes import draw_detections
from foveal.visualization.fonts import font

OTHER = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
CHINESE = "\u6b63\u5e38"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Say which fonts the machine has."""

    def have(*files: Path) -> None:
        monkeypatch.setattr(
            "matplotlib.font_manager.findSystemFonts", lambda: [str(file) for file in files]
        )
        fonts._system_files.cache_clear()
        fonts._file_with.cache_clear()

    yield have
    monkeypatch.undo()
    fonts._system_files.cache_clear()
    fonts._file_with.cache_clear()


def test_the_usual_letters_need_no_search(machine, monkeypatch):
    monkeypatch.setattr(fonts, "_system_files", None)
    assert "DejaVuSans" in str(font(20, "Gr\u00f6\u00dfe \u0436 0.91").path)
    assert font(20).size == 20


def test_a_letter_that_it_lacks_comes_from_the_machine(machine, tmp_path):
    broken = tmp_path / "NotoSansCJK-Regular.ttc"
    broken.write_bytes(b"no font")
    machine(broken, OTHER)
    lacking = min(fonts._letters(OTHER) - fonts._letters(fonts._own_file()))
    assert Path(font(20, f"{lacking} 0.91").path) == OTHER
    assert "DejaVuSans" in str(font(20, "0.91").path)


def test_letters_that_no_font_has_are_named_once(machine, caplog):
    machine(OTHER)
    found = Detections(
        np.asarray([[10, 40, 60, 90], [100, 40, 150, 90]], np.float32),
        np.asarray([0.9, 0.8], np.float32),
        np.zeros(2, np.int64),
        classes=(CHINESE,),
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            picture = draw_detections(np.full((200, 300, 3), 90, np.uint8), found)
    assert picture.shape == (200, 300, 3)
    (record,) = caplog.records
    assert "fonts-noto-cjk" in record.getMessage()
    assert "\u6b63" in record.getMessage()
