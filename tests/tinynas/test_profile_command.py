"""`tinynas profile` and `tinynas tables` from the command line, on a device that is a formula."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import predict, profiler, shards, verify
from latency_tables.tables import COLUMNS, read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.space import load_space
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime
from tinynas import sampling
from tinynas.cli import main
from tinynas.commands import profile as command
from tinynas.verification import Verification

ID = "chip-openvino-fp32-b1-t1"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """An empty user folder, the fake device, and few candidates to draw kernels from."""
    monkeypatch.setenv("TINYNAS_TABLES", str(tmp_path))
    monkeypatch.setattr(command, "MEMBERS", 4)
    for module in (profiler, verify):
        monkeypatch.setattr(module, "load_plugin", lambda package, name: fake_runtime)
    shards._gauges.clear()
    yield tmp_path
    shards._gauges.clear()


def profiled(user: Path, *more: str) -> int:
    return main(["profile", "--name", "chip", "--spaces", "mob", "--image-sizes", "64", "--target-error", "0", *more])


def test_profile_then_verify_then_list(user, capsys):
    assert profiled(user, "--short-name", "mine") == 0
    told = capsys.readouterr().out
    assert f"wrote {user / ID}.csv: " in told
    counts, measured = read_table(user / f"{ID}.csv").counts(), read_table(user / f"{ID}.csv").metadata.measured
    assert f"{counts['measured']} kernels measured, {counts['fitted']} fitted" in told
    assert measured.reach == "spaces mob, 64 px, 1,80 classes"
    words = ["mine", "--spaces", "mob", "--image-sizes", "64", "--number", "6", "--seed", "3"]
    picture = user / "plots" / "scatter.png"
    more = ["--fit-overhead", "--fit-number", "4", "--store", "--plot", str(picture), "--json"]
    assert main(["tables", "verify", *words, *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["each"]) == told["detectors"] == 6
    # the device adds exactly this to every network
    assert told["overhead_ms"] == pytest.approx(fake_runtime.OVERHEAD_MS, abs=0.1)
    assert told["median"] < 3
    assert told["kendall_tau"] > 0.8
    assert "4 other random detectors" in told["scale_and_overhead"]
    assert "none of them checked" in told["scale_and_overhead"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    stored = read_table(user / f"{ID}.csv").metadata
    assert stored.overhead_ms == told["overhead_ms"]
    assert stored.error["median"] == told["median"]
    assert main(["profile", "--verify", *words]) == 0  # as it was spelled once
    assert "scale_and_overhead: as stored before the check" in capsys.readouterr().out
    assert main(["tables", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    mine = next(row for row in rows if row["id"] == ID)
    assert mine["short_names"] == ["mine"]
    assert mine["sources"]["measured"] > 0.3
    assert mine["path"] == str(user / f"{ID}.csv")
    assert main(["tables"]) == 0
    shown = capsys.readouterr().out
    assert all(row["id"] in shown for row in rows)  # no id is folded
    names = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if " --device " in line}
    assert names[ID] == ["--device", "mine", "--device", "cpu"], "of the host's tables the user's come first"
    assert names["t4-tensorrt-fp16-b1"] == ["--device", "t4"]
    assert f"{told['median']:.1f} % median error" in shown
    assert f"yours: {user}" in shown


def test_the_command_that_it_ends_with_checks_the_table(user, capsys, monkeypatch):
    monkeypatch.setattr(command, "MEMBERS", 64)
    assert profiled(user) == 0
    advice = capsys.readouterr().out.splitlines()[-1].removeprefix("check it with: ")
    words = shlex.split(advice)
    assert words[:3] == ["tinynas", "tables", "verify"]
    assert main([*words[1:], "--number", "4", "--fit-number", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["drawn_from"].split()[0], told["image_sizes"]) == ("mob", "64x64 to 64x64")
    assert told["largest_extrapolated_share"] < 10


def small(classes):
    structure = resolve_structure("Ns").with_image_size(64, 64)
    return emit_detector(replace(structure, head=replace(structure.head, num_classes=classes)))


def test_any_number_of_classes_lies_within_the_default(user, monkeypatch):
    monkeypatch.setattr(command, "MEMBERS", 64)
    assert profiled(user) == 0
    table = read_table(user / f"{ID}.csv")
    for classes in (1, 3, 20, 80):
        assert predict(small(classes), table, max_extrapolated=1.0).shares["extrapolated"] < 0.02
    beyond = predict(small(200), table, max_extrapolated=1.0)
    detect = next(site for site in beyond.sites if site.site.kernel.kind == "detect")
    assert detect.origins[-1] == 1


def test_a_space_of_ones_own(user, capsys, tmp_path):
    import yaml

    space = load_space("mob").model_dump(mode="json")
    space["name"] = "wide"
    space["stages"][4]["depth"] = [1, 1]
    space["stem"]["out"] = [24, 24]
    path = tmp_path / "wide_space.yaml"
    path.write_text(yaml.safe_dump(space))
    command_line = ["profile", "--name", "chip", "--spaces", str(path), "--image-sizes", "64", "--target-error", "0.1"]
    assert main(command_line) == 0
    table = read_table(user / f"{ID}.csv")
    stems = {tuple(row[:2]) for group, rows in table.rows.items() if group.kind == "stem" for row in rows}
    assert stems == {(3.0, 24.0)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "say --name CHIP to profile this machine; to check a table: tinynas tables verify TABLE"),
        (["--name", "chip", "--spaces", "mop"], "no space 'mop'"),
        (["--name", "chip", "--image-sizes", "640..256"], "the smaller first: 256..640"),
        (["--name", "chip", "--image-sizes", "650"], "650 is not a multiple of 32"),
        (["--name", "chip", "--num-classes", "many"], "--num-classes 'many': whole numbers"),
        (["--name", "chip", "--num-classes", "0"], "--num-classes '0': whole numbers"),
        (["--name", "a chip"], "table a chip-openvino-fp32-b1-t1: id:"),
        (["--name", "chip", "--short-name", "My Chip"], "short_names.1: 'My Chip' found; lower-case letters"),
        (["--name", "chip", "--precision", "fp16"], "runtime openvino measures fp32"),
        (["--name", "chip", "--store"], "no such option: --store"),
        (["--name", "chip", "--verify", "t4"], "no such option: --name"),
        (["--verify", "t4", "--plot", "."], "it is a folder, expected a file to write; choose another --plot"),
        (["--verify", "v100-tensorrt-fp16-b32"], "is for batch 32; networks are measured at batch 1 only"),
        (["--name", "chip", "--workers", "2", "--backend", "spark"], "unknown backend 'spark'"),
        (["--verify", "nothing.csv"], "nothing.csv: no such file; expected a latency table"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(user, capsys, arguments, expected):
    assert main(["profile", *arguments]) == 2
    lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert expected in lines[-1]
    assert not list(user.glob("*chip*"))


def test_partial_of_another_time_needs_resume(user, capsys):
    (user / f"{ID}.partial.csv").write_text(",".join(COLUMNS) + "\nconv,8,")
    assert profiled(user) == 2
    assert "--resume" in capsys.readouterr().err
    assert profiled(user, "--resume") == 0


def test_ctrl_c_keeps_what_was_measured(user, capsys, monkeypatch):
    real, calls = fake_runtime.measure, []

    def measure(groups, **options):
        calls.append(groups)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(groups, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fake_runtime, "measure", measure)
        assert profiled(user) == 130
    error = capsys.readouterr().err
    assert "go on with the same command and --resume" in error
    kept = (user / f"{ID}.partial.csv").read_text().splitlines()
    assert len(kept) == 1 + sum(len(batch) for groups in calls[:3] for batch in groups)
    assert profiled(user, "--resume") == 0
    assert set(kept) <= set((user / f"{ID}.csv").read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("conv,8,8,1,1,8,8,relu,0,-1,0,measured", "sizes and latency must be positive"),
        ("conv,8,8,1,1,8,8,relu,0,fast,0,measured", "'fast' found, a number expected"),
        ("conv,8,8,1,1,8,8", "7 cells found, 12 expected"),
    ],
)
def test_a_damaged_partial_file_is_refused(user, capsys, line, message):
    path = user / f"{ID}.partial.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    assert profiled(user, "--resume") == 2
    error = capsys.readouterr().err
    assert message in error
    assert f"remove {path}" in error


def test_detectors_that_are_checked_are_never_fitted_to():
    spaces, sizes = sampling.parse_spaces("mob,res"), sampling.parse_image_sizes("256..320")
    job = Verification(device="cpu", spaces=spaces, sizes=sizes, num_classes=80, number=9, seed=5, fit_number=9)
    checked, fitted = job.detectors()
    assert (len(checked), len(fitted)) == (9, 9)
    assert not set(checked) & set(fitted)
    again, _ = job.detectors()
    assert list(again) == list(checked)
    other, _ = Verification(
        device="cpu", spaces=spaces, sizes=sizes, num_classes=80, number=9, seed=6, fit_number=9
    ).detectors()
    assert not set(other) & set(checked)
    assert {name.split()[0] for name in checked} == {"mob", "res"}
    assert len({name.split()[1] for name in checked}) == 3


def test_a_space_with_too_few_detectors_is_an_error_not_a_loop(monkeypatch):
    monkeypatch.setattr(sampling, "TRIES", 50)
    space = load_space("mob")
    one = space.model_copy(update={
        "stem": space.stem.model_copy(update={"out": (16, 16)}),
        "stages": tuple(stage.model_copy(update={"out": (width, width), "hidden": (2.0, 2.0), "depth": (1, 1),
                                                 "kernels": (3,)})
                        for stage, width in zip(space.stages, (16, 32, 64, 64, 128))),
    })  # fmt: skip
    sizes = sampling.parse_image_sizes("64,96")
    with pytest.raises(UserError, match="4 different detectors asked for, only 2 found in mob at these image sizes"):
        sampling.random_detectors([one], sizes, 4, num_classes=80, seed=[0])
    with pytest.raises(UserError, match="1 different detectors asked for, only 0 found"):
        Verification(
            device="cpu", spaces=[one], sizes=sizes, num_classes=80, number=2, seed=0, fit_number=1
        ).detectors()


def test_image_sizes_as_written():
    assert sampling.parse_image_sizes("256..320") == [(256, 256), (288, 288), (320, 320)]
    assert sampling.parse_image_sizes("416, 384x640,416") == [(416, 416), (384, 640)]
    for text in ("", "256..", "320x256..640", "a..b"):
        with pytest.raises(UserError):
            sampling.parse_image_sizes(text)


def test_populations_hold_the_ends_of_the_space():
    space = load_space("mob")
    graphs = list(sampling.populations([space], [(64, 64), (96, 96)], [1, 80], members=3, seed=0))
    assert [graph.image_size for graph in graphs] == [(64, 64), (64, 64), (96, 96), (96, 96)]
    stem = next(op for op in graphs[0] if op.path == "backbone.stem")
    widths = np.asarray(stem.shape.channels)
    assert widths.shape == (5,)
    assert (widths.min(), widths.max()) == space.stem.out
