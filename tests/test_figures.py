"""Figures in the pages are those of docs/results/NAME.json, which the benchmarks write with --out.

A comment before a table or a paragraph says which file, and where in it each figure stands:

    <!-- results: NAME; rows: PATH; columns: PATH, PATH/1e6, - -->   a row per entry at `rows`; `-`: a column without figures
    <!-- results: NAME; rows: PATH, -*2, PATH; columns: ... -->      rows one by one; `-*2`: two that the file does not hold
    <!-- results: NAME; 0.046 = PATH; 1.5 s = PATH -->               texts of the paragraph that follows
    <!-- not checked: HARDWARE; DATE; COMMAND -->                    what no file holds, and how it was measured
    <!-- nothing measured: WHY -->                                   numbers that are settings or tolerances

A path is keys with ` > ` between them. A figure is right when it is the file's, rounded to the digits that are shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "reference" not in page.parts]
MARK = re.compile(
    r"<!-- (results|not checked|nothing measured): (.*?) -->(?=(?:\s*<!--.*?-->)*\n+((?:[^\n]+\n)*))", re.DOTALL
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MEASURED = re.compile(r"\d (?:ms|s|min|us|MiB|GB|fps|points)\b|\d %|\b0\.\d\d\d?\b")
"""What a figure looks like that somebody measured: a number with a unit, a share, an AP."""
A_FEW = 5
"""So many of them on a page are more than an example of an option."""


def marks(page: Path, kind: str) -> list[tuple[list[str], str]]:
    """(parts of the comment, the block that follows) of every comment of a kind."""
    text = page.read_text(encoding="utf-8") + "\n"
    return [
        ([part.strip() for part in " ".join(found[2].split()).split("; ")], found[3])
        for found in MARK.finditer(text)
        if found[1] == kind
    ]


def value_at(data: Any, path: str) -> Any:
    for word in filter(None, path.split(" > ")):
        data = data[int(word)] if isinstance(data, list) else data[word]
    return data


def is_shown(text: str, value: float) -> bool:
    """Whether the number in a text is a value rounded to the text's digits."""
    found = NUMBER.search(text)
    assert found is not None, f"no figure in {text!r}"
    shown = found[0].replace(",", "")
    digits = len(shown.partition(".")[2])
    return abs(float(shown) - value) <= 0.5 * 10.0**-digits + 1e-9 * abs(value)


def figures(parts: list[str], block: str) -> Iterator[tuple[str, float]]:
    """(text, value of the file) of every figure that a comment names."""
    data = json.loads((RESULTS / f"{parts[0]}.json").read_text())
    options = dict(part.split(": ", 1) for part in parts[1:] if re.match(r"(rows|columns): ", part))
    if not options:
        for part in parts[1:]:
            text, path = part.split(" = ")
            assert text in " ".join(block.split()), f"{text!r} is not in the paragraph"
            yield text, scaled(data, path)
        return
    entries = list(row_entries(data, options["rows"]))
    rows = [line.strip().strip("|").split("|") for line in block.splitlines() if line.startswith("|")][2:]
    columns = options["columns"].split(", ")
    assert len(rows) == len(entries), f"{len(rows)} rows of {len(entries)} results"
    for row, entry in zip(rows, entries, strict=True):
        if entry is None:
            continue
        assert len(row) == len(columns), f"{len(row)} columns, {len(columns)} named"
        for cell, path in zip(row, columns, strict=True):
            if path != "-":
                yield cell.strip(), scaled(entry, path)


def row_entries(data: Any, places: str) -> Iterator[Any]:
    """The entries at one place, or one for each of several; None for `-`, and so many times for `-*3`."""
    if ", " not in places:
        entries = value_at(data, places)
        yield from entries.values() if isinstance(entries, dict) else entries
        return
    for place in places.split(", "):
        if place.startswith("-"):
            yield from [None] * int(place.partition("*")[2] or 1)
        else:
            yield value_at(data, place)


def scaled(data: Any, path: str) -> float:
    """The number at a path, which may end with `/1e6`; `.` is the entry itself."""
    place, _, divisor = path.partition("/")
    return float(value_at(data, "" if place == "." else place)) / float(divisor or 1)


CHECKED = [(page, parts, block) for page in PAGES for parts, block in marks(page, "results")]


@pytest.mark.parametrize(
    ("page", "parts", "block"),
    CHECKED,
    ids=[f"{page.stem}-{parts[0]}-{n}" for n, (page, parts, _) in enumerate(CHECKED)],
)
def test_figures_are_those_of_their_file(page: Path, parts: list[str], block: str) -> None:
    found = list(figures(parts, block))
    assert found
    wrong = [f"{text}: the file has {value:.6g}" for text, value in found if not is_shown(text, value)]
    assert wrong == [], f"{page.name}: {parts[0]}.json"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_says_how_it_came_about(path: Path) -> None:
    data = json.loads(path.read_text())
    assert data["command"].startswith("python benchmarks/")
    assert (ROOT / data["command"].split()[1]).is_file()
    assert data["host"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", data["date"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_with_figures_says_where_they_are_from(page: Path) -> None:
    text = re.sub(
        r"<!--.*?-->|```.*?```|`[^`]*`|^ {4,}\S[^\n]*$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M
    )
    unchecked = marks(page, "not checked")
    for parts, _ in unchecked:
        assert len(parts) == 3, f"hardware; date; command expected, {parts} found"
        assert re.fullmatch(r"\d{4}-\d\d(-\d\d)?", parts[1]), f"{parts[1]}: no date"
    shown = MEASURED.findall(text)
    if len(shown) >= A_FEW:
        assert unchecked or marks(page, "results") or marks(page, "nothing measured"), (
            f"{page.name}: {shown} of no known origin"
        )


def test_a_wrong_figure_would_be_seen() -> None:
    assert is_shown("1.5 s", 1.46)
    assert is_shown("0.0458", 0.04576)
    assert is_shown("3,700", 3700.2)
    assert is_shown("-1.2 %", -1.24)
    assert not is_shown("1.5 s", 1.44)
    assert not is_shown("0.0077 %", 0.0458)
