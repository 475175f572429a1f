"""Classes of several data sets become the classes of one label space, by the rules of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detector.data.label_space.document import ALL, Document, ListedSet
from detector.data.origins import Source
from search_spaces.errors import UserError, listed, nearest


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """class_names: C, in the order of the sets and of their classes; sources: the sets, in the file's order."""

    class_names: tuple[str, ...]
    sources: tuple[Source, ...]

    def merged_within(self) -> list[str]:
        """A line for each class that is several classes of one set: allowed, and worth knowing."""
        lines = []
        for source in self.sources:
            groups: dict[str, list[str]] = {}
            for own, name in source.becomes.items():
                if name is not None:
                    groups.setdefault(name, []).append(own)
            lines += [
                f"{source.name}: its classes {listed(owns, 6)} are one class here, {name!r}"
                for name, owns in groups.items()
                if len(owns) > 1
            ]
        return lines


def unify(document: Document, classes: Mapping[str, Sequence[str]], where: str) -> LabelSpace:
    """The label space of `document`; `classes`: each set's own classes by the set's name; where: of messages.

    A class is called what `rename` of its set says; else, if it is an alias, what it is an alias of; else as it is. Names
    that differ in case alone are one class. Raises UserError for rules that contradict each other or apply to nothing, and
    for a set of which no class is left.
    """
    canonical = _canonical(document, where)
    spelled = {_key(name): name for name in document.aliases}
    dropped, used_drops, used_aliases = {_key(name) for name in document.drop}, set[str](), set[str]()
    becomes: dict[str, dict[str, str | None]] = {}
    for set_name, member in document.sets.items():
        own_rules = _own_rules(set_name, member, classes[set_name], where)
        becomes[set_name] = {}
        for own in classes[set_name]:
            key = _key(own)
            name = own_rules.renamed.get(key)
            if name is None:
                name = canonical.get(key, own)
                used_aliases.add(key)
            hit = {_key(name), key} & dropped
            used_drops |= hit
            left_out = bool(hit) or key in own_rules.dropped
            becomes[set_name][own] = None if left_out else spelled.setdefault(_key(name), name)
        if not any(becomes[set_name].values()):
            raise UserError(
                f"{where}: sets.{set_name}: every one of its {len(classes[set_name])} classes is left out; keep one, or take "
                "the set off the list"
            )
    _refuse_unused(document, classes, used_drops, used_aliases, where)
    names = tuple(dict.fromkeys(name for owns in becomes.values() for name in owns.values() if name is not None))
    sources = (
        Source(name, owns, _absent(name, document.sets[name], owns, names, where)) for name, owns in becomes.items()
    )
    return LabelSpace(names, tuple(sources))


@dataclass(frozen=True, slots=True)
class _OwnRules:
    """By key of a set's class: what it is renamed to; and which are left out."""

    renamed: dict[str, str]
    dropped: frozenset[str]


def _own_rules(set_name: str, member: ListedSet, classes: Sequence[str], where: str) -> _OwnRules:
    """Raises UserError for a rule about a class that the set does not have, and for two rules about one."""
    known = {_key(name) for name in classes}
    for rule, names in (("rename", list(member.rename)), ("drop", member.drop)):
        for name in names:
            if _key(name) not in known:
                raise UserError(f"{where}: sets.{set_name}.{rule}: it has no class {name!r}; {nearest(name, classes)}")
    renamed = {_key(own): name for own, name in member.rename.items()}
    dropped = frozenset(_key(name) for name in member.drop)
    both = [name for name in member.rename if _key(name) in dropped]
    if both:
        raise UserError(f"{where}: sets.{set_name}: {both[0]!r} is under rename and under drop; leave one of them out")
    return _OwnRules(renamed, dropped)


def _canonical(document: Document, where: str) -> dict[str, str]:
    """By key of an alias, the class that it is another name of."""
    found: dict[str, str] = {}
    for name, others in document.aliases.items():
        if not others:
            raise UserError(f"{where}: aliases.{name}: no other name; expected at least one, or leave the line out")
        for other in others:
            first = found.setdefault(_key(other), name)
            if first != name:
                raise UserError(f"{where}: aliases: {other!r} is another name of {first!r} and of {name!r}; choose one")
    for name in document.aliases:
        if _key(name) in found and _key(found[_key(name)]) != _key(name):
            raise UserError(
                f"{where}: aliases: {name!r} has aliases and is itself one of {found[_key(name)]!r}; put all of them there"
            )
    return found


def _refuse_unused(
    document: Document, classes: Mapping[str, Sequence[str]], drops: set[str], aliases: set[str], where: str
) -> None:
    """A rule that nothing goes by is a slip of the pen."""
    everything = sorted({name for names in classes.values() for name in names})
    for name, others in document.aliases.items():
        for other in others:
            if _key(other) not in aliases:
                raise UserError(
                    f"{where}: aliases.{name}: no data set has a class {other!r} (or each one that has it renames it); "
                    f"{nearest(other, everything)}"
                )
    for name in document.drop:
        if _key(name) not in drops:
            raise UserError(f"{where}: drop: no data set has a class {name!r}; {nearest(name, everything)}")


def _absent(
    set_name: str, member: ListedSet, owns: Mapping[str, str | None], names: Sequence[str], where: str
) -> frozenset[str]:
    """The classes, as they are spelled, that the set does not label and has nothing of."""
    labelled = {name for name in owns.values() if name is not None}
    if member.absent == [ALL]:
        return frozenset(names) - labelled
    spelled = {_key(name): name for name in names}
    found = set()
    for name in member.absent:
        if _key(name) not in spelled:
            raise UserError(f"{where}: sets.{set_name}.absent: there is no class {name!r}; {nearest(name, names)}")
        if spelled[_key(name)] in labelled:
            raise UserError(f"{where}: sets.{set_name}.absent: the set labels {name!r} itself; leave it out here")
        found.add(spelled[_key(name)])
    return frozenset(found)


def _key(name: str) -> str:
    return name.casefold()
