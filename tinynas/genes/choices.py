"""Which values the genes of a space can take, stage by stage: what `Encoding.repair` leaves as it is.

Stages are numbered from 1. Widths are in channels, ascending.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.space import Space
from tinynas.genes.layout import TAP_STAGES

Ints = npt.NDArray[np.int64]


def widths(space: Space, limits: tuple[int, int]) -> Ints:
    """All widths in a range."""
    return np.arange(limits[0], limits[1] + 1, space.channel_step, dtype=np.int64)


def hidden_limits(space: Space, number: int, out: Ints) -> tuple[Ints, Ints]:
    """Lowest and highest hidden width for each width of an untied stage."""
    step, (low_ratio, high_ratio) = space.channel_step, space.stages[number - 1].hidden
    low = np.maximum(-(-np.ceil(out * low_ratio).astype(np.int64) // step) * step, step)
    high = np.maximum(np.floor(out * high_ratio).astype(np.int64) // step * step, low)
    return low, high


def leader(space: Space, number: int) -> int:
    """The stage whose widths and kernel stage `number` has: itself, or the one that it is tied to."""
    while space.stages[number - 1].tied:
        number -= 1
    return number


def followers(space: Space, number: int) -> list[int]:
    """The stages that are tied to an untied stage."""
    return [other for other in range(number + 1, 6) if leader(space, other) == number]


def tap_before(number: int) -> int:
    """The last tapped stage before a stage (of 3 and up)."""
    return max(tap for tap in TAP_STAGES if tap < number)


def is_dictated(space: Space, number: int) -> bool:
    """Whether the tap before says how wide a stage is; between two taps it says how wide at most."""
    return space.tap_growth is not None and number in TAP_STAGES[1:]


def dictated(space: Space, number: int, taps: Ints) -> Ints:
    """The width that each width of the tap before gives to a stage by tap growth."""
    assert space.tap_growth is not None
    return np.clip(
        to_multiple(to_multiple(taps * space.tap_growth, 1), space.channel_step), *space.stages[number - 1].out
    )


def to_multiple(values: npt.NDArray[np.floating[Any]] | Ints, step: int) -> Ints:
    """The nearest multiples of `step`, halves up, at least one step each."""
    steps: Ints = np.floor(np.asarray(values) / step + 0.5).astype(np.int64)
    return np.maximum(steps, 1) * step


def outs_after(space: Space, number: int, before: int, tap: int) -> Ints:
    """Widths that stage `number` can have after a stage of width `before`; `tap`: width of the last tap before it (of no
    matter up to stage 2)."""
    stage = space.stages[number - 1]
    if stage.tied:
        return np.array([before], np.int64)
    every = widths(space, stage.out)
    if space.tap_growth is None or number <= TAP_STAGES[0]:
        return every[every >= before]
    grown = dictated(space, number, np.array([tap], np.int64))
    return np.unique(np.maximum(grown if is_dictated(space, number) else np.minimum(every, grown), before))


def width_pairs(space: Space, number: int) -> tuple[Ints, Ints]:
    """All (in, out) widths of an untied stage that a network of the space can have; equal lengths.

    Where taps dictate widths, pairs that no whole network reaches may be listed as well, but none is left out.
    """
    stage = space.stages[number - 1]
    limits = space.stem.out if number == 1 else space.stages[leader(space, number - 1) - 1].out
    ins, outs = (grid.ravel() for grid in np.meshgrid(widths(space, limits), widths(space, stage.out), indexing="ij"))
    keep = ins <= outs
    if is_dictated(space, number):
        tap = leader(space, tap_before(number))
        if tap == leader(space, number - 1):  # the tap is the input
            keep &= outs == np.maximum(dictated(space, number, ins), ins)
        else:
            earlier = widths(space, space.stages[tap - 1].out)
            keep &= np.isin(outs, dictated(space, number, earlier)) | (outs == ins)
    return ins[keep], outs[keep]
