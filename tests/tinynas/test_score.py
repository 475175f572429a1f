"""`tinynas score`: the same figures as the plug-ins and the cost interpreters give, for any score."""

import json

import pytest

from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.plugins import load_plugin, plugin_names
from search_spaces.text import resolve_structure
from tinynas.cli import main


def scored(capsys, *arguments):
    assert main(["score", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "expected"), [("S", 1380.5875248763266), ("Ns", 1106.7598092600224)])
def test_published_scores(name, expected, capsys):
    data = scored(capsys, name)
    assert data["score"] == pytest.approx(expected, rel=1e-12)
    weighted = sum(row["weight"] * row["entropy"] for row in data["groups"])
    assert weighted == pytest.approx(expected, rel=1e-12)
    assert sum(row["layers"] for row in data["groups"]) == data["layers"]
    assert data["params"] == costs.params(emit_detector(resolve_structure(name)))


def test_weights_and_image_size(capsys):
    data = scored(capsys, "T", "--weights", "1,0,0,0,0", "--image-size", "320x416")
    assert data["score"] == data["groups"][0]["entropy"]
    assert (data["groups"][0]["height"], data["groups"][0]["width"]) == (160, 208)
    assert data["conv_macs"] < scored(capsys, "T")["conv_macs"]


@pytest.mark.parametrize("kind", [name for name in plugin_names("tinynas.scores") if name != "zen"])
def test_every_closed_form_score(kind, capsys):
    plugin = load_plugin("tinynas.scores", kind)
    data = scored(capsys, "Nm", "--score", kind)
    graph = emit_detector(resolve_structure("Nm"))
    assert data["score"] == pytest.approx(float(plugin.score(graph, plugin.WEIGHTS)))
    assert ("effectiveness" in data) == (kind == "deepmad")


def test_a_forward_pass_score_takes_the_seed(capsys, monkeypatch):
    class Plugin:
        @staticmethod
        def score_structures(structures, *, seed=0):
            return [len(structures) + 10 * seed]

    monkeypatch.setattr("search_spaces.plugins.load_plugin", lambda package, name: Plugin)
    data = scored(capsys, "T", "--score", "zen", "--seed", "3")
    assert data["score"] == 31
    assert data["weights"] is None


def test_the_text_names_the_groups(capsys):
    assert main(["score", "S"]) == 0
    shown = capsys.readouterr().out
    assert "S at 640x640: entropy score 1380.5875" in shown
    assert "stages 3 + 4      10     256x40x40    72.198       1" in shown
    assert "25 layers; 16.252 M params" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["S", "--score", "entropi"], "unknown score 'entropi': did you mean entropy"),
        (["S", "--weights", "1,2,3"], "expected 5 numbers with commas between"),
        (["S", "--weights", "1,2,3,4,x"], "expected 5 numbers with commas between"),
        (["S", "--weights", "1,2,3,4,inf"], "expected 5 numbers with commas between"),
        (["S", "--weights", "0,0,0,0,0"], "not negative and not all zero"),
        (["S", "--weights", "0,0,-1,1,16"], "not negative and not all zero"),
        (["S", "--score", "macs", "--weights", "1,2,3,4,5"], "the score macs has no groups to weigh"),
        (["S", "--image-size", "100"], "100 is not a multiple of 32"),
        (["Q"], "neither a file nor a shipped name"),
    ],
)
def test_bad_input(arguments, expected, capsys):
    assert main(["score", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
