"""What every model format owes: the same boxes from the file alone, and one line for a file that is none."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.deploy import exportable, format_names, format_of, get_format, load_model
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint
from search_spaces.errors import UserError
from tests.detector.deploy.conftest import CATEGORY_IDS, NAMES, _trace_once, picture, tiny  # noqa: F401

FORMATS = format_names()
HERE = [name for name in FORMATS if importlib.util.find_spec(get_format(name).RUNTIME) is not None]


@pytest.fixture(scope="module")
def files(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """A model file of every format that is written here, with free batch and raw outputs where it has the choice."""
    folder = tmp_path_factory.mktemp("formats")
    made = {"torch": folder / "tiny.pt"}
    save_checkpoint(tiny, made["torch"])
    for name in exportable():
        if name not in HERE:
            continue
        made[name] = folder / f"{name}{get_format(name).SUFFIXES[0]}"
        batch = None if get_format(name).BATCHES else 1
        export_checkpoint(tiny, made[name], name, ExportSettings(output="raw", batch=batch))
    return made


def test_no_two_formats_share_a_suffix() -> None:
    suffixes = [get_format(name).SUFFIXES[0] for name in FORMATS]
    assert len(set(suffixes)) == len(FORMATS)
    for name, suffix in zip(FORMATS, suffixes):
        assert format_of(Path(f"model{suffix}")) is get_format(name)


@pytest.fixture(params=FORMATS)
def runnable(request: pytest.FixtureRequest) -> str:
    """A format whose runtime is installed."""
    name: str = request.param
    if name not in HERE:
        pytest.skip(f"{get_format(name).RUNTIME} is not installed")
    return name


def test_the_same_boxes_from_the_file_alone(runnable: str, files: dict[str, Path]) -> None:
    expected, detector = Detector.load(files["torch"]), Detector.load(files[runnable])
    assert (detector.class_names, detector.card.category_ids) == (NAMES, CATEGORY_IDS)
    assert detector.card.structure == expected.card.structure
    assert detector.structure.head.num_classes == 3
    assert detector.card.tool_version
    shots = [picture(seed, 200, 100) for seed in range(8)]
    for count in (1, 3, 8):
        for one, other in zip(expected.detect(shots[:count]), detector.detect(shots[:count]), strict=True):
            assert len(one) > 3
            np.testing.assert_array_equal(one.labels, other.labels)
            np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=2e-2)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_model_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    for suffix in get_format(name).SUFFIXES:
        (tmp_path / f"junk{suffix}").write_bytes(b"junk" * 100)
    with pytest.raises(UserError, match="junk"):
        load_model(tmp_path / f"junk{get_format(name).SUFFIXES[0]}")


def test_a_device_that_is_not_there_is_refused(runnable: str, files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="tpu"):
        load_model(files[runnable], device="tpu")


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("torch", "torch_export")])
def test_a_missing_runtime_names_the_package(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = get_format(name)
    for suffix in plugin.SUFFIXES:
        (tmp_path / f"m{suffix}").write_bytes(b"junk")
    monkeypatch.setitem(sys.modules, plugin.RUNTIME, None)
    with pytest.raises(UserError, match=f"running it needs {plugin.RUNTIME}; pip install"):
        load_model(tmp_path / f"m{plugin.SUFFIXES[0]}")


@pytest.mark.parametrize("name", exportable())
def test_what_a_format_has_not_is_refused_with_the_reason(name: str, tiny: Checkpoint, tmp_path: Path) -> None:  # noqa: F811
    plugin = get_format(name)
    wishes = (
        ("OUTPUTS", "nms", {}),
        ("INPUTS", "picture", {"input": "picture"}),
        ("PRECISIONS", "half", {"half": True}),
    )
    for kind, value, options in wishes:
        if value in getattr(plugin, kind):
            continue
        settings = ExportSettings(**{"output": "nms" if value == "nms" else "raw"} | options)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=f"not for --format {name}"):
            export_checkpoint(tiny, tmp_path / f"m{plugin.SUFFIXES[0]}", name, settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_importing_a_format_imports_no_runtime(name: str) -> None:
    spec = importlib.util.find_spec(f"detector.deploy.{name}")
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text()).body:
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not {module.partition(".")[0] for module in modules} & {"torch", "onnx", "onnxruntime", "openvino"}
