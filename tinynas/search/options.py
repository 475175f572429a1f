"""What a search can be asked for, by name: on the command line, in presets, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.errors import UserError


def _said(text: str, default: Any = None, *, least: int | None = None) -> Any:
    return field(default=default, metadata={"help": text, "min": least})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """The options that decide a search's result, as written on the command line (`--max-macs 9G`) or in a preset
    (`max_macs: "9G"`). The command line has its options from here: name, type, help and lower limit."""

    budget: str | None = _said("Latency: 3.8ms; a family 2ms,3ms,4ms; or 4ms@t4,30ms@cpu.")
    device: str | None = _said("Latency table: t4, cpu, an id or a path.")
    batch: int | None = _said("Batch of the table; refuses a table of another batch.", least=1)
    precision: str | None = _said("int8, fp16, ...: search for a network in this precision.")
    space: str | None = _said("res, csp, mob or a space file; default: res for a GPU, mob for a CPU.")
    image_size: str | None = _said("H or HxW in pixels; 256..640 or 320,416: the search chooses.")
    neck: str | None = _said("search: choose the neck too, among the space's. Default: rule, the space's one.")
    neck_share: str | None = _said("Minimum share of the latency for the neck: 0.4, published or off.")
    num_classes: int = _said("Classes that the head is priced for. Default: 80.", 80, least=1)
    max_layers: str | None = _said("Convs on the main path; the space's limit if not given.")
    max_params: str | None = _said("Parameters in deploy form: 16M.")
    max_macs: str | None = _said("Multiply-accumulates of the convs: 9G.")
    max_memory: str | None = _said("Peak activation memory in fp32: 24MB.")
    max_effectiveness: str | None = _said(
        "Ratio of depth to width, or off. Default: 0.3 with --score deepmad, off for mob."
    )
    backbone_only: bool = _said("Budgets are for the backbone, not the detector.", False)
    convs_only: bool = _said(
        "Latency budgets are for the convolutions alone, as the published searches have it.", False
    )
    score: str | None = _said(
        "entropy, entropy_published, entropy_sized, entropy_detector, deepmad, zen, macs or random; by default the space's."
    )
    score_weights: str | None = _said("Weights of the five groups: 0,0,1,1,16.")
    evaluations: int | None = _said("Candidates to look at. Default: 500000; 2000 with --score zen.", least=1)
    population: int | None = _said("Survivors per island. Default: 512; 32 with --score zen.", least=1)
    islands: int | None = _said("Populations that evolve separately; changes the result.", least=1)
    seed: int = _said("Seed of the search; same seed, same result. Default: 0.", 0, least=0)


def options_from(given: Mapping[str, Any], preset: str | None) -> SearchOptions:
    """What is given (None: not given) over the preset's values over the defaults. Raises UserError for an unknown preset."""
    from tinynas.presets import load_preset  # its YAML reader is not needed to show the options

    values = load_preset(preset) if preset is not None else {}
    values |= {key: value for key, value in given.items() if value is not None}
    if preset is not None and values.get("budget") is None:
        raise UserError(f"preset {preset} has no budget, none is published; say --budget, as in --budget 5.6ms")
    if given.get("device") is None and "@" in str(values.get("budget", "")):
        values.pop("device", None)  # the preset's: the budget names its own
    return SearchOptions(**values)
