"""Every value that a person writes into a file or after --set: a wrong one is answered in our own words, in one line."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date
from importlib import import_module, resources
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from detector import assigners, distillers
from detector.data.label_space.document import Document
from detector.training.settings.config import TrainConfig
from latency_tables.metadata import TableMetadata
from search_spaces.errors import UserError
from search_spaces.schema import StructureModel
from search_spaces.space import Space
from search_spaces.validation import first_problem

WRONG: tuple[Any, ...] = (
    None, "abc", "", 1.5, -3, 0, 7, 1e30, float("inf"), float("nan"), True, [], ["x", 1], [[1]], list(range(9)), {}, {"a": 1},
    {1: 2}, date(2024, 1, 1), 10**400,
)  # fmt: skip


def shipped(package: str, folder: str, name: str) -> dict[str, Any]:
    return yaml.safe_load(resources.files(package).joinpath(folder, name).read_text())


def subjects() -> Iterator[tuple[str, type[BaseModel], dict[str, Any]]]:
    """(name, model, a sound value of it)."""
    yield "training", TrainConfig, TrainConfig().model_dump(mode="json")
    yield "space", Space, shipped("search_spaces", "spaces", "csp.yaml")
    yield "structure", StructureModel, shipped("search_spaces", "structures", "S.txt")
    yield "table", TableMetadata, shipped("latency_tables", "devices", "epyc-zen5-openvino-fp32-b1-t1.yaml")
    listed = {"path": "a", "classes": ["x"], "rename": {"x": "y"}, "drop": ["z"], "absent": ["w"]}
    yield (
        "label space",
        Document,
        {"label_space": 1, "sets": {"a": listed}, "aliases": {"couch": ["Sofa"]}, "drop": ["logo"]},
    )
    for package in (assigners, distillers):
        for name in package.names():
            options = import_module(f"{package.__name__}.{name}").Options
            yield name, options, options().model_dump(mode="json")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything in nested values."""
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(values: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(values)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize(("model", "sound"), [pytest.param(m, s, id=name) for name, m, s in subjects()])
def test_a_wrong_value_is_answered_in_our_words(model: type[BaseModel], sound: dict[str, Any]) -> None:
    model.model_validate(sound)
    refused = 0
    for path in places(sound):
        for value in WRONG:
            try:
                model.model_validate(changed(sound, path, value))
            except UserError:
                refused += 1
            except ValidationError as error:
                refused += 1
                line = str(first_problem(error, model))
                assert "\n" not in line, line
                assert len(line) < 600, line
                for word in ("input should", "Input", "valid", "Value", "parse", "instance", "ensure"):
                    assert word not in line, f"{path} = {value!r:.60}: {line}"
    assert refused >= 5 or not sound
