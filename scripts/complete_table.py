"""Fill what a measured table lacks of the shipped spaces with another device's rows, by the ratio of the kernels both know:

    python scripts/complete_table.py TABLE SOURCE [--image-sizes 256..640] [--num-classes 1,80]

TABLE's rows stay as they are; new ones are marked `adapted`. Prints how many there are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from latency_tables import read_table
from latency_tables.adaptation.adapted import begin
from latency_tables.metadata import Adapted
from latency_tables.reach import reach
from latency_tables.tables import read_rows, row_key, write_table
from tinynas.sampling import parse_image_sizes, parse_spaces, populations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("source")
    parser.add_argument("--spaces", default="mob,res,csp")
    parser.add_argument("--image-sizes", default="256..640")
    parser.add_argument("--num-classes", default="1,80")
    options = parser.parse_args()
    table, source = read_table(options.table), read_table(options.source)
    rules = table.metadata.rules
    classes = [int(word) for word in options.num_classes.split(",")]
    graphs = list(
        populations(
            parse_spaces(options.spaces), parse_image_sizes(options.image_sizes), classes, members=16, seed=0
        )
    )  # fmt: skip
    own = read_rows(Path(table.source))
    grids = reach(graphs, rules, [row.kernel for row in own])
    adapted = begin(source, grids, graphs, rules)
    measured = {row_key(row.kernel): row for row in own if row.source == "measured"}
    adapted.learn(measured)
    rows = {row_key(row.kernel): row for row in adapted.rows(measured)} | {row_key(row.kernel): row for row in own}
    provenance = Adapted(source=source.id, kernels=len(measured), expected_error=round(adapted.error, 4))
    metadata = table.metadata.model_copy(update={"adapted": provenance})
    write_table(Path(table.source).parent, metadata, rows.values())
    print(f"{len(rows) - len(own)} rows of {len(rows)} adapted from {source.id}")


if __name__ == "__main__":
    main()
