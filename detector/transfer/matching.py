"""Which conv of one network stands for which conv of another: blocks of a stage by number, all others by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from detector.transfer.channels import Channels
from search_spaces.graph import Graph, Op

_BLOCK = re.compile(r"(?P<stage>.+)\.block(?P<number>\d+)\.(?P<name>.+)")
PROJECTION = "projection"
HEAD_CONV = re.compile(r"(?P<level>head\.level\d+)\.(?P<task>cls|reg)_conv\d+")


@dataclass(frozen=True, slots=True)
class Match:
    """What becomes of conv `target` (op index).

    source: the conv whose weights it takes. silent: its norm starts at zero, so that the block around it adds nothing.
    passes: it starts as an identity for the channels of this value of the source.
    """

    target: int
    source: int | None = None
    silent: bool = False
    passes: int | None = None


class Blocks:
    """The repeated blocks of a graph: {scope: {number: {name of op: index}}}."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._blocks: dict[str, dict[int, dict[str, int]]] = {}
        for index, op in enumerate(graph):
            if found := _BLOCK.fullmatch(op.path):
                numbers = self._blocks.setdefault(found["stage"], {})
                numbers.setdefault(int(found["number"]), {})[found["name"]] = index

    def of(self, stage: str) -> dict[int, dict[str, int]]:
        """The blocks of a scope by number; none for a scope without."""
        return self._blocks.get(stage, {})

    def shape_of(self, block: dict[str, int]) -> list[tuple[str, bool]]:
        """What two blocks must have in common for one to stand for the other: names and kinds of their convs."""
        ops = {name: self.graph.ops[index] for name, index in block.items()}
        return [(name, op.depthwise) for name, op in ops.items() if op.kind == "conv" and name != PROJECTION]


def match_convs(target: Graph, source: Channels) -> Iterator[Match]:
    """A match for every conv of `target`, in order."""
    own, others = Blocks(target), Blocks(source.graph)
    by_path = {op.path: index for index, op in enumerate(source.graph) if op.kind == "conv"}
    for index, op in enumerate(target):
        if op.kind != "conv":
            continue
        if found := _BLOCK.fullmatch(op.path):
            numbers = own.of(found["stage"])
            block = numbers[int(found["number"])]
            yield _in_block(index, found, own.shape_of(block), block, target, source, others)
        else:
            like = by_path.get(op.path)
            if like is not None and source.graph.ops[like].depthwise == op.depthwise:
                yield Match(index, like)
            else:
                yield Match(index, passes=_of_head(op, source.graph, by_path))


def _in_block(
    index: int, found: re.Match[str], shape: list[tuple[str, bool]], block: dict[str, int], target: Graph,
    source: Channels, others: Blocks,
) -> Match:  # fmt: skip
    """The match of a conv in a block: the block of the same number, or what an additional block starts as."""
    numbers, number, name = others.of(found["stage"]), int(found["number"]), found["name"]
    like = numbers.get(number)
    if like is not None and others.shape_of(like) == shape:
        if name in like:
            return Match(index, like[name])
        return Match(index, passes=source.graph.ops[like["add"]].inputs[0] if "add" in like else None)
    last = numbers[max(numbers)] if numbers else None
    if last is not None and others.shape_of(last) != shape:
        last = None
    if "add" in block:
        branch_end = target.ops[block["add"]].inputs[1]
        like_last = last[name] if last is not None and name in last and _repeats(last, source) else None
        return Match(index, like_last, silent=index == branch_end)
    return Match(index, passes=None if last is None else max(last.values()))


def _repeats(block: dict[str, int], source: Channels) -> bool:
    """Whether a block's output has the channels of its input: then its convs can be repeated behind it."""
    first, last = min(block.values()), max(block.values())
    return source.group(source.graph.ops[first].inputs[0]) == source.group(last)


def _of_head(op: Op, graph: Graph, by_path: dict[str, int]) -> int | None:
    """For a head conv that the source's head does not have: the value before its projection."""
    found = HEAD_CONV.fullmatch(op.path)
    last = by_path.get(f"{found['level']}.{found['task']}") if found else None
    return None if last is None else graph.ops[last].inputs[0]
