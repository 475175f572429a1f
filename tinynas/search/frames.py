"""What `--image-size`, `--neck` and `--neck-share` ask for: the frames to choose from, and the least that a neck may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from latency_tables import Table, predict
from latency_tables.predictor import MAX_EXTRAPOLATED
from search_spaces.errors import UserError, nearest
from search_spaces.space import Space
from tinynas.budgets import Budget, Target
from tinynas.pricing.columns import sees
from tinynas.published import published_necks, share_at
from tinynas.sampling import ImageSize, parse_image_sizes
from tinynas.search.options import SearchOptions
from tinynas.search.plan import Frame, SearchPlan

NECKS = ("rule", "search")
SIZED = {"entropy": "entropy_sized"}
"""Scores that are blind to the image size, by the score that is the same but for that."""


def image_sizes(options: SearchOptions, space: Space) -> list[ImageSize]:
    """The sizes that may be chosen, the space's own where none is given. Raises UserError."""
    if options.image_size is None:
        return [space.image_size]
    try:
        return parse_image_sizes(options.image_size)
    except UserError as error:
        raise UserError(f"--image-size {options.image_size}: {error}") from None


def frames_of(options: SearchOptions, space: Space, sizes: Sequence[ImageSize]) -> tuple[Frame, ...]:
    """Every combination of image size and neck; none where there is but one. Raises UserError for what cannot be chosen."""
    if options.neck is not None and options.neck not in NECKS:
        raise UserError(f"--neck {options.neck!r}: {nearest(options.neck, NECKS)}")
    searched = options.neck == "search"
    if searched and options.backbone_only:
        raise UserError("--neck search: the backbone alone has no neck; leave --backbone-only out")
    necks = space.necks() if searched else (space.neck,)
    if searched and len(necks) == 1:
        raise UserError(f"--neck search: space {space.name} has only one neck; add neck_choices to its file")
    frames = tuple(Frame(size, neck) for size in sizes for neck in necks)
    return frames if len(frames) > 1 else ()


def most_layers(options: SearchOptions, space: Space) -> int | None:
    """The space's own limit of layers: that of its neck choices where the neck is searched."""
    own = space.neck_choices.max_layers if options.neck == "search" else None
    return own or space.max_layers


def score_for(kind: str, options: SearchOptions, sizes: Sequence[ImageSize]) -> tuple[str, tuple[str, ...]]:
    """The score that compares the sizes, and a note where it is not the one that the space has. Raises UserError for a score
    that was asked for and cannot."""
    if len(sizes) == 1 or sees(kind, "image_size"):
        return kind, ()
    if options.score is None and kind in SIZED:
        text = f"the image size is chosen by score {SIZED[kind]}, {kind} times the log of the maps' size, which favours"
        return SIZED[kind], (
            f"{text} large images (docs/scores.md says what these gained); --rank-by-training lets your data decide",
        )
    raise UserError(
        f"score {kind} does not see the image size, so that the smallest would always win; leave --score out or take one "
        "that does (entropy_sized, entropy_detector), or give one --image-size"
    )


def with_neck_floor(
    targets: Sequence[Target], options: SearchOptions, space: Space, tables: Mapping[str, Table]
) -> tuple[Target, ...]:
    """The targets with the least latency that the neck may take, where one is asked for. A score that is blind to the neck
    would otherwise always choose the cheapest one. Raises UserError."""
    asked = (options.neck_share or "").strip().lower()
    if not asked and options.neck == "search" and not sees(space.score.kind, "neck"):
        asked = "published"
    if asked in ("", "off"):
        return tuple(targets)
    if options.backbone_only:
        raise UserError("--neck-share: the backbone alone has no neck; leave --backbone-only out")
    return tuple(_with_floor(target, asked, options, space, tables) for target in targets)


def _with_floor(
    target: Target, asked: str, options: SearchOptions, space: Space, tables: Mapping[str, Table]
) -> Target:
    budget = next((budget for budget in target.budgets if budget.quantity == "latency_ms"), None)
    if budget is None:
        what = "--neck search" if options.neck == "search" else "--neck-share"
        raise UserError(
            f"{what}: the neck's share is one of a latency; give --budget and --device, or --neck-share off"
        )
    table = tables[budget.device]
    share = _published_share(table, space, budget.limit, options) if asked == "published" else _share(asked)
    return replace(target, budgets=(*target.budgets, Budget("neck_ms", share * budget.limit, budget.device)))


def _published_share(table: Table, space: Space, limit_ms: float, options: SearchOptions) -> float:
    necks = published_necks(table, space.block, options.num_classes)
    if not necks:
        raise UserError(
            f"--neck-share published: table {table.id} prices no published detector of {space.block} blocks; say one, as in "
            "--neck-share 0.4, or off"
        )
    return share_at(necks, limit_ms)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UserError(f"--neck-share {text!r}: expected a share between 0 and 1, as in 0.4, or published, or off")
    return share


def check_sizes_covered(plan: SearchPlan) -> None:
    """Raises UserError when a table does not cover an image size that may be chosen: neither the smallest nor the largest
    network of the space has little enough of its latency beyond it."""
    sizes = list(dict.fromkeys(frame.image_size for frame in plan.frames))
    if len(sizes) < 2:
        return
    for name, table in plan.tables.items():
        beyond = [size for size in sizes if _least_beyond(plan, table, size) > MAX_EXTRAPOLATED]
        if beyond:
            covered = [f"{height}x{width}" for height, width in sizes if (height, width) not in beyond]
            reach = (
                f"{covered[0]} to {covered[-1]} of them are covered; give these"
                if covered
                else "none of them is covered; take other sizes"
            )
            height, width = beyond[0]
            raise UserError(
                f"--image-size: table {name} does not cover {height}x{width}, more than {MAX_EXTRAPOLATED:.0%} of the "
                f"latency lies beyond its rows; {reach}, or profile the table further"
            )


def _least_beyond(plan: SearchPlan, table: Table, size: ImageSize) -> float:
    encoding = replace(plan, image_size=size).encoding()
    graphs = [plan.graph(encoding.single(encoding.corner(largest=end))) for end in (False, True)]
    return min(predict(graph, table, max_extrapolated=1.0).shares["extrapolated"] for graph in graphs)
