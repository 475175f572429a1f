"""Kits: archives to measure on devices without tinynas, and tables from what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.fusion import FusionRules, fusion_rules
from latency_tables.kit.archive import Kit, KitContent, check_kit_path, write_kit
from latency_tables.kit.collected import Collected, collected
from latency_tables.kit.plan import estimate_from
from latency_tables.kit.script import RUNTIMES
from latency_tables.kit.table import Completion, completed_alone, completed_from, write_collected
from latency_tables.reach import Cells, reach
from latency_tables.registry import list_tables
from latency_tables.runtimes._requirements import choose_precision
from latency_tables.tables import Table, read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError, nearest
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin
from search_spaces.space import Space
from search_spaces.text import format_structure, parse_structure
from search_spaces.version import tool_version
from tinynas.adapted_tables import chosen_sources
from tinynas.genes.population import Encoding
from tinynas.sampling import ImageSize, parse_image_sizes, populations

DETECTORS = 8
"""Whole detectors in a kit, from its spaces in turn."""
DRAWN = 2
"""Second word of the seed that draws them; `tables verify` draws with others."""
DRAWN_TO_ADAPT = 16
"""Candidates per space, image size and number of classes whose latency an adapted table is to be right for."""
MINUTES = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KitRequest:
    """What to make a kit for. `members`: candidates drawn per space, image size and number of classes."""

    runtime: str
    spaces: Sequence[Space]
    image_sizes: str
    num_classes: Sequence[int]
    precision: str = "fp32"
    threads: int = 1
    minutes: float = MINUTES
    members: int


def make_kit(path: Path, request: KitRequest) -> Kit:
    """Write a kit. Raises UserError for a runtime or precision that kits are not for, or a file that is there already."""
    check_kit_path(path)
    if request.runtime not in RUNTIMES:
        raise UserError(f"no kits for runtime {request.runtime!r}: {nearest(request.runtime, RUNTIMES)}")
    choose_precision(
        request.runtime, request.precision, list(load_plugin("latency_tables.runtimes", request.runtime).PRECISIONS)
    )
    if request.precision == "int8":
        raise UserError(
            "kits hold no quantised models; take --precision fp32, or measure int8 by tinynas profile on the device"
        )
    origin = {
        "tinynas": tool_version(), "spaces": [space.model_dump(mode="json") for space in request.spaces],
        "image_sizes": request.image_sizes, "num_classes": list(request.num_classes), "members": request.members,
    }  # fmt: skip
    content = KitContent(
        runtime=request.runtime, precision=request.precision, threads=request.threads, minutes=request.minutes,
        origin=origin,
        detectors=_detectors(request.spaces, parse_image_sizes(request.image_sizes), request.num_classes[-1]),
    )  # fmt: skip
    source = _alike(request.runtime, request.precision, request.threads)
    return write_kit(path, content, _grids(request.runtime, origin), estimate_from(source))


def collect(
    results: Path, name: str, folder: Path, *, short_names: Sequence[str] = (), adapt: str | None = None,
    across_runtimes: bool = False, completion: Completion = completed_alone,
) -> tuple[Table, tuple[str, ...]]:  # fmt: skip
    """The table that a kit's results give, written into `folder`, and what there is to tell, a line each.

    `completion`: how what was not measured is made out (by default from the measurements alone); `adapt`: by this table of
    another device (`auto`: by the nearest one), which may be of another runtime with `across_runtimes`. Raises UserError
    for results that are damaged, foreign, too few, or of a kit that this version cannot read, and for a table that is no
    source for them.
    """
    found = collected(results)
    header = found.header
    sizes, classes = str(header.get("image_sizes", "")), header.get("num_classes", [])
    try:
        grids = _device_grids(found)
        if adapt is not None:
            completion = _adapting(adapt, found, across_runtimes)
    except (KeyError, TypeError, ValueError) as error:
        raise _another_version(results, found, error) from None
    graphs = {
        key: emit_detector(parse_structure(text, f"{results}: detector {key}"))
        for key, text in header["detectors"].items()
        if key in found.detectors
    }
    spaces = ",".join(space["name"] for space in header["spaces"])
    note = f"spaces {spaces}, {sizes} px, {','.join(map(str, classes))} classes"
    return write_collected(
        found, name, folder, grids, graphs, short_names=short_names, reach_note=note, completion=completion
    )


def _adapting(device: str, found: Collected, across_runtimes: bool) -> Completion:
    """Completion by the table (or tables) that `--adapt` names."""
    header, runtime = found.header, str(found.header["runtime"])
    sources = chosen_sources(
        device, runtime, str(header["precision"]), int(found.conditions["threads"]),
        processor=str(found.conditions["processor"]), across_runtimes=across_runtimes,
        kind=load_plugin("latency_tables.runtimes", runtime).device_kind(),
    )  # fmt: skip
    drawn = _populations({**header, "members": min(DRAWN_TO_ADAPT, header["members"])})
    return completed_from(sources, list(drawn), _device_rules(found))


def _another_version(results: Path, found: Collected, error: Exception) -> UserError:
    made_by = found.header.get("tinynas", "another version")
    return UserError(
        f"{results}: the kit was made by tinynas {made_by}, which describes its networks differently "
        f"({type(error).__name__}); make the kit anew"
    )


def _grids(runtime: str, origin: Mapping[str, Any]) -> list[Cells]:
    """The cells that the kit's networks reach, drawn again as they were when it was made."""
    return reach(_populations(origin), fusion_rules(runtime))


def _device_rules(found: Collected) -> FusionRules:
    return fusion_rules(str(found.header["runtime"]), extensions=found.extensions)


def _device_grids(found: Collected) -> list[Cells]:
    """The kit's cells; on a device whose rules are others than the kit was drawn by, those that its networks run beside
    them, too."""
    runtime, rules = str(found.header["runtime"]), _device_rules(found)
    grids = _grids(runtime, found.header)
    if rules == fusion_rules(runtime):
        return grids
    return reach(_populations(found.header), rules, [kernel for grid in grids for kernel in grid.kernels])


def _populations(origin: Mapping[str, Any]) -> Iterator[Graph]:
    spaces = [Space.model_validate(space) for space in origin["spaces"]]
    return populations(
        spaces, parse_image_sizes(origin["image_sizes"]), origin["num_classes"], members=origin["members"], seed=0
    )


def _detectors(spaces: Sequence[Space], sizes: Sequence[ImageSize], num_classes: int) -> dict[str, tuple[Graph, str]]:
    """Detectors by name, from the spaces in turn, their sizes spread over all: graph and structure text."""
    found = {}
    for index, place in enumerate(np.linspace(0, len(sizes) - 1, DETECTORS).round().astype(int)):
        space, size = spaces[index % len(spaces)], sizes[int(place)]
        encoding = Encoding(space, size, num_classes)
        genes = encoding.sample(1, np.random.default_rng([0, DRAWN, index]))
        structure = encoding.single(genes)
        name = f"{space.name} {size[0]}x{size[1]} " + "-".join(str(int(gene)) for gene in genes[:, 0])
        found[name] = (emit_detector(structure), format_structure(structure))
    return found


def _alike(runtime: str, precision: str, threads: int) -> Table | None:
    """The table of another device that is most like the kit's: of its runtime, then precision, batch and threads."""
    fits = [(metadata, path) for metadata, path in list_tables() if metadata.runtime == runtime]
    if not fits:
        return None
    wanted = (precision, 1, threads)
    best = min(fits, key=lambda pair: [
        found != value for found, value in zip((pair[0].precision, pair[0].batch, pair[0].threads), wanted)
    ])  # fmt: skip
    return read_table(best[1])
