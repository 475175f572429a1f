"""A search as one self-contained HTML page that opens offline: `write_report`."""

from __future__ import annotations

from tinynas.results.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
