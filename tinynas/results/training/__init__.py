"""A training or an evaluation as one self-contained HTML page, with tables and pictures beside it."""

from __future__ import annotations

from tinynas.results.training.finished_run import report_run
from tinynas.results.training.report import output_names, write_training_report
from tinynas.results.training.run_folder import RunFolder
from tinynas.results.training.subject import Subject

__all__ = ["RunFolder", "Subject", "output_names", "report_run", "write_training_report"]
