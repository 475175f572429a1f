"""Are the profiler's int8 detectors those that NNCF makes? `python benchmarks/quantised_models.py [--number 8] [--seed 5]`

Random detectors of mob and res, as written for `tinynas tables verify` in int8 and as NNCF quantises their fp32 form:
latency of both and of the fp32 form on one thread of OpenVINO, interleaved. Needs the package nncf.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import numpy as np

from latency_tables.on_device import openvino as device
from latency_tables.on_device import timing
from latency_tables.runtimes._models import write_network
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes._quantised_openvino import QuantisedOpenVINOWriter
from latency_tables.runtimes.openvino import Gauge
from search_spaces.graph import Graph
from search_spaces.space import load_space
from tinynas.sampling import random_detectors

SIZES = ((256, 256), (320, 320), (416, 416), (640, 640))


def by_nncf(graph: Graph) -> Any:
    """The fp32 form quantised by NNCF, calibrated on noise: ranges do not move latency."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    rng = np.random.default_rng(0)
    pictures = [rng.random((1, 3, *graph.image_size), dtype=np.float32) for _ in range(2)]
    kept = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
    model = write_network(graph, OpenVINOWriter())
    return nncf.quantize(model, nncf.Dataset(pictures), subset_size=2, advanced_parameters=kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args()
    spaces = [load_space("mob"), load_space("res")]
    graphs = random_detectors(spaces, SIZES, asked.number, num_classes=80, seed=(asked.seed, 5))
    gauge = Gauge(1, "int8")
    for name, graph in graphs.items():
        models = (
            write_network(graph, OpenVINOWriter()),
            by_nncf(graph),
            write_network(graph, QuantisedOpenVINOWriter()),
        )
        probes = [device.network_probe(model, 1, "int8") for model in models]
        fp32, nncf_ms, own = (found[0][0] for found in timing.interleaved(probes, gauge, rounds=8, runs=3))
        against = f"written {own:.2f} ({own / nncf_ms:.3f} of NNCF's)"
        print(f"{name}: fp32 {fp32:.2f} ms, NNCF {nncf_ms:.2f} ({fp32 / nncf_ms:.2f} x), {against}", flush=True)


if __name__ == "__main__":
    main()
