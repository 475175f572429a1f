"""VOC: what is read, and bad input in one line that says what, where, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.formats import detect, get, load_split
from search_spaces.errors import UserError
from tests.detector.data.formats.written import message, picture, voc


def test_voc_broken_xml_names_file_and_line(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation>\n<size>\n</annotation>")
    assert "a.xml:3: the XML does not parse" in message(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_that_declares_entities_is_refused_before_it_grows(tmp_path: Path, encoding: str) -> None:
    voc(tmp_path, "<annotation/>")
    (path,) = tmp_path.rglob("a.xml")
    declared = '<!DOCTYPE a [\n<!ENTITY b "bb">\n<!ENTITY c "&b;&b;">\n]>'
    path.write_text(f"{declared}<annotation><folder>&c;</folder></annotation>", encoding=encoding)
    assert "a.xml:2: it declares entities (<!ENTITY ...>); remove its <!DOCTYPE ...>" in message(tmp_path)


def test_xml_with_a_plain_doctype_is_read(tmp_path: Path) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    note = "<!-- <!ENTITY -->"
    voc(tmp_path, f"<annotation>{note}<object><name>x</name>{box}</object></annotation>")
    (path,) = tmp_path.rglob("a.xml")
    assert len(load_split(tmp_path, "train")[0].boxes_xyxy) == 1
    path.write_text("<!DOCTYPE annotation>\n" + path.read_text().replace(note, ""))
    assert len(load_split(tmp_path, "train")[0].boxes_xyxy) == 1


def test_voc_without_size_reads_the_header_and_clips(tmp_path: Path) -> None:
    box = "<bndbox><xmin>-4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>99</ymax></bndbox>"
    thin = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>4</xmax><ymax>9</ymax></bndbox>"
    objects = f"<object><name>x</name><difficult>1</difficult>{box}</object><object><name>x</name>{thin}</object>"
    voc(tmp_path, f"<annotation>{objects}</annotation>")
    found, report = load_split(tmp_path, "train")
    assert found.sizes_hw.tolist() == [[32, 48]]
    assert found.boxes_xyxy.tolist() == [[0, 2, 20, 32]]
    assert found.ignore.tolist() == [True]
    assert (report.clipped, report.dropped) == (1, 1)


def test_voc_beside_the_pictures(tmp_path: Path) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    for split, name in (("train", "b"), ("valid", "a")):
        picture(tmp_path / split / f"{name}.jpg")
        xml = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        (tmp_path / split / f"{name}.xml").write_text(xml)
    assert detect(tmp_path) == "voc"
    assert get("voc").splits(tmp_path) == ["train", "val"]
    found, _ = load_split(tmp_path, "val")
    assert found.image_paths == (tmp_path / "valid" / "a.jpg",)
    assert found.class_names == ("b", "a")
    with pytest.raises(UserError, match=r"valid/a.xml: object 1: class 'a' is not among the training classes; .*b"):
        load_split(tmp_path, "val", ("b",))


def test_voc_names_with_spaces_and_columns(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation/>")
    picture(tmp_path / "JPEGImages" / "my picture.jpg")
    (tmp_path / "Annotations" / "my picture.xml").write_text("<annotation/>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a  1\nmy picture\n")
    found, _ = load_split(tmp_path, "train")
    assert [path.name for path in found.image_paths] == ["a.jpg", "my picture.jpg"]


def test_voc_class_that_the_list_lacks(tmp_path: Path) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, f"<annotation><object><name>dgo</name>{box}</object></annotation>")
    (tmp_path / "classes.txt").write_text("dog\n")
    assert "a.xml: object 1: class 'dgo' is not in the list of classes; did you mean dog" in message(tmp_path)


@pytest.mark.parametrize(
    ("tag", "ignored"),
    [
        ("", False),
        ("<difficult/>", False),
        ("<difficult>0</difficult>", False),
        ("<difficult> 1 </difficult>", True),
        ("<difficult>True</difficult>", True),
        ("<difficult>Unspecified</difficult>", False),
    ],
)
def test_voc_difficult_as_tools_write_it(tmp_path: Path, tag: str, ignored: bool) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, f"<annotation><object><name>x</name>{tag}{box}</object></annotation>")
    assert load_split(tmp_path, "train")[0].ignore.tolist() == [ignored]


def test_voc_difficult_that_is_neither(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name><difficult>hard</difficult></object></annotation>")
    (tmp_path / "Annotations" / "a.xml").write_text(
        (tmp_path / "Annotations" / "a.xml").read_text().replace("</difficult>", "</difficult><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>")
    )  # fmt: skip
    assert "a.xml: object 1: <difficult> is 'hard'; expected 0 or 1" in message(tmp_path)


def test_voc_lists_with_file_names(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation/>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a.jpg\n")
    assert load_split(tmp_path, "train")[0].image_paths == (tmp_path / "JPEGImages" / "a.jpg",)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("b.jpg\n")
    assert "no annotation file for an image of the split" in message(tmp_path)


def test_voc_number_that_is_none(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name><bndbox><xmin>a</xmin></bndbox></object></annotation>")
    assert "<bndbox/xmin> is 'a'" in message(tmp_path)


def test_voc_box_that_is_missing(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name></object></annotation>")
    assert "a.xml: object 1: <bndbox/xmin> is missing; expected a number of pixels" in message(tmp_path)


def test_voc_object_without_a_name_and_image_without_a_file(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object/></annotation>")
    assert "a.xml: object 1: an object has no name" in message(tmp_path)
    (tmp_path / "Annotations" / "a.xml").unlink()
    assert "a.xml: no annotation file for an image of the split" in message(tmp_path)
