"""What a source means."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from detector.prediction.sources import Item, Kind, find_items, without_password
from search_spaces.errors import UserError
from tests.detector.prediction.clips import clip, shot


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.jpg", "in/b/c.png", "in/._a.jpg", "other/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), shot())
    clip(tmp_path / "in/clip.mp4", 2)
    return tmp_path


def found(*sources: str, out: str = "out", listed: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(item.kind.value, item.name.as_posix()) for item in find_items(sources, Path(out), listed)]


def test_files_and_folders(here: Path) -> None:
    assert found("in/a.jpg") == [("picture", "a.jpg")]
    assert found("in/clip.mp4") == [("video", "clip.mp4")]
    assert found("in") == [("picture", "a.jpg"), ("picture", "b/c.png"), ("video", "clip.mp4")]
    assert found(str(here / "in")) == found("in") == found("./in/") == found("other/../in")
    assert found("in", out="in/b") == [("picture", "a.jpg"), ("video", "clip.mp4")]
    assert found("in/a.jpg", "in/a.jpg", "other/a.jpg") == [("picture", "in/a.jpg"), ("picture", "other/a.jpg")]


def test_patterns_and_lists(here: Path) -> None:
    assert found("in/*.jpg") == [("picture", "a.jpg")]
    assert found("**/*.jpg") == [("picture", "in/a.jpg"), ("picture", "other/a.jpg")]
    lines = ("in/a.jpg\r\n", "\n", f"{here}/in/clip.mp4\n", "in/b/../b/c.png")
    expected = [("picture", "a.jpg"), ("video", "clip.mp4"), ("picture", "b/c.png")]
    assert found("-", listed=lines) == expected
    # a file of that very name is meant, not a pattern
    cv2.imwrite(str(here / "in/[a].jpg"), shot())
    assert found("in/[a].jpg") == [("picture", "[a].jpg")]


@pytest.mark.parametrize(
    "lines",
    [
        ("\ufeffin/a.jpg\r\n", "other/a.jpg\r\n"), ("  in/a.jpg \n", "\tother/a.jpg\n"), ("'in/a.jpg'\n", '"other/a.jpg"\n'),
        ("in/a.jpg\0other/a.jpg\0",),
    ],
)  # fmt: skip
def test_lists_as_other_tools_write_them(here: Path, lines: tuple[str, ...]) -> None:
    assert found("-", listed=lines) == [("picture", "in/a.jpg"), ("picture", "other/a.jpg")]


def test_a_name_that_is_there_is_taken_as_it_stands(here: Path) -> None:
    (here / "' b.jpg'").write_bytes((here / "in/a.jpg").read_bytes())
    assert found("-", listed=("' b.jpg'\n",)) == [("picture", "' b.jpg'")]


def test_names_never_lead_out_of_the_output_folder(here: Path) -> None:
    for sources in (
        ("../" + here.name + "/in/a.jpg",),
        ("in/b/../a.jpg", "other/../in/b/c.png"),
        ("/" + str(here / "in"),),
    ):
        for _, name in found(*sources):
            assert ".." not in Path(name).parts
            assert not Path(name).is_absolute()


def test_what_has_another_suffix_is_known_by_its_first_bytes(here: Path) -> None:
    clip(here / "film.mp4", 2).rename(here / "film.dat")
    cv2.imwrite(str(here / "b.jpg"), shot())
    (here / "b.jpg").rename(here / "photo")
    (here / "notes.txt").write_text("Good morning, " * 40)
    assert found("film.dat", "photo", "notes.txt") == [
        ("video", "film.dat"),
        ("picture", "photo"),
        ("picture", "notes.txt"),
    ]


@pytest.mark.parametrize(
    ("source", "address", "name"),
    [
        ("0", 0, "camera0"),
        ("/dev/null", "/dev/null", "null"),
        ("rtsp://me:secret@cam.local:554/live/1?k=v", "rtsp://me:secret@cam.local:554/live/1?k=v", "cam.local_live_1"),
        ("http://[::1", "http://[::1", "stream"),
        ("https://h/../../etc", "https://h/../../etc", "h_.._.._etc"),
    ],
)
def test_cameras_and_streams(here: Path, source: str, address: str | int, name: str) -> None:
    (item,) = find_items([source], Path("out"))
    assert (item.kind, item.address, item.name.as_posix()) == (Kind.LIVE, address, name)
    assert "secret" not in item.shown


def test_passwords_are_not_shown() -> None:
    assert without_password("rtsp://me:a@b@host/x") == "rtsp://me:***@host/x"
    assert without_password("rtsp://token@host") == "rtsp://token:***@host"
    assert without_password("http://host/a@b") == "http://host/a@b"
    assert Item(Kind.LIVE, 3, Path("camera3")).shown == "camera 3"


@pytest.mark.parametrize(
    ("sources", "listed", "message"),
    [
        (["absent"], (), "absent: no such file or folder; expected a picture, a video"),
        (["in/*.bmp"], (), "no file has such a name"),
        (["-"], ("\n",), "no line on standard input"),
        (["-"], ("in/a.jpg", "gone.jpg"), "gone.jpg: no such file"),
        (["0", "in"], (), "camera 0: a camera or stream has no end"),
        (["in", "rtsp://u:p@h/1"], (), "rtsp://u:***@h/1: a camera or stream has no end"),
        (["empty"], (), "no pictures in this folder, and no videos"),
        (["a\0b"], (), "no such file or folder"),
    ],
)
def test_what_means_nothing(here: Path, sources: list[str], listed: tuple[str, ...], message: str) -> None:
    (here / "empty").mkdir()
    with pytest.raises(UserError) as error:
        find_items(sources, Path("out"), listed)
    assert message in str(error.value)
