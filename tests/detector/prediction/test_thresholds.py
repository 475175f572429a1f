"""A threshold for each class."""

from __future__ import annotations

import numpy as np
import pytest

from detector.prediction.thresholds import Thresholds
from search_spaces.errors import UserError

NAMES = ("cat", "dog", "a=b")


def test_by_label() -> None:
    asked = Thresholds.parse(None, ["dog=0.7", "a=b=0.1"])
    np.testing.assert_allclose(asked.by_label(NAMES, 0.3), [0.3, 0.7, 0.1])
    assert asked.least(0.3) == 0.1
    np.testing.assert_allclose(Thresholds.parse(0.2, []).by_label(NAMES, 0.3), [0.2] * 3)
    assert Thresholds.parse(0.2, ["cat=0.5"]).least(0.3) == 0.2


@pytest.mark.parametrize("text", ["cat", "=0.5", "cat=", "cat=2", "cat=-0.1", "cat=nan", "cat=x"])
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(UserError, match="expected NAME=SCORE"):
        Thresholds.parse(None, [text])


def test_unknown_class() -> None:
    with pytest.raises(UserError, match="the model has no such class; did you mean cat"):
        Thresholds.parse(None, ["cats=0.5"]).by_label(NAMES, 0.3)
