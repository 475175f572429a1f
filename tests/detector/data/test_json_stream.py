"""The streaming reader gives what the library's parser gives, whatever the chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data.formats import _json_stream
from detector.data.formats._json_stream import read_object
from search_spaces.errors import UserError

LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=6
)


@given(
    document=st.dictionaries(st.text(max_size=4), VALUE, max_size=4),
    items=st.lists(VALUE, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    chunk=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_the_whole_parser(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    document: dict[str, Any],
    items: list[Any],
    indent: int | None,
    chunk: int,
) -> None:
    monkeypatch.setattr(_json_stream, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**document, "many": items}, indent=indent))
    taken: list[Any] = []
    found = read_object(path, "an object", {"many": taken.append})
    assert taken == items
    assert found == {**document, "many": len(items)}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"a": 1,\n "b": [1,\n 2 3]}', 3, "expected , or ]"),
        ('{"a": 1,\n b: 2}', 2, "a name in double quotes"),
        ('{"a"\n 1}', 2, "expected :"),
        ('{"a": [1, 2', 1, "expected , or ]"),
        ('{"a": "un\nclosed', 1, "Invalid control character"),
        ("", 1, "Expecting value"),
        ('{"a": [{"x": 1},\n{"x": }]}', 2, "Expecting value"),
    ],
)
def test_broken_json_names_the_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_object(path, "an object", {"a": lambda _: None, "b": lambda _: None})
    assert str(caught.value).startswith(f"{path}:{line}: the JSON does not parse (")
    assert reason in str(caught.value)


def test_what_is_no_object_and_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with pytest.raises(UserError, match="expected an instances file"):
        read_object(path, "an instances file", {})
    with pytest.raises(UserError, match="cannot be read"):
        read_object(tmp_path / "b.json", "an instances file", {})
