"""Every assigner equals its slow reference, on random scenes and on hard ones."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings

from detector import assigners
from tests.detector.assigners import references
from tests.detector.assigners.hard_scenes import hard_scene, scenes
from tests.detector.scenes import Scene

MATCH = {
    "align_ota": references.align_ota_match,
    "atss": references.atss_match,
    "sim_ota": references.sim_ota_match,
    "task_aligned": references.task_aligned_match,
}
SCORES = {"task_aligned": references.task_aligned_scores}


def test_every_assigner_has_a_reference() -> None:
    assert sorted(MATCH) == assigners.names()


@pytest.mark.parametrize("name", sorted(MATCH))
@settings(max_examples=100, deadline=None, derandomize=True)
@given(scene=scenes())
def test_equals_the_slow_reference(name: str, scene: Scene) -> None:
    result = assigners.build(name)(scene.priors, scene.boxes, scene.logits, scene.targets)
    references.assert_equals(result, scene, MATCH[name])
    for image in range(len(scene.boxes)):
        expected = SCORES.get(name, references.expected_scores)(scene, image, result.matched[image].tolist())
        assert result.quality[image].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(scene=scenes())
def test_atss_with_a_central_square_equals_its_slow_reference(scene: Scene) -> None:
    result = assigners.build("atss", {"center_radius": 1.0})(scene.priors, scene.boxes, scene.logits, scene.targets)
    references.assert_equals(result, scene, partial(references.atss_match, center_radius=1.0))


def test_atss_learns_boxes_between_priors_only_with_a_central_square() -> None:
    scene = hard_scene(0, "tiny", batch=1, num_boxes=20, num_classes=3, equal_predictions=False)

    def learnt(**options: float) -> int:
        result = assigners.build("atss", options)(scene.priors, scene.boxes, scene.logits, scene.targets)
        return len(set(result.matched[0].tolist()) - {-1})

    assert learnt() < 5
    assert learnt(center_radius=1.0) > 10
