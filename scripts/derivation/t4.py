"""The T4 model: V100 measurements carried over by rooflines, calibrated on published whole-detector latencies.

    t = launch + max(MACs / rate, bytes / bandwidth) x inefficiency^carry      per kernel, plus `overhead` per network

The inefficiency of a convolution is its measured V100 time over the V100's roofline; `carry` is how much of it (in log)
is taken to come from the kernel, the rest from the V100 being the wider chip (batch 1 fills its 80 multiprocessors
badly). The four parameters are fitted with priors: what the data sheet and common experience say, and how far that may
be off. Thirteen networks of one family, nine of them with one backbone, say too little to fit four free parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from latency_tables.fusion import fuse, fusion_rules
from latency_tables.kernels import Kernel
from scripts.derivation.t4_published import Published
from scripts.derivation.v100 import CONV_KINDS, V100Convs, conv_type, work
from search_spaces.emit import emit_detector
from search_spaces.structure import Structure

Floats = npt.NDArray[np.float64]
V100_BANDWIDTH = 750e6
"""Bytes per ms: 83 % of the data sheet's 900 GB/s."""
V100_RATE = 40e9
"""MACs per ms: 64 % of the data sheet's 125 TFLOPS."""
V100_LAUNCH_MS = 0.003
NOISE = 0.03
"""Standard deviation of the relative error that a whole detector's prediction is expected to have."""


@dataclass(frozen=True, slots=True)
class Form:
    """`carry`: see above. `copied_concats`: whether a concat copies (else its producers write in place)."""

    carry: float = 0.5
    copied_concats: bool = False


SHIPPED_FORM = Form()
FORMS = tuple(Form(carry, copied) for carry, copied in product((0.0, 0.25, 0.5, 0.75, 1.0), (True, False)))
"""What the nested check chooses from."""


@dataclass(frozen=True, slots=True)
class Device:
    """`rate` in MACs per ms, `bandwidth` in bytes per ms."""

    launch_ms: float
    rate: float
    bandwidth: float
    overhead_ms: float

    def logs(self) -> Floats:
        return np.log([self.launch_ms, self.rate, self.bandwidth, self.overhead_ms])


PRIOR = Device(launch_ms=0.01, rate=13e9, bandwidth=250e6, overhead_ms=0.2)
"""The T4's data sheet has 65 TFLOPS at clocks that its 70 W do not sustain (40 % of that is taken), and 320 GB/s (78 %)."""
PRIOR_SPREAD = np.array([0.5, 0.3, 0.15, 0.7])
"""Standard deviations of the logs."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the kernels of one network cost, but for the calibrated parameters. `concat`: which kernels are concats."""

    macs: Floats
    moved: Floats
    inefficiency: Floats
    concat: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted device. Errors are signed and relative, one per structure; `left_out` from a fit without it, `nested`
    from a fit whose form, too, was chosen without it, `other_backbones` (those structures only) from a fit to the
    structures that share the commonest backbone; `_line`: the same for a straight line in GFLOPs."""

    device: Device
    fitted: dict[str, float]
    left_out: dict[str, float]
    left_out_line: dict[str, float]
    nested: dict[str, float]
    other_backbones: dict[str, float]
    other_backbones_line: dict[str, float]


def network_kernels(structure: Structure) -> list[Kernel]:
    """The kernels of a network under TensorRT, concats among them (a form may price them), repeats written out."""
    sites = fuse(emit_detector(structure), replace(fusion_rules("tensorrt"), free=()))
    return [site.kernel for site in sites for _ in range(int(site.count))]


def kernel_work(kernels: Sequence[Kernel], v100: V100Convs) -> Work:
    """MACs, bytes and V100 inefficiency of each kernel (1 for what is no convolution)."""
    macs, moved = np.array([work(kernel) for kernel in kernels]).T
    inefficiency = np.ones(len(kernels))
    convs = [index for index, kernel in enumerate(kernels) if kernel.kind in CONV_KINDS]
    if convs:
        chosen = [kernels[index] for index in convs]
        floor = np.array([v100.floor_ms[conv_type(kernel)] for kernel in chosen])
        busy = np.maximum(v100.latency_ms(chosen) - floor + V100_LAUNCH_MS, V100_LAUNCH_MS / 2)
        roofline = np.maximum(macs[convs] / V100_RATE, moved[convs] / V100_BANDWIDTH)
        inefficiency[convs] = busy / (V100_LAUNCH_MS + roofline)
    return Work(macs, moved, inefficiency, np.array([kernel.kind == "concat" for kernel in kernels]))


def latency_ms(work: Work, device: Device, form: Form = SHIPPED_FORM) -> Floats:
    """T4 latency per kernel, without the network's overhead."""
    busy = np.maximum(work.macs / device.rate, work.moved / device.bandwidth) * work.inefficiency**form.carry
    result: Floats = device.launch_ms + busy
    return result if form.copied_concats else np.where(work.concat, 0.0, result)


