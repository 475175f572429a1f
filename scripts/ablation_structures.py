"""Write the structure files of the report's ablations, tables 3 to 6, each the released S with a part changed.

python -m scripts.ablation_structures --out ablations     # 13 structure files
python -m scripts.ablation_structures                     # prints the tables of docs/ablations.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latency_tables import find_table
from scripts.derivation.t4_published import NECKS_OF_S
from search_spaces.errors import UserError
from search_spaces.files import claim_outputs, write_text
from search_spaces.structure import Structure
from search_spaces.text import format_structure, resolve_structure
from tinynas.explanation import explain

FOLDER = "ablations"
DEVICE = "t4"
NECKS = {(source, name): changes for source, name, changes in NECKS_OF_S}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the report: what it changes in S, and what is published of it.

    file: stem of its structure file, None for S itself. latency_ms: T4, TensorRT fp16, batch 1. ap: COCO val.
    """

    table: int
    name: str
    file: str | None
    latency_ms: float | None
    gflops: float | None
    ap: float
    neck: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    def structure(self) -> Structure:
        """S with this row's changes."""
        small = resolve_structure("S")
        return replace(small, neck=replace(small.neck, **self.neck), head=replace(small.head, **self.head))

    def command(self) -> str:
        """What trains it."""
        chosen = [f"{FOLDER}/{self.file}.txt" if self.file else "S", *(f"--set {text}" for text in self.settings)]
        return f"tinynas train {' '.join(chosen)} --data coco"


ROWS = (
    Row(
        3, "depth 2, widths (192, 192, 192)", "neck-depth2-192-192-192", 3.53, 34.9, 44.2,
        NECKS["Table 3", "neck depth 2 width 192-192-192"],
    ),
    Row(
        3, "depth 2, widths (128, 256, 512)", "neck-depth2-128-256-512", 3.72, 36.1, 45.1,
        NECKS["Table 3", "neck depth 2 width 128-256-512"],
    ),
    Row(
        3, "depth 3, widths (160, 160, 160)", "neck-depth3-160-160-160", 3.91, 38.2, 44.9,
        NECKS["Table 3", "neck depth 3 width 160-160-160"],
    ),
    Row(3, "depth 3, widths (96, 192, 384): S", None, 3.83, 37.8, 45.6),
    Row(
        3, "depth 4, widths (64, 128, 256)", "neck-depth4-64-128-256", 3.85, 37.2, 45.3,
        NECKS["Table 3", "neck depth 4 width 64-128-256"],
    ),
    Row(4, "no extra links", "links-none", 3.62, 33.3, 44.2, NECKS["Table 4", "no queen-fusion"]),
    Row(4, "upsampling", "links-up", 4.19, 37.7, 44.5, NECKS["Table 4", "upsampling links"]),
    Row(4, "downsampling: S", None, 3.83, 37.8, 45.6),
    Row(4, "both", "links-both", 4.58, 42.8, 45.9, NECKS["Table 4", "both links"]),
    Row(5, "conv", "fusion-conv", 3.64, 44.3, 40.2, NECKS["Table 5", "Conv"]),
    Row(5, "CSP", "fusion-csp", 3.72, 36.7, 44.4, {"fusion": "csp"}),
    Row(5, "CSP + reparam", "fusion-csp-reparam", 3.72, 36.7, 45.0, NECKS["Table 5", "CSP + Reparam"]),
    Row(5, "CSP + reparam + ELAN: S", None, 3.83, 37.8, 45.6),
    Row(6, "neck depth 1.0, head depth 0: S", None, 3.83, None, 45.6),
    Row(6, "neck depth 0.5, head depth 1", "head-depth1", 3.79, None, 44.9, {"depth": 0.5}, {"depth": 1}),
    Row(6, "neck depth 0.33, head depth 2", "head-depth2", 3.85, None, 43.7, {"depth": 0.33}, {"depth": 2}),
    Row(6, "neck depth 0, head depth 3", "head-depth3", 3.87, None, 41.2, {"depth": 0.0}, {"depth": 3}),
    Row(7, "ATSS", None, None, None, 43.1, settings=("loss.assigner=atss",)),
    Row(7, "SimOTA", None, None, None, 44.2, settings=("loss.assigner=sim_ota",)),
    Row(7, "TOOD", None, None, None, 45.4, settings=("loss.assigner=task_aligned",)),
    Row(7, "AlignOTA: S", None, None, None, 45.6, settings=("loss.assigner=align_ota",)),
)  # fmt: skip


def write_structures(folder: Path, overwrite: bool) -> list[Path]:
    """One file per row that changes S. Raises UserError when one is there already (unless `overwrite`)."""
    files = {f"{row.file}.txt": row.structure() for row in ROWS if row.file}
    claim_outputs(folder, list(files), overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for name, structure in files.items():
        write_text(folder / name, format_structure(structure))
    return [folder / name for name in files]


def table_lines(table: int) -> Iterator[str]:
    """The Markdown rows of one of the report's tables; counts as `tinynas explain --device t4` gives them."""
    for row in ROWS:
        if row.table != table:
            continue
        totals = explain(row.structure(), find_table(DEVICE)).totals
        cells = [row.name, f"`{row.command()}`"]
        if table != 7:
            cells += [f"{totals['params_deploy'] / 1e6:.3f}", f"{totals['conv_macs'] / 1e9:.3f}"]
            cells += [_published(row.gflops, ".1f"), f"{totals['latency_ms']:.2f}", _published(row.latency_ms, ".2f")]
        yield f"| {' | '.join([*cells, _published(row.ap, '.1f')])} |"


def _published(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def main() -> int:
    """Exit code 2, and one line, when a file is in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the files; without it the tables are printed")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    chosen = parser.parse_args()
    if chosen.out is None:
        for table in sorted({row.table for row in ROWS}):
            print(f"table {table}", *table_lines(table), sep="\n")
        return 0
    try:
        paths = write_structures(chosen.out, chosen.overwrite)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {len(paths)} structure files to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
