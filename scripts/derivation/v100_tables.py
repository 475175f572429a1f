"""The shipped V100 tables: fitted from public measurements of single convolutions, checked on rows held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.metadata import Derived, TableMetadata
from latency_tables.tables import Floats, Row, write_table
from scripts.derivation.gpu_grid import grid_kernels
from scripts.derivation.v100 import CONV_KINDS, ConvType, Setting, V100Convs, conv_type, fit_v100, read_measured, work
from search_spaces.errors import UserError

BANDWIDTH = 750e6
"""Bytes per ms: 83 % of the data sheet's 900 GB/s."""
SETTINGS = tuple(Setting(precision, batch) for precision, batch in product(("fp32", "fp16", "int8"), (1, 32)))
SHORT_NAMES = {Setting("fp16", 1): ["v100"]}
HELD_BACK = 10
"""One measured row in so many is held back for the check."""
SEED = 0
METHOD = (
    "Convolutions: per type (kernel, stride, depthwise, fused add) a curve launch + ((MACs / rate)^p + (bytes / "
    "bandwidth)^p)^(1/p), corrected by the smoothly interpolated residuals of the nearest 16 measurements; beyond "
    "channel ratios of 4 and maps of 480 px the curve goes on (stems of 12 channels were measured with 48 outputs only). "
    "Each row keeps what the measuring harness adds to a kernel (floor_ms_*, what the quickest twentieth of a type "
    "takes: launch, synchronisation, layout changes): there is no whole network here to check a subtraction on, and "
    "public searches sum the same figures. Sums for whole networks at batch 1 are therefore rather too high, by up to a "
    "floor less a bare launch (about 0.003 ms) per conv. Pooling, upsampling, space-to-depth, add and decoding were not "
    "measured: bytes over bandwidth plus launch_ms, the lowest floor. Concats are taken as elided, activations as free."
)


def build_v100_tables(
    v100_csv: Path, folder: Path, today: date | None = None, settings: Sequence[Setting] = SETTINGS
) -> dict[str, dict[str, Any]]:
    """Fit and write a table per setting into `folder`; returns the errors of each, by id.

    Raises UserError when the file lacks a setting.
    """
    everything = read_measured(v100_csv)
    result = {}
    for setting in settings:
        if setting not in everything:
            raise UserError(f"{v100_csv}: no rows of {setting.precision}, batch {setting.batch}")
        measured = {key: rows for key, rows in everything[setting].items() if key in _types()}
        convs = fit_v100(measured, setting)
        metadata = _metadata(convs, held_back_errors(measured, setting), today or date.today())
        write_table(folder, metadata, table_rows(convs))
        result[metadata.id] = metadata.error
    return result


def table_rows(convs: V100Convs) -> list[Row]:
    """A row for every kernel of the grid: convs fitted, the others derived."""
    kernels = list(grid_kernels())
    fitted = [kernel for kernel in kernels if kernel.kind in CONV_KINDS]
    rows = [Row(kernel, float(ms), source="fitted") for kernel, ms in zip(fitted, convs.latency_ms(fitted))]
    launch = launch_ms(convs)
    for kernel in kernels:
        if kernel.kind not in CONV_KINDS:
            moved = work(kernel, convs.setting)[1]
            rows.append(Row(kernel, launch + moved / BANDWIDTH, source="derived"))
    return rows


def launch_ms(convs: V100Convs) -> float:
    """What the smallest kernels take in the measuring harness."""
    return min(convs.floor_ms.values())


def held_back_errors(measured: Mapping[ConvType, Floats], setting: Setting) -> dict[str, Any]:
    """Errors in percent per type of conv on measured rows that neither curve nor residuals nor table saw.

    A table is built from the other rows and looked up: `table_*` are errors of the lookup, interpolation between the
    table's rows included, `fit_*` those of the fit itself.
    """
    rng = np.random.default_rng(SEED)
    held, kept = {}, {}
    for key, rows in measured.items():
        aside = rng.permutation(len(rows)) % HELD_BACK == 0
        held[key], kept[key] = rows[aside], rows[~aside]
    convs = fit_v100(kept, setting)
    result: dict[str, Any] = {"unit": "percent of the measured latency, on rows held back", "types": {}}
    together: dict[str, list[Floats]] = {"fit": [], "table": []}
    stems = []
    for key, rows in held.items():
        stems.append(_stem_errors(convs, key, rows))
        rows = rows[_inside_grid(rows)]
        fitted = convs.latency_ms([_kernel(key, row) for row in rows])
        errors = {"fit": fitted / rows[:, 3] - 1, "table": _looked_up(convs, key, rows) / rows[:, 3] - 1}
        result["types"][_name(key)] = {"rows": len(rows), **_figures(errors)}
        for kind, values in errors.items():
            together[kind].append(values)
    result["types"]["stem"] = {"rows": sum(map(len, stems)), **_figures({"fit": np.concatenate(stems)})}
    result |= _figures({kind: np.concatenate(values) for kind, values in together.items()})
    return result


