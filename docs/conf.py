"""Sphinx: bash scripts/docs.sh builds the site into build/docs."""

import configparser
from pathlib import Path

_SETUP = configparser.ConfigParser()
_SETUP.read(Path(__file__).parents[1] / "setup.cfg")

project = "tinynas"
author = project_copyright = "the tinynas maintainers"
version = release = _SETUP["metadata"]["version"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
exclude_patterns = ["examples", "structures"]
html_theme = "furo"
html_title = f"tinynas {version}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["style"]
html_css_files = ["pages.css"]
