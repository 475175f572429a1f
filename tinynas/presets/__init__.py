"""Published search settings by name: a YAML file of search options each, with a space file beside it.

Keys are those of `tinynas.search.options.SearchOptions`; what the command line says goes before what a preset says.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from search_spaces.errors import UserError, nearest


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    files = resources.files("tinynas.presets").iterdir()
    names = {entry.name.removesuffix(".yaml") for entry in files if entry.name.endswith(".yaml")}
    return sorted(name for name in names if not name.endswith("-space"))


def load_preset(name: str) -> dict[str, Any]:
    """The options that a preset sets; its space as a path. Raises UserError for an unknown name."""
    if name not in preset_names():
        raise UserError(f"no preset {name!r}: {nearest(name, preset_names())}")
    folder = resources.files("tinynas.presets")
    values: dict[str, Any] = yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text())
    if str(values.get("space", "")).endswith(".yaml"):
        values["space"] = str(folder.joinpath(values["space"]))
    return values
