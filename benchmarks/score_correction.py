"""What does the score miss? Corrections of few parameters, fitted on some data sets and tested on the one left out.

    python benchmarks/score_correction.py searched_vs_published.json [--published Ns] [--space mob]

Reads trainings of searched_vs_published.py: networks of one measured latency on several data sets. For each data set, a
linear model of a network's AP is fitted on the *other* sets (AP as standard scores, the mean over seeds and sets; ridge of
--ridge), from the properties that CORRECTIONS names; Kendall's tau with AP on the set left out tells how well it ranks there,
with a 95 % interval (bootstrap over networks and seeds). Beside these: the score as it is, and `other_sets`, the mean AP on
the other sets, which knows all there is to know of a network: what it cannot rank, no correction can.

--space leaves networks of other spaces out. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _trainings import run_program
from searched_vs_published import tau_with_interval, trained

from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.files import check_file
from search_spaces.structure import Structure
from search_spaces.text import parse_structure
from tinynas.account import account
from tinynas.scores.entropy import group_entropies

Values = npt.NDArray[np.float64]


def levels(structure: Structure) -> list[float]:
    """Entropies of the groups at strides 8, 16 and 32."""
    return [float(value) for value in group_entropies(emit_detector(structure))[2:]]


def late_share(structure: Structure) -> list[float]:
    """Share of the score that the last group gives."""
    *_, eighth, sixteenth, last = (float(value) for value in group_entropies(emit_detector(structure)))
    return [16 * last / (eighth + sixteenth + 16 * last)]


def widths(structure: Structure) -> list[float]:
    """Logs of the channels of the first and the last tap."""
    first, *_, last = structure.neck.in_channels
    return [float(np.log(first)), float(np.log(last))]


def depth(structure: Structure) -> list[float]:
    """Blocks of the backbone."""
    return [float(sum(stage.depth for stage in structure.backbone.stages))]


def size(structure: Structure) -> list[float]:
    """Log of the parameters, and of the MACs."""
    found = account(emit_detector(structure))
    return [float(np.log(found.params)), float(np.log(found.conv_macs))]


CORRECTIONS: Mapping[str, Callable[[Structure], list[float]]] = {
    "levels": levels, "late_share": late_share, "widths": widths, "depth": depth, "size": size,
}  # fmt: skip


def main() -> None:
    options = _options()
    check_file(options.results, "searched_vs_published.json")
    result = json.loads(options.results.read_text(encoding="utf-8"))
    networks = trained(result["networks"].get(options.published, {}))
    rows = {name: row for name, row in networks.items() if options.space in (None, row["space"])}
    sets = {
        name: entry[options.published]["aps"] for name, entry in result["sets"].items() if options.published in entry
    }
    if len(rows) < 4 or len(sets) < 2:
        raise UserError(
            f"{options.results}: {len(rows)} networks on {len(sets)} data sets; a correction needs 4 networks on 2 sets"
        )
    print(
        json.dumps(
            {"networks": list(rows), "ridge": options.ridge, "sets": held_out(rows, sets, options.ridge)}, indent=1
        )
    )


def held_out(
    rows: Mapping[str, Mapping[str, Any]], sets: Mapping[str, Mapping[str, Sequence[float | None]]], ridge: float
) -> dict[str, dict[str, Any]]:
    """By the set left out, and by what ranks: tau with its interval."""
    features = {
        name: standard(np.array([of(parse_structure(row["structure"])) for row in rows.values()]))
        for name, of in CORRECTIONS.items()
    }
    scores = standard(np.array([[row["score"]] for row in rows.values()]))
    means = {name: standard(_means(rows, aps)[:, None])[:, 0] for name, aps in sets.items()}
    found: dict[str, dict[str, Any]] = {}
    for left_out, aps in sets.items():
        known: Values = np.mean([values for name, values in means.items() if name != left_out], axis=0)
        ranks = {"score": scores[:, 0], "other_sets": known}
        for name, values in features.items():
            ranks[name] = fitted(values, known, ridge)
            ranks[f"score+{name}"] = fitted(np.concatenate([scores, values], axis=1), known, ridge)
        own = [aps[name] for name in rows]
        found[left_out] = {name: tau_with_interval(values.tolist(), own) for name, values in ranks.items()}
    return found


def fitted(features: Values, target: Values, ridge: float) -> Values:
    """What ridge regression makes of standardised features (n, f) for a target (n,) of mean 0: (n,)."""
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    return np.asarray(features @ np.linalg.solve(gram, features.T @ target), dtype=np.float64)


def standard(values: Values) -> Values:
    """Columns (n, f) with mean 0 and standard deviation 1; a constant column is 0."""
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _means(rows: Mapping[str, Any], aps: Mapping[str, Sequence[float | None]]) -> Values:
    known = [[value for value in aps[name] if value is not None] for name in rows]
    bare = next((name for name, values in zip(rows, known, strict=True) if not values), None)
    if bare is not None:
        raise UserError(f"{bare}: no training of it has ended; run searched_vs_published.py again")
    return np.array([np.mean(values) for values in known])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="searched_vs_published.json")
    parser.add_argument("--published", default="Ns", help="the detector whose latency the networks have")
    parser.add_argument("--space", help="networks of this space alone")
    parser.add_argument("--ridge", type=float, default=1.0, help="of the linear models, in standard scores")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
