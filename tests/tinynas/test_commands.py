"""The commands' refusals: one line on stderr, exit code 2, and nothing left behind."""

import errno
import json
import os
import signal
import time

import pytest

from search_spaces.text import resolve_structure, shipped_names
from tinynas.cli import main


def refused(arguments, capsys):
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    error = capsys.readouterr().err
    last = error.replace("\r", "\n").rstrip("\n").splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in error
    return last


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["explain", "Sx"], "neither a file nor a shipped name; did you mean S"),
        (["explain", "S", "--device", "t44"], "unknown device 't44': did you mean t4"),
        (["explain", "S", "--image-size", "650"], "650 is not a multiple of 32; the nearest is 640"),
        (["explain", "."], ".: cannot be read (Is a directory); expected a structure file"),
        (["train", "S"], "no data: pass --data (a folder or YAML with VOC, COCO or YOLO annotations, a labelling"),
        (["train", "S", "--data", "nowhere"], "nowhere: no such folder or file"),
        (["eval", "best.pt"], "no such file; expected a checkpoint"),
        (["export", "best.pt"], "no such file; expected a checkpoint"),
        (["export", "."], ".: it is a folder; expected a checkpoint"),
        (["eval", "..", "--data", "."], "..: it is a folder; expected a checkpoint (best.pt) or an export"),
        (["verify", "."], ".: it is a folder; expected a model file"),
        (["sample-data", "."], ".: the folder that you are in cannot be replaced; name a new one"),
        (["sample-data", ".", "--overwrite"], ".: the folder that you are in cannot be replaced; name a new one"),
        (["import-weights", ".", "--model", "S"], ".: it is a folder; expected a checkpoint"),
        (
            ["pretrain", "S", "--teacher", "t.pt", "--images", "a", "-o", ".", "--overwrite"],
            ".: it is a folder, expected a file to write; choose another -o",
        ),
        (
            ["bench", "a.onnx", "--picture", "..", "--overwrite"],
            "..: it is a folder, expected a file to write; choose another --picture",
        ),
        (["export", "best.pt", "--format", "onxx"], "unknown export 'onxx': did you mean onnx"),
        (["export", "best.pt", "--batch", "0"], "--batch 0: expected a number from 1 to 1024, or dynamic"),
        (["predict", "best.pt", "."], "no pictures in this folder"),
        (["import-weights", "a.pth", "--model", "S"], "no such file; expected a checkpoint"),
        (["import-weights", "a.pth", "--model", "SS"], "did you mean S"),
        (["sample-data", "d", "--format", "cocoo"], "unknown data format 'cocoo'; did you mean coco"),
        (["sample-data", "d", "--size", "100"], "100 is not a multiple of 32"),
        (["search", "--budget", "3.8ms", "--device", "t4", "--space", "rex"], "no space 'rex'"),
        (["search", "--budget", "3.8ms", "--device", "t4", "--space", ".."], "..: cannot be read (Is a directory)"),
        (["search", "--budget", "3.8ms", "--device", "t4", "--space", "res,mob"], "with --rank-by-training"),
        (["search", "--evaluations", "0"], "greater than or equal to 1; see "),
        (["sample-data", "d", "--image-size", "64"], "no such option: --image-size"),
        (["explain"], "missing argument"),
        (["train", "S", "--data"], "option '--data' requires an argument"),
        (["serch"], "no such command 'serch'. Did you mean 'search'"),
    ],
)
def test_one_line_and_nothing_left(arguments, expected, here, capsys):
    assert expected in refused(arguments, capsys)
    assert not list(here.iterdir())


def test_outputs_below_a_file(here, capsys):
    (here / "file").write_text("x")
    for arguments in (
        ["sample-data", "file/d"],
        ["search", "--budget", "3.8ms", "--device", "t4", "--out", "file/d"],
        ["import-weights", "file", "--model", "S", "-o", "file/a.pt"],
    ):
        assert "file is a file, expected a folder" in refused(arguments, capsys).replace(
            "it is a file", "file is a file"
        )
    assert [path.name for path in here.iterdir()] == ["file"]


def test_a_full_disk_is_one_line(here, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tinynas.commands.explain._print_table", full)
    assert "output: No space left on device; look at" in refused(["explain", "S"], capsys)


def test_an_unreachable_budget_leaves_no_folder(here, capsys):
    options = ["--budget", "0.01ms", "--device", "t4", "--evaluations", "3000", "--out", "out"]
    assert "the reachable range is" in refused(["search", *options], capsys)
    assert not list(here.iterdir())


def test_an_existing_search_is_kept(here, capsys):
    (here / "structure.txt").write_text("mine")
    error = refused(["search", "--budget", "3.8ms", "--device", "t4"], capsys)
    assert "structure.txt: exists already; choose another --out or say --overwrite" in error
    assert (here / "structure.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ["import os\nos.system('touch hacked')\n", "stages: !!python/object/apply:os.getcwd []\n"]
)
def test_code_in_a_structure_file_is_never_run(text, here, capsys):
    (here / "s.txt").write_text(text)
    assert "s.txt:1: " in refused(["explain", "s.txt"], capsys)
    assert [path.name for path in here.iterdir()] == ["s.txt"]


def test_a_structure_file_in_another_encoding(here, capsys):
    (here / "s.txt").write_bytes(b"# d\xe9s\ntinynas: 1\n")
    assert "s.txt:1: cannot be read as text (the byte 0xe9 is not UTF-8)" in refused(["explain", "s.txt"], capsys)


def test_every_shipped_name_is_explained(here, capsys):
    for name in shipped_names():
        assert main(["explain", name, "--json"]) == 0
        assert f'"num_classes": {resolve_structure(name).head.num_classes}' in capsys.readouterr().out


def test_explain_says_where_milliseconds_come_from(here, capsys):
    words = "derived, not measured, 2.5 % mean error on 13 published detectors, each left out once (largest 6.5 %)"
    assert main(["explain", "S", "--device", "t4"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"latency: {words} its rows: derived 100 %" in shown
    assert main(["explain", "S", "--device", "t4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_trust"]["text"] == words
    assert main(["explain", "S", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_trust"] is None


def test_of_several_processes_the_first_one_says_what_is_wrong(here, capsys, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert refused(["train", "S", "--data", "nowhere"], capsys).startswith("error: nowhere: no such folder")
    assert waits == []
    monkeypatch.setenv("RANK", "1")
    capsys.readouterr()
    assert main(["train", "S", "--data", "nowhere"]) == 2  # the first process goes on: it is this one's own mistake
    assert capsys.readouterr().err.startswith("error (process 1): nowhere: no such folder")
    assert len(waits) == 1

    def ended(_):
        raise SystemExit(143)

    monkeypatch.setattr(time, "sleep", ended)
    with pytest.raises(SystemExit):
        main(["train", "S", "--data", "nowhere"])
    assert capsys.readouterr().err == ""


def test_termination_ends_a_command_as_ctrl_c_does(monkeypatch, capsys):
    """SIGTERM (`docker stop`, a cluster's limit): the command's own clean-up runs, exit code 143, and the next command
    finds what the signal did before."""
    from tinynas import cli

    cleaned = []

    def app(**_):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal was ignored")
        except KeyboardInterrupt:
            cleaned.append("clean-up")
            raise

    monkeypatch.setattr(cli, "build_app", lambda asked: app)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["search"]) == 143
    assert cleaned == ["clean-up"]
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_termination_ends_a_forked_worker_at_once():
    from tinynas import cli

    with cli._termination_as_interrupt() as noted:
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert noted == []
