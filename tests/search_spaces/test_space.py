"""Space files: shipped ones load, contradictions are refused in one line."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from search_spaces.errors import UserError
from search_spaces.image_size import parse_image_size
from search_spaces.space import (
    HeadRule,
    Mutation,
    NeckChoices,
    NeckRule,
    ScoreRule,
    Space,
    StageSpace,
    load_space,
    shipped_spaces,
)
from search_spaces.text import resolve_structure

RES = resources.files("search_spaces").joinpath("spaces", "res.yaml").read_text()
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "doorbell.yaml"


def test_three_spaces_ship():
    assert shipped_spaces() == ["csp", "mob", "res"]
    assert [load_space(name).name for name in shipped_spaces()] == ["csp", "mob", "res"]


@pytest.mark.parametrize("name", ["csp", "mob", "res"])
def test_the_last_groups_count_most(name):
    """The report's weights of the entropy: stem, stages 1, 2, 3 + 4 and 5."""
    assert load_space(name).score.kind == "entropy"
    assert load_space(name).score.weights == (0, 0, 1, 1, 16)


def test_necks_to_choose_from_begin_with_the_rule():
    space = load_space("res")
    necks = space.necks()
    assert necks[0] == space.neck
    assert len(necks) == len(set(necks)) == 8
    assert {(neck.depth, neck.hidden_ratio, neck.out_ratio) for neck in necks} == {
        (depth, hidden, out) for depth in (1.0, 1.5) for hidden in (0.75, 1.0) for out in (0.66667, 1.0)
    }
    assert space.with_neck(necks[3]).neck == necks[3]
    alone = space.model_copy(update={"neck_choices": NeckChoices()})
    assert alone.necks() == (space.neck,)


