"""CSV: with and without header, its cousins, empty images, lists of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.dataset import Dataset
from foveal.data.formats import read, write
from foveal.data.formats.detect import find_format
from foveal.errors import DataError


@pytest.fixture
def read_text(tmp_path: Path, picture: Callable) -> Callable[..., Dataset]:
    def make(text: str, **files: str) -> Dataset:
        picture(tmp_path / "a.png", 64, 48)
        picture(tmp_path / "b.png", 30, 20)
        (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
        for name, content in files.items():
            (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
        return read(tmp_path / "boxes.csv")

    return make


BOXES = [[[1, 2, 11, 14], [3, 4, 5, 6.5]], []]


@pytest.mark.parametrize(
    "text",
    [
        "a.png,1,2,11,14,dog\na.png,3,4,5,6.5,ant\nb.png,,,,,\n",
        "a.png,1,2,11,14,dog\r\na.png,3,4,5,6.5,ant\r\nb.png\r\n",
        "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,11,14,dog\na.png,3,4,5,6.5,ant\nb.png,,,,,",
        "\ufefffilename,width,height,class,xmin,ymin,xmax,ymax\n"
        "a.png,64,48,dog,1,2,11,14\na.png,64,48,ant,3,4,5,6.5\nb.png,30,20,,,,,\n",
        "label;xmin;xmax;ymin;ymax;image_path\ndog;1;11;2;14;a.png\nant;3;5;4;6,5;a.png\n;;;;;b.png",
    ],
)
def test_customs(text: str, read_text: Callable[..., Dataset]) -> None:
    data = read_text(text)
    assert data.classes == ("ant", "dog")
    assert [record.boxes.tolist() for record in data] == BOXES
    assert data.records[0].labels.tolist() == [1, 0]
    assert [(r.width, r.height) for r in data] == [(64, 48), (30, 20)]


def test_classes_are_in_the_order_of_their_list(read_text: Callable[..., Dataset]) -> None:
    data = read_text("a.png,1,2,11,14,dog\n", classes="dog,1\nant,0\n")
    assert data.classes == ("ant", "dog")
    assert data.records[0].labels.tolist() == [1]
    assert read_text("a.png,1,2,11,14,dog\n", classes="name,id\ndog,0\n").classes == ("dog",)


def test_a_column_marks_regions_to_ignore(read_text: Callable[..., Dataset]) -> None:
    header = "image_path,xmin,ymin,xmax,ymax,label,ignored\n"
    record = read_text(header + "a.png,1,2,11,14,dog,1\na.png,3,4,5,6,dog,0\n").records[0]
    assert record.ignored.tolist() == [True, False]


def test_an_image_that_is_gone_keeps_its_boxes(read_text: Callable[..., Dataset]) -> None:
    record = read_text("gone.png,1,2,11,14,dog\n").records[0]
    assert (record.width, record.height, len(record)) == (0, 0, 1)


BOX = [[20, 30, 60, 40]]
OTHERS = {
    "tab": "image_path\txmin\tymin\txmax\tymax\tlabel\na.png\t20\t30\t60\t40\tdog\n",
    "semicolon and decimal commas": "image;x1;y1;x2;y2;class\na.png;20,0;30,0;60,0;40,0;dog\n",
    "no header, decimal commas": "a.png;20,0;30,0;60,0;40,0;dog\n",
    "bar": "image|x1|y1|x2|y2|class\na.png|20|30|60|40|dog\n",
    "Excel": "sep=;\nimage;x1;y1;x2;y2;class\na.png;20;30;60;40;dog\n",
    "quoted, blanks, capitals": '" Image Path ", XMin ,YMIN,x max,"ymax",Label\n'
    '"a.png", 20,30,60,40,"dog"\n',
    "SKU-110K": "a.png,20,30,60,40,dog,64,48\n",
    "makesense": "dog,20,30,40,10,a.png,64,48\n",
    "VoTT": '"image","xmin","ymin","xmax","ymax","label"\n"a.png",20.0,30.0,60.0,40.0,"dog"\n',
    "TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,64,48,dog,20,30,60,40\n",
    "DeepForest": ",image_path,label,geometry\n"
    '0,a.png,dog,"POLYGON ((60 30, 60 40, 20 40, 20 30, 60 30))"\n',
    "a polygon of holes": "image_path;label;geometry\n"
    "a.png;dog;MULTIPOLYGON (((20 30, 60 30, 60 40, 20 30), (22 32, 23 33, 24 32, 22 32)))\n",
    "scores": "image_path,xmin,ymin,xmax,ymax,label,score\na.png,20,30,60,40,dog,0.9\n",
    "sides": "filename,x,y,w,h,width,height,label\na.png,20,30,40,10,64,48,dog\n",
    "sides called width": "image,x,y,width,height,class\na.png,20,30,40,10,dog\n",
    "left, top": "image,left,top,width,height,class\na.png,20,30,40,10,dog\n",
    "bbox_x": "image_name,bbox_x,bbox_y,bbox_width,bbox_height,label_name,image_width\n"
    "a.png,20,30,40,10,dog,64\n",
    "center": "image,x_center,y_center,width,height,class\na.png,40,35,40,10,dog\n",
    "bbox": 'image,label,bbox\na.png,dog,"[20.0, 30.0, 40.0, 10.0]"\n',
    "bbox in other brackets": 'image,label,bbox\na.png,dog,"{x: 20, y: 30, w: 40, h: 10}"\n',
    "a column of images": "patient,x,y,w,h,class\na.png,20,30,40,10,dog\n",
    "an id without ending": "image_id,xmin,ymin,xmax,ymax,class\na,20,30,60,40,dog\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_tables_of_many_tools(name: str, read_text: Callable[..., Dataset], tmp_path: Path) -> None:
    data = read_text(OTHERS[name])
    assert data.classes == ("dog",)
    assert data.records[0].boxes.tolist() == BOX
    assert [(r.path.name, r.width, r.height) for r in data] == [("a.png", 64, 48)]
    assert find_format(tmp_path) == "csv"


WHEAT = {
    "2020": 'image_id,width,height,bbox,source\na,64,48,"[20.0, 30.0, 40.0, 10.0]",x\nb,30,20,,\n',
    "2021": "image_name,BoxesString,domain\na.png,20 30 60 40;1 2 3 4,u\nb.png,no_box,u\n",
}


@pytest.mark.parametrize("year", WHEAT)
def test_a_table_of_one_class(
    year: str, read_text: Callable[..., Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    data = read_text(WHEAT[year])
    assert data.classes == ("object",)
    assert [r.boxes.tolist() for r in data] == [BOX + [[1, 2, 3, 4]] * (year == "2021"), []]
    assert "No column for the class: all are 'object'" in caplog.text


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "null", "NA", "<NA>", "", "-"])
@pytest.mark.parametrize("header", ["image_path,xmin,ymin,xmax,ymax,label\n", ""])
def test_rows_of_nothing_are_images_without_objects(
    nothing: str, header: str, read_text: Callable[..., Dataset]
) -> None:
    empty = "b.png" + f",{nothing}" * 5
    data = read_text(f"{header}{empty}\na.png,1,2,11,14,dog\n")
    assert data.classes == ("dog",)
    assert [(r.path.name, len(r)) for r in data] == [("b.png", 0), ("a.png", 1)]


def test_a_class_may_be_called_none(read_text: Callable[..., Dataset]) -> None:
    assert read_text("a.png,1,2,11,14,None\nb.png,None,None,None,None,None\n").classes == ("None",)
    with pytest.raises(DataError, match="line 1: the object has no class"):
        read_text("a.png,1,2,11,14,nan\n")


def test_a_class_without_a_box_is_left_out_and_told(
    read_text: Callable[..., Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    data = read_text("a.png,1,2,11,14,dog\nb.png,nan,nan,nan,nan,No finding\n")
    assert data.classes == ("dog",)
    assert [len(record) for record in data] == [1, 0]
    assert "1 x no box" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "image_path,x,y,label\na.png,20,30,dog\n",
        "a.png,1,2,dog\n",
        "file,foo,bar,baz,qux,quux\nx,y,z,x,y,z\n",
        "image,xmin,ymin,xmax,ymax\na.png,1,2,3,4\n",
        'image,bbox,damage\na.png,"[1, 2, 3, 4]",hail\n',
    ],
)
def test_columns_that_cannot_be_told_apart(text: str, read_text: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError) as caught:
        read_text(text)
    assert text.partition("\n")[0].replace('"', "")[:9] in str(caught.value)
    assert "Expected a header with image_path,xmin,ymin,xmax,ymax,label" in str(caught.value)


def test_points_have_no_box(
    read_text: Callable[..., Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    text = "image_path,label,geometry\na.png,dog,POINT (3 4)\n"
    with pytest.raises(DataError, match=r"holds POINT alone, which have no box\."):
        read_text(text)
    (record,) = read_text(text + 'a.png,dog,"POLYGON ((2 3, 6 3, 6 4, 2 3))"\n')
    assert record.boxes.tolist() == [[2, 3, 6, 4]]
    assert "1 x no box. Left out" in caplog.text
    with pytest.raises(DataError, match=r"line 2: box .*WEIRD.*Expected a POLYGON in WKT"):
        read_text(text.replace("POINT", "WEIRD"))


def test_labels_may_be_the_ids_of_a_list(read_text: Callable[..., Dataset]) -> None:
    data = read_text("a.png,1,2,11,14,1\na.png,3,4,5,6,0\n", classes="dog,1\nant,0\n")
    assert data.classes == ("ant", "dog")
    assert data.records[0].labels.tolist() == [1, 0]


def test_numbers_are_sorted_by_their_value(read_text: Callable[..., Dataset]) -> None:
    assert read_text("a.png,1,2,11,14,10\na.png,3,4,5,6,9\n").classes == ("9", "10")


def test_the_list_of_another_table_is_named(read_text: Callable[..., Dataset]) -> None:
    with pytest.raises(
        DataError, match=r"not one of the classes in classes\.csv.*classes\.csv, or"
    ):
        read_text("a.png,1,2,11,14,dog\n", classes="ant,0\n")


def test_several_boxes_in_a_cell(read_text: Callable[..., Dataset]) -> None:
    (record,) = read_text('image,label,bbox\na.png,dog,"[[20, 30, 40, 10], [1, 2, 3, 4]]"\n')
    assert record.boxes.tolist() == [[20, 30, 60, 40], [1, 2, 4, 6]]


def test_a_folder_says_what_its_only_table_holds(
    read_text: Callable[..., Dataset], tmp_path: Path
) -> None:
    (tmp_path / "boxes.csv").write_text("a.png,1,2,11,14,dog,0.9\n")
    with pytest.raises(DataError, match=r"no columns of boxes in 'a\.png,1,2,11,14,dog,0\.9'"):
        read(tmp_path)


def test_a_split_may_stand_anywhere_in_the_name(tmp_path: Path, picture: Callable) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}.png")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / f"annotations/annotations_{split}.csv").write_text(f"{split}.png,1,2,9,9,x\n")
    assert [r.path.stem for r in read(f"{tmp_path}:val")] == ["val"]


NAMES = ("nan", "None", "a;b", "x\ty", 'say "no"', "1", "größe 红 ✓", "-", "sep=;")


def test_any_names_of_classes_are_read_as_they_were_written(
    make_dataset: Callable, assert_same: Callable, tmp_path: Path
) -> None:
    objects = [((1, 2, 11, 14), label, False) for label in range(len(NAMES))]
    rows = [("a;b.png", 64, 48, objects), ("b,c.png", 64, 48, [])]
    data = make_dataset(rows, NAMES)
    write(data, tmp_path / "out", "csv")
    assert_same(read(tmp_path / "out"), data)


def test_numbers_of_classes_may_be_written_as_fractions(read_text: Callable[..., Dataset]) -> None:
    rows = "image,xmin,ymin,xmax,ymax,class\na.png,1,2,11,14,1.0\na.png,3,4,5,6,0.0\nb.png,,,,,\n"
    assert read_text(rows).classes == ("0", "1")
    data = read_text(rows, classes="dog,1\nant,0\n")
    assert data.classes == ("ant", "dog")
    assert data.records[0].labels.tolist() == [1, 0]
    assert read_text("a.png,1,2,11,14,1.5\n", classes="1.5,0\n").classes == ("1.5",)


def test_a_header_with_line_breaks_is_quoted_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"x.jpg","nan-->\n""image","x_min"\n')
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.csv", "csv")
    assert "\n" not in str(caught.value)
    assert r"nan-->\n" in str(caught.value)


DEEPFOREST = """image_path,label,score,xmin,geometry,ymin,xmax,ymax
a.png,dog,0.9628145098686218,1.0,"POLYGON ((11 2, 11 14, 1 14, 1 2, 11 2))",2.0,11.0,14.0
a.png,ant,0.5,3.0,"POLYGON ((5 4, 5 6.5, 3 6.5, 3 4, 5 4))",4.0,5.0,6.5
"""


def test_what_deepforest_writes_goes_in_and_out_without_loss(
    read_text: Callable[..., Dataset], tmp_path: Path
) -> None:
    data = read_text(DEEPFOREST)
    flags = data.records[0].flags
    assert flags["score"] == (0.9628145098686218, 0.5)
    assert flags["geometry"][1] == "POLYGON ((5 4, 5 6.5, 3 6.5, 3 4, 5 4))"
    write(data, tmp_path / "out", "csv")
    again = read(tmp_path / "out")
    assert again.records[0].boxes.tolist() == data.records[0].boxes.tolist() == BOXES[0]
    assert again.records[0].flags == flags


def test_shapes_alone_are_read_in_pixels_and_on_the_map(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    text = 'image_path,label,geometry\n{0},x,"POLYGON (({1} {2}, {3} {2}, {3} {4}, {1} {2}))"\n'
    picture(tmp_path / "a.png", 64, 48)
    (tmp_path / "boxes.csv").write_text(text.format("a.png", 1, 2, 11, 14))
    assert read(tmp_path).records[0].boxes.tolist() == [[1, 2, 11, 14]]
    pytest.importorskip("rasterio")
    from tests.data.formats.test_geo import UPRIGHT, raster

    raster(tmp_path / "b.tif")
    x, y = UPRIGHT[2], UPRIGHT[5]
    (tmp_path / "boxes.csv").write_text(text.format("b.tif", x + 0.5, y - 1, x + 5.5, y - 7))
    record = read(tmp_path / "boxes.csv").records[0]
    assert record.boxes.tolist() == [[1, 2, 11, 14]]
    assert record.flags["geometry"][0].startswith("POLYGON ((404212.0")
    assert "its places are taken in that of the image" in caplog.text


def test_the_column_of_the_class_is_named(
    read_text: Callable[..., Dataset], tmp_path: Path
) -> None:
    read_text("image,x1,y1,x2,y2,label,species\na.png,1,2,11,14,tree,oak\n")
    file = tmp_path / "boxes.csv"
    assert read(file).classes == ("tree",)
    assert read(file, class_column="species").classes == ("oak",)
    assert read(file, class_column="species").records[0].flags == {"label": ("tree",)}
    assert read(file, class_column="=plant").classes == ("plant",)
    with pytest.raises(DataError, match=r"no column 'specie'. Its columns are image, x1"):
        read(file, class_column="specie")


def test_deepforests_files(shared: Path) -> None:
    folder = shared / "data" / "neon-trees"
    name = "2019_BLAN_3_751000_4330000_image_crop"
    boxes = read(folder / f"{name}_bbox.csv").records[0]
    assert boxes.boxes[0].tolist() == [737, 630, 817, 714]
    outlines = read(folder / f"{name}_polygon.csv").records[0]
    assert outlines.boxes[0].tolist() == [736.5, 629.5, 817.5, 714.5]
    with pytest.raises(DataError, match=r"POINT alone, which have no box. Expected a POLYGON"):
        read(folder / f"{name}_keypoints.csv")
