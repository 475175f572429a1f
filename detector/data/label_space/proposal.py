"""A first proposal of a label space: what looks alike in several data sets becomes one class, for a person to look over."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.data import formats
from detector.data.label_space.document import VERSION, VERSION_KEY, is_document
from detector.data.label_space.look_alike import form, meaning, usual_name
from detector.data.label_space.reading import class_split
from search_spaces.errors import UserError, listed


@dataclass(frozen=True, slots=True)
class FoundSet:
    """A data set as it was found: boxes of its training split by class, ignored ones left out, in its own order."""

    name: str
    path: Path
    boxes: Mapping[str, int]


@dataclass(slots=True)
class Proposal:
    """aliases: class to other names; rename: by set; notes: what a person should look at, a line each."""

    sets: Sequence[FoundSet]
    aliases: dict[str, list[str]] = field(default_factory=dict)
    rename: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_sets(paths: Sequence[Path]) -> list[FoundSet]:
    """The sets' classes and how many boxes each has. Raises UserError for what is no data set, or named twice."""
    found: list[FoundSet] = []
    resolved: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in resolved:
            raise UserError(f"{path}: the same data set as {resolved[path.resolve()]}; name it once")
        resolved[path.resolve()] = path
        if is_document(path):
            raise UserError(f"{path}: a list of data sets; name the sets themselves")
        split = class_split(path)
        raw = formats.read_split(path, split)
        if not raw.image_paths:
            raise UserError(f"{path}: the data set has no pictures in {split}")
        labels = raw.boxes.labels[~raw.boxes.ignore].tolist()
        counts = dict.fromkeys(raw.class_names, 0)
        for label in labels:
            counts[raw.class_names[label]] += 1
        found.append(FoundSet(_free_name(path, {one.name for one in found}), path, counts))
    return found


def propose(sets: Sequence[FoundSet]) -> Proposal:
    """Names that look alike (case, hyphens, spaces, plural) or are known to mean the same become one class; where a set
    has two of them, it means two things by them, and the one that is not spelled as elsewhere stays apart."""
    proposal = Proposal(sets)
    by_meaning: dict[str, list[tuple[str, str]]] = {}
    for one in sets:
        for name in one.boxes:
            by_meaning.setdefault(meaning(name), []).append((one.name, name))
    for members in by_meaning.values():
        _propose_class(members, proposal)
    return proposal


def _propose_class(members: list[tuple[str, str]], proposal: Proposal) -> None:
    """members: (set, class) of one meaning."""
    if len({name for name, _ in members}) < len(members):
        members = _without_doubles(members, proposal)
    names = list(dict.fromkeys(name for _, name in members))
    spelled = {name.casefold() for name in names}
    if len(spelled) < 2:
        return
    wanted = usual_name(names[0]) or ""
    canonical = next((name for name in names if name.casefold() == wanted.casefold()), names[0])
    others = dict.fromkeys(name for name in names if name.casefold() != canonical.casefold())
    once: dict[str, str] = {}
    for name in others:
        once.setdefault(name.casefold(), name)
    proposal.aliases[canonical] = list(once.values())


def _without_doubles(members: list[tuple[str, str]], proposal: Proposal) -> list[tuple[str, str]]:
    """Of each set one class at most: the others mean something else there, and are renamed where the name is taken."""
    kept = list(members)
    for set_name in dict.fromkeys(name for name, _ in members):
        own = [name for of, name in members if of == set_name]
        if len(own) < 2:
            continue
        elsewhere = {name.casefold() for of, name in members if of != set_name}
        # `Mouse` beside `Computer mouse`: the more telling name is the thing that others call by the short one
        best = max(own, key=lambda name: (len(form(name)), name.casefold() in elsewhere))
        for name in own:
            if name == best:
                continue
            kept.remove((set_name, name))
            if elsewhere:
                proposal.rename.setdefault(set_name, {})[name] = f"{name} ({set_name})"
            proposal.notes.append(
                f"{set_name} has {listed([repr(one) for one in own], 4)}, which look like one class: {name!r} stays apart"
            )
    return kept


def text_of(proposal: Proposal, out: Path) -> str:
    """The file: YAML, with counts as comments."""
    lines = [
        "# The data sets of one detector, and which of their classes are one. Look it over, then:",
        f"#   tinynas data check {out.name}",
        f"#   tinynas train S --data {out.name}",
        f"{VERSION_KEY}: {VERSION}",
        "sets:",
    ]
    for one in proposal.sets:
        lines += [f"  {one.name}:", f"    path: {_quoted(_relative(one.path, out))}"]
        lines += _wrapped("    classes: ", one.boxes)
        none = [name for name, count in one.boxes.items() if not count]
        if none:
            lines.append(f"    # without a box in the training split: {listed(none, 20)}".replace("\n", " "))
        renamed = proposal.rename.get(one.name, {})
        if renamed:
            lines.append("    rename:  # not what the other sets call so")
            lines += [f"      {_quoted(name)}: {_quoted(new)}" for name, new in renamed.items()]
        lines.append("    drop: []")
    lines.append("aliases:" if proposal.aliases else "aliases: {}")
    for name, others in proposal.aliases.items():
        where = ", ".join(_counts(proposal.sets, [name, *others]))
        lines.append(f"  {_quoted(name)}: [{', '.join(map(_quoted, others))}]  # {where}")
    lines.append("drop: []")
    return "\n".join(lines) + "\n"


def _counts(sets: Sequence[FoundSet], names: Iterable[str]) -> list[str]:
    """`amenity Sofa 12` for each set that has one of the names."""
    wanted = {name.casefold() for name in names}
    return [
        f"{one.name} {name} {count}" for one in sets for name, count in one.boxes.items() if name.casefold() in wanted
    ]


def _wrapped(start: str, names: Iterable[str]) -> list[str]:
    """A list in brackets, several lines long where need be."""
    lines, line = [], f"{start}["
    for place, name in enumerate(names):
        piece = ("" if place == 0 else ", ") + _quoted(name)
        if len(line) + len(piece) > 118:
            lines.append(f"{line},")
            line = " " * 6 + piece.removeprefix(", ")
        else:
            line += piece
    return [*lines, f"{line}]"]


def _quoted(name: str) -> str:
    """As a YAML text: bare where that is read back as it stands."""
    return (
        name
        if re.fullmatch(r"[^\W_][\w ./-]*", name) and name == name.strip()
        else json.dumps(name, ensure_ascii=False)
    )


def _relative(path: Path, out: Path) -> str:
    """From the file's folder where that is shorter than a way through many folders above."""
    try:
        relative = os.path.relpath(path.resolve(), out.resolve().parent)
    except ValueError:  # another drive
        return path.resolve().as_posix()
    return Path(relative).as_posix() if relative.count("..") < 4 else path.resolve().as_posix()


def _free_name(path: Path, taken: set[str]) -> str:
    """The folder's name in plain letters, with a number where another set has it."""
    stem = path.resolve().parent.name if path.is_file() else path.resolve().name
    plain = re.sub(r"[^\w.-]+", "_", stem).strip("_") or "set"
    number, name = 1, plain
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name