def test_unknown_space_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean mob"):
        load_space("mobb")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("out: [32, 128]", "out: [128, 32]", r"stages.1.out: \[128, 32\] found, expected 0 < lowest <= highest"),
        ("out: [32, 128]", "out: [30, 128]", "expected multiples of 8"),
        ("out: [32, 128]", "out: [32, 168]", "never narrower"),
        ("out: [128, 640]", "out: [128, 720]", "tap_growth"),
        ("out: [16, 64]", "out: [16, 9000]", "at most 8192"),
        ("out: [16, 64]", "out: 64", r"stem.out: 64 found; expected a list in square brackets"),
        ("kernel: 3, out", "kernel: 2, out", "a kernel must be odd"),
        ("channel_step: 8\n", "channel_step: 7\n", "channel_step: 7 found; expected a multiple of 2"),
        ("depth: [1, 3]", "depth: [1, 300]", r"stages.5.depth: \[1, 300\] found, expected at most 100"),
        ("stride: 1, kernels: [3]", "stride: 1, kernels: [3], tied: true", "stages.4.out: .* tied to stage 3"),
        ("stride: 2, kernels: [3]", "stride: 2, kernels: [3], tied: true", "only a stage of stride 1"),
        ("block: res", "block: csp", "stages.4.tied: .* say tied: true"),
        ("tap_growth: 2.0", "tap_growth: -2.0", "a number above 0"),
        ("hidden_ratio: 0.75", "hidden_ratio: 0", "neck.hidden_ratio: 0 found"),
        ("reg_max: 16", "reg_max: 0", "head.reg_max: 0 found"),
        ("depth: [1.0, 1.5]", "depth: [1.5, -1.0]", "neck_choices.depth.2: -1.0 found"),
        ("depth: [1.0, 1.5]", "depths: [1.0]", "neck_choices.depths: unknown key; did you mean depth"),
        ("weights: [0, 0, 1, 1, 16]", "weights: [0, 0, 1, 1]", "expected 5 numbers"),
        ("weights: [0, 0, 1, 1, 16]", "weights: [0, 0, 0, 0, 0]", "not all zero"),
        ("weights: [0, 0, 1, 1, 16]", "weights: [0, 0, 1, 1, -16]", "score.weights.5: -16 found"),
        ("channel_steps: [-1, 1]", "channel_steps: [-1, 0]", "a step of 0 changes nothing"),
        ("[2.0, 1.5, 1.25, 0.8, 0.6, 0.5]", "[-2.0]", "mutation.channel_factors.1"),
        ("max_layers: 25", "max_layers: none", "max_layers: 'none' found"),
        ("activation: relu\nspp", "spp", "activation: this key is missing"),
        ("hidden: [0.1, 1.0]", "hidden: [1.1, 1.0]", "stages.1.hidden"),
        ("kernels: [3]", "kernels: [4]", "odd"),
        ("depth: [1, 2]", "depth: [2, 1]", "stages.1.depth"),
        ("stride: 1", "stride: 2", "strides"),
        ("block: res", "block: csp", "stages.4.tied: a csp stage 4 shares its wrapper"),
        ("block: res", "block: darknet", "stages.4.tied: a darknet stage 4 shares its wrapper"),
        ("block: res", "block: rex", "'rex' found, known are csp, darknet, mob, res"),
        ("kind: zero", "kind: one", "head.kind"),
        ("spp: true", "sppp: true", "unknown key; did you mean spp"),
        ("out_ratio: 1.0", "out_ration: 1.0", "unknown key; did you mean out_ratio"),
        ("[640, 640]", "[640, 650]", "multiples of 32"),
        ("name: res", "name: [", "not YAML"),
        ("name: res", "name: 2024-13-01", "not YAML .month must be in 1..12"),
    ],
)
def test_contradictions_are_refused(tmp_path, old, new, words):
    assert old in RES
    path = tmp_path / "my.yaml"
    path.write_text(RES.replace(old, new, 1))
    with pytest.raises(UserError, match=words) as caught:
        load_space(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_space(tmp_path):
    (tmp_path / "my.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match=r"my\.yaml: not a space; expected YAML with the keys name, block"):
        load_space(tmp_path / "my.yaml")


def test_what_may_be_left_out():
    data = yaml.safe_load(RES)
    for key in ("mutation", "score", "tap_growth", "max_layers", "channel_step"):
        data.pop(key)
    space = Space.model_validate(data)
    assert space.mutation == load_space("res").mutation
    assert space.score.kind == "entropy"
    assert space.tap_growth is None


def test_the_example_is_searched(tmp_path):
    from tinynas.cli import main

    # as docs/custom-spaces.md has it, by a shipped table, which must know the kernels
    options = ["--space", str(EXAMPLE), "--num-classes", "2", "--evaluations", "3000", "--population", "64"]
    budget = ["--budget", "5ms", "--device", "epyc-zen5-openvino-fp32-b1-t1", "--no-measure"]
    assert main(["search", *budget, "--out", str(tmp_path), *options]) == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    assert structure.image_size == (256, 320)
    assert structure.backbone.space == "mob"
    assert structure.search["space"] == "doorbell"
    for stage, allowed in zip(structure.backbone.stages, load_space(EXAMPLE).stages, strict=True):
        assert allowed.out[0] <= stage.out_channels <= allowed.out[1]
        assert allowed.depth[0] <= stage.depth <= allowed.depth[1]
        assert stage.kernel in allowed.kernels


def test_the_guide_names_every_key():
    text = (EXAMPLE.parents[1] / "custom-spaces.md").read_text()
    for model in (Space, StageSpace, NeckRule, NeckChoices, HeadRule, ScoreRule, Mutation):
        assert [key for key in model.model_fields if f"`{key}" not in text] == []


def test_a_space_file_that_is_no_text(tmp_path):
    (tmp_path / "my.yaml").write_bytes(b"name: d\xe9s\n")
    with pytest.raises(UserError, match=r"my\.yaml:1: cannot be read as text.*expected a space file"):
        load_space(tmp_path / "my.yaml")


@pytest.mark.parametrize(("text", "size"), [("640", (640, 640)), ("480x640", (480, 640)), (" 96 X 32 ", (96, 32))])
def test_image_sizes(text, size):
    assert parse_image_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "100", "640x", "640x641", "-32", "abc"])
def test_bad_image_sizes(text):
    with pytest.raises(UserError, match="image size"):
        parse_image_size(text)
