"""Files are read with a clear refusal and written whole; folders are checked without being made."""

import csv
import io
import math
import os
import signal

import pytest

from search_spaces.errors import UserError
from search_spaces.files import check_folder, claim_outputs, csv_text, read_text, uninterrupted, write_text


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


def test_csv_is_read_back_and_unknown_numbers_are_empty():
    text = csv_text([["class", "ap"], ["dog, wet", 0.25], ['a "b"\n', math.nan], [None, 3]])
    assert list(csv.reader(io.StringIO(text))) == [["class", "ap"], ["dog, wet", "0.25"], ['a "b"\n', ""], ["", "3"]]
    assert "\r" not in text
