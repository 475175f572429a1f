"""What a GPU is waited for in a training step: the operations whose result's size or value the host has to know.

Counted on the CPU by what is called; `tests/cuda/test_host_waits.py` has torch's own count. The list is in docs/gpu.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from detector import assigners
from detector.data.loader import Batch
from detector.training.run import Run
from search_spaces.structure import Structure
from tests.detector.training.test_training import _run

WAITING = {
    "aten.nonzero", "aten._local_scalar_dense", "aten.is_nonzero", "aten.masked_select", "aten._unique2",
    "aten.unique_consecutive", "aten.unique_dim", "aten.repeat_interleave", "aten.equal",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Counts, by name, operations that wait; a mask as an index is one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).rsplit(".", 1)[0]
        if name in WAITING:
            self.found[name] += 1
        elif name.startswith("aten.index"):
            masks = [index for index in args[1] or () if isinstance(index, torch.Tensor)] if len(args) > 1 else []
            self.found["mask as an index"] += any(index.dtype is torch.bool for index in masks)
        return function(*args, **(kwargs or {}))


def waits_of_a_step(run: Run) -> Counter[str]:
    run.train_set.set_epoch(0)
    run.stepper.module.train()
    batch: Batch = next(iter(run.train_loader))
    run.stepper.run(batch)
    with Waits() as waits:
        # tolist of a tensor on a GPU is one copy; on a CPU it is one read for each number, which are not counted here
        found = run.stepper.gradients.of(batch)
    assert float(found["num_positives"]) > 0
    return +waits.found


@pytest.mark.parametrize("name", assigners.names())
def test_gradients_wait_for_the_listed_numbers(name: str, tiny: Structure, sample: Path, tmp_path: Path) -> None:
    found = waits_of_a_step(_run(tiny, sample, tmp_path / "r", loss={"assigner": name}))
    expected = {"aten.nonzero": 5}  # boxes to learn, candidates, boxes to ignore (twice), positives
    if name == "atss":
        expected |= {"aten.unique_consecutive": 1}  # the levels' sizes
    assert dict(found) == expected


def test_a_mask_as_an_index_would_be_seen() -> None:
    with Waits() as waits:
        values = torch.arange(4.0)
        values[values > 1]
        values[torch.tensor([1, 2])]
    assert +waits.found == {"mask as an index": 1}
