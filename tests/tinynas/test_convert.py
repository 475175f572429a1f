"""`tinynas convert`: three formats, either way, without losing anything silently."""

import pytest

from search_spaces.text import read_structure, resolve_structure, shipped_names
from tinynas.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", shipped_names())
@pytest.mark.parametrize("to", ["damo", "nas"])
def test_there_and_back(name, to, here, capsys):
    space = resolve_structure(name).backbone.space
    assert main(["convert", name, "public.txt", "--to", to]) == 0
    told = capsys.readouterr().out
    assert "no image size, neck, head or classes" in told
    assert ("read it with --space mob" in told) == (space == "mob" and to == "damo")
    assert main(["convert", "public.txt", "back.txt", *(["--space", "mob"] if space == "mob" else [])]) == 0
    assert "they are the family's" in capsys.readouterr().out
    assert read_structure(here / "back.txt").backbone == resolve_structure(name).backbone


def test_what_is_lost_is_said(here, capsys):
    assert main(["convert", "L", "l.txt", "--to", "damo"]) == 0
    assert "lost: neck.depth 2.0" in capsys.readouterr().out
    assert main(["convert", "S", "s.txt", "--to", "damo"]) == 0
    assert "lost" not in capsys.readouterr().out


def test_blocks_that_the_text_does_not_hold_are_refused(here, capsys):
    assert main(["convert", "S", "s.txt", "--to", "damo"]) == 0
    assert main(["convert", "s.txt", "t.txt", "--space", "csp"]) == 2
    assert (
        "s.txt: holds res blocks (SuperResConvK1KX), --space csp was given; leave --space out"
        in capsys.readouterr().err
    )
    assert main(["score", "S", "--space", "mob"]) == 2
    assert "S (shipped): holds res blocks, --space mob was given" in capsys.readouterr().err
    assert main(["convert", "s.txt", "t.txt", "--space", "res"]) == 0


def test_an_existing_file_is_kept_unless_told(here, capsys):
    (here / "s.txt").write_text("mine")
    assert main(["convert", "S", "s.txt"]) == 2
    assert "s.txt: exists already; choose another OUT or say --overwrite" in capsys.readouterr().err
    assert (here / "s.txt").read_text() == "mine"
    assert main(["convert", "S", "s.txt", "--overwrite"]) == 0
    assert read_structure(here / "s.txt") == resolve_structure("S")


def test_the_source_is_never_overwritten(here, capsys):
    assert main(["convert", "S", "s.txt"]) == 0
    before = (here / "s.txt").read_text()
    assert main(["convert", "s.txt", "./s.txt", "--to", "nas", "--overwrite"]) == 2
    assert (here / "s.txt").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing.txt", "o.txt"], "neither a file nor a shipped name"),
        (["S", "o.txt", "--to", "dmao"], "'dmao' is not one of"),
        (["S", "."], ".: it is a folder, expected a file to write; choose another OUT"),
        (["public.txt", "o.txt", "--space", "mbo"], "space 'mbo': the public formats hold only res, csp, mob blocks"),
        (["free.txt", "o.txt", "--to", "damo"], "cannot hold stage 1: hidden_channels 96"),
        (["S", "public.txt/o.txt"], "public.txt: it is a file, expected a folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, expected, here, capsys):
    assert main(["convert", "S", "public.txt", "--to", "nas"]) == 0
    assert main(["convert", "Ns", "free.txt"]) == 0
    text = (here / "free.txt").read_text()
    (here / "free.txt").write_text(text.replace("hidden: 88", "hidden: 96"))
    capsys.readouterr()
    assert main(["convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected in error
    assert sorted(path.name for path in here.iterdir()) == ["free.txt", "public.txt"]
