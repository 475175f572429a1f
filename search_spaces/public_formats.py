"""Two public structure formats: the public detector's backbone text and the public search tool's result file.

Both are Python literals and are parsed as such (`ast.literal_eval`), never run. Neither holds an image size, a neck or
a head; those come from the defaults of the family that the space belongs to.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from search_spaces.errors import UserError
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure

PublicFormat = Literal["damo", "nas"]
MAX_DEPTH = 8
STEM_CLASS = "ConvKXBNRELU"
SPACE_OF_CLASS = {
    "SuperResConvK1KX": "res",
    "SuperResConvKXKX": "csp",
    "SuperResK1KX": "res",
    "SuperResKXKX": "csp",
    "SuperResK1DWK1": "mob",
}
# classes of the two formats that no block here computes, and why
WITHOUT_COUNTERPART = {
    "SuperResK1KXK1": "1x1, k x k, 1x1 convs; mob has a depthwise conv in the middle",
    "SuperResConvK1KXK1": "1x1, k x k, 1x1 convs; mob has a depthwise conv in the middle",
    "SuperResK1DWSEK1": "squeeze-excitation, which mob leaves out",
    "SuperQuantResK1DWK1": "mixed bit widths",
}
WRITTEN_CLASSES: dict[PublicFormat, dict[str, str]] = {
    "damo": {"res": "SuperResConvK1KX", "csp": "SuperResConvKXKX", "mob": "SuperResConvK1KX"},
    "nas": {"res": "SuperResK1KX", "csp": "SuperResKXKX", "mob": "SuperResK1DWK1"},
}
FOCUS_CHANNELS = 12
MOB_RATIOS = (3.5, 4.0, 4.5, 5.0, 5.5)
MOB_KERNEL = 5
# space: activation, stem kind, image side, neck depth, hidden ratio, depthwise, reg_max, head kernel
FAMILY: dict[str, tuple[str, str, int, float, float, bool, int, int]] = {
    "res": ("relu", "focus", 640, 1.0, 0.75, False, 16, 3),
    "csp": ("silu", "focus", 640, 1.5, 1.0, False, 16, 3),
    "mob": ("silu", "conv", 416, 0.5, 0.5, True, 7, 1),
}


@dataclass(frozen=True, slots=True)
class _Block:
    """One block dict and where it stands (`file:line: stage 2 (SuperResK1KX)`)."""

    values: Mapping[str, Any]
    place: str

    def number(self, key: str) -> int:
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            found = f"is {value!r}" if key in self.values else "is missing"
            raise UserError(f"{self.place}: {key!r} {found}, expected a whole number above 0")
        return value

    def check_plain(self) -> None:
        """Grouped convs and blocks without shortcut exist in the format, not here."""
        if self.values.get("g", 1) != 1:
            raise UserError(f"{self.place}: 'g' is {self.values['g']!r}, grouped convs have no counterpart here (g: 1)")
        if not self.values.get("with_res", True):
            raise UserError(f"{self.place}: 'with_res' is False, blocks without a shortcut have no counterpart here")


def is_public_text(text: str) -> bool:
    """Whether the text looks like a Python literal rather than this project's YAML."""
    start = text.lstrip()
    if not start.startswith(("[", "{", "(")):
        return start.startswith(("import ", "from ", "def ", "lambda", "__"))
    return "'class'" in text or '"class"' in text or "best_structures" in text or "(" in text


def read_public(text: str, source: str, space: str | None = None) -> Structure:
    """The structure in a public text; of a search result, the first (best) of `best_structures`.

    `space` overrides what the block classes say, and must be given as "mob" for the public detector's mob text.
    Raises UserError, with the line, for anything that is not a plain literal of the two formats.
    """
    stem, *stages = _blocks(text, source)
    if stem.values.get("class") != STEM_CLASS or len(stages) != 5:
        raise UserError(
            f"{source}: expected one {STEM_CLASS} stem and five stages, found {len(stages) + 1} blocks starting with "
            f"{stem.values.get('class')!r}"
        )
    if space is not None and space not in FAMILY:
        raise UserError(f"space {space!r}: the public formats hold only {', '.join(FAMILY)} blocks")
    found = _space_of(stages)
    if space not in (None, found) and (space, found) != ("mob", "res"):
        raise UserError(
            f"{source}: holds {found} blocks ({stages[0].values.get('class')}), --space {space} was given; leave --space out"
        )
    return _assemble(stem, stages, space or found, mob_rule=space == "mob" and found != "mob")


