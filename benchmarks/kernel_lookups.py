"""How many kernels per second a table prices in population form: python benchmarks/kernel_lookups.py [--device TABLE].

Prints JSON. A lookup is one kernel of one candidate (one fused op, whatever its repeat count). Emitting the graphs is not
counted; the first pass, which compiles the table's dense arrays, is reported apart.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _record import add_record_option, record

from latency_tables import Pricer, find_table
from search_spaces.emit import emit_detector
from search_spaces.space import load_space
from tinynas.genes.population import Encoding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="epyc-zen5-openvino-fp32-b1-t1", help="table to price with")
    parser.add_argument("--space", default="mob", help="space that candidates are drawn from")
    parser.add_argument("--population", type=int, default=4096, help="candidates per pass")
    parser.add_argument("--passes", type=int, default=20, help="timed passes; the median counts")
    add_record_option(parser)
    arguments = parser.parse_args()
    space, pricer = load_space(arguments.space), Pricer(find_table(arguments.device), max_extrapolated=1.0)
    encoding = Encoding(space, space.image_size, 80)
    rng = np.random.default_rng(0)
    graphs = [
        emit_detector(encoding.population(encoding.sample(arguments.population, rng)))
        for _ in range(arguments.passes + 1)
    ]
    seconds = [_seconds(pricer, graph) for graph in graphs]
    lookups = len(pricer.sites(graphs[0])) * arguments.population
    report = {
        "table": pricer.table.id, "space": space.name, "population": arguments.population,
        "kernels_per_network": len(pricer.sites(graphs[0])), "first_pass_s": round(seconds[0], 4),
        "median_pass_s": round(float(np.median(seconds[1:])), 5),
        "lookups_per_s": round(lookups / float(np.median(seconds[1:]))),
    }  # fmt: skip
    record(report, arguments.out)


def _seconds(pricer: Pricer, graph: object) -> float:
    start = time.perf_counter()
    pricer.price(graph)  # type: ignore[arg-type]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
