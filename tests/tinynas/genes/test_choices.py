"""What genes may be: ties between stages, and the rows that a mutation has something to choose for."""

import numpy as np
import pytest

from search_spaces.space import load_space
from tinynas.genes.choices import followers, is_dictated, leader, outs_after, tap_before, width_pairs
from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.moves import _free_rows
from tinynas.genes.population import Encoding


def tied(*numbers):
    """The csp space, in which exactly these stages are tied to the one before."""
    space = load_space("csp")
    stages = [
        stage.model_copy(update={"tied": number in numbers}) for number, stage in enumerate(space.stages, start=1)
    ]
    return space.model_copy(update={"stages": tuple(stages)})


@pytest.mark.parametrize(
    ("numbers", "leaders"), [((), [1, 2, 3, 4, 5]), ((4,), [1, 2, 3, 3, 5]), ((3, 4), [1, 2, 2, 2, 5])]
)
def test_a_tied_stage_follows_the_last_untied_one_before_it(numbers, leaders):
    space = tied(*numbers)
    assert [leader(space, number) for number in range(1, 6)] == leaders
    for number in range(1, 6):
        if leaders[number - 1] == number:
            expected = [other for other in range(1, 6) if leaders[other - 1] == number and other != number]
            assert followers(space, number) == expected


def test_rows_to_mutate_are_those_with_a_choice():
    space = load_space("csp")
    assert [is_dictated(space, number) for number in range(1, 6)] == [False, False, False, True, True]
    chosen = set(_free_rows(space))
    assert {OUT + index for index in range(5)} & chosen == {OUT, OUT + 1, OUT + 2}
    assert HIDDEN + 3 not in chosen  # tied to stage 3
    assert {HIDDEN, HIDDEN + 1, HIDDEN + 2, HIDDEN + 4} <= chosen
    assert not {KERNEL + index for index in range(5)} & chosen  # csp has one kernel size


@pytest.mark.parametrize("index", range(3))
def test_what_has_one_value_is_no_choice(index):
    space = load_space("res")
    stages = list(space.stages)
    low = stages[index].out[0]
    stages[index] = stages[index].model_copy(update={"out": (low, low), "depth": (2, 2)})
    fixed = space.model_copy(update={"stages": tuple(stages)})
    assert set(_free_rows(space)) - set(_free_rows(fixed)) == {OUT + index, DEPTH + index}
    narrow = space.model_copy(update={"stem": space.stem.model_copy(update={"out": (32, 32)})})
    assert set(_free_rows(space)) - set(_free_rows(narrow)) == {STEM}


def test_kernels_are_mutated_where_there_are_several():
    mob = load_space("mob")
    assert {KERNEL + index for index in range(5)} <= set(_free_rows(mob))
    assert all(len(stage.kernels) > 1 for stage in mob.stages)


SPACES = {name: load_space(name) for name in ("res", "csp", "mob")}
SPACES["free taps"] = SPACES["res"].model_copy(update={"tap_growth": None})


@pytest.mark.parametrize("name", SPACES)
def test_widths_that_follow_one_another_are_those_of_repaired_candidates(name):
    """What 20,000 drawn candidates have lies among the listed widths, and the lists hold little else."""
    space = SPACES[name]
    genes = Encoding(space, (64, 64), 3).sample(20_000, np.random.default_rng(0))
    for number in range(1, 6):
        before = genes[STEM] if number == 1 else genes[OUT + number - 2]
        after = genes[OUT + number - 1]
        tap = genes[OUT + tap_before(number) - 1] if number > 2 else np.zeros_like(before)
        drawn = {}
        for width, last, out in set(zip(before.tolist(), tap.tolist(), after.tolist(), strict=True)):
            drawn.setdefault((width, last), set()).add(out)
        for (width, last), outs in drawn.items():
            listed = set(outs_after(space, number, width, last).tolist())
            assert outs <= listed, (number, width, last)
            if space.tap_growth is not None and number > 3 and not space.stages[number - 1].tied:
                assert outs == listed  # the tap dictates it
        if not space.stages[number - 1].tied:
            pairs = set(zip(*(side.tolist() for side in width_pairs(space, number)), strict=True))
            found = set(zip(before.tolist(), after.tolist(), strict=True))
            assert found <= pairs
            if is_dictated(space, number) and leader(space, tap_before(number)) == leader(space, number - 1):
                assert len({width for width, _ in pairs}) == len(pairs)  # the input is the tap: one width for each


@pytest.mark.parametrize("name", SPACES)
def test_a_tap_right_behind_another_is_the_one_width_that_it_dictates(name):
    space = SPACES[name]
    for number in (4, 5):
        if space.stages[number - 1].tied or space.tap_growth is None:
            continue
        for width in outs_after(space, 3, 64, 64).tolist():
            assert outs_after(space, number, width, 64).size == 1


@pytest.mark.parametrize("name", SPACES)
def test_drawing_reaches_both_ends_of_every_range(name):
    space = SPACES[name]
    genes = Encoding(space, (64, 64), 3).sample(20_000, np.random.default_rng(1))
    assert (genes[STEM].min(), genes[STEM].max()) == space.stem.out
    for index, stage in enumerate(space.stages):
        assert (genes[DEPTH + index].min(), genes[DEPTH + index].max()) == stage.depth
        assert set(genes[KERNEL + index].tolist()) == set(stage.kernels)
        assert genes[OUT + index].max() == stage.out[1]


def test_steps_of_a_mutation_have_a_direction():
    space = load_space("res")
    upwards = space.mutation.model_copy(update={"channel_factors": (), "channel_steps": (2,), "depth_steps": (1,)})
    moves = Encoding(space.model_copy(update={"mutation": upwards}), (64, 64), 3).moves
    low, high = space.stem.out
    assert moves._reachable(STEM, low) == [low + 2 * space.channel_step]
    assert moves._reachable(STEM, high) == []
    shallow, deep = space.stages[3].depth
    assert moves._reachable(DEPTH + 3, shallow) == [shallow + 1]
    assert moves._reachable(DEPTH + 3, deep) == []


def test_a_gene_at_its_highest_value_can_change_too():
    """A mutation that finds no target for a value would leave it for ever."""
    moves = Encoding(SPACES["mob"], (64, 64), 3).moves
    for row in moves.free_rows:
        values = moves._values(row)
        assert all(moves._reachable(row, value) for value in (values[0], values[-1]))
    assert [moves._values(STEM)[0], moves._values(STEM)[-1]] == list(SPACES["mob"].stem.out)


def test_extremes_reach_both_ends_of_everything():
    space = SPACES["mob"]
    genes = Encoding(space, (64, 64), 3).extremes(4000, np.random.default_rng(2))
    for index, stage in enumerate(space.stages):
        ratios = genes[HIDDEN + index] / genes[OUT + index]
        assert ratios.min() < 1.1 * stage.hidden[0] + 0.1
        assert ratios.max() > 0.9 * stage.hidden[1]
        assert set(genes[DEPTH + index].tolist()) == set(stage.depth)
        assert set(genes[KERNEL + index].tolist()) == {min(stage.kernels), max(stage.kernels)}
