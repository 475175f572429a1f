"""Files are read with a clear refusal and written whole; folders are checked without being made."""

import csv
import errno
import io
import math
import os
import signal
from pathlib import Path

import pytest

from search_spaces.errors import UserError
from search_spaces.files import (
    check_folder,
    check_new_file,
    check_new_folder,
    claim_outputs,
    csv_text,
    read_text,
    replacing,
    uninterrupted,
    write_text,
)


def test_text_is_utf8_with_or_without_a_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfd\xc3\xa9s")
    assert read_text(path, "words") == "dés"
    path.write_bytes(b"one\ntwo d\xe9s\n")
    with pytest.raises(UserError, match=r"a\.txt:2: .*0xe9 is not UTF-8.*expected words"):
        read_text(path, "words")
    with pytest.raises(UserError, match=r"b\.txt: cannot be read \(No such file.*expected words"):
        read_text(tmp_path / "b.txt", "words")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "dés")
    assert path.read_bytes() == "dés".encode()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left"):
        write_text(path, "new")
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "dés"


def test_errors_name_the_file_that_was_to_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught, replacing(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert caught.value.filename == str(tmp_path / "folder")
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "a.png")
    with pytest.raises(OSError, match="No such file") as caught, replacing(tmp_path / "a.png"):
        (tmp_path / "read").read_text()
    assert caught.value.filename == str(tmp_path / "read")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_places_of_new_files_and_folders(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("x")
    check_new_file(tmp_path / "new" / "a", overwrite=False)
    check_new_file(tmp_path / "file", overwrite=True)
    for path, overwrite, words in (
        (tmp_path / "here", True, "it is a folder, expected a file to write; choose another --kit"),
        (tmp_path / "file", False, "exists already; choose another --kit or say --overwrite"),
        (tmp_path / "file" / "a", True, "file is a file|it is a file"),
    ):
        with pytest.raises(UserError, match=words):
            check_new_file(path, overwrite=overwrite, option="--kit")
    check_new_folder(tmp_path / "new", "try again")
    check_new_folder(tmp_path / "here", "try again")
    check_new_folder(tmp_path, "try again", overwrite=True)
    for folder, words in (
        (tmp_path, "already exists and is not empty; try again"),
        (tmp_path / "file", "it is a file, expected a folder; try again"),
    ):
        with pytest.raises(UserError, match=words):
            check_new_folder(folder, "try again")
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", "../here"):
        with pytest.raises(UserError, match="the folder that you are in cannot be replaced"):
            check_new_folder(Path(name), "try again")


def test_folders_are_checked_but_not_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    check_folder(tmp_path / "new" / "deeper")
    claim_outputs(tmp_path / "new", ["a"], overwrite=False)
    assert not (tmp_path / "new").exists()
    for folder, words in ((tmp_path / "file", "it is a file"), (tmp_path / "file" / "x", "file is a file")):
        with pytest.raises(UserError, match=f"{words}, expected a folder; choose another --out"):
            check_folder(folder)
    with pytest.raises(UserError, match=r"file: exists already; choose another --out or say --overwrite"):
        claim_outputs(tmp_path, ["file"], overwrite=False)
    # permissions do not hold root back, so the test asks in another's name
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="is read-only, expected a folder to write into"):
        check_folder(tmp_path / "new")


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_an_uninterrupted_block() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            steps.append("whole")
        steps.append("after")
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_termination_that_is_handled_waits_too_and_another_is_left_as_it_is() -> None:
    def handler(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    steps = []
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=str(int(signal.SIGTERM))):
            with uninterrupted():
                signal.raise_signal(signal.SIGTERM)
                steps.append("whole")
            steps.append("after")
        assert steps == ["whole"]
        assert signal.getsignal(signal.SIGTERM) is handler
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with uninterrupted():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_csv_is_read_back_and_unknown_numbers_are_empty():
    text = csv_text([["class", "ap"], ["dog, wet", 0.25], ['a "b"\n', math.nan], [None, 3]])
    assert list(csv.reader(io.StringIO(text))) == [["class", "ap"], ["dog, wet", "0.25"], ['a "b"\n', ""], ["", "3"]]
    assert "\r" not in text
