"""What a page shows is what was meant: no row of a table outside it, no cell too many or too few, no mark left as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "reference" not in page.parts]
CELL_BORDER = re.compile(r"(?<!\\)\|")
LEFT_OVER = re.compile(r"`|\*\*|\]\(")
"""Marks that a reader sees only where one of a pair is missing."""


def faults(text: str) -> Iterator[str]:
    """A line each: where in a page's text, and what is wrong."""
    lines = text.splitlines()
    in_table = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in ("table_open", "table_close"):
            in_table = token.type == "table_open"
        if token.type == "table_open":
            assert token.map is not None
            yield from uneven_rows(lines, *token.map)
        if token.type != "inline" or token.map is None:
            continue
        if not in_table and any(line.lstrip().startswith("|") for line in token.content.splitlines()):
            yield f"line {token.map[0] + 1}: rows outside a table (a blank line in it, or none of --- below its head)"
        for child in token.children or []:
            if child.type == "text" and LEFT_OVER.search(child.content):
                yield f"line {token.map[0] + 1}: a mark without its partner in {child.content!r}"


def uneven_rows(lines: list[str], first: int, end: int) -> Iterator[str]:
    """Rows with more or fewer cells than the head: Markdown drops what is too much without a word."""
    cells = [len(CELL_BORDER.findall(re.sub(r"^\||\|$", "", line.strip()))) + 1 for line in lines[first:end]]
    for place, count in enumerate(cells):
        if count != cells[0]:
            yield f"line {first + place + 1}: {count} cells, the head of the table has {cells[0]}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_shows_what_was_meant(page: Path) -> None:
    assert list(faults(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| 3 | 4 |\n", "rows outside a table"),
        ("| a | b |\n| 1 | 2 |\n", "rows outside a table"),
        ("| a | b |\n| --- | --- |\n| 1 | 2 | 3 |\n", "3 cells, the head of the table has 2"),
        ("| a | b |\n| --- | --- |\n| `x|y` | 2 |\n", "3 cells, the head of the table has 2"),
        ("| a | b |\n| --- | --- |\n| 1 |\n", "1 cells, the head of the table has 2"),
        ("the option `--out is a folder\n", "a mark without its partner"),
        ("**bold, and never closed\n", "a mark without its partner"),
    ],
)
def test_each_fault_is_found(text: str, found: str) -> None:
    assert any(found in fault for fault in faults(text))


def test_a_sound_page_has_no_fault() -> None:
    assert list(faults("# A\n\n| a | b |\n| --- | --- |\n| `x\\|y` | |\n\n**b** and `c`\n")) == []
