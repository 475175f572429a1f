"""From some measured cells of a grid to all of them: a fit, and how far it can be trusted where nothing was measured.

The fit is a Gaussian process on the log of latency over a rough estimate (MACs, bytes and a launch), so that it goes
through the measured cells, follows the estimate's slopes far from them, and tells its own standard error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel
from latency_tables.reach import Cells
from latency_tables.tables import Floats, Row, row_key

MACS_PER_MS, BYTES_PER_MS, LAUNCH_MS = 4e7, 1e7, 1e-3
NOISE = 0.02
"""Standard deviation of a measurement, in log latency."""
OFFSET, SLOPE, SMOOTH, ROUGH = 1.0, 0.4, 0.4, 0.12
"""Prior standard deviations: of the level, of each slope, of a slow and of a quick variation over log coordinates."""
SMOOTH_LENGTH, ROUGH_LENGTH = 1.5, 0.5


def rough_ms(kernel: Kernel) -> float:
    """MACs and bytes of a kernel over everyday rates, and a launch."""
    inputs, outputs, size = float(kernel.in_channels), float(kernel.out_channels), int(kernel.kernel)
    out_area = kernel.area / kernel.stride**2
    macs = 0.0
    if kernel.kind in ("conv", "stem"):
        macs = size**2 * inputs * outputs * out_area
    elif kernel.kind in ("depthwise", "max_pool"):
        macs = 4 * size**2 * outputs * out_area
    elements = kernel.area * inputs + outputs * out_area * (2 if kernel.fused_add else 1)
    return macs / MACS_PER_MS + 4 * elements / BYTES_PER_MS + LAUNCH_MS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """One grid's cells: `log_ms` (n,), its standard error `deviation` (n,) (0 where measured), which cells are measured,
    by how much each of those is above what the others predict (`surprise` (n,), in log latency), and the same in expected
    standard errors (`strange` (n,))."""

    cells: Cells
    log_ms: Floats
    deviation: Floats
    measured: npt.NDArray[np.intp]
    surprise: Floats
    strange: Floats
    _prior: Floats
    _gain: Floats
    _scale: float

    def pick(self, weights: Floats, number: int) -> list[tuple[float, int]]:
        """(gain, cell): cells to measure next, each where weight x standard error is largest given those before it."""
        variance = _unexplained(self._prior, self._gain, self.measured)
        chosen: list[tuple[float, int]] = []
        columns = np.zeros((0, len(variance)))
        free = np.ones(len(variance), dtype=np.bool_)
        free[self.measured] = False
        for _ in range(min(number, int(free.sum()))):
            gains = np.where(free, weights * np.sqrt(np.maximum(variance, 0.0)) * self._scale, -1.0)
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append((float(gains[best]), best))
            free[best] = False
            column = self._prior[best] - self._prior[best, self.measured] @ self._gain - columns[:, best] @ columns
            column /= np.sqrt(max(column[best], 0.0) + NOISE**2)
            columns = np.vstack([columns, column])
            variance = variance - column**2
        return chosen


def fit(cells: Cells, measured: dict[tuple[object, ...], Row], before: Fit | None = None) -> Fit:
    """A grid's fit to the measured rows (by row_key); with none, the rough estimate and the prior's spread.

    `before`: an earlier fit of the same cells, returned as it is when nothing has been measured since.
    """
    rows = [measured.get(row_key(kernel)) for kernel in cells.kernels]
    known = np.array([index for index, row in enumerate(rows) if row is not None], dtype=np.intp)
    if before is not None and len(before.measured) == len(known):
        return before
    rough = np.log([rough_ms(kernel) for kernel in cells.kernels])
    prior = before._prior if before is not None else _covariance(cells)
    surprise, strange, scale = np.zeros(len(rough)), np.zeros(len(rough)), 1.0
    if not len(known):
        gain = np.zeros((0, len(rough)))
        return Fit(
            cells=cells, log_ms=rough, deviation=np.sqrt(np.diag(prior)), measured=known, surprise=surprise,
            strange=strange, _prior=prior, _gain=gain, _scale=scale,
        )  # fmt: skip
    target = np.log([row.latency_ms for row in rows if row is not None]) - rough[known]
    inverse = np.linalg.inv(prior[np.ix_(known, known)] + NOISE**2 * np.eye(len(known)))
    gain = inverse @ prior[known]
    mean = rough + target @ gain
    variance = _unexplained(prior, gain, known)
    if len(known) > 3:
        # Leave-one-out errors come with the inverse; they set the scale of all standard errors.
        surprise[known] = (inverse @ target) / np.diag(inverse)
        expected = 1 / np.sqrt(np.diag(inverse))
        scale = float(np.clip(np.median(np.abs(surprise[known]) / expected) / 0.6745, 0.3, 3.0))
        strange[known] = surprise[known] / (scale * expected)
    mean[known] = target + rough[known]
    deviation = scale * np.sqrt(np.maximum(variance, 0.0) + NOISE**2)
    deviation[known] = 0.0
    return Fit(
        cells=cells, log_ms=mean, deviation=deviation, measured=known, surprise=surprise, strange=strange, _prior=prior,
        _gain=gain, _scale=scale,
    )  # fmt: skip


def complete(fits: Iterable[Fit], measured: dict[tuple[object, ...], Row]) -> list[Row]:
    """Rows of all cells: the measured ones as they are, the others `fitted`. Grids without a measured cell are left
    out."""
    result: list[Row] = []
    for item in fits:
        if len(item.measured):
            for kernel, log_ms in zip(item.cells.kernels, item.log_ms):
                known = measured.get(row_key(kernel))
                result.append(known or Row(kernel, float(np.exp(log_ms)), source="fitted"))
    return result


def _covariance(cells: Cells) -> Floats:
    """Prior covariance (n, n) over log coordinates: level, slopes, and two Matern 5/2 terms."""
    points = np.stack([np.log(axis)[column] for axis, column in zip(cells.axes, cells.places.T)], axis=1)
    centred = points - np.log(64.0)
    squares = (centred**2).sum(axis=1)
    linear = centred @ centred.T
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * linear, 0.0))
    result: Floats = (
        OFFSET**2 + SLOPE**2 * linear + SMOOTH**2 * _matern(distance / SMOOTH_LENGTH)
        + ROUGH**2 * _matern(distance / ROUGH_LENGTH)
    )  # fmt: skip
    return result


def _matern(distance: Floats) -> Floats:
    scaled = np.sqrt(5.0) * distance
    result: Floats = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return result


def _unexplained(prior: Floats, gain: Floats, known: npt.NDArray[np.intp]) -> Floats:
    """Variance (n,) that is left of the prior's when the known cells are taken into account."""
    result: Floats = np.diag(prior) - (prior[known] * gain).sum(axis=0)
    return result


def latency_shares(fits: Sequence[Fit]) -> list[Floats]:
    """Per grid, each cell's share of an average network's latency, by the fits."""
    spent = [item.cells.visits * np.exp(item.log_ms) for item in fits]
    total = sum(float(values.sum()) for values in spent)
    return [values / total for values in spent]


def expected_error(fits: Sequence[Fit]) -> float:
    """Mean relative error of a kernel's latency that the fits expect, weighted by latency."""
    mean_of_normal = np.sqrt(2 / np.pi)
    return float(mean_of_normal * sum((s * item.deviation).sum() for s, item in zip(latency_shares(fits), fits)))