def _figures(errors: Mapping[str, Floats]) -> dict[str, float]:
    found = {}
    for kind, values in errors.items():
        sizes = 100 * np.abs(values)
        found[f"{kind}_median"] = round(float(np.median(sizes)), 1)
        found[f"{kind}_percentile_90"] = round(float(np.quantile(sizes, 0.9)), 1)
    return found


def _looked_up(convs: V100Convs, key: ConvType, rows: Floats) -> Floats:
    """What a table of these fits says for shapes (in, out, side): linear in logs between the rows of its grid."""
    from scipy.interpolate import RegularGridInterpolator

    depthwise = key[0] == "depthwise"
    kernels = [k for k in grid_kernels() if k.kind == key[0] and conv_type(k) == key]
    shapes = np.array([(float(k.in_channels), 0.0 if depthwise else float(k.out_channels), k.height) for k in kernels])
    columns = (0, 2) if depthwise else (0, 1, 2)
    axes = [np.unique(shapes[:, column]) for column in columns]
    places = tuple(np.searchsorted(axis, shapes[:, column]) for axis, column in zip(axes, columns))
    logs = np.empty([len(axis) for axis in axes])
    logs[places] = np.log(convs.latency_ms(kernels))
    lookup = RegularGridInterpolator([np.log(axis) for axis in axes], logs)
    result: Floats = np.exp(lookup(np.log(rows[:, list(columns)])))
    return result


def _stem_errors(convs: V100Convs, key: ConvType, rows: Floats) -> Floats:
    """Errors of the fit on convs that read an image (3 channels, stride 2) or its space-to-depth (12, stride 1)."""
    kind, _, stride, add = key
    chosen = rows[rows[:, 0] == (3 if stride == 2 else 12)]
    if kind == "depthwise" or add or not len(chosen):
        return np.empty(0)
    result: Floats = convs.latency_ms([_kernel(key, row) for row in chosen]) / chosen[:, 3] - 1
    return result


def _types() -> set[ConvType]:
    return {conv_type(kernel) for kernel in grid_kernels() if kernel.kind in CONV_KINDS}


def _inside_grid(rows: Floats) -> Any:
    """What lies beyond the grid is left out of the check; stems have one of their own."""
    return (rows[:, 0] >= 8) & (rows[:, 0] != 12) & (rows[:, :2] <= 2048).all(axis=1) & (rows[:, 2] >= 5)


def _kernel(key: ConvType, row: Floats) -> Kernel:
    kind, size, stride, add = key
    return Kernel.square(
        kind, int(row[0]), int(row[1]), int(row[2]), kernel=size, stride=stride, activation="any", fused_add=add
    )


def _name(key: ConvType) -> str:
    kind, size, stride, add = key
    return f"{kind} {size}x{size}{' stride 2' if stride == 2 else ''}{' + add' if add else ''}"


def _metadata(convs: V100Convs, errors: dict[str, Any], today: date) -> TableMetadata:
    setting = convs.setting
    parameters = {"bandwidth_bytes_per_ms": BANDWIDTH, "launch_ms": round(launch_ms(convs), 5)}
    floors = {f"floor_ms_{_name(key).replace(' ', '_')}": round(ms, 5) for key, ms in convs.floor_ms.items()}
    return TableMetadata(
        id=f"v100-tensorrt-{setting.precision}-b{setting.batch}",
        short_names=SHORT_NAMES.get(setting, []),
        kind="gpu",
        device="NVIDIA V100",
        runtime="tensorrt",
        runtime_version="TensorRT of 2022",
        precision=setting.precision,
        batch=setting.batch,
        date=today.isoformat(),
        derived=Derived(
            sources=[
                "single convolutions measured on a V100 (alibaba/lightweight-neural-architecture-search, Apache-2.0)"
            ],
            method=METHOD,
            parameters=parameters | floors,
        ),
        error=errors,
    )
