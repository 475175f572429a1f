"""Writing files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name beside `path`, then rename."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def claim_outputs(folder: Path, names: list[str], overwrite: bool) -> None:
    """Make sure that the named files may be written into `folder`, which is made if need be.

    Raises UserError when one exists (unless `overwrite`), or when the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another with --out") from None
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise UserError(f"{folder / existing[0]}: exists already; choose another --out or say --overwrite")
