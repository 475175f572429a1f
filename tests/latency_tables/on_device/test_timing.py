from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest

from latency_tables.on_device import timing
from latency_tables.on_device.timing import BaseGauge, NetworkProbe, interleaved


class Machine(BaseGauge):
    """A gauge that is told when the machine is disturbed: by round (slow) or by run (another process)."""

    def __init__(self, slow: Callable[[int], bool], shared: Callable[[int], bool] = lambda run: False) -> None:
        self._slow, self._shared = slow, shared
        self._looks, self._runs = count(), count()

    def calm(self) -> bool:
        return not self._slow(next(self._looks))

    def alone(self, run: Callable[[], object]) -> bool:
        run()
        return not self._shared(next(self._runs))


class Probe:
    """Two kernels; run number i takes `times(i)` and twice as long."""

    def __init__(self, times: Callable[[int], float]) -> None:
        self._times, self.runs = times, 0

    def run(self) -> None:
        self.runs += 1

    def figures_ms(self) -> np.ndarray:
        return np.array([[self._times(run), 2 * self._times(run)] for run in range(self.runs)])


def test_the_faster_half_counts_and_warm_up_and_first_runs_do_not() -> None:
    # Two warm-up runs, then rounds of one uncounted and four counted runs.
    uncounted = {0, 1, 2, 7, 12}
    probe = Probe(lambda run: 1e-6 if run in uncounted else 1.0 + run)
    ((first, second),) = interleaved([probe], Machine(lambda look: False), rounds=3)
    counted = sorted(1.0 + run for run in range(17) if run not in uncounted)
    assert probe.runs == 17
    assert first[0] == pytest.approx(np.mean(counted[:6]))
    assert second[0] == pytest.approx(2 * first[0])
    assert first[1] == pytest.approx(second[1])


def test_slow_rounds_and_shared_runs_are_left_out() -> None:
    slow = {0, 1}  # the looks before and after the first round
    probe = Probe(lambda run: 100.0 if run < 7 else 1.0)
    ((first, _),) = interleaved([probe], Machine(lambda look: look in slow), rounds=2, patience_s=60)
    assert first == (1.0, 0.0)
    shared = {0, 2}
    probe = Probe(lambda run: 100.0 if run - 3 in shared else 1.0)
    gauge = Machine(lambda look: False, lambda run: run in shared)
    ((first, _),) = interleaved([probe], gauge, rounds=1, patience_s=60)
    assert first == (1.0, 0.0)


def test_without_calm_the_fastest_of_all_runs_count() -> None:
    probe = Probe(lambda run: 1.0 if run % 5 == 3 else 3.0)
    ((first, _),) = interleaved([probe], Machine(lambda look: True), rounds=3)
    assert first[0] == 1.0
    assert probe.runs == 2 + 3 * 5


def test_probes_take_turns() -> None:
    order: list[str] = []
    probes = [NetworkProbe(lambda name=name: order.append(name), lambda: 0.0) for name in "ab"]
    interleaved(probes, Machine(lambda look: False), rounds=2, runs=1)
    assert "".join(order) == "aabb" + "aabb" * 2


def test_a_network_is_timed_by_the_clock_given() -> None:
    ticks: Iterator[float] = iter(range(100))
    probe = NetworkProbe(lambda: None, lambda: next(ticks))
    assert interleaved([probe], Machine(lambda look: False), rounds=1) == [[(1000.0, 0.0)]]


def test_networks_have_a_latency_each() -> None:
    ticks = [iter(range(0, 10**6, pace)) for pace in (1, 3)]
    probes = [NetworkProbe(lambda: None, lambda clock=clock: next(clock)) for clock in ticks]
    assert timing.networks_ms(probes, Machine(lambda look: False), rounds=2, runs=3) == [1000.0, 3000.0]


def test_a_run_beside_another_process_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = BaseGauge(lambda: None, one_core=True)
    for own, expected in ((1.0, True), (0.9, False)):
        wall_clock, own_clock = iter([10.0, 11.0]), iter([5.0, 5.0 + own])
        monkeypatch.setattr(timing.time, "perf_counter", lambda clock=wall_clock: next(clock))
        monkeypatch.setattr(timing.time, "process_time", lambda clock=own_clock: next(clock))
        assert gauge.alone(lambda: None) is expected
        monkeypatch.undo()
