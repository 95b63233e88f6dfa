"""How QGIS shows detections: the style file that it reads beside a layer's file.

QGIS 3 opens `NAME.qml` by itself with any layer of `NAME.gpkg`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from foveal.files import write_file
from foveal.visualization.colors import class_color

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MARK = "Made by foveal, which replaces this file; one that QGIS saved is kept."
_LABELS_FROM_SCALE = 10_000
"""Labels show at 1 : this and closer."""
_OUTSIDE_POLYGONS = 8
"""QGIS's number for labels beside what they name, so that they cover no object."""
_POLYGONS = 2
"""QGIS's number for layers of polygons."""


def write_qgis_style(path: Path, classes: Sequence[str]) -> bool:
    """Write a style: outlines in the color that each class has in foveal's pictures, and labels.

    Labels of class and score show from 1 : 10,000.

    Args:
        path: the file, `NAME.qml`. One that somebody saved there with QGIS is left as it is.
        classes: the K class names, in the model's order.

    Returns:
        Whether it was written.

    Raises:
        FovealError: the file can't be written.
    """
    if path.is_file() and _MARK not in path.read_text("utf-8", errors="replace"):
        return False
    write_file(path, qgis_style(classes))
    return True


def qgis_style(classes: Sequence[str]) -> str:
    """The style as XML, in the form that QGIS 3 writes."""
    categories = "\n".join(
        f'      <category type="string" value={quoteattr(name)} label={quoteattr(name)} '
        f'symbol="{label}" render="true"/>'
        for label, name in enumerate(classes)
    )
    symbols = "\n".join(_symbol(label) for label in range(len(classes)))
    expression = quoteattr('"class" || \' \' || format_number("score", 2)')
    return f"""\
<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<!-- {_MARK} -->
<qgis version="3.28.0" styleCategories="Symbology|Labeling" labelsEnabled="1">
  <renderer-v2 type="categorizedSymbol" attr="class" symbollevels="0" enableorderby="0" \
forceraster="0">
    <categories>
{categories}
    </categories>
    <symbols>
{symbols}
    </symbols>
  </renderer-v2>
  <labeling type="simple">
    <settings calloutType="simple">
      <text-style fieldName={expression} isExpression="1" fontSize="8" fontSizeUnit="Point" \
textColor="0,0,0,255" textOpacity="1">
        <text-buffer bufferDraw="1" bufferSize="0.7" bufferSizeUnits="MM" \
bufferColor="255,255,255,255" bufferOpacity="0.8"/>
      </text-style>
      <placement placement="{_OUTSIDE_POLYGONS}" priority="5" dist="0.5" distUnits="MM"/>
      <rendering drawLabels="1" scaleVisibility="1" scaleMin="0" scaleMax="{_LABELS_FROM_SCALE}" \
obstacle="0"/>
    </settings>
  </labeling>
  <layerGeometryType>{_POLYGONS}</layerGeometryType>
</qgis>
"""


def _symbol(label: int) -> str:
    color = ",".join(map(str, (*class_color(label), 255)))
    values = {
        "color": color,
        "joinstyle": "miter",
        "outline_color": color,
        "outline_style": "solid",
        "outline_width": "0.5",
        "outline_width_unit": "MM",
        "style": "no",
    }
    options = "\n".join(
        f'            <Option type="QString" name="{name}" value="{value}"/>'
        for name, value in values.items()
    )
    # QGIS before 3.26 reads these, and later ones the options.
    properties = "\n".join(
        f'          <prop k="{name}" v="{value}"/>' for name, value in values.items()
    )
    return f"""\
      <symbol type="fill" name="{label}" alpha="1" clip_to_extent="1" force_rhr="0">
        <layer class="SimpleFill" pass="0" enabled="1" locked="0">
          <Option type="Map">
{options}
          </Option>
{properties}
        </layer>
      </symbol>"""
