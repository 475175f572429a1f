"""What the published detectors spend on their necks: the share of the latency that a search with a free neck keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latency_tables import Prediction, Table, predict
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure, shipped_names


@dataclass(frozen=True, slots=True)
class PublishedNeck:
    """A published detector on a table: latency in ms, and its neck's share of it."""

    name: str
    latency_ms: float
    share: float


def published_necks(table: Table, block: str, num_classes: int) -> list[PublishedNeck]:
    """The published detectors of a block, by rising latency at their own image size; empty where the table lacks their
    kernels, or where there is none of the block."""
    found = []
    for name in shipped_names():
        structure = resolve_structure(name).with_classes(num_classes)
        if structure.backbone.space != block:
            continue
        try:
            prediction = predict(emit_detector(structure), table)
        except UserError:  # beyond the table
            continue
        found.append(PublishedNeck(name, prediction.total_ms, prediction.parts["neck"] / prediction.total_ms))
    return sorted(found, key=lambda neck: neck.latency_ms)


def share_at(necks: list[PublishedNeck], latency_ms: float) -> float:
    """The neck's share at a latency: between those of the detectors around it, by the logarithm of the latency; beyond
    the smallest and the largest theirs."""
    latencies, shares = [neck.latency_ms for neck in necks], [neck.share for neck in necks]
    return float(np.interp(np.log(latency_ms), np.log(latencies), shares))


def of_most_similar_latency(necks: list[PublishedNeck], latency_ms: float) -> PublishedNeck | None:
    """The detector of that latency, or nearest to it by its logarithm; None of none."""
    return min(necks, key=lambda neck: abs(np.log(neck.latency_ms / latency_ms)), default=None)


def neck_share(prediction: Prediction, table: Table, structure: Structure) -> dict[str, Any]:
    """The neck's share of a network's latency, as plain values: `share`, and `published`, the detector of the same block
    whose latency is the most similar (None where the table prices none)."""
    necks = published_necks(table, structure.backbone.space, structure.head.num_classes)
    beside = of_most_similar_latency(necks, prediction.total_ms)
    share = prediction.parts.get("neck", 0.0) / prediction.total_ms
    return {"share": share, "published": asdict(beside) if beside is not None else None}


def share_text(data: Mapping[str, Any]) -> str:
    """`neck 40 % of the latency; published S, 3.95 ms: 48 %`."""
    text, beside = f"neck {100 * data['share']:.0f} % of the latency", data["published"]
    if beside is None:
        return text
    return f"{text}; published {beside['name']}, {beside['latency_ms']:.2f} ms: {100 * beside['share']:.0f} %"
