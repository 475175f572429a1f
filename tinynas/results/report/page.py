"""The page itself: a search's account in, HTML out. Style and script are inlined; nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from search_spaces.files import write_text
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
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    files = resources.files("tinynas.results.report")

    def own(name: str) -> str:
        return files.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(own("report.html.j2"))
    return template.render(
        **page_content(data, folder), style=Markup(own("report.css")), script=Markup(own("report.js"))
    )
