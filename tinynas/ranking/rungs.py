"""Successive halving: how many candidates train for how long, from what a step takes and the hours that there are.

Jamieson and Talwalkar, 2016. Every rung is a whole training of its own, with warm-up and a falling rate, that starts from the
weights of the rung before: the APs of a rung are all of networks at rest (docs/decisions/0008-rungs.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.errors import UserError

ETA = 2
"""Of so many candidates one goes on to the next rung, which is so many times as long."""
NUMBERS = (16, 12, 8, 6, 4, 3, 2)
"""How many candidates there can be where nobody says; the most whose first rung is long enough."""
OF_EVERY_SEARCH = 4
"""Up to so many searches (spaces and image sizes) each have a candidate, however few the hours are."""
GOOD_STEPS, FEWEST_STEPS = 400, 100
"""Optimiser steps of a first rung that is long enough, and of the shortest: with fewer, AP tells next to nothing. On 12
classes of signs, four candidates had an AP of 0.01 to 0.05 after 228 steps, in an order that training in full turns round."""
MOST_EPOCHS, MOST_STEPS = 300, 20_000
"""A candidate's whole training ends by the first of these that lets it, as `train --time` does."""
EVALUATIONS = 4
"""Points of a candidate's curve in a rung."""
SLACK = 0.1
"""Share of the time that is kept for a machine that slows down."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a candidate's training takes here: a step, an evaluation, its start (reading pictures)."""

    step: float
    evaluation: float
    start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """`candidates` train for `epochs`, evaluated every `every_epochs`; with the search's first choice where it is not among
    them, `trainings` in all."""

    candidates: int
    trainings: int
    epochs: int
    every_epochs: int

    @property
    def evaluations(self) -> int:
        return -(-self.epochs // self.every_epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What rungs are planned from. `paces`: of the candidates there would be, by their number; `steps`: of an epoch;
    `workers`: trainings at a time."""

    paces: Callable[[int], Sequence[Pace]]
    steps: int
    workers: int


def sizes(number: int, eta: int = ETA) -> list[int]:
    """Candidates of each rung: `number`, then the `eta`-th part of the rung before, rounded up, down to at least two."""
    found = [number]
    while (smaller := math.ceil(found[-1] / eta)) >= 2 and smaller < found[-1]:
        found.append(smaller)
    return found


def rungs_of(number: int, first_epochs: int, eta: int = ETA) -> tuple[Rung, ...]:
    """The rungs of `number` candidates, the first of so many epochs."""
    rungs = []
    for place, size in enumerate(sizes(number, eta)):
        epochs = first_epochs * eta**place
        rungs.append(
            Rung(
                candidates=size, trainings=size + (place > 0), epochs=epochs,
                every_epochs=max(1, -(-epochs // EVALUATIONS)),
            )
        )  # fmt: skip
    return tuple(rungs)


def seconds_of(rung: Rung, paces: Sequence[Pace], costs: Costs) -> float:
    """The most that a rung takes: its trainings are those of the slowest candidates, and the last to end runs alone."""
    each = sorted(
        (rung.epochs * costs.steps * p.step + rung.evaluations * p.evaluation + p.start for p in paces), reverse=True
    )
    slowest = each[: rung.trainings]
    workers = min(costs.workers, len(slowest))
    return (sum(slowest) - slowest[0]) / workers + slowest[0]


def total_seconds(rungs: Sequence[Rung], costs: Costs) -> float:
    """The most that all rungs take."""
    paces = costs.paces(rungs[0].candidates)
    return sum(seconds_of(rung, paces, costs) for rung in rungs)


def plan_rungs(hours: float, costs: Costs, number: int | None = None, *, searches: int = 1) -> tuple[Rung, ...]:
    """The rungs that fit into so many hours: of `number` candidates, or of as many as get a first rung of GOOD_STEPS, one at
    least of each of the `searches` that they come from.

    Raises UserError, with the hours that would do, when not even the fewest candidates get FEWEST_STEPS.
    """
    usable = 3600 * hours * (1 - SLACK)
    good, fewest = (-(-steps // costs.steps) for steps in (GOOD_STEPS, FEWEST_STEPS))
    least = min(searches, OF_EVERY_SEARCH)
    choices = [choice for choice in NUMBERS if choice >= least] if number is None else [number]
    for choice in choices:
        most = min(fewest if choice == choices[-1] else good, most_epochs(choice, costs.steps))
        if total_seconds(rungs_of(choice, most), costs) <= usable:
            return rungs_of(choice, _longest(choice, most, usable, costs))
    raise UserError(_too_short(hours, choices[-1], fewest, costs))


def most_epochs(number: int, steps: int) -> int:
    """Epochs of the longest first rung that is of use: the last candidate's rungs together are a whole training."""
    whole, parts = max(MOST_EPOCHS, MOST_STEPS // steps), sum(rung.epochs for rung in rungs_of(number, 1))
    return max(1, whole // parts)


def _longest(number: int, least: int, usable: float, costs: Costs) -> int:
    """The most epochs of a first rung, from `least` on, that fit."""
    low, high = least, max(least, most_epochs(number, costs.steps))
    while low < high:
        middle = (low + high + 1) // 2
        if total_seconds(rungs_of(number, middle), costs) <= usable:
            low = middle
        else:
            high = middle - 1
    return low


def _too_short(hours: float, number: int, epochs: int, costs: Costs) -> str:
    rungs = rungs_of(number, epochs)
    needed = total_seconds(rungs, costs) / 3600 / (1 - SLACK)
    step = max(pace.step for pace in costs.paces(number))
    return (
        f"--hours {hours:g}: too short for {number} candidates; a first rung is {number} trainings of {epochs} epochs "
        f"({epochs * costs.steps} steps of {step:.2g} s), and all {len(rungs)} rungs take --hours {_rounded_up(needed):g}; "
        "give that, or search at a smaller --image-size"
    )


def _rounded_up(hours: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(hours)) - 1)
    return math.ceil(hours / unit - 1e-9) * unit


def order_of(aps: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    """Candidates by falling AP, those without one last; of equals, the earlier in `names` first."""
    ranks = {name: place for place, name in enumerate(names)}
    return sorted(aps, key=lambda name: (-_value(aps[name]), ranks[name]))


def survivors(aps: Mapping[str, float | None], names: Sequence[str], next_rung: Rung, first: str) -> list[str]:
    """Who trains on, in the order of `names`: the best of a rung that have an AP, and the search's first choice, to be
    compared with, unless its training failed."""
    alive = [name for name in order_of(aps, names) if aps[name] is not None]
    chosen = {*alive[: next_rung.candidates], *([first] if first in alive else [])}
    return [name for name in names if name in chosen]


def _value(ap: float | None) -> float:
    return -1.0 if ap is None or math.isnan(ap) else ap


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings; None where one has no order at all."""
    agree = ties_first = ties_second = pairs = 0
    for i in range(len(first)):
        for j in range(i):
            one, two = first[i] - first[j], second[i] - second[j]
            pairs += 1
            ties_first += one == 0
            ties_second += two == 0
            agree += (one * two > 0) - (one * two < 0)
    scale = math.sqrt((pairs - ties_first) * (pairs - ties_second))
    return agree / scale if scale else None
