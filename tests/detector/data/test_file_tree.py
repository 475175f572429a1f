"""Which files belong together: links, hidden files, Unicode forms, paths of other machines; names of outputs."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from detector.data.file_tree import Finder, FreeNames, files_below, parts_of

SUFFIXES = {".jpg", ".png"}


def touched(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_below(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files_below(root, SUFFIXES)]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touched(tmp_path, "set/a.jpg", "other/b.jpg", "other/deep/c.png")
    (tmp_path / "set/part").symlink_to("../other")
    (tmp_path / "set/one.jpg").symlink_to("../other/b.jpg")
    (tmp_path / "other/deep/up").symlink_to("../../set")
    (tmp_path / "set/self").symlink_to(".")
    (tmp_path / "set/nowhere").symlink_to("missing")
    (tmp_path / "set/gone.jpg").symlink_to("missing.jpg")
    assert names_below(tmp_path / "set") == ["a.jpg", "gone.jpg", "one.jpg", "part/b.jpg", "part/deep/c.png"]


def test_hidden_files_are_nobodys_pictures(tmp_path: Path) -> None:
    touched(
        tmp_path, "a.jpg", "._a.jpg", ".hidden/b.jpg", "__MACOSX/c.jpg", "Thumbs.db", ".DS_Store", "in/@eaDir/a.jpg"
    )
    assert names_below(tmp_path) == ["a.jpg"]
    # a set in a hidden folder is a set all the same
    assert names_below(tmp_path / ".hidden") == ["b.jpg"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("images/train/a.jpg", "images/train/a.jpg"),
        ("images\\train\\a.jpg", "images/train/a.jpg"),
        ("D:\\data\\images\\val\\a.jpg", "images/val/a.jpg"),
        ("/home/someone/set/images/val/a.jpg", "images/val/a.jpg"),
        ("..\\..\\upload\\4\\only.png", "images/train/deep/only.png"),
        ("upload/ONLY.PNG", "images/train/deep/only.png"),
        ("a.jpg", None),  # two have that name
        ("val/a.jpg", "images/val/a.jpg"),
        ("https://host/bucket/val/a.jpg?key=1", "images/val/a.jpg"),
        ("b.jpg", None),
        ("", None),
        ("\0", None),
        ("x" * 5000, None),
        ("..", None),
    ],
)
def test_names_of_any_system(tmp_path: Path, name: str, found: str | None) -> None:
    touched(tmp_path, "images/train/a.jpg", "images/val/a.jpg", "images/train/deep/only.png")
    path = Finder(tmp_path, [tmp_path], SUFFIXES).find(name)
    assert (None if path is None else path.relative_to(tmp_path).as_posix()) == found


def test_several_files_of_a_name_are_named(tmp_path: Path) -> None:
    touched(tmp_path, "one/a.jpg", "two/a.jpg")
    assert len(Finder(tmp_path, [tmp_path], SUFFIXES).several("x/a.jpg")) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_with_accents_are_one_name(tmp_path: Path, form: str) -> None:
    name = unicodedata.normalize(form, "sub/Prüfstück é.jpg")
    touched(tmp_path, name, "sub/Prufstuck e.jpg")
    finder = Finder(tmp_path, [tmp_path], SUFFIXES)
    for other in ("NFC", "NFD"):
        assert finder.find(unicodedata.normalize(other, "Prüfstück é.jpg")) == tmp_path / name
        assert finder.find_stem(unicodedata.normalize(other, "Prüfstück é"), tmp_path) == tmp_path / name


def test_parts() -> None:
    assert parts_of("C:\\a\\..\\b\\c.jpg") == ("a", "b", "c.jpg")
    assert parts_of("/a//./b") == ("a", "b")


def test_no_two_outputs_share_a_name() -> None:
    free = FreeNames()
    taken = [free.take(stem) for stem in ("a", "A", "a-2", "\u00e9", "e\u0301", "a")]
    assert taken == ["a", "A-2", "a-2-2", "\u00e9", "e\u0301-2", "a-3"]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in taken}) == len(taken)


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path, "train/a.jpg", "val/a.jpg")
    scandir = os.scandir

    def closed(folder: Path) -> Any:
        if Path(folder).name == "train":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.warns(UserWarning, match="train: left out, you may not read this folder"):
        assert names_below(tmp_path) == ["val/a.jpg"]
