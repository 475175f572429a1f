"""A detector drawn to scale: one slab per block, as wide as its channels, as tall as its feature map.

The picture follows the graph: whatever a neck or head plug-in emits appears with the links it has. The HTML page and the
PNG (pictures.py) both show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.graph import Graph, Op
from search_spaces.structure import Structure

PX_PER_CHANNEL = 0.09
TALLEST_PX = 132.0
SLAB_GAP, COLUMN_GAP, LABEL_WIDTH, LABEL_HEIGHT = 2.0, 20.0, 78.0, 46.0
NECK_STRIDE = 8
OWN_NAMES = ("stem", "stage", "level", "head", "overhead")
"""What scopes outside the neck are called, or begin with."""


def scope_of(path: str) -> str:
    """The drawn scope that an op belongs to: `stem`, `stage1`..., the neck's own (`m3`...), `head`."""
    words = path.split(".")
    if words[0] == "head":
        return "head"
    if words[0] == "backbone" and not words[1].startswith("stage"):
        return "stem"
    if words[0] == "neck" and len(words) > 1 and words[1].startswith(OWN_NAMES):
        return f"neck {words[1]}"
    return words[1] if len(words) > 1 else words[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One stage, fusion or head level: `count` slabs of `slab_width` x `height` px, left edge `x`, middle `y`."""

    scope: str
    part: str
    title: str
    lines: tuple[str, ...]
    x: float
    y: float
    slab_width: float
    height: float
    count: int
    strength: float

    @property
    def width(self) -> float:
        return self.count * self.slab_width + (self.count - 1) * SLAB_GAP

    @property
    def slabs(self) -> list[float]:
        """Left edges."""
        return [self.x + number * (self.slab_width + SLAB_GAP) for number in range(self.count)]


@dataclass(frozen=True, slots=True)
class Link:
    """A cubic curve from the right edge of the node that is read to the left edge of its reader: its four points."""

    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """As an SVG path."""
        start, *others = (f"{x:.1f} {y:.1f}" for x, y in self.points)
        return f"M{start}C{' '.join(others)}"


@dataclass(frozen=True, slots=True)
class Drawing:
    """Nodes, links, and the size of the picture in px; y grows downwards."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    width: float
    height: float


def draw(structure: Structure, graph: Graph, latency: Mapping[str, float]) -> Drawing:
    """The picture. `latency`: ms per scope; the darker a slab, the more of it it takes (empty: all alike)."""
    boxes = _boxes(graph)
    strides = sorted({max(structure.image_size[0] // box.shape.height, NECK_STRIDE) for box in boxes.values()})
    scale = TALLEST_PX / max(box.shape.height for box in boxes.values())
    middles = _lanes(strides, boxes, structure.image_size[0], scale)
    largest = max(latency.values(), default=0.0)
    nodes: dict[str, Node] = {}
    x = 0.0
    for column in _columns(boxes):
        widest = LABEL_WIDTH
        for scope in column:
            op = boxes[scope]
            shape, numbers = op.shape, _stages(scope, boxes, structure)
            count = sum(int(structure.backbone.stages[number - 1].depth) for number in numbers) or 1
            stride = max(structure.image_size[0] // shape.height, NECK_STRIDE)
            width = max(int(shape.channels) * PX_PER_CHANNEL, 2.0)
            share = latency.get(_priced_as(scope), 0.0) / largest if largest else 0.8
            left = x + max(LABEL_WIDTH - count * (width + SLAB_GAP) + SLAB_GAP, 0.0) / 2
            nodes[scope] = Node(
                scope=scope, part=op.part, title=_title(scope, op, numbers, structure),
                lines=_lines(scope, op, numbers, structure), x=left, y=middles[stride], slab_width=width,
                height=max(shape.height * scale, 3.0), count=count, strength=0.3 + 0.7 * min(share, 1.0),
            )  # fmt: skip
            widest = max(widest, nodes[scope].width)
        x += widest + COLUMN_GAP
    height = max(middles.values()) + LABEL_HEIGHT + 24
    return Drawing(tuple(nodes.values()), tuple(_links(nodes, graph)), x - COLUMN_GAP, height)


def _box_of(op: Op) -> str:
    """`scope_of`, with each level of the head on its own."""
    words = op.path.split(".")
    return words[1] if words[0] == "head" and len(words) > 2 else scope_of(op.path)


def _priced_as(scope: str) -> str:
    return "head" if scope.startswith("level") else scope


def _boxes(graph: Graph) -> dict[str, Op]:
    """What is drawn: the last op of every scope, which has its output's shape (a head level: of its class map)."""
    boxes: dict[str, Op] = {}
    for op in graph:
        scope = _box_of(op)
        if op.kind not in ("input", "detect") and not (scope in boxes and op.path.endswith(".reg")):
            boxes[scope] = op
    return boxes


def _columns(boxes: Mapping[str, Op]) -> list[list[str]]:
    """Scopes by place from left to right: one by one, the head's levels above each other."""
    alone = [[scope] for scope, op in boxes.items() if op.part != "head"]
    head = [scope for scope, op in boxes.items() if op.part == "head"]
    return [*alone, head] if head else alone


def _lanes(strides: list[int], boxes: Mapping[str, Op], image_height: int, scale: float) -> dict[int, float]:
    """Middle of the row of each stride, with room for its tallest slab and the labels below."""
    middles: dict[int, float] = {}
    bottom = 0.0
    for stride in strides:
        tall = [
            op.shape.height * scale
            for op in boxes.values()
            if max(image_height // op.shape.height, NECK_STRIDE) == stride
        ]
        middles[stride] = bottom + max(tall) / 2 + 6
        bottom = middles[stride] + max(min(max(tall), 30.0) / 2 + LABEL_HEIGHT, max(tall) / 2 - 6)
    return middles


def _stages(scope: str, boxes: Mapping[str, Op], structure: Structure) -> list[int]:
    """Numbers of the stages that live in a scope: one, or with it those that have none of their own (tied csp stages)."""
    number = scope.removeprefix("stage")
    if not scope.startswith("stage") or not number.isdigit():
        return []
    numbers = [int(number)]
    while numbers[-1] < len(structure.backbone.stages) and f"stage{numbers[-1] + 1}" not in boxes:
        numbers.append(numbers[-1] + 1)
    return numbers


def _lines(scope: str, op: Op, numbers: list[int], structure: Structure) -> tuple[str, ...]:
    shape = op.shape
    size = f"{shape.channels} \u00d7 {shape.height}\u00b2"
    if shape.height != shape.width:
        size = f"{shape.channels} \u00d7 {shape.height}\u00b7{shape.width}"
    if not numbers:
        return f"head /{structure.image_size[0] // shape.height}" if op.part == "head" else scope, size
    stages = [structure.backbone.stages[number - 1] for number in numbers]
    name = scope if len(numbers) == 1 else f"stages {' + '.join(map(str, numbers))}"
    return name, size, f"\u00d7{' + '.join(str(s.depth) for s in stages)}, hidden {stages[0].hidden_channels}"


def _title(scope: str, op: Op, numbers: list[int], structure: Structure) -> str:
    text = f"{op.part}, {scope}: {op.shape.channels} channels at {op.shape.height} x {op.shape.width}"
    for number in numbers:
        stage = structure.backbone.stages[number - 1]
        text += f"; stage {number}: depth {stage.depth}, hidden {stage.hidden_channels}, kernel {stage.kernel}"
    return text


def _links(nodes: Mapping[str, Node], graph: Graph) -> list[Link]:
    """A curve for every pair of scopes of which one reads the other."""
    pairs: dict[tuple[str, str], None] = {}
    for op in graph:
        for source in op.inputs:
            pair = (_box_of(graph.ops[source]), _box_of(op))
            if pair[0] != pair[1] and pair[0] in nodes and pair[1] in nodes:
                pairs[pair] = None
    links = []
    for reads_from, reader in pairs:
        start, end = nodes[reads_from], nodes[reader]
        x, y, to_x, to_y = start.x + start.width, start.y, end.x, end.y
        bend = max((to_x - x) / 2, 12.0)
        links.append(Link(((x, y), (x + bend, y), (to_x - bend, to_y), (to_x, to_y))))
    return links
