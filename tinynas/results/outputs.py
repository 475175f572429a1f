"""What a search leaves in its folder: structures, search.json, the front, pictures, the report page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.files import write_text
from search_spaces.graph import Graph
from search_spaces.text import format_structure
from tinynas.budgets import main_budget
from tinynas.quantities import QUANTITIES
from tinynas.ranking.contest import Ranking
from tinynas.results.data import latency_by_scope, prediction_trust, search_data
from tinynas.results.drawing import draw, scope_of
from tinynas.results.families import family_data, format_front, structure_files
from tinynas.results.pictures import SearchPicture, draw_front, draw_network, draw_search
from tinynas.results.rankings import OUTPUTS as RANKING_OUTPUTS
from tinynas.results.rankings import ranking_data, write_ranking
from tinynas.results.report import write_report
from tinynas.search.plan import FoundNetwork, SearchPlan, SearchResult

FIXED = ["search.json", "front.csv", "search.png", "report.html"]


def output_names(targets: Sequence[str], *, ranked: bool = False) -> list[str]:
    """Names of all files that a search with targets of these names writes; `ranked`: with its second stage."""
    if len(targets) == 1:
        return ["structure.txt", *FIXED, "network.png", *(RANKING_OUTPUTS if ranked else [])]
    structures, networks = [f"structure-{name}.txt" for name in targets], [f"network-{name}.png" for name in targets]
    return [*structures, *FIXED, "front.png", "family.yaml", *networks]


def write_result(result: SearchResult, folder: Path, ranking: Ranking | None = None) -> dict[str, Any]:
    """Write everything, that of the second stage where there was one too; the content of search.json. What an earlier search
    left there that this one does not write is deleted."""
    data, earlier = search_data(result, folder), _earlier(folder)
    if ranking is not None:
        data["ranking"] = ranking_data(ranking)
        write_ranking(ranking, folder)
    for member, name in zip(result.members, structure_files(result.members), strict=True):
        write_text(folder / name, format_structure(member.structure))
    write_text(folder / "search.json", json.dumps(data, indent=1) + "\n")
    write_text(folder / "front.csv", format_front(result.front))
    picture = _picture(result)
    draw_search(picture, folder / "search.png")
    if len(result.members) > 1:
        draw_front(picture, folder / "front.png")
        write_text(folder / "family.yaml", yaml.safe_dump(family_data(result.members), sort_keys=False, width=120))
    for member in result.members:
        suffix = f"-{member.target.name}" if len(result.members) > 1 else ""
        _draw_member(result.plan, member, folder / f"network{suffix}.png")
    write_report(data, folder)
    names = output_names([target.name for target in result.plan.targets], ranked=ranking is not None)
    for old in earlier.difference(names):
        _remove(folder / old)
    return data


def _earlier(folder: Path) -> set[str]:
    """Names of what the search left that `folder` is of, by its search.json."""
    try:
        data = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        names = output_names([str(target["name"]) for target in data["targets"]], ranked=bool(data.get("ranking")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()
    return {name for name in names if Path(name).name == name}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _picture(result: SearchResult) -> SearchPicture:
    shown = {member.target.name: main_budget(member.target) for member in result.members}
    budget = next(iter(shown.values()))
    quantity = QUANTITIES[budget.quantity]
    unit = f" [{quantity.unit}]" if quantity.unit else ""
    on = f" on {budget.device}" if budget.device else ""
    curves = {
        member.target.name: [
            (row["evaluations"], row["best_score"]) for row in member.history if row["best_score"] is not None
        ]
        for member in result.members
    }
    return SearchPicture(
        curves=curves,
        front_cost=[cost / quantity.scale for cost in result.front.column(budget.key)],
        front_score=result.front.column("score"),
        places={m.target.name: (m.costs[budget.key] / quantity.scale, m.score) for m in result.members},
        limits={name: own.limit / quantity.scale for name, own in shown.items()},
        cost_label=f"{quantity.label}{unit}{on}",
    )


def _draw_member(plan: SearchPlan, member: FoundNetwork, path: Path) -> None:
    """The whole detector, with what it costs: its first device's latency, else the convs' MACs."""
    title = f"{plan.space.name}, {' x '.join(map(str, member.structure.image_size))}, score {member.score:.1f}"
    whole = emit_detector(member.structure)
    shares, unit = _macs_by_scope(plan.graph(member.structure)), "conv GMACs"
    for name, prediction in list(member.account.latency.items())[:1]:
        title += f", {prediction.total_ms:.2f} ms predicted on {name}"
        if name in (member.measured or {}):
            title += f", {(member.measured or {})[name]['measured_ms']:.2f} ms measured"
        title += f"\n{name}: {prediction_trust(plan, member, name).record}"
        shares, unit = latency_by_scope(prediction), "predicted ms"
    draw_network(draw(member.structure, whole, shares), shares, title, path, unit)


def _macs_by_scope(graph: Graph) -> dict[str, float]:
    macs: dict[str, float] = {}
    for op in graph:
        if op.kind == "conv":
            scope = scope_of(op.path)
            macs[scope] = macs.get(scope, 0.0) + float(costs.op_macs(graph, op)) / 1e9
    return macs
