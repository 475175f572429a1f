"""What a left-right mirror makes of each class: itself, another class ("turn left" becomes "turn right"), or nothing.

Two sources: the classes' names, and a look at the pictures. Neither sees everything: a name says nothing in a language
that is not listed, and photographs of one class can differ more from each other than from their mirror images.
"""

from __future__ import annotations

from dataclasses import dataclass

from detector.data.annotations import Annotations
from detector.data.mirror.looks import look
from detector.data.mirror.names import bare_numbers, one_sided, sided_pairs, written
from search_spaces.errors import listed


@dataclass(frozen=True, slots=True)
class MirrorAdvice:
    """`pairs`: classes that a mirror turns into each other, each named once; `off`: mirrored pictures make no sense.

    why: one line for people, empty where pictures may be mirrored as they are.
    """

    pairs: dict[str, str]
    off: bool
    why: str

    @property
    def setting(self) -> str:
        """The `--set` that follows from it; empty where there is none."""
        if self.off:
            return "augment.flip=0"
        inner = ", ".join(f"{left}: {right}" for left, right in self.pairs.items())
        return f"augment.flip_pairs={{{inner}}}" if inner else ""


def advise(annotations: Annotations) -> MirrorAdvice:
    """What to do about mirrored pictures of a training split; reads some of its pictures where names leave it open.

    Symbols (digits, letters) and a side without its counterpart switch mirroring off; pairs swap their labels.
    """
    names = annotations.class_names
    symbols, lonely, pairs = written(names), one_sided(names), sided_pairs(names)
    if symbols:
        return MirrorAdvice({}, True, f"mirrored signs are other signs or none ({listed(symbols, 4)})")
    if lonely:
        return MirrorAdvice({}, True, f"the mirror image is a class that is not there ({listed(lonely, 4)})")
    found = look(annotations)
    if bare_numbers(names) and found.changed:
        return MirrorAdvice(
            {}, True, f"classes named by numbers look different in a mirror ({listed(found.changed, 4)})"
        )
    taken = {*pairs, *pairs.values()}
    seen = {left: right for left, right in found.pairs.items() if left not in taken and right not in taken}
    both = {**pairs, **seen}
    if not both:
        return MirrorAdvice({}, False, "")
    how = "by their names" if not seen else "by their looks" if not pairs else "by their names and looks"
    shown = listed([f"{left} and {right}" for left, right in both.items()], 4)
    return MirrorAdvice(both, False, f"a mirror turns one class into another, {how}: {shown}")
