"""The two public structure formats are read wherever a structure is accepted."""

from dataclasses import replace

import pytest

from search_spaces.errors import UserError
from search_spaces.public_formats import write_public
from search_spaces.text import parse_structure, resolve_structure, shipped_names


@pytest.mark.parametrize("name", shipped_names())
def test_written_backbone_text_reads_back(name):
    structure = resolve_structure(name)
    space = "mob" if structure.backbone.space == "mob" else None
    read = parse_structure(write_public(structure), space=space)
    assert read.backbone == structure.backbone


def test_a_search_result_gives_its_best_structure():
    best = write_public(resolve_structure("S")).replace("SuperResConvK1KX", "SuperResK1KX")
    text = "{'space_arch': 'CnnNet', 'best_structures': [" + best + ", [1, 2]]}"
    assert parse_structure(text).backbone == resolve_structure("S").backbone


def test_bit_widths_are_ignored():
    text = write_public(resolve_structure("T")).replace("'L': 1}", "'L': 1, 'nbitsA': [8, 8], 'nbitsW': [8, 8]}")
    assert parse_structure(text).backbone == resolve_structure("T").backbone


def test_mob_must_be_asked_for():
    structure = resolve_structure("Ns")
    assert parse_structure(write_public(structure)).backbone.space == "res"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("'in': 64", "'in': 65", "in is 65, but what comes before has 64"),
        ("'L': 2", "'L': 0", "'L' is 0, expected a whole number"),
        ("'L': 2", "'L': '2'", "'L' is '2', expected a whole number"),
        ("SuperResConvK1KX", "SuperResNew", "no counterpart"),
        ("'s': 2", "'s': 1", "the strides reach 2 in all"),
        ("'s': 2", "'s': 3", "stages.1.stride: 3 found; input should be 1 or 2"),
        ("'k': 3", "'k': 4", "a kernel must be odd"),
        ("'L': 2", "'L': 5000000", "stages.1.depth: 5000000 found; input should be less than or equal to 100"),
    ],
)
def test_mistakes_are_named(old, new, words):
    text = write_public(resolve_structure("T"))
    assert old in text
    with pytest.raises(UserError, match=words):
        parse_structure(text.replace(old, new), "t.txt")


def test_untied_csp_stages_get_wrappers_of_their_own():
    from search_spaces.emit import emit_detector

    structure = resolve_structure("M")
    stages = list(structure.backbone.stages)
    stages[3] = replace(stages[3], hidden_channels=64)
    untied = replace(structure, backbone=replace(structure.backbone, stages=tuple(stages)))
    paths = {op.path for op in emit_detector(untied)}
    assert "backbone.stage4.fuse" in paths
    assert "backbone.stage4.down" not in paths
    assert "backbone.stage4.block4.conv1" in paths
    assert "backbone.stage4.fuse" not in {op.path for op in emit_detector(structure)}
