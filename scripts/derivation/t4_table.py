"""Rows and provenance of the shipped T4 table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.metadata import Derived, TableMetadata
from latency_tables.tables import Row, write_table
from scripts.derivation.gpu_grid import grid_kernels
from scripts.derivation.t4 import (
    FORMS,
    NOISE,
    PRIOR,
    SHIPPED_FORM,
    V100_BANDWIDTH,
    V100_RATE,
    Calibration,
    Form,
    calibrate,
    kernel_work,
    latency_ms,
)
from scripts.derivation.t4_published import published_structures
from scripts.derivation.v100 import read_v100


def build_t4_table(
    v100_csv: Path, published_csv: Path, folder: Path, today: date | None = None, forms: Sequence[Form] = FORMS
) -> Calibration:
    """Derive, calibrate and write `t4-tensorrt-fp16-b1` into `folder`. `forms`: what the nested check chooses from."""
    v100 = read_v100(v100_csv)
    structures = published_structures(published_csv)
    calibration = calibrate(structures, v100, forms)
    kernels = list(grid_kernels())
    latencies = latency_ms(kernel_work(kernels, v100), calibration.device)
    rows = [Row(kernel, float(ms), source="derived") for kernel, ms in zip(kernels, latencies)]
    write_table(folder, t4_metadata(calibration, today or date.today()), rows)
    return calibration


METHOD = (
    "No T4 was at hand. Per kernel: launch + max(MACs / rate, bytes / bandwidth) x inefficiency^carry, plus overhead_ms per "
    "network; the inefficiency is the V100's measured time over its roofline (1 for what is no convolution: pooling, "
    "upsampling, space-to-depth, add and decoding are bytes over bandwidth plus launch). launch, rate, bandwidth and "
    "overhead are fitted to the published latencies under log-normal priors (prior_*; standard deviations of the logs 0.5, "
    "0.3, 0.15, 0.7; 3 % error expected per network); the priors are the data sheet's figures and common experience, set "
    "after fits to some of these latencies had been seen. Carry 0.5 and elided concats are held over from an "
    "earlier model of 8 structures, itself one of some 70 forms tried. For 13 structures some 170 forms were tried; "
    "carries from 0 to 0.75 do equally well, so these latencies do not tell what a T4 makes of a V100's inefficiency. "
    "Choosing among wider sets inside each fold did worse (once, not by the build script): 2.9 % mean and 10.3 % worst "
    "among 22 forms that could also add compute to memory time or pad channels to tiles; 3.9 % and 15.8 % among 144 "
    "without priors. "
    "other_backbones: T, M and L from a fit to S and the variants of its neck alone. "
    "nested: the form, too, is chosen without the structure, among "
)


def t4_metadata(calibration: Calibration, today: date) -> TableMetadata:
    device = calibration.device
    return TableMetadata(
        id="t4-tensorrt-fp16-b1",
        short_names=["t4"],
        kind="gpu",
        device="NVIDIA T4",
        runtime="tensorrt",
        runtime_version="as published (DAMO-YOLO report); V100 measurements: TensorRT of 2022",
        precision="fp16",
        batch=1,
        date=today.isoformat(),
        overhead_ms=round(device.overhead_ms, 4),
        derived=Derived(
            sources=[
                "single convolutions measured on a V100 (alibaba/lightweight-neural-architecture-search, Apache-2.0)",
                "whole detectors' T4 latencies in the DAMO-YOLO report (tables 3, 4, 5 and 9)",
            ],
            method=METHOD
            + (
                f"{len(FORMS)} forms (5 carries; concats elided or copied). The two equal-width necks are rebuilt "
                "from incomplete descriptions. Rows of tables 2 and 6 are left out: backbones and head convs are not "
                "described. Activations are taken as free."
            ),
            parameters={
                "launch_ms": round(device.launch_ms, 6),
                "rate_macs_per_ms": float(f"{device.rate:.5g}"),
                "bandwidth_bytes_per_ms": float(f"{device.bandwidth:.5g}"),
                "prior_launch_ms": PRIOR.launch_ms,
                "prior_rate_macs_per_ms": PRIOR.rate,
                "prior_bandwidth_bytes_per_ms": PRIOR.bandwidth,
                "prior_overhead_ms": PRIOR.overhead_ms,
                "expected_error": NOISE,
                "carry": SHIPPED_FORM.carry,
                "v100_rate_macs_per_ms": V100_RATE,
                "v100_bandwidth_bytes_per_ms": V100_BANDWIDTH,
            },
        ),
        error=_errors(calibration),
    )


def _errors(calibration: Calibration) -> dict[str, Any]:
    kinds = {
        "leave_one_structure_out": calibration.left_out,
        "leave_one_structure_out_nested": calibration.nested,
        "leave_one_structure_out_gflops_line": calibration.left_out_line,
        "other_backbones": calibration.other_backbones,
        "other_backbones_gflops_line": calibration.other_backbones_line,
    }
    result: dict[str, Any] = {"unit": "percent of the published latency", "structures": len(calibration.fitted)}
    for name, errors in kinds.items():
        sizes = 100 * np.abs(list(errors.values()))
        figures = {f"mean_{name}": round(float(sizes.mean()), 2), f"worst_{name}": round(float(sizes.max()), 2)}
        if errors is calibration.left_out:
            result |= figures
        else:
            result.setdefault("compared", {}).update(figures)
    for name, errors in {"fitted": calibration.fitted, **kinds}.items():
        result[name] = {structure: round(100 * float(error), 2) for structure, error in errors.items()}
    return result
