"""One plan for each space and image size that candidates of one budget may come from."""

from __future__ import annotations

from dataclasses import replace

from search_spaces.errors import UserError
from search_spaces.saying import Say
from search_spaces.space import shipped_spaces
from tinynas.sampling import parse_image_sizes
from tinynas.search.coverage import check_covered
from tinynas.search.options import SearchOptions
from tinynas.search.plan import SearchPlan
from tinynas.search.request import build_plan
from tinynas.search.run import check_reachable


def build_plans(options: SearchOptions, say: Say, *, measure: bool = False) -> list[SearchPlan]:
    """A plan for each of the spaces and image sizes named (`mob,res`, `192,224`), the first named first. Without a space: the
    device's own, and all shipped ones in which the budget can be met; `say` hears of those that are left out.

    Raises UserError as `build_plan` does, and for a named space or size in which the budget cannot be met.
    """
    if options.neck == "search":
        raise UserError(
            "--neck search finds one network, and --rank-by-training needs several candidates; leave it out"
        )
    sizes = _sizes(options.image_size) or [None]
    named = _words(options.space, "--space")
    plans = [
        _reachable(replace(options, space=space, image_size=size), measure)
        for space in (named or [None])
        for size in sizes
    ]
    for space in [] if named else [name for name in shipped_spaces() if name != plans[0].space.name]:
        for size in sizes:
            try:
                plans.append(_reachable(replace(options, space=space, image_size=size), measure))
            except UserError as error:
                say(f"note: no candidates from space {space}: {error}")
    return plans


def _reachable(options: SearchOptions, measure: bool) -> SearchPlan:
    plan = build_plan(options, measure=measure)
    check_covered(plan)
    check_reachable(plan)
    return plan


def _sizes(text: str | None) -> list[str | None]:
    """Each size by itself: `256..320` is three."""
    words = _words(text, "--image-size")
    if not words:
        return []
    try:
        return [f"{height}x{width}" for height, width in parse_image_sizes(",".join(map(str, words)))]
    except UserError as error:
        raise UserError(f"--image-size {text}: {error}") from None


def _words(text: str | None, option: str) -> list[str | None]:
    if text is None:
        return []
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < len(words):
        raise UserError(f"{option} {text!r}: expected different values with commas between, as in mob,res or 192,224")
    return list(words)
