"""The version of tinynas that is at work, for what files say of their making."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def tool_version() -> str:
    """As installed, `0.1.0`; `unknown` where the package is run from a folder without being installed."""
    try:
        return version("tinynas")
    except PackageNotFoundError:
        return "unknown"
