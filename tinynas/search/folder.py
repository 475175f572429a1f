"""A search's output folder while it runs: held by one process at a time, with what a later `--resume` needs.

`.search/` inside it holds the settings and the latest state; it goes when the search is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError
from search_spaces.files import check_folder, lock, write_text

UNFINISHED = ".search"
SAVE_EVERY_S = 3.0


class SearchFolder:
    """What a running search keeps in its folder. Make one with `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._saved = folder, time.monotonic()

    @property
    def unfinished(self) -> Path:
        return self.folder / UNFINISHED

    @property
    def _settings(self) -> Path:
        return self.unfinished / "settings.json"

    def state_path(self, part: int = 0) -> Path:
        return self.unfinished / f"state-{part}.npz"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Forget an earlier unfinished search, and note the settings of this one."""
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir(parents=True)
        write_text(self._settings, json.dumps(settings, indent=1) + "\n")

    def continue_(self, settings: Mapping[str, Any]) -> None:
        """Hold `settings` against those the unfinished search began with. Raises UserError listing the differences."""
        try:
            before = json.loads(self._settings.read_text())
        except (OSError, ValueError):
            raise UserError(f"{self.folder}: no unfinished search to resume; start one without --resume") from None
        found = differences(before, json.loads(json.dumps(settings)))
        if found:
            raise UserError(
                f"{self.folder}: --resume with other settings than the search began with: {'; '.join(found)}; repeat "
                "the settings as they were, or start again with --overwrite"
            )

    def is_unfinished(self) -> bool:
        """Whether there is a search to resume."""
        return self._settings.is_file()

    def due(self) -> bool:
        """Whether the state was last saved long enough ago."""
        if time.monotonic() - self._saved < SAVE_EVERY_S:
            return False
        self._saved = time.monotonic()
        return True

    def finish(self) -> None:
        """The search is complete: nothing is left to resume."""
        shutil.rmtree(self.unfinished, ignore_errors=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[SearchFolder]:
    """Hold the folder (made if need be, with those it lies in; removed again if it stays empty) for this process.

    The lock is on the folder itself and dies with the process. Raises UserError when another run holds it, and when it
    cannot be made.
    """
    check_folder(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(
            descriptor,
            f"{folder}: in use by another search that is still running; wait for it, or choose another --out",
        )
        yield SearchFolder(folder)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One entry per setting that differs: `seed: 0 then, 1 now`."""
    flat_before, flat_now = _flat(before), _flat(now)
    keys = [*flat_before, *(key for key in flat_now if key not in flat_before)]
    return [
        f"{key}: {flat_before.get(key, 'not set')} then, {flat_now.get(key, 'not set')} now"
        for key in keys
        if flat_before.get(key) != flat_now.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
