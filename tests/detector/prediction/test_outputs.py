"""What is written: every format, drawings, crops; whole after Ctrl-C, and nothing half."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import pytest

from detector.data.formats import load_split
from detector.data.image import Pixels
from detector.detections import Detections
from detector.prediction.frames import Frame, Looked
from detector.prediction.outputs import Heading, _crops, _drawn, format_names, open_output
from detector.prediction.reading import count_frames
from detector.prediction.run import Tally, Wishes, claim_folder, predict, wished_formats
from detector.prediction.sources import Item, Kind, find_items
from search_spaces.errors import UserError
from tests.detector.prediction.clips import (
    CARD,
    FPS,
    HEIGHT,
    NAMES,
    WIDTH,
    clip,
    detections,
    find_blocks,
    frame,
    left_edge,
    shot,
)


def looked(index: int | None = None, name: str = "clip.mp4", ids: Sequence[int] | None = None, **more: Any) -> Looked:
    one = frame(index, name, **more)
    return Looked(one, find_blocks([one.pixels])[0], None if ids is None else np.array(ids))


def written(name: str, out: Path, *shots: Looked, skipped: tuple[tuple[str, str], ...] = ()) -> Path:
    output = open_output(name, out, Heading("m.onnx", CARD, {PurePath("a.jpg"): PurePath("a.jpg")}))
    for one in shots:
        output.write(one)
        (path,) = [out / "x"] if name not in ("jsonl", "yolo") else list(out.iterdir())[:1]
        assert name in ("jsonl", "yolo") or not any(not entry.name.startswith(".") for entry in out.iterdir())
    (path,) = output.close(skipped)
    assert not list(out.rglob(".*"))
    return path


def test_json(tmp_path: Path) -> None:
    path = written("json", tmp_path, looked(name="a.jpg"), looked(3, ids=[5]), skipped=(("b.jpg", 'say "no"'),))
    content = json.loads(path.read_text())
    assert content["class_names"] == list(NAMES)
    assert content["skipped"] == [{"image": "b.jpg", "reason": 'say "no"'}]
    picture, moving = content["images"]
    assert (picture["image"], picture["picture"], picture["width"], picture["height"]) == (
        "a.jpg",
        "a.jpg",
        WIDTH,
        HEIGHT,
    )
    assert "frame" not in picture
    assert (moving["frame"], moving["seconds"]) == (3, 0.12)
    assert moving["detections"][0]["box_xyxy"] == [left_edge(3), 30, left_edge(3) + 32, 54]
    assert moving["detections"][0]["track"] == 5
    assert "track" not in picture["detections"][0]


def test_json_lines_can_be_read_along(tmp_path: Path) -> None:
    output = open_output("jsonl", tmp_path, Heading("m", CARD))
    for index in range(3):
        output.write(looked(index, ids=[-1]))
        lines = (tmp_path / "detections.jsonl").read_text().splitlines()
        assert [json.loads(line)["frame"] for line in lines] == list(range(index + 1))
    assert json.loads(lines[0])["detections"][0]["track"] is None
    assert output.close(()) == [tmp_path / "detections.jsonl"]


def test_csv(tmp_path: Path) -> None:
    path = written("csv", tmp_path, looked(name='a "b", c.jpg'), looked(2, ids=[9]))
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert [row["image"] for row in rows] == ['a "b", c.jpg', "clip.mp4"]
    assert [(row["frame"], row["track"], row["name"], row["category_id"]) for row in rows] == [
        ("", "", "block", "7"), ("2", "9", "block", "7"),
    ]  # fmt: skip
    assert float(rows[1]["x1"]) == left_edge(2)


def test_yolo_names_are_unique_and_readable(tmp_path: Path) -> None:
    folder = written(
        "yolo", tmp_path, looked(name="s/a.jpg"), looked(name="s/a.png"), looked(name="s/A.bmp"), looked(4)
    )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt"))
    assert names == ["classes.txt", "clip.mp4/clip_000004.txt", "s/A-3.txt", "s/a-2.txt", "s/a.txt"]
    label, *numbers = (folder / "s/a.txt").read_text().split()
    centre = (left_edge(0) + 16) / WIDTH, 42 / HEIGHT, 32 / WIDTH, 24 / HEIGHT, 0.9
    assert label == "0"
    np.testing.assert_allclose([float(number) for number in numbers], centre, atol=1e-5)
    assert (folder / "classes.txt").read_text().splitlines() == list(NAMES)


def test_coco_is_read_by_the_projects_own_reader(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(tmp_path / name), shot())
    out = tmp_path / "out"
    out.mkdir()
    path = written("coco", out, looked(name="a.jpg"), looked(name="b.jpg", ids=[4]))
    content = json.loads(path.read_text())
    assert [row["id"] for row in content["annotations"]] == [1, 2]
    assert content["annotations"][0]["score"] == pytest.approx(0.9)
    assert content["annotations"][1]["track_id"] == 4
    path.rename(tmp_path / "_annotations.coco.json")
    (tmp_path / "train").mkdir()
    for name in ("a.jpg", "b.jpg", "_annotations.coco.json"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    loaded, _ = load_split(tmp_path, "train")
    assert loaded.boxes_xyxy.tolist() == [[8, 30, 40, 54]] * 2
    # the second class has no box, and its name any letters
    assert [loaded.class_names[label] for label in loaded.labels] == ["block"] * 2


def test_coco_names_frames(tmp_path: Path) -> None:
    content = json.loads(written("coco", tmp_path, looked(12)).read_text())
    assert content["images"] == [
        {"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "clip.mp4/clip_000012.jpg", "video": "clip.mp4",
         "frame_index": 12}
    ]  # fmt: skip


@pytest.mark.parametrize("name", format_names())
def test_without_a_frame_there_is_no_file(name: str, tmp_path: Path) -> None:
    assert open_output(name, tmp_path / "out", Heading("m", CARD)).close([("a", "b")]) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", format_names())
def test_where_nothing_can_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    output = open_output(name, tmp_path / "out", Heading("m", CARD))
    with pytest.raises(UserError, match="cannot be written"):
        output.write(looked(0))


def frames_of(path: Path) -> list[Pixels]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        whole, pixels = capture.read()
        if not whole:
            return frames
        frames.append(pixels)


def drawn(tmp_path: Path, *shots: Looked, every: int = 1) -> list[Pixels]:
    output = _drawn.Writer(tmp_path, Heading("m", CARD, {PurePath("clip.mp4"): PurePath("clip.mp4")}), every)
    for one in shots:
        output.write(one)
    (path,) = output.close(())
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
    return frames_of(path)


def test_a_drawn_video_has_the_same_frames_with_boxes(tmp_path: Path) -> None:
    frames = drawn(tmp_path, *(looked(i) for i in range(8)))
    assert len(frames) == 8
    factor = frames[0].shape[1] // WIDTH  # small ones are enlarged
    for index, pixels in enumerate(frames):
        red = (pixels[..., 2].astype(int) - pixels[..., 0] > 80).any(axis=0)
        assert abs(int(np.flatnonzero(red)[0]) - factor * left_edge(index)) <= 3 * factor


def test_a_drawn_video_lasts_as_long(tmp_path: Path) -> None:
    # a phone's: the third frame comes a second late
    times = [0, 1 / FPS, 1 + 2 / FPS, 1 + 3 / FPS]
    assert len(drawn(tmp_path, *(looked(i, seconds=t) for i, t in enumerate(times)))) == 4 + FPS
    (tmp_path / "clip.mp4").unlink()
    # times that stand still or run wild: every frame once at least, and a minute on end at most
    assert len(drawn(tmp_path, *(looked(i, seconds=5.0) for i in range(3)))) == 3  # and a video may begin late
    (tmp_path / "clip.mp4").unlink()
    assert len(drawn(tmp_path, *(looked(i, seconds=t) for i, t in enumerate([0, 1e9, 1e9 + 0.04])))) == 3 + 60 * FPS


def test_a_drawn_stream_keeps_time(tmp_path: Path) -> None:
    # twice as fast as it said
    assert len(drawn(tmp_path, *(looked(i, seconds=i / FPS / 2, live=True) for i in range(40)))) in (20, 21)
    (tmp_path / "clip.mp4").unlink()
    # gone for a minute: one second of it is shown
    times = [0, 1 / FPS, 60, 60 + 1 / FPS, 60 + 2 / FPS]
    assert len(drawn(tmp_path, *(looked(i, seconds=t, live=True) for i, t in enumerate(times)))) == 5 + FPS


def test_every_nth_frame_plays_at_the_nth_part_of_the_rate(tmp_path: Path) -> None:
    assert len(drawn(tmp_path, *(looked(i) for i in range(0, 40, 4)), every=4)) == 10
    assert cv2.VideoCapture(str(tmp_path / "clip.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(FPS / 4)


@pytest.mark.parametrize("size", [(401, 301), (64, 48), (1, 1)])
def test_frames_of_any_size_are_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    name = PurePath("clip.mp4")
    shots = [
        Looked(
            Frame(name=name, pixels=pixels, index=i, seconds=i / FPS, fps=FPS), detections([], [], size_hw=size[::-1])
        )
        for i in range(3)
    ]
    # and a stream that comes back in another size
    larger = Frame(name=name, pixels=shot(), index=3, seconds=3 / FPS, fps=FPS)
    assert len(drawn(tmp_path, *shots, Looked(larger, find_blocks([larger.pixels])[0]))) == 4


def test_where_things_are_drawn() -> None:
    names = ("a.jpg", "A.JPG", "a.webp", "a.webp.png", "b.mp4", "b.avi", "b.avi.mp4", "c.gif")
    kinds = (Kind.PICTURE,) * 4 + (Kind.VIDEO,) * 4
    places = _drawn.drawn_places([Item(kind, name, PurePath(name)) for kind, name in zip(kinds, names)])
    assert places[PurePath("a.jpg")].name == "a.jpg"
    assert places[PurePath("a.webp.png")].name == "a.webp.png"
    assert places[PurePath("c.gif")].name == "c.gif.mp4"
    assert len({place.name.casefold() for place in places.values()}) == len(names)


def test_crops(tmp_path: Path) -> None:
    output = _crops.Writer(tmp_path / "crops", Heading("m", CARD))
    one = frame(name="s/a.jpg")
    found = detections([[8, 30, 40, 54], [-5, -5, 10.2, 10], [50, 50, 50, 50]], [0.9, 0.8, 0.7], [0, 1, 0])
    output.write(Looked(one, found))
    output.write(Looked(frame(7), found[:1]))
    assert output.close(()) == [tmp_path / "crops"]
    files = sorted(path.relative_to(tmp_path / "crops").as_posix() for path in (tmp_path / "crops").rglob("*.jpg"))
    assert files == ["a_b_ кот/s/a_2.jpg", "block/clip.mp4/clip_000007_1.jpg", "block/s/a_1.jpg"]
    pixels = cv2.imread(str(tmp_path / "crops/block/s/a_1.jpg"))
    assert pixels.shape == (24, 32, 3)
    assert pixels.min() > 240


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    clip(folder / "clip.mp4", 10)
    clip(folder / "second.avi", 5, "MJPG")
    cv2.imwrite(str(folder / "a.png"), shot())
    (folder / "broken.jpg").write_bytes(b"junk")
    return folder


def run(sources: Path, out: Path, look: Any = find_blocks, **wishes: Any) -> Tally:
    items = find_items([str(sources)], out)
    wishes = {"formats": wished_formats((), items), **wishes}
    return predict(items, look, CARD, out, Wishes(**wishes), model="m")


def test_a_folder_of_everything(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run(sources, out, crops=tmp_path / "crops", formats=tuple(format_names()))
    assert (outcome.frames, outcome.detections, outcome.moving) == (16, 16, True)
    assert [name for name, _ in outcome.remarks.skipped] == ["broken.jpg"]
    assert all(path.exists() for path in outcome.written)
    assert {path.name for path in out.iterdir()} == {
        "a.png", "clip.mp4", "second.avi.mp4", "labels", "detections.json", "detections.jsonl", "detections.csv",
        "detections_coco.json",
    }  # fmt: skip
    assert [len(frames_of(out / name)) for name in ("clip.mp4", "second.avi.mp4")] == [10, 5]
    lines = (out / "detections.jsonl").read_text().splitlines()
    assert [json.loads(line).get("frame") for line in lines] == [None, *range(10), *range(5)]
    assert len(list((tmp_path / "crops").rglob("*.jpg"))) == 16


def test_without_drawings(sources: Path, tmp_path: Path) -> None:
    run(sources, tmp_path / "out", draw=False, every=5)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]
    lines = (tmp_path / "out/detections.jsonl").read_text().splitlines()
    assert [json.loads(line).get("frame") for line in lines] == [None, 0, 5, 0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("the model broke")])
def test_what_was_done_is_kept(sources: Path, tmp_path: Path, error: Any) -> None:
    calls = 0

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise error
        return find_blocks(pictures)

    out = tmp_path / "out"
    formats = tuple(format_names())
    if error is KeyboardInterrupt:
        outcome = run(sources, out, look, formats=formats)
        assert (outcome.frames, outcome.interrupted) == (7, True)
    else:
        with pytest.raises(UserError, match="the model broke"):
            run(sources, out, look, formats=formats)
    assert len(frames_of(out / "clip.mp4")) == 6
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 7
    assert len(json.loads((out / "detections_coco.json").read_text())["images"]) == 7
    assert not list(out.rglob(".*"))


def test_a_full_disk_is_one_line_and_the_rest_is_kept(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detector.prediction.outputs.csv import Writer

    def full(*_: Any) -> None:
        raise UserError("detections.csv: cannot be written (No space left on device)")

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(UserError, match="No space left"):
        run(sources, tmp_path / "out", formats=("json", "csv"))
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_bytes(b"junk")
    (tmp_path / "in/b.jpg").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"a.mp4: not a video that can be read.*and 1 more"):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_formats() -> None:
    picture, video = (Item(kind, "a", PurePath("a")) for kind in (Kind.PICTURE, Kind.VIDEO))
    assert wished_formats((), [picture]) == ("json",)
    assert wished_formats((), [picture, video]) == ("jsonl",)
    assert wished_formats(["csv", "coco", "csv"], [picture]) == ("csv", "coco")
    with pytest.raises(UserError, match=r"--format cvs: no such format; did you mean csv"):
        wished_formats(["cvs"], [picture])


def test_folders_that_hold_something(sources: Path, tmp_path: Path) -> None:
    items = find_items([str(sources)], tmp_path / "out")
    for folder in (sources, tmp_path):
        with pytest.raises(UserError, match="holds the pictures to look at; choose another --crops"):
            claim_folder(folder, items, True, "--crops")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(UserError, match="not empty"):
        claim_folder(tmp_path / "full", items, False)
    claim_folder(tmp_path / "full", items, True)
    assert count_frames(items, 1) == 17  # what is broken counts as a picture still
