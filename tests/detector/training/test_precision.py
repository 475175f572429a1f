"""bf16 or fp32: the quicker one is taken, and stays for the rest of the run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detector.network import Network
from detector.training import assembly
from detector.training.machine import precision
from detector.training.machine.precision import quicker_precision
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from detector.training.start import load_splits, new_run
from search_spaces.structure import Structure


class Clock:
    """Time that passes in steps alone: so many seconds for each type."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bf16: float, fp32: float) -> None:
        self.now, self.seconds = 0.0, {torch.bfloat16: bf16, None: fp32}
        self.first_is_slow = {torch.bfloat16: 100.0, None: 1.0}
        monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(precision, "probe_step", self.step)

    def step(self, module: nn.Module, images: int, image_size: tuple[int, int]) -> None:
        dtype = module._dtype
        self.now += self.seconds[dtype] * self.first_is_slow.pop(dtype, 1.0)


@pytest.mark.parametrize(
    ("bf16", "fp32", "expected"), [(1.0, 2.0, "bf16"), (2.0, 1.0, "off"), (1.0, 0.95, "bf16"), (1.0, 0.85, "off")]
)
def test_the_quicker_one_is_taken(
    tiny: Structure, monkeypatch: pytest.MonkeyPatch, bf16: float, fp32: float, expected: str
) -> None:
    Clock(monkeypatch, bf16, fp32)
    config = build_config(preset_values("small", tiny))
    chosen, why = quicker_precision(Network(tiny), config, (64, 64), 2)
    assert chosen == expected
    assert f"{bf16:.2g} s in bf16, {fp32:.2g} s in fp32" in why


def test_no_memory_for_a_comparison(tiny: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(precision, "probe_step", fails)
    config = build_config(preset_values("small", tiny))
    assert quicker_precision(Network(tiny), config, (64, 64), 2) == ("bf16", "")


@pytest.mark.parametrize(("settings", "measured"), [([], True), (["epochs=2"], False), (["amp=off"], False)])
def test_a_run_measures_when_it_is_worth_it_and_keeps_what_it_chose(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], measured: bool
) -> None:
    monkeypatch.setattr(assembly, "autocast_type", lambda amp, _: torch.bfloat16 if amp in ("auto", "bf16") else None)
    Clock(monkeypatch, 2.0, 1.0)
    torch.manual_seed(0)
    wanted = ["epochs=100", "batch_size=5", "device=cpu", "workers=0", *settings]
    config = build_config(preset_values("small", tiny), None, wanted)
    said: list[str] = []
    run = new_run(tiny, load_splits(sample, said.append), config, tmp_path / "run", said.append)
    assert any("amp auto: fp32" in line for line in said) == measured
    assert run.config.amp == ("off" if measured else config.amp)
    assert (
        f"amp: {'auto' if run.config.amp == 'auto' else chr(39) + 'off' + chr(39)}"
        in (tmp_path / "run" / "config.yaml").read_text()
    )


def test_measuring_changes_nothing(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Network(tiny)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    quicker_precision(network, build_config(preset_values("small", tiny)), (64, 64), 2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in network.parameters())
