"""What the assigners share: keys, ranks and claims."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from detector.assigners import _matching
from detector.assigners._matching import Claims, DynamicKOptions, Pairs, Rows, assign_by
from detector.assigners.atss import _unusual
from tests.detector.scenes import Scene, random_scene


def rows(count: int) -> Rows:
    index = torch.arange(count)
    return Rows(torch.zeros_like(index), index, torch.zeros(count, 4), torch.zeros_like(index))


def test_keys_rank_as_values_do_with_nan_last() -> None:
    minus_nan = torch.tensor([-1], dtype=torch.int32).view(torch.float32).item()
    values = torch.tensor([math.nan, 2.0, 1e-45, 0.0, -0.0, -1.0, 1e9, math.inf, minus_nan])
    keys = _matching.ascending(values).tolist()
    assert keys[3] == keys[4] == keys[5] == 0
    assert 0 < keys[2] < keys[1] < keys[6] < keys[7] < min(keys[0], keys[8])
    assert max(keys) < 2**31
    down = _matching.descending(torch.tensor([0.0, 0.25, 1.0])).tolist()
    assert 2**31 > down[0] > down[1] > down[2] >= 0


def test_ranks_are_per_row_and_ties_go_to_the_lower_prior() -> None:
    pairs = Pairs(rows(4), torch.tensor([0, 0, 0, 2, 2, 3]), torch.tensor([1, 4, 5, 0, 9, 2]))
    assert pairs.rank(torch.tensor([7, 3, 3, 2**32 - 1, 0, 5])).tolist() == [2, 0, 1, 1, 0, 0]


def test_the_lowest_key_wins_a_prior_then_the_lower_box() -> None:
    scene = random_scene(0, 2, 6, 2)
    scene.targets.valid[...], scene.targets.ignore[...] = True, False
    image, box = torch.tensor([0, 0, 0, 1, 1, 1, 1]), torch.tensor([4, 2, 3, 5, 1, 0, 0])
    prior, key = torch.tensor([7, 7, 8, 7, 7, 7, 9]), torch.tensor([1, 1, 9, 1, 2**32 - 1, 0, 0])
    taken = torch.tensor([True] * 5 + [False] * 2)  # however low their keys

    def claim(_: Rows) -> Claims:
        some = Rows(image, box, torch.zeros(7, 4), torch.zeros_like(box))
        return Claims(Pairs(some, torch.arange(7), prior), taken, key)

    matched = assign_by(claim, scene.priors, scene.boxes, scene.targets).matched
    assert matched[0, 7:9].tolist() == [2, 3]
    assert matched[1, 7].item() == 5
    assert (matched >= 0).sum() == 3


def test_only_boxes_to_learn_are_asked_for_claims() -> None:
    scene = random_scene(3, 3, 8, 2)
    asked = torch.zeros_like(scene.targets.valid)

    def claim(some: Rows) -> Claims:
        asked[some.image, some.index] = True
        assert torch.equal(some.boxes, scene.targets.boxes_xyxy[some.image, some.index])
        assert torch.equal(some.labels, scene.targets.labels[some.image, some.index])
        nothing = some.image[:0]
        return Claims(Pairs(some, nothing, nothing), nothing.bool(), nothing)

    assign_by(claim, scene.priors, scene.boxes, scene.targets)
    assert torch.equal(asked, scene.targets.valid & ~scene.targets.ignore)


def test_equal_pairs_have_equal_terms_wherever_they_lie_in_memory() -> None:
    scene: Scene = random_scene(4, 3, 5, 3)
    logits = scene.logits[:, :1].expand(-1, 187, -1).contiguous()  # 3 x 187 x 3: no multiple of a vector's width
    sums = _matching.class_sum(torch.nn.functional.softplus, logits).float()
    assert torch.equal(sums, sums[:, :1].expand_as(sums))


@pytest.mark.parametrize("name", ["cls_weight", "iou_weight"])
def test_a_weight_of_zero_leaves_a_cost_out_and_less_is_refused(name: str) -> None:
    assert getattr(DynamicKOptions(**{name: 0.0}), name) == 0.0
    assert getattr(DynamicKOptions(**{name: 0.01}), name) == 0.01
    with pytest.raises(ValidationError, match=name):
        DynamicKOptions(**{name: -0.01})


def test_the_threshold_itself_is_unusual_enough() -> None:
    """ATSS: a candidate whose IoU is the mean plus the deviation is one of a box's priors; of equal ones, all are."""
    equal, spread = torch.full((1, 4), 0.3), torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])
    assert _unusual(equal).tolist() == [[True] * 4]
    assert _unusual(torch.tensor([[0.7]])).tolist() == [[True]]
    assert not _unusual(spread).any()  # mean 0.5, deviation of a sample 0.548
    assert _unusual(torch.tensor([[0.0, 0.0, 0.0, 1.0]])).tolist() == [
        [False] * 3 + [True]
    ]  # the mean 0.25, and 0.5: 0.75
