"""The page itself: a search's account in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.files import write_text
from tinynas.results.page import render_page
from tinynas.results.report.view import page_content

FILE_NAME = "report.html"


def write_report(data: Mapping[str, Any], folder: Path) -> Path:
    """Write report.html from the content of search.json; `folder` holds the structure files that it names.

    Returns its path. Raises UserError when it cannot be written.
    """
    path = folder / FILE_NAME
    write_text(path, render_report(data, folder))
    return path


def render_report(data: Mapping[str, Any], folder: Path) -> str:
    """The HTML of the report. Whatever comes from the user (names, paths, settings) is escaped."""
    content = page_content(data, folder)
    return render_page("tinynas.results.report", "report.html.j2", "report.js", content, sections=["ranking"])
