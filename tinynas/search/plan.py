"""What a search is and what it finds, as values: the plan, one found network, the front, the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from latency_tables import Table
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.graph import Graph
from search_spaces.space import NeckRule, Space
from search_spaces.structure import Structure
from tinynas.account import Account
from tinynas.budgets import Target
from tinynas.evolution.loop import SearchSettings
from tinynas.evolution.state import SearchState
from tinynas.genes.layout import Genes
from tinynas.genes.population import Encoding
from tinynas.pricing.objective import Objective


@dataclass(frozen=True, slots=True)
class Frame:
    """What all networks of a population have in common: the image size, and the rule that the neck follows."""

    image_size: tuple[int, int]
    neck: NeckRule

    def data(self) -> dict[str, Any]:
        """As plain values."""
        neck = {key: getattr(self.neck, key) for key in ("depth", "hidden_ratio", "out_ratio")}
        return {"image_size": list(self.image_size), "neck": neck}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """Everything that decides a search's result. `tables` by id: as the search sees them (for a backbone alone without
    the fixed overhead, with `convs_only` everything but convs free). `frames`: the image sizes and necks to choose from,
    where there is a choice; else they are `image_size` and the space's. `notes`: what the person should know of it."""

    space: Space
    tables: Mapping[str, Table]
    targets: tuple[Target, ...]
    image_size: tuple[int, int]
    num_classes: int
    settings: SearchSettings
    backbone_only: bool = False
    convs_only: bool = False
    frames: tuple[Frame, ...] = ()
    notes: tuple[str, ...] = ()

    def framed(self, frame: Frame) -> SearchPlan:
        """The search within one frame."""
        return replace(self, image_size=frame.image_size, space=self.space.with_neck(frame.neck), frames=())

    def encoding(self) -> Encoding:
        return Encoding(self.space, self.image_size, self.num_classes)

    def objective(self) -> Objective:
        budgets = [target.budgets for target in self.targets]
        return Objective(self.encoding(), budgets, self.tables, backbone_only=self.backbone_only)

    def graph(self, structure: Structure) -> Graph:
        """What is counted: the whole detector, or its backbone alone. `structure` may be a population."""
        return emit_backbone(structure) if self.backbone_only else emit_detector(structure)


@dataclass(slots=True, kw_only=True)
class FoundNetwork:
    """One target's network. `genes` (GENES, 1); `costs` by budget key and the usual others, in all detail in `account`;
    `measured` and `certified` as they go into search.json (None: not asked for); `ranked`: what a second stage found, as it
    goes into the structure's provenance; `frame`: what was chosen, where there was a choice; `origin`: where a network comes
    from that is not what the search was to find (`published S`), None of all others."""

    target: Target
    genes: Genes
    structure: Structure
    score: float
    costs: dict[str, float]
    account: Account
    history: list[dict[str, Any]] = field(default_factory=list)
    certified: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None
    ranked: dict[str, Any] | None = None
    frame: Frame | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class FrontTable:
    """The Pareto front by rising cost: the limited quantity's key, score, params, MACs, layers, and the structure as
    `stem | out-hidden-depth-kernel ...`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | int | str, ...], ...]

    def column(self, name: str) -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


@dataclass(slots=True, kw_only=True)
class SearchResult:
    """The members, smallest budget first, and the Pareto front. `interrupted`: Ctrl-C came before all evaluations;
    `seconds`: of the search itself, in which `evaluated_now` candidates were looked at
    (a resumed search began with others). `frames`: where there was a choice, what each frame has for each target, as it goes
    into search.json. `notes`: what the person should know of what was found."""

    plan: SearchPlan
    members: list[FoundNetwork]
    front: FrontTable
    evaluated: int
    evaluated_now: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    state: SearchState | None = None
    frames: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
