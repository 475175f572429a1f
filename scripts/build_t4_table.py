"""Rebuild the shipped T4 table: python scripts/build_t4_table.py V100_CONV_CSV_GZ T4_PUBLISHED_CSV [FOLDER]"""

from __future__ import annotations

import sys
from pathlib import Path

from latency_tables.registry import SHIPPED
from latency_tables.t4 import build_t4_table


def main() -> None:
    v100_csv, published_csv = Path(sys.argv[1]), Path(sys.argv[2])
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else SHIPPED
    result = build_t4_table(v100_csv, published_csv, folder)
    device = result.device
    print(f"launch {1000 * device.launch_ms:.1f} us, rate {device.rate / 1e9:.2f} TMACs/s, ", end="")
    print(f"bandwidth {device.bandwidth / 1e6:.0f} GB/s, overhead {device.overhead_ms:.2f} ms; relative errors:")
    print(f"{'structure':34s} {'fitted':>8s} {'left out':>9s} {'nested':>8s} {'GFLOPs line, left out':>22s}")
    for name, error in result.left_out.items():
        columns = (
            f"{result.fitted[name]:8.1%} {error:9.1%} {result.nested[name]:8.1%} {result.left_out_line[name]:22.1%}"
        )
        print(f"{name:34s} {columns}")


if __name__ == "__main__":
    main()
