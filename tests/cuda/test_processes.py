"""Several processes: nccl alone and, with two cards, together; gloo with two on one card, norms synchronised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.structure import Structure
from search_spaces.text import format_structure

ROOT = str(Path(__file__).parents[2])


def launched(processes: int, backend: str, structure: Structure, data: Path, out: Path) -> dict[str, float]:
    """The losses, by step, of two steps on that many processes, with the same global batch."""
    file = out / "structure.txt"
    out.mkdir()
    file.write_text(format_structure(structure))
    words = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    done = subprocess.run(
        [*words, "-m", "tests.cuda.one_of_several", backend, str(file), str(data), str(out)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, float] = torch.load(out / "losses.pt")
    return found


def test_nccl_of_one_process(small: Structure, pictures: Path, tmp_path: Path, card: torch.device) -> None:
    alone = launched(1, "none", small, pictures, tmp_path / "alone")
    together = launched(1, "nccl", small, pictures, tmp_path / "nccl")
    assert together == pytest.approx(alone, rel=1e-2)


def test_two_processes_on_one_card_are_one(
    small: Structure, pictures: Path, tmp_path: Path, card: torch.device
) -> None:
    """Through gloo: SyncBatchNorm, DistributedDataParallel and the criterion's divisors on CUDA tensors."""
    alone = launched(1, "none", small, pictures, tmp_path / "alone")
    together = launched(2, "gloo", small, pictures, tmp_path / "gloo")
    assert together == pytest.approx(alone, rel=3e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one card or none")
def test_nccl_of_two_processes(small: Structure, pictures: Path, tmp_path: Path) -> None:
    alone = launched(1, "none", small, pictures, tmp_path / "alone")
    together = launched(2, "nccl", small, pictures, tmp_path / "nccl")
    assert together == pytest.approx(alone, rel=3e-2)


@pytest.mark.slow
def test_two_processes_run_anywhere(mobile: Structure, pictures: Path, tmp_path: Path) -> None:
    """The same program on CPUs, so that a rehearsal runs it; norms have statistics of each process's own images there."""
    found = launched(2, "gloo", mobile, pictures, tmp_path / "gloo")
    assert len(found) == 2
    assert all(value == value for value in found.values())
