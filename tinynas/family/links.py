"""The chain of trainings that a family makes: who is trained when, and by whom taught (report, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinynas.family.members import Member

BY_ITSELF = "-by-itself"


@dataclass(frozen=True, slots=True)
class Link:
    """One training of the chain: `name` of its folder, its member, and the name of the link that teaches it."""

    name: str
    member: Member
    teacher: str | None


def links_of(members: Sequence[Member], *, by_itself: bool, alone: bool) -> list[Link]:
    """The trainings in order. by_itself: the largest is trained a second time, taught by its first training, and teaches
    the next (as published); alone: nobody is taught."""
    links: list[Link] = []
    trained: dict[str | None, str] = {}
    for member in members:
        teacher = None if alone else trained.get(member.teacher)
        links.append(Link(member.name, member, teacher))
        trained[member.name] = member.name
        if by_itself and not alone and member.teacher is None:
            links.append(Link(member.name + BY_ITSELF, member, member.name))
            trained[member.name] = member.name + BY_ITSELF
    return links
