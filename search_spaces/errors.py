"""The one exception type for mistakes a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LONGEST, _MOST_NAMES = 2000, 40


class UserError(Exception):
    """A wrong input: one line that says what, where, what was expected and the remedy.

    The command line prints the line and exits with code 2, without a traceback. What the message quotes (other
    libraries' messages, names of files) neither breaks the line nor fills the screen.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(part.strip() for part in message.splitlines())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST * 2 // 3]} ... {line[-_LONGEST // 4 :]}")


def nearest(name: str, choices: Iterable[str]) -> str:
    """The closing half of an "unknown name" message: the nearest choices first, then all of them; of hundreds, some."""
    known = sorted(choices)
    lowered = {choice.lower(): choice for choice in known}
    named = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    everything = f"known: {listed(known, _MOST_NAMES)}"
    return f"did you mean {' or '.join(named)}? ({everything})" if named else everything


def listed(names: Sequence[str], most: int, of: str = "") -> str:
    """`a, b and 3 more`: at most `most` names in full; `of` says more of what."""
    more = f" and {len(names) - most} more{of and f' {of}'}" if len(names) > most else ""
    return ", ".join(names[:most]) + more
