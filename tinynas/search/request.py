"""From what a person asks for to a search plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_tables import Table
from search_spaces.emit import emit_backbone
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin
from search_spaces.space import Space, load_space
from tinynas.budgets import (
    Budget,
    LatencyRequest,
    Target,
    parse_count,
    parse_memory,
    parse_ratio,
    parse_request,
)
from tinynas.devices import Wanted, find_device
from tinynas.evolution.loop import SearchSettings
from tinynas.genes.population import Encoding
from tinynas.pricing.table_views import convs_only, without_overhead
from tinynas.quantities import QUANTITIES
from tinynas.sampling import ImageSize
from tinynas.scores.deepmad import MAX_EFFECTIVENESS
from tinynas.search.frames import frames_of, image_sizes, most_layers, score_for, with_neck_floor
from tinynas.search.options import SearchOptions
from tinynas.search.plan import SearchPlan

GROUPS = "stem, stage 1, stage 2, stages 3 + 4, stage 5"
_OF_RUN_NETWORKS = {
    "evaluations": 2000, "population": 32, "offspring": 32, "generations_per_epoch": 1, "polishing": 0.0,
}  # fmt: skip
"""Settings of a search whose score runs networks."""


def build_plan(options: SearchOptions, *, measure: bool = False) -> SearchPlan:
    """Resolve tables, space, score and budgets; with `measure`, a device `cpu` that no table is of has one adapted.

    Raises UserError for whatever does not fit together.
    """
    if options.space and "," in options.space and not Path(options.space).exists():
        raise UserError(
            f"--space {options.space}: a search has one space; several are compared by training, with --rank-by-training"
        )
    request, tables = _latency(options, measure)
    first = next(iter(tables.values()), None)
    space = load_space(options.space or (first.metadata.default_space if first else "res"))
    sizes = image_sizes(options, space)
    space, compared = _scored(space, options, sizes)
    frames = frames_of(options, space, sizes)
    effectiveness, notes = _effectiveness(options, space)
    common = (*_limits(options, space), *effectiveness)
    if not tables and not any(
        (options.max_layers, options.max_params, options.max_macs, options.max_memory, options.max_effectiveness)
    ):
        raise UserError("no budget: say --budget 3.8ms --device t4, or a limit such as --max-macs 9G")
    by_id = {table.id: table for table in tables.values()}
    return SearchPlan(
        space=space,
        tables=by_id,
        targets=with_neck_floor(_targets(request, tables, common), options, space, by_id),
        image_size=sizes[0],
        num_classes=options.num_classes,
        settings=_settings(options, space),
        backbone_only=options.backbone_only,
        convs_only=options.convs_only,
        frames=frames,
        notes=(*compared, *notes),
    )


def _settings(options: SearchOptions, space: Space) -> SearchSettings:
    """What is asked for, over defaults by what a candidate costs.

    A score that runs networks takes some tenths of a second for each: few candidates, a small population that a short
    search can move (docs/search-speed.md), and short epochs, for the bar and for what Ctrl-C keeps.
    """
    asked = {name: getattr(options, name) for name in ("evaluations", "population", "islands")}
    runs_networks = hasattr(load_plugin("tinynas.scores", space.score.kind), "score_structures")
    defaults: Mapping[str, Any] = _OF_RUN_NETWORKS if runs_networks else {}
    return SearchSettings(
        seed=options.seed, **{**defaults, **{name: value for name, value in asked.items() if value is not None}}
    )


def _latency(options: SearchOptions, measure: bool) -> tuple[LatencyRequest, dict[str, Table]]:
    """The latency budgets, and the table of each device as named."""
    if (options.budget is None and options.device is not None) or options.budget == "":
        raise UserError("--budget and --device go together: a time means something on a device only (--device t4)")
    if options.budget is None:
        return LatencyRequest((), None, ()), {}
    request = parse_request(options.budget, options.device)
    tables: dict[str, Table] = {}
    for name in request.devices:
        table = find_device(name, _wanted(options), measure=measure, batch=options.batch, precision=options.precision)
        twice = next((other for other, known in tables.items() if known.id == table.id), None)
        if twice is not None:
            raise UserError(f"--budget: {twice} and {name} are the same table, {table.id}; give one budget for it")
        tables[name] = _view(table, options)
    return request, tables


def _wanted(options: SearchOptions) -> Wanted:
    """What the search will price."""
    space = load_space(options.space or "mob")
    return Wanted((space,), tuple(image_sizes(options, space)), (options.num_classes,))


def _view(table: Table, options: SearchOptions) -> Table:
    if options.convs_only:
        return convs_only(table)
    return without_overhead(table) if options.backbone_only else table


def _targets(request: LatencyRequest, tables: Mapping[str, Table], common: tuple[Budget, ...]) -> tuple[Target, ...]:
    everywhere = [Budget("latency_ms", limit, tables[name].id) for name, limit in request.everywhere]
    if not request.family:
        name = "+".join(f"{limit:g}ms@{device}" for device, limit in request.everywhere)
        single = request.everywhere[0][1] if len(request.everywhere) == 1 else None
        if single is not None:
            name = f"{single:g}ms"
        return (Target(name or _limit_name(common), (*everywhere, *common)),)
    device = tables[request.device or ""].id
    return tuple(
        Target(f"{limit:g}ms", (Budget("latency_ms", limit, device), *everywhere, *common)) for limit in request.family
    )


def _limit_name(common: tuple[Budget, ...]) -> str:
    """`9G MACs`: the tightest thing to call a network that has no latency budget is its first limit."""
    first = next((QUANTITIES[budget.quantity].brief(budget.limit) for budget in common), "network")
    return first.replace(" ", "")


def _limits(options: SearchOptions, space: Space) -> tuple[Budget, ...]:
    """The budgets that every target shares; the space's limit of layers where none is given."""
    budgets: list[Budget] = []
    own = most_layers(options, space)
    layers = options.max_layers or (str(own) if own else None)
    if options.max_macs is not None:
        budgets.append(parse_count(options.max_macs, "conv_macs", "--max-macs"))
    if options.max_params is not None:
        budgets.append(parse_count(options.max_params, "params", "--max-params"))
    if options.max_memory is not None:
        budgets.append(parse_memory(options.max_memory))
    if layers is not None:
        budgets.append(parse_count(layers, "layers", "--max-layers"))
    return tuple(budgets)