def network_ms(work: Work, device: Device, form: Form = SHIPPED_FORM) -> float:
    """T4 latency of a whole network."""
    return float(latency_ms(work, device, form).sum()) + device.overhead_ms


def calibrate(structures: Sequence[Published], v100: V100Convs, forms: Sequence[Form] = FORMS) -> Calibration:
    """Fit the device on relative errors; leave each structure out once, beside a straight line in GFLOPs.

    `nested`: for each structure the form with the least leave-one-out error over the other ones is fitted to those.
    """
    works = [kernel_work(network_kernels(item.structure), v100) for item in structures]
    target = np.array([item.latency_ms for item in structures])
    gflops = np.array([item.gflops for item in structures])
    everything = list(range(len(structures)))
    device = fit(works, target, everything)
    left_out, line, fitted, nested = {}, {}, {}, {}
    for index, item in enumerate(structures):
        rest = [other for other in everything if other != index]
        fitted[item.name] = network_ms(works[index], device) / target[index] - 1
        left_out[item.name] = _left_out(works, target, rest, index, SHIPPED_FORM)
        best = min(forms, key=lambda form: _mean_left_out(works, target, rest, form))
        nested[item.name] = _left_out(works, target, rest, index, best)
        line[item.name] = _line_error(gflops, target, rest, index)
    backbones = [item.structure.backbone for item in structures]
    common = max(backbones, key=backbones.count)
    alike = [index for index in everything if backbones[index] == common]
    others = {structures[index].name: index for index in everything if index not in alike}
    return Calibration(
        device, fitted, left_out, line, nested,
        {name: _left_out(works, target, alike, index, SHIPPED_FORM) for name, index in others.items()},
        {name: _line_error(gflops, target, alike, index) for name, index in others.items()},
    )  # fmt: skip


def fit(works: Sequence[Work], target: Floats, chosen: Sequence[int], form: Form = SHIPPED_FORM) -> Device:
    """The most probable device, given the latencies (`target`, ms) of the chosen networks and the priors."""
    from scipy.optimize import least_squares

    def residuals(logs: Floats) -> Floats:
        device = Device(*np.exp(logs))
        errors = [network_ms(works[index], device, form) / target[index] - 1 for index in chosen]
        return np.concatenate([np.array(errors) / NOISE, (logs - PRIOR.logs()) / PRIOR_SPREAD])

    return Device(*(float(value) for value in np.exp(least_squares(residuals, PRIOR.logs()).x)))


def _left_out(works: Sequence[Work], target: Floats, rest: Sequence[int], index: int, form: Form) -> float:
    return network_ms(works[index], fit(works, target, rest, form), form) / float(target[index]) - 1


def _line_error(gflops: Floats, target: Floats, rest: Sequence[int], index: int) -> float:
    design = np.column_stack([np.ones(len(rest)), gflops[rest]]) / target[rest, None]
    constant, slope = np.linalg.lstsq(design, np.ones(len(rest)), rcond=None)[0]
    return float((constant + slope * gflops[index]) / target[index] - 1)


def _mean_left_out(works: Sequence[Work], target: Floats, chosen: Sequence[int], form: Form) -> float:
    errors = [_left_out(works, target, [i for i in chosen if i != index], index, form) for index in chosen]
    return float(np.mean(np.abs(errors)))