def write_public(structure: Structure, kind: PublicFormat = "damo") -> str:
    """The structure's backbone as a public text: the detector's backbone text (`damo`; mob must be read as mob) or a
    search result with this one structure (`nas`).

    Raises UserError for a backbone that reading the text would not give back.
    """
    backbone, classes = structure.backbone, WRITTEN_CLASSES[kind]
    if backbone.space not in classes:
        raise UserError(f"block {backbone.space!r} is in neither public format; they hold {', '.join(classes)}")
    rows = _rows(backbone, classes[backbone.space], with_inner_class=kind == "damo")
    text = "[ " + ",\n  ".join(repr(row) for row in rows) + " ]"
    if kind == "nas":
        text = "{'space_arch': 'CnnNet', 'best_structures': [\n" + text + "]}"
    _check_held(backbone, read_public(text, "the written text", backbone.space).backbone, kind)
    return text + "\n"


def not_held(structure: Structure) -> list[str]:
    """What the public formats leave out of this structure and a reader fills in otherwise (`image_size [320, 320]`)."""
    backbone = structure.backbone
    family = _family(backbone.space, backbone.stem, backbone.stages)
    lost = []
    if structure.image_size != family.image_size:
        lost.append(f"image_size {list(structure.image_size)}")
    lost += [f"{key} {_shown(getattr(backbone, key))}" for key in _differing(backbone, family.backbone)]
    for name, part, usual in (("neck", structure.neck, family.neck), ("head", structure.head, family.head)):
        lost += [f"{name}.{key} {_shown(getattr(part, key))}" for key in _differing(part, usual)]
    return [*lost, "search (provenance)"] if structure.search else lost


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(list(value) if isinstance(value, tuple) else value)


def _differing(part: Any, other: Any) -> list[str]:
    return [field.name for field in fields(part) if getattr(part, field.name) != getattr(other, field.name)]


def _rows(backbone: Backbone, name: str, *, with_inner_class: bool) -> list[dict[str, Any]]:
    focus = backbone.stem.kind == "focus"
    rows: list[dict[str, Any]] = [
        {
            # the detector does space-to-depth itself, the search tool starts after it
            "class": STEM_CLASS, "in": FOCUS_CHANNELS if focus and not with_inner_class else 3,
            "out": backbone.stem.out_channels, "s": 1 if focus else 2, "k": backbone.stem.kernel,
        }
    ]  # fmt: skip
    for s in backbone.stages:
        row = {
            "class": name, "in": s.in_channels, "out": s.out_channels, "s": s.stride, "k": s.kernel, "L": s.depth,
            "btn": s.hidden_channels,
        }  # fmt: skip
        rows.append(row | {"inner_class": name.removeprefix("Super")} if with_inner_class else row)
    return rows


def _check_held(backbone: Backbone, read: Backbone, kind: str) -> None:
    """Raise UserError where a reader would build other convs than the structure's."""
    if read.stem != backbone.stem:
        raise UserError(f"the {kind} format cannot hold this stem: {backbone.stem} would be read as {read.stem}")
    for number, (stage, back) in enumerate(zip(backbone.stages, read.stages, strict=True), start=1):
        if stage != back:
            key = _differing(stage, back)[0]
            raise UserError(
                f"the {kind} format cannot hold stage {number}: {key} {getattr(stage, key)} would be read as "
                f"{getattr(back, key)}, which a {read.space} reader of that format always takes; convert --to nas"
            )


def _blocks(text: str, source: str) -> list[_Block]:
    """The block dicts, each with its line. Raises UserError."""
    text = text.strip()
    node, data = _literal(text, source)
    if isinstance(data, dict) and "best_structures" in data and isinstance(node, ast.Dict):
        structures = data["best_structures"]
        if not isinstance(structures, list) or not structures:
            raise UserError(f"{source}: best_structures is empty; the search found nothing to convert")
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        value = node.values[len(keys) - 1 - keys[::-1].index("best_structures")]
        node, data = value.elts[0] if isinstance(value, ast.List) else value, structures[0]
    if not isinstance(data, list) or not data or not all(isinstance(block, dict) for block in data):
        raise UserError(f"{source}: expected a list of block dicts or a dict with best_structures")
    lines = [element.lineno for element in node.elts] if isinstance(node, ast.List) else [1] * len(data)
    blocks = []
    for number, (block, line) in enumerate(zip(data, lines, strict=True)):
        name = f"stage {number}" if number else "stem"
        blocks.append(_Block(block, f"{source}:{line}: {name} ({block.get('class')})"))
    return blocks


