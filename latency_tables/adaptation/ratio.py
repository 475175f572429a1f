"""The Gaussian process of the log ratio between this host's latencies and a source's.

A sum of terms, each shared by some kernels: one level for all; one per kind; one per group; slopes over log channels, log
area and the source's log latency, for all and per kind; a slow variation within a kind, a quicker one within a group; and
one over the source's latency alone, which is what more threads or another launch cost look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.adaptation.source import SourceFigures
from latency_tables.kernels import KINDS, Group, Kernel, kernel_in_tail
from latency_tables.tables import Floats

NOISE = 0.02
"""Standard deviation of a measurement here, in log latency."""
SCALES = (0.5, 0.7, 1.0, 1.4, 2.0)
ENOUGH = 8
"""By how much all terms but the level may be larger or smaller than the prior says, chosen by likelihood once so many
kernels are measured."""
_CENTRE = np.log([64.0, 64.0, 1600.0, 0.1])
"""Where slopes are zero: log of in and out channels, of the area (40 x 40 places) and of the source's ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Standard deviations (in log ratio) and lengths (in log coordinates) of the terms.

    Fitted by maximum likelihood to the ratios between the shipped tables of Zen 4 and Zen 5, and between one and two
    threads of the latter: python benchmarks/adaptation.py --prior
    """

    level: float = 1.0
    kind_level: float = 0.54
    group_level: float = 0.12
    slope: float = 0.25
    kind_slope: float = 0.16
    work: float = 0.38
    work_length: float = 3.2
    kind_slow: float = 0.075
    slow_length: float = 1.2
    group_quick: float = 0.017
    quick_length: float = 0.26
    own: float = 2.0
    """Factor on the source's own deviation of a cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Kernels as the process sees them: `kinds` and `groups` (n,) by number, `logs` (n, 4): log in channels, out channels,
    area, and the source's log latency; `own` (n,): variance that each has of its own."""

    kinds: npt.NDArray[np.intp]
    groups: npt.NDArray[np.intp]
    logs: Floats
    own: Floats

    def __len__(self) -> int:
        return len(self.kinds)

    def at(self, index: npt.NDArray[np.intp]) -> Points:
        """Some of them."""
        return Points(self.kinds[index], self.groups[index], self.logs[index], self.own[index])


def points(kernels: Sequence[Kernel], source: SourceFigures, tail_block: int) -> Points:
    """The process's view of kernels and of what the source says of them."""
    keys = [(Group.of(kernel), kernel_in_tail(kernel, tail_block)) for kernel in kernels]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    logs = np.log([[float(k.in_channels), float(k.out_channels), float(k.area)] for k in kernels])
    return Points(
        np.array([KINDS.index(kernel.kind) for kernel in kernels], dtype=np.intp),
        np.array([numbers[key] for key in keys], dtype=np.intp),
        np.column_stack([logs, source.log_ms]), source.deviation**2,
    )  # fmt: skip


def shape(first: Points, second: Points, prior: Prior) -> Floats:
    """(n, m) prior covariance of all shared terms but the level; what a kernel has of its own is not in it."""
    a, b = first.logs - _CENTRE, second.logs - _CENTRE
    linear = a @ b.T
    size_a, size_b = a[:, :3], b[:, :3]
    squares = (size_a**2).sum(axis=1)[:, None] + (size_b**2).sum(axis=1)[None, :] - 2 * size_a @ size_b.T
    work = (a[:, 3][:, None] - b[:, 3][None, :]) ** 2
    result: Floats = prior.slope**2 * linear + prior.work**2 * np.exp(work / (-2 * prior.work_length**2))
    within = prior.kind_level**2 + prior.kind_slope**2 * linear
    within += prior.kind_slow**2 * np.exp(squares / (-2 * prior.slow_length**2))
    result += np.where(first.kinds[:, None] == second.kinds[None, :], within, 0.0)
    quick = prior.group_level**2 + prior.group_quick**2 * np.exp(squares / (-2 * prior.quick_length**2))
    result += np.where(first.groups[:, None] == second.groups[None, :], quick, 0.0)
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RatioFit:
    """The process after the kernels `known` (places among `points`) were measured. `scale`: factor on all terms but the
    level. `likelihood`: its log, of these measurements; larger is the better source."""

    points: Points
    known: npt.NDArray[np.intp]
    prior: Prior
    scale: float
    likelihood: float
    _weights: Floats
    _factor: Floats

    def mean(self) -> Floats:
        """(n,) expected log ratio of all points."""
        found = np.empty(len(self.points))
        known = self.points.at(self.known)
        for start in range(0, len(found), 4096):
            part = np.arange(start, min(start + 4096, len(found)))
            found[part] = self._shared(shape(self.points.at(part), known, self.prior)) @ self._weights
        return found

    def own_variance(self, index: npt.NDArray[np.intp]) -> Floats:
        """(m,) variance that the points at `index` have of their own; none is left of a measured one's."""
        own = (self.scale * self.prior.own) ** 2 * self.points.own[index]
        return np.where(np.isin(index, self.known), 0.0, own)

    def posterior(self, index: npt.NDArray[np.intp], prior_shape: Floats) -> Floats:
        """(m, m) covariance of the shared terms at `index`, given the measurements; `prior_shape`: `shape` of these."""
        prior = self._shared(prior_shape)
        if not len(self.known):
            return prior
        cross = self._shared(shape(self.points.at(self.known), self.points.at(index), self.prior))
        half = np.linalg.solve(self._factor, cross)
        result: Floats = prior - half.T @ half
        return result

    def _shared(self, matrix: Floats) -> Floats:
        result: Floats = self.prior.level**2 + self.scale**2 * matrix
        return result


def fit_ratio(every: Points, known: npt.NDArray[np.intp], ratios: Floats, prior: Prior) -> RatioFit:
    """The process given log ratios (len(known),) at `known`, at the most likely of SCALES."""
    chosen = every.at(known)
    own, shapes = prior.own**2 * chosen.own, shape(chosen, chosen, prior)
    fits = []
    for scale in SCALES if len(known) >= ENOUGH else (1.0,):
        matrix = prior.level**2 + scale**2 * (shapes + np.diag(own)) + NOISE**2 * np.eye(len(known))
        factor: Floats = np.linalg.cholesky(matrix).astype(np.float64)
        half = np.linalg.solve(factor, ratios)
        likelihood = -0.5 * (float(half @ half) + len(known) * np.log(2 * np.pi)) - float(np.log(np.diag(factor)).sum())
        fits.append(RatioFit(
            points=every, known=known, prior=prior, scale=scale, likelihood=likelihood,
            _weights=np.linalg.solve(factor.T, half), _factor=factor,
        ))  # fmt: skip
    return max(fits, key=lambda item: item.likelihood)
