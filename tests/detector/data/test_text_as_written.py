"""Text, names, splits and files as people and tools really write them."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.annotations import Annotations
from detector.data.formats import available_splits, load_split, read_split
from search_spaces.errors import UserError
from tests.detector.data.tool_exports import picture, text, voc_xml

FILES = ("p0.png", "p1.png")


def loaded(root: Path, split: str = "train") -> Annotations:
    return load_split(root, split)[0]


CODES = {"gb2312": "猫", "gbk": "貓", "gb18030": "猫€", "big5": "貓", "shift_jis": "ネコ",
         "euc-jp": "ネコ", "iso-2022-jp": "ネコ",
         "euc-kr": "고양이",
         "windows-1251": "кошка", "koi8-r": "кошка",
         "iso-8859-7": "γάτα", "windows-1252": "café",
         "utf-8": "猫", "utf-16": "猫", "macintosh": "café", "cp037": "café"}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_xml_in_any_encoding_that_its_header_names(tmp_path: Path, code: str) -> None:
    picture(tmp_path / "p0.png")
    xml = f'<?xml version="1.0" encoding="{code}"?>\n{voc_xml("p0.png").replace("cat", CODES[code])}'
    (tmp_path / "p0.xml").write_bytes(xml.encode(code))
    assert loaded(tmp_path, "all").class_names == (unicodedata.normalize("NFC", CODES[code]),)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x-unknown", "the encoding 'x-unknown' is not known; save the file as UTF-8"),
        ("rot13", "'rot13' is no text encoding"),
        ("gb2312", "its bytes are not the gb18030 that it names"),
    ],
)
def test_xml_encodings_that_cannot_be_read(tmp_path: Path, header: str, expected: str) -> None:
    picture(tmp_path / "p0.png")
    body = voc_xml("p0.png").replace("cat", "\x80")
    (tmp_path / "p0.xml").write_bytes(
        f'<?xml version="1.0" encoding="{header}"?>'.encode() + body.encode("latin-1") + b"\xff"
    )
    with pytest.raises(UserError, match=expected):
        loaded(tmp_path, "all")


def test_xml_that_says_unicode_and_is_utf8(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    (tmp_path / "p0.xml").write_bytes(
        b'<?xml version="1.0" encoding="unicode"?>' + voc_xml("p0.png").replace("cat", "猫").encode()
    )
    assert loaded(tmp_path, "all").class_names == ("猫",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_texts_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    picture(tmp_path / "images/train/p0.png")
    text(tmp_path / "labels/train/p0.txt", "")
    for name, content in (("labels/train/p0.txt", "0 .5 .5 .5 .5\r\n"), ("train.txt", ".\\images\\train\\p0.png\r\n"),
                          ("data.yaml", "train: train.txt\r\nnames: [кот]\r\n")):  # fmt: skip
        (tmp_path / name).write_bytes(mark + content.encode(encoding))
    assert loaded(tmp_path).class_names == ("кот",)
    assert len(loaded(tmp_path).labels) == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[yes, no, off]", ("yes", "no", "off")),
        ("[12:30, 2020-01-01, 1e3]", ("12:30", "2020-01-01", "1e3")),
        ("[null, 010, 1_000]", ("null", "010", "1_000")),
        ("{0: 7, 1: 1.50, 2: 0x1F}", ("7", "1.50", "0x1F")),
        ('["cat\\n", " dog\\t", "e\\u0301\\u0007"]', ("cat", "dog", "\u00e9")),
    ],
)
def test_class_names_stay_as_they_were_written(tmp_path: Path, names: str, expected: tuple[str, ...]) -> None:
    picture(tmp_path / "images/train/p0.png")
    text(tmp_path / "data.yaml", f"path:\ntrain: images/train\nval: null\ntest: ~\nnc: 3\nnames: {names}\n")
    assert loaded(tmp_path).class_names == expected
    assert available_splits(tmp_path) == ["train"]


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Validation"),
        ("TRAINING", "valid"),
        ("train2017", "val2017"),
        ("train", "dev"),
        ("Train_Set", "val-images"),
    ],
)
def test_split_names_in_any_case_and_their_synonyms(tmp_path: Path, names: tuple[str, str]) -> None:
    for split, file in zip(names, FILES):
        picture(tmp_path / "images" / split / file)
        text(tmp_path / "labels" / split / file.replace(".png", ".txt"), "0 .5 .5 .5 .5\n")
    text(tmp_path / "classes.txt", "cat\n")
    assert available_splits(tmp_path) == ["train", "val"]
    assert [loaded(tmp_path, split).image_paths[0].name for split in ("train", "val")] == list(FILES)


def test_hidden_files_and_links_in_every_format(tmp_path: Path) -> None:
    for name in FILES:
        picture(tmp_path / "elsewhere/images" / name)
        text(tmp_path / "elsewhere/labels" / name.replace(".png", ".txt"), "0 .5 .5 .5 .5\n")
        text(tmp_path / "set/train" / name.replace(".png", ".xml"), voc_xml(name))
        picture(tmp_path / "set/train" / name)
    for kind in ("images", "labels"):
        (tmp_path / f"yolo/{kind}/train").mkdir(parents=True)
        (tmp_path / f"yolo/{kind}/train/part").symlink_to(f"../../../elsewhere/{kind}")
    for junk in (
        "set/train/._p0.xml",
        "set/train/._p0.png",
        "yolo/images/train/._p0.png",
        "yolo/labels/train/._p0.txt",
    ):
        (tmp_path / junk).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    text(tmp_path / "yolo/data.yaml", "train: images/train\nnames: [cat]\n")
    assert len(loaded(tmp_path / "yolo").labels) == len(loaded(tmp_path / "set").labels) == 2


def test_a_named_test_split_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "images/train/p0.png")
    text(tmp_path / "data.yaml", "train: images/train\ntest: images/test\nnames: [cat]\n")
    assert available_splits(tmp_path) == ["train"]
    text(tmp_path / "data.yaml", "train: images/train\nval: images/vall\nnames: [cat]\n")
    with pytest.raises(UserError, match=r"images/vall: no such folder or list of images"):
        loaded(tmp_path, "val")


def test_damaged_neighbours_do_not_stop_matching(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    text(tmp_path / "a.xml", "<annotation")
    with pytest.raises(UserError, match=r"a\.xml:1: the XML does not parse"):
        read_split(tmp_path, "all")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))


def test_a_mark_of_utf8_outweighs_the_header(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    xml = '<?xml version="1.0" encoding="gb2312"?>' + voc_xml("p0.png").replace("cat", "猫")
    (tmp_path / "p0.xml").write_bytes(xml.encode("utf-8-sig"))
    assert loaded(tmp_path, "all").class_names == ("猫",)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images/train/p0.png")
    (tmp_path / "images/train/p1.png").symlink_to("/nowhere/p1.png")
    text(tmp_path / "data.yaml", "train: images/train\nnames: [cat]\n")
    with pytest.raises(UserError, match=r"p1\.png: cannot read the image"):
        loaded(tmp_path)
