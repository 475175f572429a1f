"""Two public structure formats: the public detector's backbone text and the public search tool's result file.

Both are Python literals and are parsed as such (`ast.literal_eval`), never run. Neither holds an image size, a neck or
a head; those come from the defaults of the family that the space belongs to.
"""

from __future__ import annotations

import ast
from typing import Any

from search_spaces.errors import UserError
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure

MAX_DEPTH = 8
STEM_CLASSES = ("ConvKXBNRELU",)
SPACE_OF_CLASS = {
    "SuperResConvK1KX": "res",
    "SuperResConvKXKX": "csp",
    "SuperResK1KX": "res",
    "SuperResKXKX": "csp",
    "SuperResK1DWK1": "mob",
}
MOB_RATIOS = (3.5, 4.0, 4.5, 5.0, 5.5)
# space: activation, stem kind, image side, neck depth, hidden ratio, depthwise, reg_max, head kernel
FAMILY: dict[str, tuple[str, str, int, float, float, bool, int, int]] = {
    "res": ("relu", "focus", 640, 1.0, 0.75, False, 16, 3),
    "csp": ("silu", "focus", 640, 1.5, 1.0, False, 16, 3),
    "mob": ("silu", "conv", 416, 0.5, 0.5, True, 7, 1),
}


def is_public_text(text: str) -> bool:
    """Whether the text looks like a Python literal rather than this project's YAML."""
    start = text.lstrip()
    if not start.startswith(("[", "{", "(")):
        return start.startswith(("import ", "from ", "def ", "lambda", "__"))
    return "'class'" in text or '"class"' in text or "best_structures" in text or "(" in text


def read_public(text: str, source: str, space: str | None = None) -> Structure:
    """The structure in a public text; of a search result, the first (best) of `best_structures`.

    `space` overrides what the block classes say, and must be given as "mob" for the public detector's mob text.
    Raises UserError for anything that is not a plain literal of the two formats.
    """
    blocks = _blocks(_literal(text, source), source)
    stem, stages = blocks[0], blocks[1:]
    if stem.get("class") not in STEM_CLASSES or len(stages) != 5:
        raise UserError(
            f"{source}: expected one {STEM_CLASSES[0]} stem and five stages, found {len(blocks)} blocks starting with "
            f"{stem.get('class')!r}"
        )
    found = SPACE_OF_CLASS.get(str(stages[0].get("class")))
    space = space or found
    if space not in FAMILY:
        raise UserError(
            f"{source}: block class {stages[0].get('class')!r} has no counterpart here; "
            f"known are {', '.join(SPACE_OF_CLASS)}"
        )
    return _assemble(stem, stages, space, mob_rule=space == "mob" and found != "mob", source=source)


def write_public(structure: Structure) -> str:
    """The public detector's backbone text of a res or csp structure, or a mob one (which must be read as mob)."""
    backbone = structure.backbone
    outer, inner = (
        ("SuperResConvKXKX", "ResConvKXKX") if backbone.space == "csp" else ("SuperResConvK1KX", "ResConvK1KX")
    )
    in_channels = 12 if backbone.stem.kind == "focus" else 3
    stem: dict[str, Any] = {
        "class": "ConvKXBNRELU", "in": in_channels, "out": backbone.stem.out_channels, "k": backbone.stem.kernel,
        "s": 1 if backbone.stem.kind == "focus" else 2,
    }  # fmt: skip
    rows = [stem] + [
        {
            "class": outer, "inner_class": inner, "in": s.in_channels, "out": s.out_channels, "btn": s.hidden_channels,
            "k": s.kernel, "s": s.stride, "L": s.depth,
        }
        for s in backbone.stages
    ]  # fmt: skip
    return "[ " + ",\n  ".join(repr(row) for row in rows) + " ]\n"


def _literal(text: str, source: str) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UserError(
            f"{source}:{line}: not a Python literal; expected a list of block dicts, code is never run"
        ) from None
    if _depth(tree.body) > MAX_DEPTH:
        raise UserError(f"{source}: nested deeper than {MAX_DEPTH}; expected a list of block dicts")
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError):
        bad = next((n for n in ast.walk(tree) if isinstance(n, (ast.Call, ast.Name, ast.Attribute, ast.Lambda))), None)
        line = getattr(bad, "lineno", 1)
        raise UserError(
            f"{source}:{line}: Python code found; only plain literals are read, code is never run"
        ) from None


def _depth(node: ast.AST) -> int:
    children = [_depth(child) for child in ast.iter_child_nodes(node)]
    return int(isinstance(node, (ast.List, ast.Dict, ast.Tuple))) + max(children, default=0)


def _blocks(data: Any, source: str) -> list[dict[str, Any]]:
    if isinstance(data, dict) and "best_structures" in data:
        structures = data["best_structures"]
        if not isinstance(structures, list) or not structures:
            raise UserError(f"{source}: best_structures is empty; the search found nothing to convert")
        data = structures[0]
    if not isinstance(data, list) or not data or not all(isinstance(block, dict) for block in data):
        raise UserError(f"{source}: expected a list of block dicts or a dict with best_structures")
    return data


def _assemble(
    stem: dict[str, Any], rows: list[dict[str, Any]], space: str, *, mob_rule: bool, source: str
) -> Structure:
    from search_spaces.builder import to_multiple_of_8

    activation, stem_kind, side, depth, hidden_ratio, depthwise, reg_max, head_kernel = FAMILY[space]
    stages = []
    channels = _number(stem, "out", source)
    for number, row in enumerate(rows):
        out = _number(row, "out", source)
        if _number(row, "in", source) != channels:
            raise UserError(f"{source}: stage {number + 1}: in is {row['in']}, but what comes before has {channels}")
        hidden = int(to_multiple_of_8(out, MOB_RATIOS[number])) if mob_rule else _number(row, "btn", source)
        kernel = 5 if mob_rule else _number(row, "k", source)
        stages.append(Stage(channels, out, hidden, _number(row, "L", source), _number(row, "s", source), kernel))
        channels = out
    taps = (stages[1].out_channels, stages[3].out_channels, stages[4].out_channels)
    return Structure(
        (side, side),
        Backbone(
            space, Stem(stem_kind, _number(stem, "out", source), _number(stem, "k", source)), tuple(stages), activation,
            True, space != "mob",
        ),
        Neck("repgfpn", depth, hidden_ratio, taps, taps, activation, depthwise),
        Head("zero", reg_max, head_kernel),
    )  # fmt: skip


def _number(row: dict[str, Any], key: str, source: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{source}: {row.get('class')}: {key!r} is {value!r}, expected a whole number above 0")
    return value
