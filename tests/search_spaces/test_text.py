"""Structure files: what is wrong is said in one line with file, line, what was found and what is allowed."""

import pytest

from search_spaces.errors import UserError
from search_spaces.text import parse_structure, read_structure, resolve_structure

GOOD = """\
tinynas: 1
image_size: [64, 96]  # height, width
space: res
stem: {kind: focus, out: 8, kernel: 3}
stages:
  - {in: 8, out: 16, hidden: 8, depth: 1, stride: 2, kernel: 3}
  - {in: 16, out: 16, hidden: 8, depth: 2, stride: 2, kernel: 3}
  - {in: 16, out: 32, hidden: 16, depth: 1, stride: 2, kernel: 3}
  - {in: 32, out: 32, hidden: 16, depth: 2, stride: 1, kernel: 3}
  - {in: 32, out: 64, hidden: 16, depth: 2, stride: 2, kernel: 3}
activation: relu
spp: true
reparam: true
neck: {kind: repgfpn, depth: 0.5, hidden_ratio: 1.0, in: [16, 32, 64], out: [16, 32, 64], activation: relu, depthwise: false}
head: {kind: zero, reg_max: 7, kernel: 3, num_classes: 3}
"""


def test_the_good_file_reads():
    structure = parse_structure(GOOD)
    assert structure.image_size == (64, 96)
    assert structure.backbone.stages[1].depth == 2
    assert structure.head.num_classes == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("spp: true", "ssp: true", 12, ["unknown key", "did you mean spp"]),
        ("{in: 8, out: 16, hidden: 8, depth: 1", "{in: 8, out: 16, hiden: 8, depth: 1", 6, ["hiden", "hidden"]),
        ("8, depth: 1, stride: 2", "8, depth: one, stride: 2", 6,
         ["stages.1.depth", "'one' found", "a whole number"]),
        ("{in: 16, out: 32,", "{in: 24, out: 32,", 8, ["stages.3", "in is 24", "16 channels"]),
        ("image_size: [64, 96]", "image_size: [64, 97]", 2, ["97 found", "multiples of 32"]),
        ("space: res", "space: ras", 3, ["'ras' found", "csp, darknet, mob, res"]),
        ("kind: repgfpn", "kind: fpn", 14, ["neck.kind", "repgfpn"]),
        ("in: [16, 32, 64]", "in: [16, 32, 48]", 14, ["neck.in", "[16, 32, 64] channels"]),
        ("kernel: 3}\nstages", "kernel: 4}\nstages", 4, ["stem.kernel", "odd"]),
        ("stride: 1", "stride: 2", 5, ["strides"]),
        ("reg_max: 7, ", "", 15, ["reg_max", "missing"]),
        ("tinynas: 1", "tinynas: 9", 1, ["version 9", "reads 1"]),
        ("out: 8, kernel: 3}", "out: 8, out: 16}", 4, ["out: this key occurs twice"]),
        ("spp: true", "space: csp", 12, ["space: this key occurs twice"]),
        ("spp: true", "7: true", 12, ["7: unknown key"]),
        ("{kind: focus, out: 8, kernel: 3}", "focus", 4, ["stem: 'focus' found", "the keys kind, out, kernel"]),
        ("{in: 8, out: 16, hidden: 8, depth: 1, stride: 2, kernel: 3}", "3", 6, ["stages.1: 3 found", "the keys in, out"]),
        ("spp: true", "spp: &a [*a]", 12, ["spp", "true or false"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(old, new, line, words):
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        parse_structure(GOOD.replace(old, new), "my.txt")
    message = str(caught.value)
    assert message.startswith(f"my.txt:{line}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('true')", "code is never run"),
        ("[{'class': 'ConvKXBNRELU', 'out': open('x')}]", "code is never run"),
        ("(lambda: 1)()", "code is never run"),
        ("import os\n", "code is never run"),
        ("stages: [", "not YAML"),
        ("just words", "not a structure"),
        ("a: 1", "not a structure"),
        ("", "not a structure"),
        ("[" * 50 + "'class'" + "]" * 50, "nested deeper"),
        ("[{'class': 'Other', 'out': 3}]", "ConvKXBNRELU"),
        ("{'best_structures': []}", "found nothing"),
    ],
)
def test_other_texts_are_refused(text, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_structure(text, "x.txt")
    assert "x.txt" in str(caught.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match=r"neither a file nor a shipped name; did you mean .*Ns"):
        resolve_structure("ns1")


def test_binary_and_oversized_files_are_refused(tmp_path):
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\x89\xff\xfe\x00\x01" * 10)
    large.write_text("#" * 1_100_000)
    with pytest.raises(UserError, match="cannot be read as text"):
        read_structure(binary)
    with pytest.raises(UserError, match=r"is this another file.* beside its best"):
        read_structure(large)