def _effectiveness(options: SearchOptions, space: Space) -> tuple[tuple[Budget, ...], tuple[str, ...]]:
    """The limit on effectiveness, if any, and a note where the published one does not suit the space's blocks."""
    given = options.max_effectiveness.strip().lower() if options.max_effectiveness is not None else None
    if given == "off" or (given is None and space.score.kind != "deepmad"):
        return (), ()
    if given is not None:
        return (parse_ratio(given, "effectiveness", "--max-effectiveness"),), ()
    if not _depthwise(space):
        return (Budget("effectiveness", MAX_EFFECTIVENESS),), ()
    return (), (
        f"score deepmad: its published limit, effectiveness at most {MAX_EFFECTIVENESS:g}, is for blocks without depthwise "
        f"convs and is left off in space {space.name}; --max-effectiveness sets one",
    )


def _depthwise(space: Space) -> bool:
    """Whether the space's backbones have depthwise convs, whose fan-in is their kernel's area alone."""
    encoding = Encoding(space, space.image_size, num_classes=1)
    return any(op.depthwise for op in emit_backbone(encoding.single(encoding.corner(largest=False))))


def _scored(space: Space, options: SearchOptions, sizes: Sequence[ImageSize]) -> tuple[Space, tuple[str, ...]]:
    """The space with the score that was asked for, or that compares the sizes; and what there is to say of it."""
    asked = options.score or space.score.kind
    kind, notes = score_for(asked, options, sizes)
    plugin = load_plugin("tinynas.scores", kind)
    weights = space.score.weights
    if asked != space.score.kind or not weights:
        weights = tuple(getattr(plugin, "WEIGHTS", weights))
    if options.score_weights is not None:
        if getattr(plugin, "WEIGHTS", weights) == ():
            raise UserError(f"--score-weights: score {kind} takes no weights; leave them out")
        weights = parse_weights(options.score_weights)
    rule = space.score.model_copy(update={"kind": kind, "weights": weights})
    return space.model_copy(update={"score": rule}), notes


def parse_weights(text: str) -> tuple[float, ...]:
    """`0,0,1,1,16`: one weight per group. Raises UserError."""
    weights = weights_in(text)
    if weights is None:
        raise UserError(
            f"--score-weights {text!r}: expected five numbers, not negative and not all zero ({GROUPS}), as in 0,0,1,1,16"
        )
    return weights


def weights_in(text: str) -> tuple[float, ...] | None:
    """The five weights that a text holds, not negative and not all zero; None where it holds none."""
    try:
        weights = tuple(float(word) for word in text.split(","))
    except ValueError:
        return None
    sound = len(weights) == 5 and all(0 <= weight < float("inf") for weight in weights) and any(weights)
    return weights if sound else None
