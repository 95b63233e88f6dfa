"""The style that QGIS reads beside a GeoPackage; there is no QGIS here, so by its XML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from tests.outputs.conftest import BOXES, CLASSES, found_on_map

from foveal.errors import FovealError
from foveal.outputs.geopackage import write_geopackage
from foveal.outputs.qgis_style import qgis_style, write_qgis_style
from foveal.visualization.colors import class_color


@pytest.mark.parametrize("classes", [CLASSES, (), ('a "b"', "é")])
def test_each_class_has_its_color_as_an_outline(classes):
    root = ElementTree.fromstring(qgis_style(classes))
    assert root.tag == "qgis"
    renderer = root.find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    categories = renderer.findall("categories/category")
    assert [each.get("value") for each in categories] == list(classes)
    symbols = {each.get("name"): each for each in renderer.findall("symbols/symbol")}
    for label, category in enumerate(categories):
        layer = symbols[category.get("symbol")].find("layer[@class='SimpleFill']")
        color = ",".join(map(str, (*class_color(label), 255)))
        options = {each.get("name"): each.get("value") for each in layer.findall("Option/Option")}
        assert options["style"] == "no"
        assert options["outline_color"] == color
        assert {each.get("k"): each.get("v") for each in layer.findall("prop")} == options
    assert root.find("layerGeometryType").text == "2"


def test_labels_show_class_and_score_from_a_scale():
    settings = ElementTree.fromstring(qgis_style(CLASSES)).find("labeling/settings")
    style = settings.find("text-style")
    assert style.get("isExpression") == "1"
    assert style.get("fieldName") == '"class" || \' \' || format_number("score", 2)'
    rendering = settings.find("rendering")
    assert (rendering.get("scaleVisibility"), rendering.get("scaleMax")) == ("1", "10000")


def test_it_lies_beside_the_geopackage_and_one_of_qgis_is_kept(tmp_path, utm):
    found = [found_on_map(tmp_path, utm, BOXES)]
    style = tmp_path / "a.b.qml"
    write_geopackage(tmp_path / "a.b.gpkg", found)
    assert style.read_text("utf-8") == qgis_style(CLASSES)
    style.write_text(qgis_style(("other",)))
    write_geopackage(tmp_path / "a.b.gpkg", found)
    assert style.read_text("utf-8") == qgis_style(CLASSES)
    style.write_bytes(b"<qgis>saved by \xe9 person</qgis>")
    assert not write_qgis_style(style, CLASSES)
    assert style.read_bytes() == b"<qgis>saved by \xe9 person</qgis>"


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "a.qml").mkdir()
    with pytest.raises(FovealError, match=r"a\.qml: can't be written"):
        write_qgis_style(tmp_path / "a.qml", CLASSES)
