"""Models on pictures: the same detections from every kind of file, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from detector.data.formats import load_split
from detector.data.sample import write_sample_data
from detector.deploy.openvino import CACHE_VARIABLE
from detector.detector import Detector
from detector.drawing import class_colour, draw_detections
from detector.model_card import VERSION_KEY
from detector.prediction.sources import find_items
from search_spaces.errors import UserError
from tests.detector.deploy.conftest import CATEGORY_IDS, NAMES, picture
from tinynas.cli import main

START_SECONDS, START_RATIO = 0.6, 2.5
"""CPU seconds that a prediction may take: on a slower processor as many times those of importing what it stands on."""
KINDS = ("pt", "onnx-raw", "onnx-nms", "openvino-raw", "openvino-nms")


def predict(model: Path, source: Path, out: Path, *more: str) -> int:
    return main(["predict", str(model), str(source), "--out", str(out), *more])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_file_finds_the_same(kind: str, models: dict[str, Path]) -> None:
    shots = [picture(1, 200, 100), picture(2, 64, 96), picture(3, 50, 700)]
    for expected, found in zip(Detector.load(models["pt"]).detect(shots), Detector.load(models[kind]).detect(shots)):
        assert len(expected) > 3
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=2e-2)


def test_boxes_are_in_the_pictures_pixels(models: dict[str, Path]) -> None:
    detector = Detector.load(models["pt"])
    small = picture(1, 64, 96)
    large = cv2.resize(small, (96 * 4, 64 * 2), interpolation=cv2.INTER_NEAREST)
    (one,) = detector.detect([small])
    # back at the network's size by the same stretch, so that the network sees the same
    (other,) = detector.detect([np.asarray(large, dtype=np.uint8)])
    assert one.boxes_xyxy.max() <= 96
    assert (one.boxes_xyxy >= 0).all()
    assert 300 < other.boxes_xyxy[:, 2].max() <= 384
    assert other.boxes_xyxy[:, 3].max() <= 128


def test_one_call_for_one_picture_and_for_many(models: dict[str, Path], pictures: Path) -> None:
    for kind in KINDS:
        detector = Detector.load(models[kind])
        shots = [picture(seed, 200, 100) for seed in range(3)]
        many = detector.predict(shots, score_threshold=0.1)
        assert [len(found) for found in many] == [len(detector.predict(one, score_threshold=0.1)) for one in shots]
        assert all((found.scores > 0.1).all() and found.image_size == (200, 100) for found in many)
        by_path = detector.predict(pictures / "a" / "one.jpg")
        assert by_path.image_size == (120, 150)
        assert (by_path.scores > 0.3).all()


def test_thresholds(models: dict[str, Path]) -> None:
    shot = picture(1, 100, 100)
    for kind in KINDS:
        detector = Detector.load(models[kind])
        assert list(detector.detect_tensor(np.zeros((0, 3, 64, 96), np.float32))) == []
        assert detector.detect([]) == detector.predict([]) == []
        found = detector.predict(shot, score_threshold=0.25, max_detections=3)
        assert 0 < len(found) <= 3
        assert (found.scores > 0.25).all()
    for change in ({"score": 0.01}, {"iou": 0.5}, {"max_detections": 900}):
        with pytest.raises(UserError, match="export it again"):
            Detector.load(models["onnx-nms"]).with_thresholds(**change)  # type: ignore[arg-type]


def test_thresholds_that_are_built_in(
    models: dict[str, Path], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(models["onnx-nms"], pictures, pictures.parent / "out", "--iou-threshold", "0.5") == 2
    error = capsys.readouterr().err
    assert "nms.onnx: the model cannot have another IoU threshold" in error
    assert "IoU threshold (0.5): NMS is built in" in error
    assert error.count("\n") == 1


def test_an_export_is_evaluated_as_its_checkpoint_is(models: dict[str, Path], tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", 1, 7, (64, 96))
    annotations, _ = load_split(tmp_path / "data", "val")
    expected, *others = (
        Detector.load(models[kind]).evaluate_split(annotations, batch_size=3).detections for kind in KINDS
    )
    assert len(expected.scores) > 20
    for found in others:
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        # two that score the same may change places
        np.testing.assert_allclose(np.sort(found.boxes_xyxy, 0), np.sort(expected.boxes_xyxy, 0), atol=2e-2)


@pytest.mark.parametrize("kind", ["onnx-nms", "openvino-raw"])
def test_running_an_export_imports_no_torch(kind: str, models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom tinynas.cli import main\n"
        f"assert main(['predict', {str(models[kind])!r}, {str(pictures)!r}, '--out', {str(tmp_path / 'out')!r}]) == 0\n"
        "print([name for name in ('torch', 'matplotlib', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts a child's CPU seconds by os.wait4")
@pytest.mark.parametrize("kind", ["onnx-nms", "openvino-nms"])
def test_one_picture_is_done_soon(kind: str, models: dict[str, Path], pictures: Path, tmp_path: Path) -> None:
    """From the command to the files, in CPU seconds, which other processes on the machine hardly move; the best of five."""
    runtime = "onnxruntime" if kind.startswith("onnx") else "openvino"
    for run in range(5):
        words = ["predict", str(models[kind]), str(pictures / "a" / "one.jpg"), "--out", str(tmp_path / str(run))]
        floor = _cpu_seconds("-c", f"import numpy, cv2, {runtime}, PIL.Image, pydantic, typer")
        seconds = _cpu_seconds("-m", "tinynas", *words)
        if seconds < max(START_SECONDS, START_RATIO * floor):
            return
    pytest.fail(f"the last of five runs took {seconds:.2f} s, and its imports {floor:.2f} s")


def _cpu_seconds(*words: str) -> float:
    """What a Python process takes, which must not fail."""
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


def test_a_command_imports_no_other(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom tinynas.cli import main\nassert main(['predict', 'absent.onnx', 'absent.jpg']) == 2\n"
        "print(sorted(name for name in sys.modules if name.startswith('tinynas.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "['tinynas.commands.predict']\n"


def test_what_openvino_compiled_is_kept_where_asked(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = picture(1, 200, 100)
    expected = Detector.load(models["openvino-nms"]).predict(shot)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "kept"))
    kept = []
    for _ in range(2):
        found = Detector.load(models["openvino-nms"]).predict(shot)
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
        kept.append({file.name: file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()})
    assert len(kept[0]) == 1
    assert kept[0] == kept[1]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "kept"))
    with pytest.raises(UserError, match=f"is a file, expected a folder; {CACHE_VARIABLE} names it"):
        Detector.load(models["openvino-nms"])


@pytest.mark.parametrize("kind", ["pt", "openvino-nms"])
def test_folder(
    kind: str, models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(models[kind], pictures, out, "--score-threshold", "0.2") == 0
    printed = capsys.readouterr()
    assert "--every" not in printed.err
    assert "cut.jpg: the image file is cut short" in printed.err
    assert "in 3 images, 1 skipped" in printed.out
    content = json.loads((out / "detections.json").read_text())
    assert [entry["picture"] for entry in content["images"]] == ["a/one.jpg", "b/one.jpg", "two.bmp.png"]
    assert [entry["image"] for entry in content["skipped"]] == ["cut.jpg"]
    for entry in content["images"]:
        assert (entry["width"], entry["height"]) == (150, 120)
        assert cv2.imread(str(out / entry["picture"])) is not None
        for detection in entry["detections"]:
            x1, y1, x2, y2 = detection["box_xyxy"]
            assert 0 <= x1 <= x2 <= 150
            assert 0 <= y1 <= y2 <= 120
            assert detection["score"] > 0.2
            assert detection["name"] == NAMES[detection["label"]]
            assert detection["category_id"] == CATEGORY_IDS[detection["label"]]
    assert any(entry["detections"] for entry in content["images"])


def test_one_picture_and_overwrite(
    models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shot, out = pictures / "a" / "one.jpg", tmp_path / "out"
    assert predict(models["onnx-nms"], shot, out) == 0
    assert predict(models["onnx-nms"], shot, out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert predict(models["onnx-nms"], shot, out, "--overwrite", "--every", "2") == 0
    assert "--every is for videos and streams; all images are processed" in capsys.readouterr().err
    before = shot.read_bytes()
    assert predict(models["onnx-nms"], shot, shot.parent, "--overwrite") == 2
    assert shot.read_bytes() == before


def test_pictures_that_were_drawn_are_not_read_again(
    models: dict[str, Path], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    source = Path(pictures.name)
    found = find_items([str(source)], source / "drawn")
    for out in (source / "drawn", (source / "drawn").resolve()):  # also where one is relative and the other is not
        assert predict(models["pt"], source, out, "--overwrite") == 0
        assert find_items([str(source)], out) == found
    shutil.rmtree(source / "drawn")


def test_pictures_are_not_drawn_over(
    models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (pictures, pictures / "..", pictures.parent):
        assert predict(models["pt"], pictures, out, "--overwrite") == 2
        assert "holds the pictures to look at" in capsys.readouterr().err


def test_other_types_of_pictures_are_named(
    models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(pictures / "a" / "one.jpg", folder / "one.JFIF")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert predict(models["pt"], folder, tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "in 1 images, 1 skipped" in printed.out
    assert "phone.heic" in printed.err


def test_nothing_to_read(
    models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for source, message in (
        (tmp_path / "empty", "no pictures"), (tmp_path / "absent", "no such file"), (pictures / "cut.jpg", "cut short"),
        (pictures / "notes.txt", "not a readable image"),
    ):  # fmt: skip
        assert predict(models["pt"], source, tmp_path / f"out-{source.name}") == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / f"out-{source.name}").exists()
    (tmp_path / "file").write_text("x")
    assert predict(models["pt"], pictures, tmp_path / "file" / "out") == 2
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_what_is_not_a_model(
    models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = onnx.load(models["onnx-raw"])
    for field in foreign.metadata_props:
        if field.key == VERSION_KEY:
            field.value = "1"
    onnx.save(foreign, tmp_path / "older.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for name in ("junk.pt", "junk.onnx", "junk.xml", "junk.bin", "junk.txt"):
        (tmp_path / name).write_bytes(b"junk" * 100)
    (tmp_path / "alone.xml").write_bytes(models["openvino-raw"].read_bytes())
    for name, message in (
        ("older.onnx", "export version 1, this release reads 3; write it again from its checkpoint"),
        ("foreign.onnx", "not an export"), ("junk.pt", "not a checkpoint"), ("junk.onnx", "not an ONNX model"),
        ("junk.xml", "OpenVINO"), ("alone.xml", "alone.bin"), ("junk.txt", "expected one of .engine, .ncnn.param, .onnx"),
        ("absent.onnx", "no such file"),
    ):  # fmt: skip
        assert predict(tmp_path / name, pictures, tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert message in error, name
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (480, 640), (1200, 300)])
def test_drawing(size: tuple[int, int]) -> None:
    height, width = size
    shot = np.full((height, width, 3), 128, dtype=np.uint8)
    generator = np.random.default_rng(0)
    corners = generator.uniform(-10, max(size) + 10, (60, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    labels = generator.integers(0, 30, 60)
    scores = generator.random(60).astype(np.float32)
    drawn = draw_detections(shot, boxes, labels, [f"class {i}" for i in range(30)], scores)
    assert drawn.shape[0] * width == drawn.shape[1] * height
    assert max(drawn.shape) >= 384
    assert (shot == 128).all()
    assert (drawn != 128).any()


def test_drawing_marks_the_box_in_its_class_colour() -> None:
    shot = np.zeros((400, 400, 3), dtype=np.uint8)
    drawn = draw_detections(shot, np.array([[100, 120, 200, 220]], np.float32), np.array([1]), ["a", "b"])
    assert tuple(drawn[170, 100]) == tuple(drawn[219, 150]) == class_colour(1)
    assert not drawn[170, 150].any()
    empty = draw_detections(shot, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ["a"])
    assert not empty.any()


def test_no_two_drawings_share_a_name(models: dict[str, Path], tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for seed, name in enumerate(("a.webp", "a.webp.png", "a.bmp", "A.JPG", "a.jpg")):
        data = cv2.imencode(Path(name).suffix.lower(), picture(seed, 64, 96))[1]
        (source / name).write_bytes(data.tobytes())
    assert predict(models["pt"], source, out) == 0
    entries = json.loads((out / "detections.json").read_text())["images"]
    drawn = [entry["picture"] for entry in entries]
    assert len({name.casefold() for name in drawn}) == len(entries) == 5
    assert all((out / name).is_file() for name in drawn)
    assert {entry["image"]: entry["picture"] for entry in entries}["a.webp.png"] == "a.webp.png"


def test_pictures_behind_links_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "other/a.png"), picture(0, 32, 32))
    (tmp_path / "in/part").symlink_to("../other")
    (tmp_path / "in/loop").symlink_to(".")
    assert [item.name.as_posix() for item in find_items([str(tmp_path / "in")], tmp_path / "out")] == ["part/a.png"]
