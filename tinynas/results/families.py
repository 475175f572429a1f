"""A family of networks from one search: its Pareto front as text, its members, who teaches whom, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinynas.search.plan import FoundNetwork, FrontTable


def format_front(front: FrontTable) -> str:
    """The front as CSV."""
    return "\n".join([",".join(front.columns), *(",".join(map(_cell, row)) for row in front.rows)]) + "\n"


def _cell(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def structure_files(members: Sequence[FoundNetwork]) -> list[str]:
    """File names: `structure.txt` for one member, `structure-2ms.txt` ... for a family."""
    if len(members) == 1:
        return ["structure.txt"]
    return [f"structure-{member.target.name}.txt" for member in members]


def teachers(members: Sequence[FoundNetwork]) -> list[int | None]:
    """For each member (smallest first) who teaches it: the next larger one; nobody teaches the largest."""
    return [number + 1 if number + 1 < len(members) else None for number in range(len(members))]


def family_data(members: Sequence[FoundNetwork]) -> dict[str, Any]:
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
                "latency_ms": {name: round(p.total_ms, 4) for name, p in member.account.latency.items()},
                "measured_ms": {name: round(row["measured_ms"], 4) for name, row in (member.measured or {}).items()},
                "teacher": members[teacher].target.name if teacher is not None else None,
            }
        )
    return {"family": rows, "latency": {name: trust.record for name, trust in members[0].account.trust.items()}}


def next_commands(members: Sequence[FoundNetwork], folder: Path, devices: Sequence[str]) -> list[str]:
    """What to type next: look at the network, train it; a family is trained from the largest down, each teaching the next."""
    paths = [shlex.quote(str(folder / name)) for name in structure_files(members)]
    if len(members) == 1:
        device = f" --device {shlex.quote(devices[0])}" if devices else ""
        return [f"tinynas explain {paths[0]}{device}", f"tinynas train {paths[0]} --data DIR"]
    return [f"tinynas family train {shlex.quote(str(folder / 'family.yaml'))} --data DIR --out runs/family"]
