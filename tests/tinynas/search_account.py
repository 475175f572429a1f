"""A search's account (the content of search.json) made from shipped structures, with real prices and scores."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from latency_tables import Table, find_table, predict, trust_of
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from search_spaces.text import format_structure, resolve_structure
from tinynas.results.drawing import scope_of
from tinynas.scores.entropy import WEIGHTS, gains, score

BUDGETS = {"T": 2.8, "S": 4.0, "M": 6.0, "L": 8.5}


def search_account(folder: Path, names: tuple[str, ...] = ("T", "S", "M", "L"), device: str = "t4") -> dict[str, Any]:
    """The account of a family search that found the named structures, which are written into `folder`."""
    table = _table(device)
    targets = [deepcopy(_target(name, device, single=len(names) == 1)) for name in names]
    for name, target in zip(names, targets, strict=True):
        (folder / target["structure_file"]).write_text(format_structure(resolve_structure(name)))
    return {
        "tool": "tinynas 0.1.0",
        "settings": {
            "space": {"name": "res", "stages": [{"out": [64, 128], "kernels": [3]}], "spp": True},
            "budgets": [target["budgets"][0]["limit"] for target in targets],
            "image_size": [640, 640], "num_classes": 80, "seed": 0, "evaluations": 500_000, "solver": "evolution",
            "tables": {table.id: {"sha256": table.hash, "source": Path(table.source).name}},
        },
        "targets": targets,
        "front": {"columns": ["latency_ms", "score", "params", "conv_macs", "layers"], "rows": _front(targets)},
        "interrupted": False,
        "seconds": 1.31,
        "candidates_per_second": 381_679.4,
        "commands": [
            f"tinynas train {targets[0]['structure_file']} --data DIR",
            "tinynas export runs/train/best.pt --format onnx",
            f"tinynas compare {' '.join(target['structure_file'] for target in targets)} --device {device}",
        ],
    }  # fmt: skip


@cache
def _table(device: str) -> Table:
    return find_table(device)


@cache
def _target(name: str, device: str, *, single: bool) -> dict[str, Any]:
    table = _table(device)
    graph = emit_detector(resolve_structure(name))
    file = "structure.txt" if single else f"structure-{BUDGETS[name]:g}ms.txt"
    found = float(score(graph, WEIGHTS))
    prediction = predict(graph, table)
    by_scope: dict[str, float] = {}
    for item in prediction.sites:
        scope = scope_of(item.site.path)
        by_scope[scope] = by_scope.get(scope, 0.0) + item.latency_ms
    return {
        "name": f"{BUDGETS[name]:g}ms",
        "budgets": [
            {"quantity": "latency_ms", "limit": BUDGETS[name], "device": table.id, "key": "latency_ms"},
            {"quantity": "layers", "limit": 60, "device": "", "key": "layers"},
        ],
        "structure_file": file,
        "score": found,
        "costs": _costs(graph) | {"latency_ms": prediction.total_ms},
        "latency": {
            table.id: {
                "total": prediction.total_ms, "parts": prediction.parts, "overhead": prediction.overhead_ms,
                "shares": prediction.shares, "by_scope": by_scope | {"overhead": prediction.overhead_ms},
                "trust": trust_of(table.metadata, prediction.shares).data(),
            }
        },
        "entropy_by_scope": _entropy(graph),
        "history": [{"evaluations": n, "best_score": best} for n, best in _history(found)],
        "certified": {"bound": found * 1.0003, "gap_percent": 0.03, "exact": False, "seconds": 2.4},
        "measured": None,
    }  # fmt: skip


def _costs(graph: Graph) -> dict[str, float]:
    return {
        "params": costs.params(graph), "conv_macs": costs.conv_macs(graph), "layers": costs.layers(graph),
        "peak_memory_bytes": costs.peak_memory_bytes(graph),
    }  # fmt: skip


def _entropy(graph: Graph) -> dict[str, float]:
    found: dict[str, float] = {}
    for path, gain in gains(graph, WEIGHTS):
        found[scope_of(path)] = found.get(scope_of(path), 0.0) + float(gain)
    return found


def _history(best: float) -> list[tuple[int, float | None]]:
    points: list[tuple[int, float | None]] = [(512, None)]
    return points + [(512 * 2**k, best * (1 - 0.25 * math.exp(-0.9 * k))) for k in range(1, 11)]


def _front(targets: list[dict[str, Any]]) -> list[list[float]]:
    """The members, with interpolated networks between them."""
    ends = sorted((t["costs"]["latency_ms"], t["score"], *list(t["costs"].values())[:3]) for t in targets)
    rows = []
    for low, high in zip(ends, ends[1:] or ends):
        rows += [[a + (b - a) * step / 40 for a, b in zip(low, high)] for step in range(40)]
    return [*rows, list(ends[-1])]
