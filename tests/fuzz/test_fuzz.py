"""A short run of the fuzzer; the long one, of 2,000 inputs each, is `python -m tests.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.run import faults, spoil
from tests.fuzz.targets import TARGETS

INPUTS = 25


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_spoilt_inputs_are_read_or_refused(name: str) -> None:
    found = list(faults(name, 0, INPUTS))
    assert not found, f"input {found[0].number}: {found[0].what}"


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_sound_inputs_are_read_and_spoilt_ones_differ(name: str, tmp_path: Path) -> None:
    sound, spoilt = tmp_path / "sound", tmp_path / "spoilt"
    for root in (sound, spoilt):
        root.mkdir()
        TARGETS[name].build(root)
    assert TARGETS[name].read(sound)
    for number in range(5):
        spoil(spoilt, name, number)
    files = [path.relative_to(sound) for path in sorted(sound.rglob("*")) if path.is_file()]
    assert any((sound / path).read_bytes() != (spoilt / path).read_bytes() for path in files)
