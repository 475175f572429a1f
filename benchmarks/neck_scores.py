"""Does a score rank necks as training does? The report's tables 3 to 6, all on S's backbone, against their published AP.

    python benchmarks/neck_scores.py

Prints JSON: Kendall's tau-b with AP over the 14 different detectors of these tables, for the scores and for MACs and
parameters (null: all are the same), and every row.
"""

from __future__ import annotations

import json

from scripts.ablation_structures import ROWS
from search_spaces import costs
from search_spaces.emit import emit_detector
from tinynas.ranking.rungs import kendall
from tinynas.scores import entropy, entropy_detector

TABLES = (3, 4, 5, 6)


def main() -> None:
    """Print the table."""
    rows = [row for row in ROWS if row.table in TABLES and (row.file is not None or row.table == TABLES[0])]
    graphs = [emit_detector(row.structure()) for row in rows]
    columns = {
        "entropy_detector": [entropy_detector.score(graph, entropy_detector.WEIGHTS) for graph in graphs],
        "entropy": [entropy.score(graph, entropy.WEIGHTS) for graph in graphs],
        "macs": [float(costs.conv_macs(graph)) for graph in graphs],
        "params": [float(costs.params(graph)) for graph in graphs],
    }
    ap = [row.ap for row in rows]
    tau = {name: kendall(values, ap) for name, values in columns.items()}
    shown = [
        {"table": row.table, "name": row.name, "ap": row.ap, "entropy_detector": round(float(value), 1)}
        for row, value in zip(rows, columns["entropy_detector"], strict=True)
    ]
    print(json.dumps({"detectors": len(rows), "kendall_tau": tau, "rows": shown}, indent=1))


if __name__ == "__main__":
    main()
