"""Facts of image files, and that what is remembered of them never outlives a change."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data import image_facts
from detector.data.image_facts import examine


def picture(path: Path, size: tuple[int, int] = (32, 48), value: int = 0) -> Path:
    cv2.imwrite(str(path), np.full((*size, 3), value, dtype=np.uint8))
    return path


@pytest.fixture
def remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Remembers from the first image on; the list collects the files that are really looked at."""
    monkeypatch.setattr(image_facts, "MIN_REMEMBERED", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    looked: list[Path] = []
    original = image_facts._look

    def look(path: Path) -> image_facts.ImageFact:
        looked.append(path)
        return original(path)

    monkeypatch.setattr(image_facts, "_look", look)
    return looked


def test_facts(tmp_path: Path) -> None:
    good = picture(tmp_path / "a.png")
    cut = picture(tmp_path / "b.jpg")
    cut.write_bytes(cut.read_bytes()[:-40])
    facts = examine([good, cut, tmp_path / "c.jpg"])
    assert facts[0].size_hw == facts[0].stored_hw == (32, 48)
    assert "cut short" in facts[1].reason
    assert "cannot read the image" in facts[2].reason
    assert facts[0].mismatch((32, 48)) == ""
    # without an EXIF rotation a turned size is a wrong one
    assert "is 48x32 but its annotations say 32x48" in facts[0].mismatch((48, 32))
    assert facts[1].mismatch((32, 48)) == facts[1].reason


def test_decoding_hashes_the_bytes_and_finds_what_headers_hide(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{i}.png", value=i // 2) for i in range(3)]
    broken = tmp_path / "3.png"
    whole = paths[0].read_bytes()
    place = whole.index(b"IDAT") + 8
    broken.write_bytes(whole[:place] + bytes(8) + whole[place + 8 :])
    facts = examine([*paths, broken], decode=True)
    assert facts[0].digest == facts[1].digest != facts[2].digest
    assert facts[3].reason
    assert not examine([broken])[0].reason


def test_unchanged_files_are_not_looked_at_again(tmp_path: Path, remembering: list[Path]) -> None:
    paths = [picture(tmp_path / f"{i}.png") for i in range(3)]
    first = examine(paths)
    assert len(remembering) == 3
    assert examine(paths) == first
    assert len(remembering) == 3


def test_a_changed_file_is_looked_at_again(tmp_path: Path, remembering: list[Path]) -> None:
    paths = [picture(tmp_path / f"{i}.png") for i in range(3)]
    examine(paths)
    remembering.clear()
    picture(paths[1], (64, 64))
    # same bytes but another time: may be another picture of equal size
    os.utime(paths[2], ns=(0, 10**18))
    assert examine(paths)[1].size_hw == (64, 64)
    assert remembering == paths[1:]
    paths[0].unlink()
    assert examine(paths)[0].reason


@pytest.mark.parametrize("how", ["replaced", "edited"])
def test_a_changed_file_of_equal_size_and_time_is_looked_at_again(
    tmp_path: Path, remembering: list[Path], how: str
) -> None:
    path, other = tmp_path / "a.bmp", tmp_path / "other.bmp"
    path.write_bytes(cv2.imencode(".bmp", np.zeros((64, 64, 3), dtype=np.uint8))[1].tobytes())
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[32, 32] = 255  # neither the first nor the last bytes differ
    other.write_bytes(cv2.imencode(".bmp", picture)[1].tobytes())
    (before,) = examine([path], decode=True)
    status = path.stat()
    if how == "replaced":
        other.replace(path)
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of files ticks every few ms
        path.write_bytes(other.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    (after,) = examine([path], decode=True)
    assert len(remembering) == 2
    assert after.digest != before.digest


@pytest.mark.parametrize("place", [0, 5000, -1])
def test_a_fingerprint_covers_both_ends_where_no_time_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    path = tmp_path / "a.bmp"
    data = bytearray(6000)
    path.write_bytes(data)
    status = path.stat()
    monkeypatch.setattr(image_facts.os, "fstat", lambda _: status)
    before = image_facts._fingerprint(path)
    assert image_facts._fingerprint(path) == before != ""
    data[place] = 1
    path.write_bytes(data)
    assert image_facts._fingerprint(path) != before
    assert image_facts._fingerprint(tmp_path / "none.bmp") == ""


def test_bad_files_and_broken_memories_are_looked_at_again(tmp_path: Path, remembering: list[Path]) -> None:
    bad = tmp_path / "a.jpg"
    bad.write_bytes(b"x")
    good = picture(tmp_path / "b.png")
    examine([bad, good])
    examine([bad, good])
    assert remembering == [bad, good, bad]
    (file,) = (tmp_path / "cache" / "tinynas").iterdir()
    file.write_bytes(file.read_bytes()[:30])
    remembering.clear()
    assert examine([good])[0].size_hw == (32, 48)


def test_small_data_sets_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    examine([picture(tmp_path / "a.png")])
    assert not (tmp_path / "cache").exists()
