"""docs/ablations.md: every command names a structure that is there, with the counts of its row, and it trains."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

from detector.data.sample import write_sample_data
from detector.network import Network
from detector.training.assembly import assemble
from detector.training.machine.processes import join_processes
from detector.training.run import Splits
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from detector.training.start import load_splits
from latency_tables import find_table
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure
from tinynas.explanation import explain

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "ablation_structures.py"
PAGE = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
FOUND = {cells[1].strip("`"): cells for cells in CELLS if cells[1].startswith("`tinynas train ")}
ROWS = {command: cells for command, cells in FOUND.items() if "--teacher" not in command}
TAUGHT = [shlex.split(command) for command in FOUND if "--teacher" in command]
DARKNET = "docs/structures/csp-darknet-s.txt"
COMMANDS = [*ROWS, f"tinynas train {DARKNET} --data coco"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the page's commands find their files."""
    folder = tmp_path_factory.mktemp("ablations")
    assert run_script("--out", str(folder / "ablations")) == 0
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = tmp_path_factory.mktemp("data") / "d"
    write_sample_data(folder, images_train=4, images_val=2, size=(64, 64))
    return load_splits(folder, lambda _: None)


def run_script(*arguments: str) -> int:
    before, sys.argv = sys.argv, [str(SCRIPT), *arguments]
    try:
        return runpy.run_path(str(SCRIPT))["main"]()
    finally:
        sys.argv = before


def parsed(command: str) -> tuple[str, list[str]]:
    """Structure and settings of a `tinynas train` command."""
    words = shlex.split(command)
    assert words[:2] == ["tinynas", "train"]
    assert words[-2:] == ["--data", "coco"]
    rest = words[3:-2]
    assert rest[::2] == ["--set"] * (len(rest) // 2)
    return words[2], rest[1::2]


def test_the_page_has_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script() == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) == 21
    assert [
        line for line in PAGE.splitlines() if line.startswith("|") and any(f"`{row}`" in line for row in ROWS)
    ] == printed


def test_the_page_has_the_counts_of_csp_darknet() -> None:
    totals = explain(resolve_structure(str(ROOT / DARKNET)), find_table("t4")).totals
    counts = f"{totals['params_deploy'] / 1e6:.3f} M params, {totals['conv_macs'] / 1e9:.3f} GMACs"
    assert f"{counts}, {totals['latency_ms']:.2f} ms by the T4 table" in PAGE
    assert f"layers where this one has {totals['layers']}" in PAGE
    assert COMMANDS[-1] in PAGE


def test_files_in_the_way_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "links-up.txt").write_text("mine")
    assert run_script("--out", str(tmp_path)) == 2
    assert "links-up.txt: exists already" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert run_script("--out", str(tmp_path), "--overwrite") == 0
    assert resolve_structure(str(tmp_path / "links-up.txt")).neck.links == "up"


def test_rows_differ_from_s_in_neck_or_head_alone(here: Path) -> None:
    small = resolve_structure("S")
    files = sorted((here / "ablations").iterdir())
    assert {f"ablations/{path.name}" for path in files} == {name for name in map(named, ROWS) if name != "S"}
    for path in files:
        structure = resolve_structure(str(path))
        assert structure.backbone == small.backbone
        assert (structure.neck, structure.head) != (small.neck, small.head)


def named(command: str) -> str:
    return parsed(command)[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_row_counts_and_trains(
    command: str, here: Path, splits: Splits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(here)
    name, settings = parsed(command)
    structure = resolve_structure(name)
    if len(ROWS.get(command, ())) > 3:
        graph = emit_detector(structure)
        counted = [f"{costs.params(graph) / 1e6:.3f}", f"{costs.conv_macs(graph) / 1e9:.3f}"]
        assert ROWS[command][2:4] == counted
    direct = {"image_size": [64, 64], "batch_size": 2, "workers": 0, "device": "cpu", "amp": "off"}
    config = build_config(preset_values("published", structure), None, settings, direct=direct)
    torch.manual_seed(0)
    network = Network(structure.with_classes(splits.train.num_classes).with_image_size(64, 64))
    before = {key: value.clone() for key, value in network.named_parameters()}
    run = assemble(network, splits, config, tmp_path, join_processes("cpu"), lambda _: None)
    losses = run.stepper.run(next(iter(run.train_loader)))
    assert run.stepper.skipped == 0
    assert losses["total"] > 0
    moved = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    assert any(key.startswith("backbone") for key in moved)
    assert any(key.startswith("head") for key in moved)


def test_assigners_of_table_7_are_chosen() -> None:
    chosen = [build_config({}, None, settings).loss.assigner for _, settings in map(parsed, ROWS) if settings]
    assert chosen == ["atss", "sim_ota", "task_aligned", "align_ota"]


def test_distillers_of_table_8_are_chosen() -> None:
    """With a teacher of one's own: what trains with one is tested where distillation is."""
    chosen = []
    for words in TAUGHT:
        assert words[:5] == ["tinynas", "train", "Ns", "--teacher", "best.pt"]
        assert words[-4:] == ["--epochs", "36", "--data", "coco"]
        assert words[5:-4][::2] == ["--set"] * (len(words[5:-4]) // 2)
        config = build_config({}, None, words[5:-4][1::2], direct={"distill": {"teacher": "best.pt"}})
        chosen.append(config.distill.distiller)
    assert chosen == ["mimic", "mgd", "cwd"]
