"""Runtimes that may not be installed, and what goes wrong in them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError


def runtime(module: str, path: Path, package: str | None = None) -> Any:
    """The runtime's module. Raises UserError, which names the package to install, when it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name != module.partition(".")[0]:
            raise
        raise UserError(f"{path}: running it needs {module}; pip install {package or module}") from None


def cannot_run(path: Path, kind: str, error: Exception, *, line: int) -> UserError:
    """A damaged or foreign file. line: of the runtime's message, the one that tells."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{path}: not {kind} ({lines[line][:120]}); export it again")


def only_cpu(path: Path, device: str | None, runs: str) -> None:
    """Raise UserError for a device that this format is not run on."""
    if device not in (None, "auto", "cpu"):
        raise UserError(f"{path}: --device {device}: {runs} runs on cpu here")
