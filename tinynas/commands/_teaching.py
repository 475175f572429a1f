"""What the options about a teacher say, and when they say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search_spaces.errors import UserError


def teaching(teacher: Path | None, classes: str | None, unlabelled: list[Path] | None = None) -> dict[str, Any] | None:
    """The settings below `distill` that the options stand for; None without any."""
    if classes is not None and classes not in ("same", "shared"):
        raise UserError(f"--teacher-classes {classes!r}: expected same or shared")
    given = {
        "teacher": None if teacher is None else str(teacher), "teacher_classes": classes,
        "unlabelled": None if unlabelled is None else [str(folder) for folder in unlabelled],
    }  # fmt: skip
    return {key: value for key, value in given.items() if value is not None} or None


def refuse_without_teacher(settings: list[str], options: dict[str, Any]) -> None:
    """Raise UserError for what would do nothing where there is no teacher."""
    if "teacher_classes" in options:
        raise UserError("--teacher-classes does nothing without --teacher; say both, or neither")
    idle = next(filter(of_teacher, settings), None)
    if idle is not None and "unlabelled" not in options:
        raise UserError(f"--set {idle}: does nothing without a teacher; say --teacher too, or leave it out")


def of_teacher(text: str) -> bool:
    """Whether a setting, `distill.weight=1`, means nothing where there is no teacher."""
    return text.startswith("distill.") and not text.startswith(("distill.teacher=", "distill.unlabelled="))
