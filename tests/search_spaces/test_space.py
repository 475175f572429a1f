"""Space files: shipped ones load, contradictions are refused in one line."""

from importlib import resources

import pytest

from search_spaces.errors import UserError
from search_spaces.image_size import parse_image_size
from search_spaces.space import load_space, shipped_spaces

RES = resources.files("search_spaces").joinpath("spaces", "res.yaml").read_text()


def test_three_spaces_ship():
    assert shipped_spaces() == ["csp", "mob", "res"]
    assert [load_space(name).name for name in shipped_spaces()] == ["csp", "mob", "res"]


def test_unknown_space_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean mob"):
        load_space("mobb")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("out: [32, 128]", "out: [128, 32]", r"stages.1.out: \[128, 32\] found, expected 0 < lowest <= highest"),
        ("out: [32, 128]", "out: [30, 128]", "expected multiples of 8"),
        ("out: [32, 128]", "out: [32, 160]", "never narrower"),
        ("out: [256, 512]", "out: [256, 640]", "tap_growth"),
        ("hidden: [0.1, 1.0]", "hidden: [1.1, 1.0]", "stages.1.hidden"),
        ("kernels: [3]", "kernels: [4]", "odd"),
        ("depth: [1, 2]", "depth: [2, 1]", "stages.1.depth"),
        ("stride: 1", "stride: 2", "strides"),
        ("block: res", "block: rex", "'rex' found, known are csp, mob, res"),
        ("kind: zero", "kind: one", "head.kind"),
        ("spp: true", "sppp: true", "unknown key; did you mean spp"),
        ("out_ratio: 1.0", "out_ration: 1.0", "unknown key; did you mean out_ratio"),
        ("[640, 640]", "[640, 650]", "multiples of 32"),
        ("name: res", "name: [", "not YAML"),
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
