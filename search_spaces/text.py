"""Structure files: reading (this project's YAML and two public formats), writing, and names of shipped structures."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text
from search_spaces.public_formats import is_public_text, read_public
from search_spaces.schema import FORMAT_VERSION, StructureModel
from search_spaces.structure import Head, Neck, Structure
from search_spaces.validation import first_problem

MAX_BYTES = 1_000_000


def shipped_names() -> list[str]:
    """Names of the structures that come with the package, from small to large per device kind."""
    order = ["T", "S", "M", "L", "Ns", "Nm", "Nl"]
    found = {
        entry.name.removesuffix(".txt")
        for entry in resources.files("search_spaces").joinpath("structures").iterdir()
        if entry.name.endswith(".txt")
    }
    return [name for name in order if name in found] + sorted(found - set(order))


def resolve_structure(name_or_path: str | Path, space: str | None = None) -> Structure:
    """A structure from a shipped name (`S`) or a file.

    Raises UserError when it is neither, or when the file does not hold a sound structure.
    """
    text = str(name_or_path)
    if text in shipped_names():
        return _shipped(text, space)
    path = Path(name_or_path)
    if not path.exists():
        raise UserError(f"no structure {text!r}: neither a file nor a shipped name; {nearest(text, shipped_names())}")
    return read_structure(path, space)


@functools.cache
def _shipped(name: str, space: str | None) -> Structure:
    text = resources.files("search_spaces").joinpath("structures", f"{name}.txt").read_text()
    return parse_structure(text, f"{name} (shipped)", space)


def read_structure(path: Path, space: str | None = None) -> Structure:
    """Read a structure file; `space` is needed for public texts that do not tell (mob).

    Raises UserError with file, line, what was found and what is allowed.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: {size} bytes, a structure file has at most {MAX_BYTES}; is this another file? A run's structure is "
            "in structure.txt, beside its best.pt"
        )
    return parse_structure(read_text(path, "a structure file"), str(path), space)


def parse_structure(text: str, source: str = "<text>", space: str | None = None) -> Structure:
    """Parse a structure from text; `source` is named in errors. Raises UserError."""
    if is_public_text(text):
        return _checked(read_public(text, source, space), source)
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{source}:{mark.line + 1}" if mark else source
        raise UserError(f"{line}: not YAML ({getattr(error, 'problem', error)}); expected a structure file") from None
    except (RecursionError, ValueError) as error:  # nested without end; YAML's own values: 2024-13-01 is no date
        raise UserError(f"{source}: not YAML ({error}); expected a structure file") from None
    _refuse_repeated_keys(node, source)
    if not isinstance(data, Mapping) or "stages" not in data:
        raise UserError(
            f"{source}: not a structure; expected YAML with the keys tinynas, image_size, space, stem, stages, neck, "
            "head (see any shipped one: tinynas explain S), or one of the public formats (a Python literal)"
        )
    try:
        structure = StructureModel.model_validate(data).to_structure()
    except ValidationError as error:
        raise UserError(_first_problem(error, source, node)) from None
    if space not in (None, structure.backbone.space):
        raise UserError(
            f"{source}: holds {structure.backbone.space} blocks, --space {space} was given; leave --space out (it is "
            "for texts of public formats)"
        )
    return structure


def format_structure(structure: Structure) -> str:
    """The text of a structure: YAML, one stage per line, no time stamps."""
    backbone, neck, head = structure.backbone, structure.neck, structure.head
    lines = [
        f"tinynas: {FORMAT_VERSION}",
        f"image_size: {_flow(list(structure.image_size))}  # height, width",
        f"space: {backbone.space}",
        f"stem: {_flow({'kind': backbone.stem.kind, 'out': backbone.stem.out_channels, 'kernel': backbone.stem.kernel})}",
        "stages:",
    ]
    for stage in backbone.stages:
        row = {
            "in": stage.in_channels, "out": stage.out_channels, "hidden": stage.hidden_channels,
            "depth": stage.depth, "stride": stage.stride, "kernel": stage.kernel,
        }  # fmt: skip
        lines.append(f"  - {_flow(row)}")
    neck_row = {
        "kind": neck.kind, "depth": float(neck.depth), "hidden_ratio": float(neck.hidden_ratio),
        "in": list(neck.in_channels), "out": list(neck.out_channels), "activation": neck.activation,
        "depthwise": neck.depthwise, **_beyond_default(neck, "links", "fusion"),
    }  # fmt: skip
    head_row = {
        "kind": head.kind, "reg_max": head.reg_max, "kernel": head.kernel, "num_classes": head.num_classes,
        **_beyond_default(head, "depth", "activation"),
    }  # fmt: skip
    lines += [
        f"activation: {backbone.activation}",
        f"spp: {_flow(backbone.spp)}",
        f"reparam: {_flow(backbone.reparam)}",
        f"neck: {_flow(neck_row)}",
        f"head: {_flow(head_row)}",
    ]
    text = "\n".join(lines) + "\n"
    if structure.search:
        text += yaml.safe_dump({"search": dict(structure.search)}, sort_keys=False, width=120)
    return text


def _beyond_default(part: Neck | Head, *names: str) -> dict[str, Any]:
    """Fields that differ from their default: what the released detectors lack is left out of their files."""
    defaults = {field.name: field.default for field in fields(part)}
    return {name: getattr(part, name) for name in names if getattr(part, name) != defaults[name]}


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _checked(structure: Structure, source: str) -> Structure:
    """A public text's structure, held to what a structure file may say. Raises UserError."""
    try:
        StructureModel.model_validate(yaml.safe_load(format_structure(structure)))
    except ValidationError as error:
        raise UserError(_first_problem(error, source, None)) from None
    return structure


def _first_problem(error: ValidationError, source: str, node: yaml.Node | None) -> str:
    """One line for the first problem found, with its line in the file, and how many more there are."""
    problem = first_problem(error, StructureModel)
    location = list(problem.location) or _location_from(problem.message)
    return f"{source}:{_line_of(node, location)}: {problem}"


def _refuse_repeated_keys(node: yaml.Node | None, source: str) -> None:
    """YAML takes the last of two equal keys without a word. Raises UserError with the line of the second."""
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            pending += [value for _, value in node.value]
            keys: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in keys:
                    raise UserError(f"{source}:{key.start_mark.line + 1}: {key.value}: this key occurs twice; keep one")
                keys.add(str(key.value))


def _location_from(message: str) -> list[str | int]:
    """Where a whole-structure check points: its message starts with a dotted key (`stages.3: ...`)."""
    head = message.split(":", 1)[0]
    return [int(word) - 1 if word.isdigit() else word for word in head.split(".")]


def _line_of(node: yaml.Node | None, location: list[Any]) -> int:
    for word in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(word, int) and word < len(node.value):
            node = node.value[word]
        elif isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == word), None)
            if match is None:
                break
            key, node = match
            if word == location[-1]:
                node = key
    return node.start_mark.line + 1 if node is not None else 1
