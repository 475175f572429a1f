"""`tinynas score`."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError

GROUPS = ("stem", "stage 1", "stage 2", "stages 3 + 4", "stage 5")


def run(
    structure: Annotated[str, typer.Argument(help="A structure file, or a shipped name: T S M L Ns Nm Nl.")],
    score: Annotated[
        str,
        typer.Option(help="entropy, entropy_published, entropy_sized, entropy_detector, deepmad, zen, macs or random."),
    ] = "entropy",
    weights: Annotated[
        str | None, typer.Option(help="One weight per group (stem, stages 1, 2, 3 + 4, 5), with commas: 0,0,1,1,16.")
    ] = None,
    image_size: Annotated[str | None, typer.Option(help="H or HxW in pixels, instead of the structure's.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Blocks of a text in a public format that does not name them: mob.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of scores by forward passes of random networks (zen).")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score an untrained structure, group by group."""
    from search_spaces.emit import emit_detector
    from search_spaces.image_size import parse_image_size
    from search_spaces.plugins import load_plugin
    from search_spaces.text import resolve_structure

    plugin = load_plugin("tinynas.scores", score)
    loaded = resolve_structure(structure, space)
    if image_size is not None:
        loaded = loaded.with_image_size(*parse_image_size(image_size))
    chosen = _weights(plugin, weights, score)
    graph = emit_detector(loaded)
    data: dict[str, Any] = {
        "structure": structure, "image_size": list(loaded.image_size), "kind": score,
        "weights": list(chosen) if chosen is not None else None,
        "score": _score(plugin, loaded, graph, chosen, seed), **_sizes(graph), "groups": _groups(graph, chosen),
    }  # fmt: skip
    if hasattr(plugin, "effectiveness"):
        data["effectiveness"] = float(plugin.effectiveness(graph))
    (_print_json if json else _print_text)(data)


def _weights(plugin: ModuleType, text: str | None, score: str) -> tuple[float, ...] | None:
    """The weights given, else the score's own; None for a score that has none."""
    own: tuple[float, ...] | None = getattr(plugin, "WEIGHTS", None) or None
    if text is None:
        return own
    if own is None:
        raise UserError(f"--weights {text!r}: the score {score} has no groups to weigh; leave --weights out")
    from tinynas.search.request import weights_in

    values = weights_in(text)
    if values is None:
        raise UserError(
            f"--weights {text!r}: expected {len(GROUPS)} numbers with commas between, not negative and not all zero, "
            "as in 0,0,1,1,16"
        )
    return values


def _score(plugin: ModuleType, structure: Any, graph: Any, weights: tuple[float, ...] | None, seed: int) -> float:
    if hasattr(plugin, "score_structures"):
        return float(plugin.score_structures([structure], seed=seed)[0])
    return float(plugin.score(graph, weights or ()))


def _sizes(graph: Any) -> dict[str, int]:
    from tinynas.account import account

    found = account(graph)
    backbone = found.parts["backbone"]
    return {
        "layers": found.layers,
        "params": found.params,
        "params_backbone": backbone.params,
        "conv_macs": found.conv_macs,
        "conv_macs_backbone": backbone.conv_macs,
    }


def _groups(graph: Any, weights: tuple[float, ...] | None) -> list[dict[str, Any]]:
    """Per group: convs of the main path in it, its output, the maximum entropy up to its end, and its weight."""
    from tinynas.scores.entropy import group_entropies

    levels = sorted({conv.level for conv in graph.main_path})
    rows = []
    for number, (level, entropy) in enumerate(zip(levels, group_entropies(graph), strict=True)):
        convs = [conv for conv in graph.main_path if conv.level == level]
        rows.append(
            {
                "group": GROUPS[number],
                "layers": sum(int(conv.count) for conv in graph.published_path if conv.level == level),
                "channels": int(convs[-1].out_channels), "height": convs[-1].height, "width": convs[-1].width,
                "entropy": float(entropy), "weight": weights[number] if weights is not None else None,
            }
        )  # fmt: skip
    return rows


def _print_json(data: dict[str, Any]) -> None:
    import json

    print(json.dumps(data, indent=1))


def _print_text(data: dict[str, Any]) -> None:
    from tinynas.quantities import QUANTITIES

    height, width = data["image_size"]
    print(f"{data['structure']} at {height}x{width}: {data['kind']} score {data['score']:.4f}")
    if "effectiveness" in data:
        print(f"effectiveness {data['effectiveness']:.4f} (largest depth-to-width ratio; published limit 0.3)")
    print(f"\n{'group':13} {'layers':>6} {'output':>13} {'entropy':>9} {'weight':>7}")
    for row in data["groups"]:
        output = f"{row['channels']}x{row['height']}x{row['width']}"
        weight = "" if row["weight"] is None else f"{row['weight']:g}"
        print(f"{row['group']:13} {row['layers']:6} {output:>13} {row['entropy']:9.3f} {weight:>7}")
    sizes = []
    for name in ("params", "conv_macs"):
        quantity = QUANTITIES[name]
        whole, backbone = quantity.text(data[name]), quantity.text(data[f"{name}_backbone"])
        sizes.append(f"{whole} {quantity.label} ({backbone} in the backbone)")
    print(f"\n{data['layers']} layers; {', '.join(sizes)}")
