"""AlignOTA on scenes whose answer is known by hand (its slow reference: tests/detector/assigners)."""

from __future__ import annotations

import pytest
import torch

from detector import assigners
from detector.priors import priors
from search_spaces.errors import UserError
from tests.detector.scenes import Scene, SceneTargets, random_scene


def run(scene: Scene) -> assigners.Assignment:
    return assigners.build("align_ota")(scene.priors, scene.boxes, scene.logits, scene.targets)


def one_image(boxes: list[list[float]], predicted: torch.Tensor, points: torch.Tensor) -> Scene:
    count = len(boxes)
    targets = SceneTargets(
        boxes_xyxy=torch.tensor(boxes)[None],
        labels=torch.zeros(1, count, dtype=torch.int64),
        valid=torch.ones(1, count, dtype=torch.bool),
        ignore=torch.zeros(1, count, dtype=torch.bool),
    )
    return Scene(points, predicted[None], torch.zeros(1, len(points), 2), targets)


def test_ties_go_to_the_lower_prior_and_the_lower_box() -> None:
    points = priors((128, 128))
    box = [20.0, 20.0, 60.0, 60.0]
    predicted = torch.tensor([20.0, 20.0, 60.0, 40.0]).expand(len(points), 4)  # IoU 1/2 everywhere: k = 5
    result = run(one_image([box, box], predicted, points))
    x, y, stride = points.unbind(-1)
    central = (x > 20) & (x < 60) & (y > 20) & (y < 60)
    central &= ((x - 40).abs() < 2.5 * stride) & ((y - 40).abs() < 2.5 * stride)
    assert result.matched[0].nonzero().flatten().numel() == len(points) - 5
    assert (result.matched[0] == 0).nonzero().flatten().tolist() == central.nonzero().flatten()[:5].tolist()


def test_perfect_predictions_give_ten_priors() -> None:
    points = priors((128, 128))
    box = [10.0, 10.0, 110.0, 110.0]
    assert (run(one_image([box], torch.tensor(box).expand(len(points), 4), points)).matched == 0).sum() == 10


def test_a_box_outside_the_image_stays_unmatched_and_a_tiny_one_is_matched() -> None:
    points = priors((64, 64))
    scene = one_image([[300.0, 300, 320, 320], [12.5, 12.5, 13.0, 13.0]], torch.zeros(len(points), 4), points)
    assert sorted(set(run(scene).matched[0].tolist())) == [-1, 1]


def test_broken_predictions_still_give_an_assignment() -> None:
    scene = random_scene(1, 2, 4, 3)
    scene.boxes[0] = float("nan")
    scene.logits[1] = float("inf")
    result = run(scene)
    assert result.matched.max() < 4
    assert (result.matched >= -1).all()


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean align_ota"):
        assigners.build("alignota")
    with pytest.raises(UserError, match="did you mean center_radius"):
        assigners.build("align_ota", {"centre_radius": 2})
    with pytest.raises(UserError, match="top_k: 0 found"):
        assigners.build("align_ota", {"top_k": 0})
