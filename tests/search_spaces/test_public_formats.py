"""The two public structure formats are read wherever a structure is accepted."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.builder import to_multiple_of_8
from search_spaces.errors import UserError
from search_spaces.public_formats import MOB_RATIOS, WITHOUT_COUNTERPART, not_held, write_public
from search_spaces.structure import Stage, Stem
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
        ("'s': 2", "'s': 3", "stages.1.stride: 3 found; expected 1 or 2"),
        ("'k': 3", "'k': 4", "a kernel must be odd"),
        ("'L': 2", "'L': 5000000", "stages.1.depth: 5000000 found; expected a number of at most 100"),
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


@st.composite
def backbones(draw, spaces=("res", "csp", "mob")):
    """Sound backbones of any family, with widths, depths, kernels and stems free."""
    space = draw(st.sampled_from(spaces))
    stem = Stem(draw(st.sampled_from(["focus", "conv"])), draw(st.integers(1, 12)) * 8, draw(st.sampled_from([3, 5])))
    channels, stages = stem.out_channels, []
    for stride in (2, 2, 2, 1, 2):
        out, hidden = draw(st.integers(1, 64)) * 8, draw(st.integers(1, 64)) * 8
        depth, kernel = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 5]))
        stages.append(
            Stage(
                in_channels=channels,
                out_channels=out,
                hidden_channels=hidden,
                depth=depth,
                stride=stride,
                kernel=kernel,
            )
        )
        channels = out
    usual = resolve_structure({"res": "S", "csp": "M", "mob": "Ns"}[space])
    taps = tuple(stages[index].out_channels for index in (1, 3, 4))
    return replace(
        usual,
        backbone=replace(usual.backbone, stem=stem, stages=tuple(stages)),
        neck=replace(usual.neck, in_channels=taps, out_channels=taps),
    )


@given(backbones())
@settings(max_examples=60, deadline=None)
def test_a_search_result_holds_any_backbone(structure):
    assert parse_structure(write_public(structure, "nas")) == structure
    assert not_held(structure) == []


@given(backbones(spaces=("res", "csp")))
@settings(max_examples=60, deadline=None)
def test_backbone_text_holds_res_and_csp(structure):
    assert parse_structure(write_public(structure, "damo")) == structure


@given(backbones(spaces=("mob",)))
@settings(max_examples=60, deadline=None)
def test_backbone_text_of_mob_is_right_or_refused(structure):
    """Its readers compute the expansion and take 5 x 5: anything else would become another network without a word."""
    backbone = structure.backbone
    usual = [
        Stage(
            in_channels=s.in_channels,
            out_channels=s.out_channels,
            hidden_channels=int(to_multiple_of_8(s.out_channels, ratio)),
            depth=s.depth,
            stride=s.stride,
            kernel=5,
        )
        for s, ratio in zip(backbone.stages, MOB_RATIOS, strict=True)
    ]
    if backbone.stem.kind == "conv" and list(backbone.stages) == usual:
        assert parse_structure(write_public(structure, "damo"), space="mob") == structure
    else:
        with pytest.raises(UserError, match="the damo format cannot hold"):
            write_public(structure, "damo")
    kept = replace(backbone, stem=Stem("conv", backbone.stem.out_channels), stages=tuple(usual))
    kept = replace(structure, backbone=kept)
    assert parse_structure(write_public(kept, "damo"), space="mob") == kept


def test_a_free_expansion_is_not_what_backbone_text_can_say():
    structure = resolve_structure("Ns")
    stages = list(structure.backbone.stages)
    stages[2] = replace(stages[2], hidden_channels=stages[2].hidden_channels + 8)
    free = replace(structure, backbone=replace(structure.backbone, stages=tuple(stages)))
    with pytest.raises(UserError, match="cannot hold stage 3: hidden_channels 296 would be read as 288"):
        write_public(free, "damo")


def test_the_released_layout_is_read():
    """Keys in another order, bit widths, one key per line, as the public detector ships its texts."""
    stem = "[ {'class': 'ConvKXBNRELU', 'in': 3, 'k': 3, 'nbitsA': 8, 'nbitsW': 8, 'out': 16, 's': 1},\n"
    rows = [(16, 24, 1, 2), (24, 40, 2, 2), (40, 64, 2, 2), (64, 80, 2, 1), (80, 160, 2, 2)]
    stages = ",\n".join(
        f"  {{ 'L': {depth},\n    'btn': 24,\n    'class': 'SuperResConvK1KX',\n    'in': {inputs},\n    'k': 3,\n"
        f"    'inner_class': 'ResConvK1KX',\n    'nbitsA': [8, 8],\n    'out': {out},\n    's': {stride}}}"
        for inputs, out, depth, stride in rows
    )
    assert parse_structure(stem + stages + "]\n", space="mob").backbone == resolve_structure("Ns").backbone


def test_space_to_depth_outside_is_a_focus_stem():
    text = write_public(resolve_structure("S"), "nas")
    assert "'in': 12" in text
    assert parse_structure(text).backbone.stem.kind == "focus"
    assert (
        parse_structure(text.replace("'in': 12,", "'in': 3,").replace("'s': 1", "'s': 2", 1)).backbone.stem.kind
        == "conv"
    )


@pytest.mark.parametrize("name", sorted(WITHOUT_COUNTERPART))
def test_known_blocks_without_a_counterpart_say_why(name):
    text = write_public(resolve_structure("S"), "nas").replace("SuperResK1KX", name)
    with pytest.raises(
        UserError, match=re.escape(f"block class {name!r} has no counterpart here ({WITHOUT_COUNTERPART[name]})")
    ):
        parse_structure(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("'in': 128, 'out': 256", "'in': 96, 'out': 256", "s.txt:5: stage 3 (SuperResK1KX): in is 96"),
        ("'btn': 144", "'bnt': 144", "s.txt:7: stage 5 (SuperResK1KX): 'btn' is missing"),
        ("'btn': 144", "'btn': 144, 'g': 2", "s.txt:7: stage 5 (SuperResK1KX): 'g' is 2, grouped convs"),
        ("'btn': 144", "'btn': 144, 'with_res': False", "blocks without a shortcut"),
        (
            "SuperResK1KX', 'in': 256, 'out': 512",
            "SuperResKXKX', 'in': 256, 'out': 512",
            "a csp block after res blocks",
        ),
        ("'out': 32", "'out': True", "s.txt:2: stem (ConvKXBNRELU): 'out' is True"),
        ("ConvKXBNRELU", "ConvKXBN", "expected one ConvKXBNRELU stem and five stages"),
        ("'best_structures': [", "'best_structures': [] and [", "only plain literals are read"),
    ],
)
def test_mistakes_have_a_place(old, new, words):
    text = write_public(resolve_structure("S"), "nas")
    assert old in text
    with pytest.raises(UserError, match=re.escape(words)):
        parse_structure(text.replace(old, new, 1), "s.txt")


@pytest.mark.parametrize(
    "text",
    [
        "[" + "-" * 3000 + "1, ('class')]",
        "[(" + "1+" * 5000 + "1)]",
        "[" * 60 + "'class'" + "]" * 60,
        "[" * 5000 + "(",
        "{'best_structures': []}",
        "{'best_structures': [1]}",
        "{'best_structures': ([{'class': 1}],)}",
        "[(1, 2)]",
        "[{'class': __import__('os').getcwd()}]",
    ],
)
def test_hostile_texts_are_refused(text):
    with pytest.raises(UserError):
        parse_structure(text)
