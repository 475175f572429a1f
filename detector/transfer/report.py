"""What a network took from another one, and how that is told in a few lines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search_spaces.graph import PARTS

SHOWN_NAMES = 24
COUNTER = "num_batches_tracked"
_TENSOR = re.compile(r"\.(conv|norm|dense|dense_norm|pointwise|pointwise_norm)\.\w+$")
WIDTH = 116


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """sizes: values per key of the target's state dict; parameters: the keys that learn; taken: values that came from
    the source; refused: {part: why nothing of it could}; unused: convs of the source that nothing took from.

    new_classes: classes that the source does not know; renamed: those that it knows by another name, with that;
    same_structure: but for classes and image size.
    """

    sizes: Mapping[str, int]
    parameters: frozenset[str]
    taken: Mapping[str, int]
    refused: Mapping[str, str] = field(default_factory=dict)
    unused: Sequence[str] = ()
    new_classes: Sequence[str] = ()
    renamed: Sequence[str] = ()
    same_structure: bool = True

    def share(self, part: str = "") -> float:
        """The part's (all parts': "") parameters that came from the source, 0..1."""
        keys = [key for key in self.parameters if key.startswith(f"{part}." if part else "")]
        return sum(self.taken.get(key, 0) for key in keys) / max(sum(self.sizes[key] for key in keys), 1)

    @property
    def fresh(self) -> list[str]:
        """Keys of which nothing was loaded, in order."""
        return [key for key in self.sizes if not self.taken.get(key)]

    @property
    def partly(self) -> list[str]:
        """Keys of which some was loaded and the rest is new."""
        return [key for key, size in self.sizes.items() if 0 < self.taken.get(key, 0) < size]

    def lines(self, source: str) -> list[str]:
        """What happened, for people."""
        whole = len(self.sizes) - len(self.fresh) - len(self.partly)
        lines = [f"weights from {source}: {whole} of {len(self.sizes)} tensors loaded whole"]
        if not self.same_structure:
            shares = ", ".join(f"{part} {self.share(part):.0%}" for part in PARTS)
            lines[0] = (
                f"weights from {source}, a detector of another structure: weight transfer, {self.share():.0%} of the "
                f"parameters ({shares})"
            )
            lines += [f"  {part}: not transferred, {why}" for part, why in self.refused.items()]
        if self.renamed:
            lines += _block(f"classes that it knows by another name ({len(self.renamed)})", self.renamed)
        if self.new_classes:
            lines += _block(f"classes that it does not know ({len(self.new_classes)}), fresh", self.new_classes)
        if self.partly:
            lines += _block(f"loaded in part ({len(self.partly)} tensors)", self._units(self.partly))
        if self.fresh:
            lines += _block(f"not loaded, fresh ({len(self.fresh)} tensors)", self._units(self.fresh))
        if self.unused:
            lines += _block(f"left behind ({len(self.unused)} convs of the checkpoint)", self.unused)
        return lines

    def _units(self, keys: Sequence[str]) -> list[str]:
        """Paths that the keys are in: a whole part, stage or block where all of it is meant, else the op."""
        chosen, found = set(keys), dict[str, None]()
        counted = [key for key in self.sizes if not key.endswith(COUNTER)]
        for key in keys:
            op = _TENSOR.sub("", key)
            words = op.split(".")
            scopes = [".".join(words[:length]) for length in range(1, len(words) + 1)]
            if key.endswith(COUNTER) or not found.keys().isdisjoint(scopes):
                continue
            whole = (scope for scope in scopes if chosen.issuperset(k for k in counted if k.startswith(f"{scope}.")))
            found[next(whole, op)] = None
        return list(found)


def _block(title: str, names: Sequence[str]) -> list[str]:
    more = f", and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    text = f"{title}: {', '.join(names[:SHOWN_NAMES])}{more}"
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
