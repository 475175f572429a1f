"""OpenVINO's running averages, taken apart into runs."""

from __future__ import annotations

import numpy as np
import pytest

from latency_tables.on_device.openvino import each_run


def averages(durations: np.ndarray) -> list[int]:
    """As the counters tell them: the average so far, in whole microseconds."""
    return [int(total // number) for number, total in enumerate(np.cumsum(durations), start=1)]


def test_a_slow_start_and_a_disturbed_run_stay_where_they_were() -> None:
    durations = np.full(30, 2600.0)
    durations[[0, 1, 12]] = 5200, 3900, 4200
    found = np.array(each_run(averages(durations)))
    assert found == pytest.approx(durations, abs=30)
    assert np.median(found) == pytest.approx(2600, abs=2)


@pytest.mark.parametrize("base", [1, 8, 40])
def test_what_takes_few_microseconds_is_not_made_of_rounding(base: int) -> None:
    durations = np.full(40, float(base))
    durations[0] *= 3
    found = np.array(each_run(averages(durations)))
    assert found[4:] == pytest.approx(durations[4:], abs=0.6)
    assert found[4:].mean() == pytest.approx(base, rel=0.05, abs=0.1)


def test_sums_are_kept() -> None:
    durations = np.random.default_rng(0).integers(50, 400, 25).astype(float)
    found = np.cumsum(each_run(averages(durations)))
    assert found == pytest.approx(np.cumsum(durations), abs=25)
    assert each_run([7]) == [7.0]
    assert each_run([]) == []
