"""What genes may be: ties between stages, and the rows that a mutation has something to choose for."""

import pytest

from search_spaces.space import load_space
from tinynas.genes.choices import followers, is_dictated, leader
from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.moves import _free_rows


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
