"""How every runtime times: interleaved rounds, disturbed ones aside, one statistic."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Figures = npt.NDArray[np.float64]

STATISTIC = (
    "mean of the faster half of the undisturbed runs, or of the fastest fifth of all runs where too few were undisturbed; "
    "spread = interquartile range / median of those runs"
)
WARM_UP = 2
REPEATS = 12
RUNS_PER_ROUND = 4
PATIENCE_S = 4.0
QUICK_ROUNDS, QUICK_PATIENCE_S = 2, 1.5
CALM = 1.08
OWN_SHARE, CLOCKS_S = 1.02, 2e-5
EVICTING_BYTES = 64 * 2**20


class Probe(Protocol):
    """A model under measurement."""

    def run(self) -> None:
        """One run."""

    def figures_ms(self) -> Figures:
        """(runs so far, kernels): ms. Called once, after the last run."""


class NetworkProbe:
    """A whole model timed from outside, by `clock` (seconds); it has one figure per run."""

    def __init__(self, run: Callable[[], object], clock: Callable[[], float]) -> None:
        self._run, self._clock = run, clock
        self._found: list[float] = []

    def run(self) -> None:
        start = self._clock()
        self._run()
        self._found.append(1000 * (self._clock() - start))

    def figures_ms(self) -> Figures:
        return np.array(self._found)[:, None]


class BaseGauge:
    """Tells when the machine is disturbed: a fixed small model takes longer than it has been seen to take, or another
    process takes the core.

    Virtual machines halve their speed for seconds at a time; what is measured then is measured again. `looks_ms`: what the
    reference took each time that `calm` looked.
    """

    def __init__(self, run: Callable[[], object], *, one_core: bool) -> None:
        self._run, self._one_core = run, one_core
        self.looks_ms: list[float] = []
        self._seen = sorted(self._reference_s() for _ in range(100))

    def calm(self) -> bool:
        """Whether the reference runs within 8 % of its good time now: what a tenth of all looks at it have been better
        than. (A single best time is a stroke of luck that few later ones come near.)"""
        now = self._reference_s()
        self.looks_ms.append(1000 * now)
        insort(self._seen, now)
        return now <= CALM * self._seen[len(self._seen) // 10]

    def alone(self, run: Callable[[], object]) -> bool:
        """Run, and say whether the process had the core for all of it (told by its own time: on one core only)."""
        wall, own = time.perf_counter(), time.process_time()
        run()
        wall, own = time.perf_counter() - wall, time.process_time() - own
        return not self._one_core or wall <= OWN_SHARE * own + CLOCKS_S

    def _reference_s(self) -> float:
        """The better of two runs."""
        found = []
        for _ in range(2):
            start = time.perf_counter()
            self._run()
            found.append(time.perf_counter() - start)
        return min(found)


def interleaved(
    probes: Sequence[Probe], gauge: BaseGauge, *, rounds: int, runs: int = RUNS_PER_ROUND, patience_s: float = 0.0,
    cold: Figures | None = None,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each probe, from `rounds` x `runs` undisturbed runs: `gauge` is calm
    before and after their round, and no other process took the core from them (`alone`). Rounds of the probes take turns;
    if `patience_s` is over before enough was calm, all runs count.

    The first run of each round, on caches that another model has filled, is not counted. `cold`: an array that is read
    before every run that counts.
    """
    for probe in probes:
        for _ in range(WARM_UP):
            probe.run()
    done = [WARM_UP] * len(probes)
    calm: list[list[int]] = [[] for _ in probes]
    every: list[list[int]] = [[] for _ in probes]
    wanted = rounds * runs
    deadline = time.monotonic() + patience_s
    while min(map(len, calm)) < wanted and (time.monotonic() < deadline or min(map(len, every)) < wanted):
        for index, probe in enumerate(probes):
            if len(calm[index]) >= wanted:
                continue
            before = gauge.calm()
            probe.run()
            undisturbed = []
            for _ in range(runs):
                if cold is not None:
                    cold.sum()
                undisturbed.append(gauge.alone(probe.run))
            first = done[index] + 1
            done[index] = first + runs
            every[index].extend(range(first, first + runs))
            if before and gauge.calm():
                calm[index].extend(first + place for place, good in enumerate(undisturbed) if good)
    results = []
    for probe, good, seen in zip(probes, calm, every):
        chosen, share = (good, 0.5) if len(good) >= runs else (seen, 0.2)
        results.append([_statistic(values, share) for values in probe.figures_ms()[chosen].T])
    return results


def kernels_ms(
    probes: Sequence[Probe], gauge: BaseGauge, *, cold: bool = True, quick: bool = False
) -> list[list[tuple[float, float]]]:
    """(latency in ms, relative spread) of every kernel of models that hold a few kernels each. `quick`: fewer runs, and
    less patience with a disturbed machine, for who gains more by many kernels than by sure figures.

    A network that runs again and again finds its weights outside a CPU's fast caches (all others were read since), but a
    tensor that it wrote just now inside them. So other memory is read before each run where `cold` is said.
    """
    # not zeros: reading memory that was never written reads one page
    other = np.ones(EVICTING_BYTES // 8) if cold else None
    rounds, patience_s = (QUICK_ROUNDS, QUICK_PATIENCE_S) if quick else (REPEATS // RUNS_PER_ROUND, PATIENCE_S)
    return interleaved(probes, gauge, rounds=rounds, patience_s=patience_s, cold=other)


def networks_ms(probes: Sequence[Probe], gauge: BaseGauge, *, rounds: int, runs: int) -> list[float]:
    """Latency in ms of each whole network, whose probes have one figure a run."""
    return [figures[0][0] for figures in interleaved(probes, gauge, rounds=rounds, runs=runs)]


def process_clock(threads: int) -> Callable[[], float]:
    """On one thread the process's own time counts, so that other processes on the core are not in it."""
    return time.process_time if threads == 1 else time.perf_counter


def _statistic(values: Figures, share: float) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    chosen = values[values <= np.quantile(values, share)]
    return float(chosen.mean()), float((high - low) / middle) if middle > 0 else 0.0
