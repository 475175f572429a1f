"""The image sizes and necks that were to choose from, as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinynas.quantities import quantity_of

Data = Mapping[str, Any]


def frames_section(data: Data) -> dict[str, Any] | None:
    """A row per image size and neck that was to choose from, with what it has for each network; None without a choice."""
    frames = data.get("frames")
    if not frames:
        return None
    names = [target["name"] for target in data["targets"]]
    chosen = [target.get("frame") for target in data["targets"]]
    rows = []
    for frame in frames:
        place = {key: frame[key] for key in ("image_size", "neck")}
        cells = [
            (_frame_cell(frame["networks"].get(name) or {}), place == own)
            for name, own in zip(names, chosen, strict=True)
        ]
        labels = ["x".join(map(str, frame["image_size"])), *(f"{value:g}" for value in frame["neck"].values())]
        rows.append((labels, cells))
    return {
        "labels": ["image size", *(f"neck {key.replace('_', ' ')}" for key in frames[0]["neck"])],
        "names": names,
        "rows": rows,
    }


def _frame_cell(network: Data) -> str:
    if network.get("score") is not None:
        return quantity_of("score").text(network["score"])
    return f"at most {quantity_of('score').text(network['bound'])}" if network.get("bound") is not None else "\u2013"
