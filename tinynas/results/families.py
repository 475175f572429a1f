"""A family of networks from one search: its Pareto front as a table, its members, who teaches whom, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latency_tables import trust_of
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from tinynas.genes.population import DEPTH, HIDDEN, KERNEL, OUT, STAGES, STEM, Genes

if TYPE_CHECKING:
    from tinynas.search.run import Member, SearchPlan

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrontTable:
    """The Pareto front by rising cost: the limited quantity's key, score, params, MACs, layers, and the structure as
    `stem | out-hidden-depth-kernel ...`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | int | str, ...], ...]

    def column(self, name: str) -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def front_table(plan: SearchPlan, key: str, genes: Genes, score: Values, cost: Values) -> FrontTable:
    """Candidates (GENES, F) with their `score` and `cost` (F,) of the budget `key`."""
    columns = list(dict.fromkeys((key, "score", "params", "conv_macs", "layers", "structure")))
    if not score.size:
        return FrontTable(tuple(columns), ())
    structure = plan.encoding().population(genes)
    graph = emit_backbone(structure) if plan.backbone_only else emit_detector(structure)
    values: dict[str, Any] = {"score": score.round(6)}
    for name, cost_of in (("params", costs.params), ("conv_macs", costs.conv_macs), ("layers", costs.layers)):
        values[name] = np.broadcast_to(np.asarray(cost_of(graph)), score.shape)
    if key not in values:
        values[key] = cost.round(6)
    values["structure"] = np.array([short_structure(column) for column in genes.T], dtype=object)
    return FrontTable(tuple(columns), tuple(zip(*(values[name].tolist() for name in columns), strict=True)))


def short_structure(column: Genes) -> str:
    """`48 | 104-40-1-3 | ...`: the stem's width, then out-hidden-depth-kernel of each stage."""
    stages = ["-".join(str(int(column[row + i])) for row in (OUT, HIDDEN, DEPTH, KERNEL)) for i in range(STAGES)]
    return " | ".join([str(int(column[STEM])), *stages])


def format_front(front: FrontTable) -> str:
    """The front as CSV."""
    return "\n".join([",".join(front.columns), *(",".join(map(_cell, row)) for row in front.rows)]) + "\n"


def _cell(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def structure_files(members: Sequence[Member]) -> list[str]:
    """File names: `structure.txt` for one member, `structure-2ms.txt` ... for a family."""
    if len(members) == 1:
        return ["structure.txt"]
    return [f"structure-{member.target.name}.txt" for member in members]


def teachers(members: Sequence[Member]) -> list[int | None]:
    """For each member (smallest first) who teaches it: the next larger one; nobody teaches the largest."""
    return [number + 1 if number + 1 < len(members) else None for number in range(len(members))]


def family_data(plan: SearchPlan, members: Sequence[Member]) -> dict[str, Any]:
    """The content of family.yaml: members, smallest first, each with its budget, costs and teacher; and by table where its
    milliseconds come from."""
    files = structure_files(members)
    rows = []
    for member, file, teacher in zip(members, files, teachers(members), strict=True):
        rows.append(
            {
                "name": member.target.name,
                "structure": file,
                "score": round(member.score, 4),
                "params": int(member.costs["params"]),
                "conv_macs": int(member.costs["conv_macs"]),
                "latency_ms": {name: round(p.total_ms, 4) for name, p in member.predictions.items()},
                "measured_ms": {name: round(row["measured_ms"], 4) for name, row in (member.measured or {}).items()},
                "teacher": members[teacher].target.name if teacher is not None else None,
            }
        )
    first = members[0].predictions
    latency = {name: trust_of(table.metadata, first[name].shares).record for name, table in plan.tables.items()}
    return {"family": rows, "latency": latency}


def next_commands(members: Sequence[Member], folder: Path, devices: Sequence[str]) -> list[str]:
    """What to type next: look at the network, train it; a family is trained from the largest down."""
    paths = [shlex.quote(str(folder / name)) for name in structure_files(members)]
    if len(members) == 1:
        device = f" --device {devices[0]}" if devices else ""
        return [f"tinynas explain {paths[0]}{device}", f"tinynas train {paths[0]} --data DIR"]
    return [
        f"tinynas train {path} --data DIR --out runs/{member.target.name}"
        for path, member in reversed(list(zip(paths, members, strict=True)))
    ]
