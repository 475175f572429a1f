"""Published T4 latencies of whole detectors, with the structures they belong to rebuilt."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_spaces.costs import conv_macs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

GFLOPS_TOLERANCE = 0.015
MAC_ONLY_GFLOPS = 1.0035
"""The report's GFLOPs are 2 x MACs plus 0.2 to 0.5 %."""
EQUAL_192, EQUAL_160 = (192, 192, 192), (160, 160, 160)
NECKS_OF_S: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Table 3", "neck depth 2 width 192-192-192", {"depth": 2 / 3, "out_channels": EQUAL_192}),
    ("Table 3", "neck depth 2 width 128-256-512", {"depth": 2 / 3, "hidden_ratio": 1.0}),
    ("Table 3", "neck depth 3 width 160-160-160", {"hidden_ratio": 1.0, "out_channels": EQUAL_160}),
    ("Table 3", "neck depth 4 width 64-128-256", {"depth": 4 / 3, "hidden_ratio": 0.5}),
    ("Table 4", "no queen-fusion", {"links": "none"}),
    ("Table 4", "upsampling links", {"links": "up"}),
    ("Table 4", "both links", {"links": "both"}),
    ("Table 5", "Conv", {"fusion": "conv"}),
    ("Table 5", "CSP + Reparam", {"fusion": "csp_reparam"}),
)
"""Row of the report and what it changes in the neck of S. CSP without re-parameterisation is the same network once
deployed (with the same latency), so it is not a row of its own."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published latency and the structure it belongs to, rebuilt."""

    name: str
    structure: Structure
    latency_ms: float
    gflops: float


def published_structures(path: Path) -> list[Published]:
    """Rows of `t4_published.csv` that can be rebuilt to 1.5 % of the published GFLOPs, S once.

    The released four, and variants of S with another neck (report, tables 3 to 5). Left out: table 2, whose other
    backbones are not published, and table 6, whose head convs have neither kernel, width nor GFLOPs given.
    Raises UserError when a row is missing or not a number.
    """
    with path.open() as file:
        rows = {(row["source"], row["model"]): row for row in csv.DictReader(file)}
    found = []
    for (source, model), structure in _rebuilt().items():
        row = rows.get((source, model))
        if row is None:
            raise UserError(f"{path}: the row {source}, {model} is missing")
        try:
            latency_ms, published = float(row["t4_trt_fp16_ms"]), float(row["gflops"])
        except (KeyError, ValueError):
            raise UserError(
                f"{path}: {source}, {model}: numbers in t4_trt_fp16_ms and gflops expected, {row} found"
            ) from None
        gflops = 2e-9 * float(conv_macs(emit_detector(structure))) * MAC_ONLY_GFLOPS
        if abs(gflops / published - 1) <= GFLOPS_TOLERANCE:
            found.append(Published(model, structure, latency_ms, published))
    return found


def _rebuilt() -> dict[tuple[str, str], Structure]:
    small = resolve_structure("S")
    structures = {("Table 9", name): resolve_structure(name) for name in "TSML"}
    for source, name, changes in NECKS_OF_S:
        structures[source, name] = replace(small, neck=replace(small.neck, **changes))
    return structures
