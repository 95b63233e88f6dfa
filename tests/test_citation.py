"""What people cite is this version, and the paper."""

from __future__ import annotations

from pathlib import Path

import yaml

import foveal

CITATION = Path(__file__).parents[1] / "CITATION.cff"


def test_the_citation_is_whole() -> None:
    cited = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert str(cited["version"]) == foveal.__version__
    assert cited["license"] == "Apache-2.0"
    assert cited["type"] == "software"
    (paper,) = cited["references"]
    assert paper["title"] == "Focal Loss for Dense Object Detection"
    assert paper["authors"][0]["family-names"] == "Lin"
    assert paper["year"] == 2017  # not the year of a later copy
    assert "1708.02002" in paper["url"]