def _literal(text: str, source: str) -> tuple[ast.expr, Any]:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UserError(
            f"{source}:{line}: not a Python literal; expected a list of block dicts, code is never run"
        ) from None
    _refuse_depth(tree.body, source)
    try:
        return tree.body, ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        bad = next((n for n in ast.walk(tree) if isinstance(n, (ast.Call, ast.Name, ast.Attribute, ast.Lambda))), None)
        line = getattr(bad, "lineno", 1)
        raise UserError(
            f"{source}:{line}: Python code found; only plain literals are read, code is never run"
        ) from None


def _refuse_depth(node: ast.AST, source: str) -> None:
    """Raise UserError for nested containers beyond MAX_DEPTH; on a list of nodes, as recursion has a limit of its own."""
    pending = [(node, 0)]
    while pending:
        node, depth = pending.pop()
        depth += isinstance(node, (ast.List, ast.Dict, ast.Tuple, ast.Set))
        if depth > MAX_DEPTH:
            raise UserError(f"{source}: nested deeper than {MAX_DEPTH}; expected a list of block dicts")
        pending += [(child, depth) for child in ast.iter_child_nodes(node)]


def _space_of(stages: list[_Block]) -> str:
    """The space that all stages' classes belong to. Raises UserError."""
    spaces = []
    for block in stages:
        name = str(block.values.get("class"))
        if name not in SPACE_OF_CLASS:
            why = f" ({WITHOUT_COUNTERPART[name]})" if name in WITHOUT_COUNTERPART else ""
            raise UserError(
                f"{block.place}: block class {name!r} has no counterpart here{why}; known are {', '.join(SPACE_OF_CLASS)}"
            )
        spaces.append(SPACE_OF_CLASS[name])
        if spaces[-1] != spaces[0]:
            raise UserError(f"{block.place}: a {spaces[-1]} block after {spaces[0]} blocks; one backbone has one kind")
        block.check_plain()
    return spaces[0]


def _assemble(stem: _Block, rows: list[_Block], space: str, *, mob_rule: bool) -> Structure:
    from search_spaces.builder import to_multiple_of_8

    stages: list[Stage] = []
    channels = stem.number("out")
    for block, ratio in zip(rows, MOB_RATIOS, strict=True):
        out = block.number("out")
        if block.number("in") != channels:
            raise UserError(f"{block.place}: in is {block.values['in']}, but what comes before has {channels}")
        hidden = int(to_multiple_of_8(out, ratio)) if mob_rule else block.number("btn")
        kernel = MOB_KERNEL if mob_rule else block.number("k")
        stages.append(
            Stage(
                in_channels=channels,
                out_channels=out,
                hidden_channels=hidden,
                depth=block.number("L"),
                stride=block.number("s"),
                kernel=kernel,
            )
        )
        channels = out
    kind = FAMILY[space][1]
    if stem.values.get("in") == FOCUS_CHANNELS:
        kind = "focus"
    elif stem.values.get("s") == 2:
        kind = "conv"
    return _family(space, Stem(kind, stem.number("out"), stem.number("k")), tuple(stages))


def _family(space: str, stem: Stem, stages: tuple[Stage, ...]) -> Structure:
    """A detector with everything that is not in a public text as the family of `space` has it."""
    activation, _, side, depth, hidden_ratio, depthwise, reg_max, head_kernel = FAMILY[space]
    taps = (stages[1].out_channels, stages[3].out_channels, stages[4].out_channels)
    return Structure(
        image_size=(side, side),
        backbone=Backbone(
            space=space, stem=stem, stages=stages, activation=activation, spp=True, reparam=space != "mob"
        ),
        neck=Neck(
            kind="repgfpn",
            depth=depth,
            hidden_ratio=hidden_ratio,
            in_channels=taps,
            out_channels=taps,
            activation=activation,
            depthwise=depthwise,
        ),
        head=Head(kind="zero", reg_max=reg_max, kernel=head_kernel),
    )
