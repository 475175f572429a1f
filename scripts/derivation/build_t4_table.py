"""Rebuild the shipped T4 table: python -m scripts.derivation.build_t4_table V100_CONV_CSV_GZ T4_PUBLISHED_CSV [FOLDER]"""

from __future__ import annotations

import argparse
from pathlib import Path

from latency_tables.registry import SHIPPED
from scripts.derivation.t4_table import build_t4_table


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the shipped T4 table.")
    parser.add_argument("v100_conv_csv_gz", type=Path, help="measured latencies of single convs on a V100")
    parser.add_argument("t4_published_csv", type=Path, help="published latencies of whole detectors on a T4")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=SHIPPED, help="for the table; the shipped one by default"
    )
    options = parser.parse_args()
    result = build_t4_table(options.v100_conv_csv_gz, options.t4_published_csv, options.folder)
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
