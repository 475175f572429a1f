"""Successive halving: sizes, seconds and choices against slow, obvious references; who goes on; tau."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import kendalltau

from search_spaces.errors import UserError
from tinynas.ranking import rungs
from tinynas.ranking.rungs import Costs, Pace, Rung, kendall, order_of, plan_rungs, rungs_of, sizes, survivors

FAST, SLOW = Pace(0.1, 1.0, 2.0), Pace(0.2, 1.5, 2.0)


def costs(*, workers: int = 1, steps: int = 10) -> Costs:
    return Costs(
        paces=lambda number: [SLOW if place % 2 else FAST for place in range(number)], steps=steps, workers=workers
    )


@pytest.mark.parametrize("number", range(2, 40))
@pytest.mark.parametrize("eta", [2, 3])
def test_every_rung_keeps_its_part_and_the_last_one_has_two_at_least(number: int, eta: int) -> None:
    found = sizes(number, eta)
    assert found[0] == number
    for before, after in itertools.pairwise(found):
        assert after == -(-before // eta)
        assert after < before
    assert found[-1] >= 2
    assert number == 2 or found[-1] <= eta


def test_rungs_double_in_length_and_have_room_for_the_scores_choice() -> None:
    found = rungs_of(8, 3)
    assert [(rung.candidates, rung.trainings, rung.epochs) for rung in found] == [(8, 8, 3), (4, 5, 6), (2, 3, 12)]
    assert [rung.every_epochs for rung in found] == [1, 2, 3]
    assert [rung.evaluations for rung in found] == [3, 3, 4]


def simulated(rung: Rung, paces: list[Pace], given: Costs) -> float:
    """The longest that workers who take the next training when free can need: over every order, whoever is left."""
    seconds = [rung.epochs * given.steps * p.step + rung.evaluations * p.evaluation + p.start for p in paces]
    worst = 0.0
    for chosen in set(itertools.permutations(seconds, min(rung.trainings, len(seconds)))):
        free = [0.0] * given.workers
        for one in chosen:
            place = free.index(min(free))
            free[place] += one
        worst = max(worst, max(free))
    return worst


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 1])
def test_no_order_of_trainings_takes_longer_than_was_told(workers: int, place: int) -> None:
    given, rung = costs(workers=workers), rungs_of(5, 2)[place]
    told, worst = rungs.seconds_of(rung, list(given.paces(5)), given), simulated(rung, list(given.paces(5)), given)
    assert told >= worst - 1e-9
    assert told == pytest.approx(worst) if workers == 1 else told < 1.7 * worst


@pytest.mark.parametrize("hours", [0.15, 0.4, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("number", [4, 8, None])
def test_the_hours_are_used_as_far_as_whole_epochs_go(hours: float, number: int | None) -> None:
    given = costs()
    try:
        found = plan_rungs(hours, given, number)
    except UserError:
        least = rungs_of(number or 2, 10)  # 100 steps
        assert rungs.total_seconds(least, given) > 3600 * hours * 0.9
        return
    size, first = found[0].candidates, found[0].epochs
    assert rungs.total_seconds(found, given) <= 3600 * hours * 0.9
    assert found == rungs_of(size, first)
    longer = rungs_of(size, first + 1)
    whole = sum(rung.epochs for rung in longer) > 2000  # 20,000 steps: more is of no use
    assert whole or rungs.total_seconds(longer, given) > 3600 * hours * 0.9
    if number is None and size < 16:
        more = rungs.NUMBERS[rungs.NUMBERS.index(size) - 1]
        assert rungs.total_seconds(rungs_of(more, 40), given) > 3600 * hours * 0.9
    if number is None and size > 2:
        assert first * 10 >= 400


def test_hours_that_are_too_short_are_refused_with_those_that_do() -> None:
    with pytest.raises(
        UserError, match=r"--hours 0.01: too short for 2 candidates; a first rung is 2 trainings of 10 epochs"
    ) as error:
        plan_rungs(0.01, costs())
    needed = float(str(error.value).split("take --hours ")[1].split(";")[0])
    assert plan_rungs(needed, costs())[0] == rungs_of(2, 10)[0]
    with pytest.raises(UserError, match="too short"):
        plan_rungs(0.9 * needed, costs())


@pytest.mark.parametrize("searches", [1, 2, 3, 4, 6])
def test_no_search_is_left_out_for_lack_of_hours(searches: int) -> None:
    least = max(2, min(searches, 4))
    with pytest.raises(UserError, match=f"too short for {least} candidates") as error:
        plan_rungs(0.001, costs(), searches=searches)
    needed = float(str(error.value).split("take --hours ")[1].split(";")[0])
    assert plan_rungs(needed, costs(), searches=searches)[0].candidates == least


def test_the_best_go_on_and_the_scores_choice_with_them() -> None:
    names = list("abcdef")
    aps = {"a": 0.1, "b": None, "c": 0.4, "d": 0.4, "e": math.nan, "f": 0.2}
    assert order_of(aps, names) == ["c", "d", "f", "a", "b", "e"]
    assert survivors(aps, names, rungs_of(4, 1)[1], "a") == ["a", "c", "d"]
    assert survivors(aps, names, rungs_of(4, 1)[1], "b") == ["c", "d"]
    assert survivors(dict.fromkeys(names), names, rungs_of(4, 1)[1], "a") == []


def test_tau_is_that_of_scipy() -> None:
    first, second = [3.0, 1.0, 2.0, 2.0, 5.0, 4.0], [0.3, 0.1, 0.1, 0.2, 0.2, 0.6]
    assert kendall(first, second) == pytest.approx(kendalltau(first, second).statistic)
    assert kendall(first, [0.0] * 6) is None
