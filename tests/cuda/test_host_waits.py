"""How often the host waits for the card in a step, by torch's own count."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from search_spaces.structure import Structure
from tests.cuda.test_training import batches, run_of

LISTED = 6
"""In docs/gpu.md: boxes to learn, candidates, boxes to ignore (twice), positives, and the losses as numbers."""


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_step_waits_no_more_than_listed(
    amp: str, small: Structure, pictures: Path, tmp_path: Path, card: torch.device
) -> None:
    run = run_of(small, pictures, tmp_path / "r", card, amp=amp)
    (batch,) = batches(run, 1)
    run.stepper.run(batch)
    torch.cuda.synchronize()
    skipped = run.stepper.skipped
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run.stepper.run(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in told if "synchroniz" in str(warning.message)]
    if run.stepper.skipped == skipped:  # a step that overflows asks the scaler for its scale besides
        assert len(waits) <= LISTED, waits
    assert waits
