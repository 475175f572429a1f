"""A search that is cut short: by Ctrl-C, by kill -9; the folder it holds; what a resume refuses."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from search_spaces.errors import UserError
from tinynas.cli import main
from tinynas.search.folder import differences, held

OPTIONS = ["--max-macs", "8G", "--evaluations", "60000", "--population", "64"]
WAITING = """
import sys
from tinynas.search import folder, run as search
folder.SAVE_EVERY_S = 0.0
real = search.evolve
def waiting(*args, **keywords):
    for number, state in enumerate(real(*args, **keywords)):
        yield state
        if number == 2:
            print("saved", flush=True)
            sys.stdin.read()
search.evolve = waiting
from tinynas.cli import main
main(sys.argv[1:])
"""


def search(out, *options):
    return main(["search", "--out", str(out), *OPTIONS, *options])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert search(out) == 0
    return (out / "structure.txt").read_bytes()


@pytest.fixture
def running(tmp_path):
    """A search in another process that has saved its state and now waits; its folder."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", WAITING, "search", "--out", str(out), *OPTIONS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout.readline() == "saved\n"
            yield process, out
        finally:
            process.kill()


def test_killed_and_resumed_is_the_same_file(running, whole):
    process, out = running
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "structure.txt").exists()
    assert search(out, "--resume") == 0
    assert (out / "structure.txt").read_bytes() == whole
    assert not (out / ".search").exists()


def test_a_folder_in_use_is_refused_until_its_run_is_gone(running, capsys):
    process, out = running
    assert search(out, "--overwrite") == 2
    assert "in use by another search" in capsys.readouterr().err
    for options in ([], ["--resume"]):
        assert search(out, *options) == 2
        assert "in use by another search" in capsys.readouterr().err
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert search(out) == 2
    assert "holds an unfinished search; go on with it (--resume)" in capsys.readouterr().err
    assert search(out, "--overwrite") == 0


def test_ctrl_c_keeps_what_was_found_and_goes_on(tmp_path, monkeypatch, capsys, whole):
    from tinynas.search import run as module

    real = module.evolve

    def interrupted(*args, **keywords):
        for number, state in enumerate(real(*args, **keywords)):
            yield state
            if number == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "evolve", interrupted)
    assert search(tmp_path) == 130
    assert "interrupted after" in capsys.readouterr().out
    data = json.loads((tmp_path / "search.json").read_text())
    assert data["interrupted"] is True
    assert 0 < data["evaluations"] < 60_000
    monkeypatch.setattr(module, "evolve", real)
    assert search(tmp_path, "--resume") == 0
    assert (tmp_path / "structure.txt").read_bytes() == whole


def test_ctrl_c_during_the_proof_keeps_the_search(tmp_path, monkeypatch, whole):
    from tinynas import session

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session, "certify", interrupted)
        assert search(tmp_path, "--certify") == 130
    assert (tmp_path / "structure.txt").read_bytes() == whole
    assert search(tmp_path, "--certify", "--resume") == 0
    assert json.loads((tmp_path / "search.json").read_text())["targets"][0]["certified"]["exact"] is True


def test_a_search_killed_before_it_began_is_nothing_to_resume(tmp_path):
    (tmp_path / ".search").mkdir()
    assert search(tmp_path) == 0


def test_a_resume_with_other_settings_lists_them(running, capsys):
    process, out = running
    process.send_signal(signal.SIGKILL)
    process.wait()
    capsys.readouterr()
    assert search(out, "--resume", "--seed", "3", "--max-macs", "9G") == 2
    error = capsys.readouterr().err
    assert "seed: 0 then, 3 now" in error
    assert "conv_macs: 8000000000.0 then, 9000000000.0 now" in error
    assert "population" not in error
    assert (out / ".search").exists()


def test_a_disk_that_fills_up_at_the_end_costs_nothing(tmp_path, monkeypatch, capsys, whole):
    from tinynas import session as search_session

    def full(*args):
        raise UserError("structure.txt: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(search_session, "write_result", full)
        assert search(tmp_path) == 2
    assert search(tmp_path, "--resume") == 0
    assert (tmp_path / "structure.txt").read_bytes() == whole


def test_a_state_that_cannot_be_saved_does_not_end_the_search(tmp_path, monkeypatch, capsys, whole):
    from tinynas.evolution.state import SearchState

    def full(state, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SearchState, "save", full)
    assert search(tmp_path) == 0
    assert re.search("warning: .*No space left on device.*; the search goes on", capsys.readouterr().err)
    assert (tmp_path / "structure.txt").read_bytes() == whole


def test_a_folder_that_cannot_be_made_is_one_line(capsys):
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc")
    assert search("/proc/nowhere") == 2
    assert re.search(r"^error: /proc/nowhere: .*choose another --out", capsys.readouterr().err, re.MULTILINE)


def test_two_workers_find_the_same_file(tmp_path, whole):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    assert search(tmp_path, "--workers", "2") == 0
    assert (tmp_path / "structure.txt").read_bytes() == whole


def test_differences_name_nested_settings():
    found = differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": None})
    assert found == ["a.c: 2 then, 5 now", "d: 3 then, not set now"]


def test_an_empty_folder_made_for_nothing_goes_again(tmp_path):
    with held(tmp_path / "made" / "here"):
        assert (tmp_path / "made" / "here").is_dir()
    assert not (tmp_path / "made").exists()
