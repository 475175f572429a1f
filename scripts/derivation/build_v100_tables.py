"""Rebuild the shipped V100 tables: python -m scripts.derivation.build_v100_tables V100_CONV_CSV_GZ [FOLDER]"""

from __future__ import annotations

import sys
from pathlib import Path

from latency_tables.registry import SHIPPED
from scripts.derivation.v100_tables import build_v100_tables


def main() -> None:
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED
    for name, error in build_v100_tables(Path(sys.argv[1]), folder).items():
        print(f"{name}: errors on rows held back, in percent: median {error['table_median']}, ", end="")
        print(f"90th percentile {error['table_percentile_90']} (the fit alone {error['fit_median']}, ", end="")
        print(f"{error['fit_percentile_90']})")
        for kind, figures in error["types"].items():
            print(f"    {kind:24s} {figures}")


if __name__ == "__main__":
    main()
