"""What is decided for GPUs and for several processes, as far as a machine without a GPU shows it."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional

from detector.assigners._matching import class_sum
from detector.checkpoint import load_checkpoint
from detector.criterion import DetectionCriterion
from detector.devices import choose_device
from detector.network import Network
from detector.training import assembly
from detector.training.loop import fit
from detector.training.machine import memory, processes
from detector.training.machine.memory import auto_batch, is_out_of_memory
from detector.training.machine.processes import Processes, join_processes, leave_processes
from detector.training.record import state
from detector.training.settings.config import build_config
from detector.training.start import resumed_run
from detector.training.step.module import TrainingModule
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from tests.detector.training.test_training import _run

CUDA = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_each_process_has_a_device(two_gpus: None) -> None:
    assert [choose_device("auto", rank) for rank in range(2)] == [torch.device("cuda", rank) for rank in range(2)]
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    for name in ("auto", "cuda"):
        with pytest.raises(
            UserError, match=r"process 2 of this machine: it has 2 CUDA devices; expected a process for"
        ):
            choose_device(name, 2)
    with pytest.raises(UserError, match=r"device 'cuda:2': this machine has 2 CUDA devices, counted from 0"):
        choose_device("cuda:2")


def test_several_processes_do_not_share_a_gpu(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"device 'cuda:1': 2 processes cannot share a GPU; use --device cuda"):
        join_processes("cuda:1")


@pytest.mark.parametrize(("backend", "left"), [("nccl", False), ("gloo", True)])
def test_a_failed_process_does_not_wait_for_the_others(
    backend: str, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nccl's teardown waits for processes that wait for this one: torchrun sees the end of it only if it is skipped."""
    said: list[Any] = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_backend", lambda: backend)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: said.append("destroyed"))
    monkeypatch.setattr(atexit, "register", said.append)
    leave_processes(together=False)
    assert said == (["destroyed"] if left else [processes._end_at_once])


def test_loader_processes_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "available_cores", lambda: 32)
    cpu = torch.device("cpu")
    assert (assembly._workers(CUDA), assembly._workers(cpu)) == (16, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert (assembly._workers(CUDA), assembly._workers(cpu)) == (2, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert (assembly._workers(CUDA), assembly._workers(cpu)) == (1, 0)


def test_a_gpus_pictures_are_kept_in_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "free_bytes", lambda device: {"cpu": 64 << 30}[device.type])
    assert assembly._cache_bytes(CUDA) == 32 << 30
    assert assembly._cache_bytes(torch.device("cpu")) == 1 << 30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert assembly._cache_bytes(CUDA) == 4 << 30
    monkeypatch.setattr(assembly, "free_bytes", lambda _: 1 << 30)
    assert assembly._cache_bytes(CUDA) == 1 << 30


@pytest.mark.parametrize(("device", "world", "compiled"), [("cuda", 2, False), ("cuda", 1, True), ("cpu", 2, True)])
def test_compiling_is_left_out_where_norms_are_synchronised(
    device: str, world: int, compiled: bool, tiny: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[bool] = []
    monkeypatch.setattr(TrainingModule, "compile_network", lambda _: done.append(True))
    monkeypatch.setattr(assembly, "DistributedDataParallel", lambda module, **_: module)
    config, said = build_config({"compile": True}), list[str]()
    module = TrainingModule(Network(tiny), DetectionCriterion(config.loss))
    assembly._wrapped(module, config, Processes(0, world, torch.device(device)), said.append)
    assert bool(done) is compiled
    assert any("compile: left out" in text for text in said) is not compiled


def test_a_run_goes_on_in_fp16_that_began_in_another_type(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=1)
    fit(run)
    assert load_checkpoint(run.folder / "last.pt").training["scaler"] == {}
    again = resumed_run(run.folder, None, None, silent)
    again.stepper.gradients.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    state.restore(again, load_checkpoint(run.folder / "last.pt"))
    assert again.stepper.gradients.scaler.scale(torch.ones(())) == 4.0


@pytest.mark.parametrize(
    ("error", "memory_is_short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("NCCL Error 1: Cuda failure 'out of memory'"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_words_for_want_of_memory(error: RuntimeError, memory_is_short: bool) -> None:
    assert is_out_of_memory(error) is memory_is_short


def test_a_probe_that_does_not_fit(tiny: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "_cpu_bytes", short)
    module = nn.Conv2d(3, 3, 1)
    with pytest.raises(UserError, match=r"batch auto: out of memory while .* smaller image_size"):
        auto_batch(module, tiny.image_size, 100, 1)


def test_sums_over_classes_are_in_fp64_on_a_cpu_alone() -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    kept = logits.clone()
    total = class_sum(lambda z: z.sigmoid_().square_(), logits)
    assert total.dtype is torch.float64
    assert torch.equal(logits, kept)
    torch.testing.assert_close(total, functional.sigmoid(logits.double()).square().sum(-1))
    assert class_sum(lambda z: z.sigmoid_(), logits.to("meta")).dtype is torch.float32
