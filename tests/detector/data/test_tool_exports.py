"""The default exports of annotation tools load whole; their odd shapes become boxes, and what does not is said."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from detector.data.check import check_data
from detector.data.formats import available_splits, detect, load_split, names, read_split
from search_spaces.errors import UserError
from tests.detector.data.tool_exports import BOX, EXPORTS, FILES, HEIGHT, WIDTH, coco, label_of, labelme, picture, text


@pytest.mark.parametrize("export", EXPORTS)
def test_default_exports_load_whole(tmp_path: Path, export: str) -> None:
    layout, splits, build = EXPORTS[export]
    build(tmp_path)
    assert detect(tmp_path) == layout
    assert tuple(available_splits(tmp_path)) == splits
    seen = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for split in splits:
            loaded, _ = load_split(tmp_path, split)
            for i, path in enumerate(loaded.image_paths):
                found = loaded.boxes_of(i)
                assert found.boxes_xyxy.tolist() == [list(map(float, BOX))], path
                assert loaded.sizes_hw[i].tolist() == [HEIGHT, WIDTH]
                seen[path.name] = loaded.class_names[int(found.labels[0])]
    assert seen == {name: label_of(name) for name in FILES}
    assert check_data(tmp_path).splits.keys() == set(splits)


def test_every_format_is_tried() -> None:
    own = {"label_space"}  # no tool's: see test_label_space.py
    assert {layout for layout, _, _ in EXPORTS.values()} == set(names()) - own


def boxes(root: Path, split: str = "all") -> list[list[float]]:
    return [[round(side, 3) for side in row] for row in read_split(root, split).boxes.boxes_xyxy.tolist()]


def said(root: Path, split: str = "all") -> str:
    with pytest.raises(UserError) as caught:
        load_split(root, split)
    return str(caught.value)


def shapes_of_labelme(root: Path, *shapes: dict[str, Any]) -> None:
    picture(root / "p0.png")
    text(root / "p0.json", {**labelme("p0.png"), "shapes": list(shapes)})


def test_labelme_shapes(tmp_path: Path) -> None:
    shapes_of_labelme(
        tmp_path,
        {"label": "cat", "points": [[10, 10], [13, 14]], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 2], [9, 3], [5, 8]], "shape_type": "polygon"},
        {"label": "cat", "points": [[1, 2]], "shape_type": "point"},
    )
    assert boxes(tmp_path) == [[5, 5, 15, 15], [1, 2, 9, 8]]
    assert read_split(tmp_path, "all").notes == (
        "2 polygons, masks or ellipses: the box around each is taken",
        "1 points, lines and other shapes without an area are passed over",
    )
    notes = [finding for finding in check_data(tmp_path).notes if finding.kind == "read-otherwise"]
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"label": "cat", "points": [[1, "x"], [2, 3]]}, "p0.json: shape 1: 'x' is no number"),
        ({"label": "cat"}, "p0.json: shape 1: the points are None"),
        ({"label": "cat", "points": [[1, 1]], "shape_type": ["point"]}, "shape 1: 1 points; expected two or more"),
        ({"label": "", "points": [[1, 1], [9, 9]]}, "p0.json: object 1: an object has no name"),
        ({"label": "cat", "points": [[1, 1]], "shape_type": "polygon"}, "shape 1: 1 points; expected two or more"),
    ],
)
def test_labelme_mistakes(tmp_path: Path, shape: dict[str, Any], expected: str) -> None:
    shapes_of_labelme(tmp_path, shape)
    assert expected in said(tmp_path)


def test_cvat_shapes_and_subsets(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "images" / name)
    turned = '<box label="cat" xtl="30" ytl="20" xbr="50" ybr="30" rotation="90"/>'
    others = '<polygon label="dog" points="1,2;9,3;5,8"/><points points="1,1"/>'
    others += '<ellipse label="dog" cx="20" cy="20" rx="5" ry="3"/>'
    images = (f'<image name="a.png" subset="Train" width="80" height="60">{turned}{others}</image>'
              '<image name="b.png" subset="Validation" width="80" height="60"/>')  # fmt: skip
    text(tmp_path / "annotations.xml", f"<annotations>{images}</annotations>")
    assert available_splits(tmp_path) == ["train", "val"]
    assert boxes(tmp_path, "train") == [[35, 15, 45, 35], [1, 2, 9, 8], [15, 17, 25, 23]]
    assert any("1 rotated boxes" in note for note in read_split(tmp_path, "train").notes)
    assert boxes(tmp_path, "val") == []


def test_a_cuboid_is_the_box_around_its_corners(tmp_path: Path) -> None:
    picture(tmp_path / "images" / FILES[0])
    corners = {"tl1": (10, 12), "bl1": (10, 30), "tr1": (24, 12), "br1": (24, 31)}
    corners |= {"tl2": (14, 9), "bl2": (14, 26), "tr2": (28, 9), "br2": (28, 27)}
    sides = " ".join(f'x{name}="{x}" y{name}="{y}"' for name, (x, y) in corners.items())
    image = f'<image id="0" name="{FILES[0]}" width="{WIDTH}" height="{HEIGHT}"><cuboid label="cat" {sides}/></image>'
    text(tmp_path / "annotations.xml", f"<annotations><version>1.1</version>{image}</annotations>")
    split = read_split(tmp_path, available_splits(tmp_path)[0])
    assert split.boxes.boxes_xyxy.tolist() == [[10, 9, 28, 31]]
    text(
        tmp_path / "annotations.xml",
        f"<annotations><version>1.1</version>{image.replace('ybr2', 'gone')}</annotations>",
    )
    with pytest.raises(UserError, match="cuboid has the ybr2"):
        read_split(tmp_path, available_splits(tmp_path)[0])


def cvat_tracks(root: Path, *tracks: str) -> None:
    meta = f"<meta><task><original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></task></meta>"
    text(root / "annotations.xml", f"<annotations>{meta}{''.join(tracks)}</annotations>")


def track(label: str, *shapes: str) -> str:
    return f'<track id="0" label="{label}">{"".join(shapes)}</track>'


def track_box(frame: object, left: int = 1, outside: int = 0) -> str:
    return f'<box frame="{frame}" outside="{outside}" xtl="{left}" ytl="2" xbr="{left + 8}" ybr="9"/>'


def test_cvat_video_tracks(tmp_path: Path) -> None:
    for frame in range(4):
        picture(tmp_path / f"images/frame_{frame:06d}.PNG")
    polygon = '<polygon frame="2" outside="0" points="1,2;9,3;5,8"/><points frame="2" points="1,1"/>'
    cvat_tracks(
        tmp_path, track("cat", track_box(0), track_box(1, 5), track_box(2, 9, outside=1)), track("dog", polygon)
    )
    assert available_splits(tmp_path) == ["all"]
    found = read_split(tmp_path, "all")
    # the last frame has a picture and no shape; what left the frame is gone
    assert [path.name for path in found.image_paths] == [f"frame_{frame:06d}.PNG" for frame in range(4)]
    assert boxes(tmp_path, "all") == [[1, 2, 9, 9], [5, 2, 13, 9], [1, 2, 9, 8]]
    assert found.class_names == ("cat", "dog")
    assert any("1 points, lines" in note for note in found.notes)


def test_cvat_video_mistakes(tmp_path: Path) -> None:
    cvat_tracks(tmp_path, track("cat", track_box(7)))
    assert "export with 'Save images' in CVAT, or write them with ffmpeg" in said(tmp_path)
    picture(tmp_path / "frame_000007.png")
    assert boxes(tmp_path, "all") == [[1, 2, 9, 9]]
    cvat_tracks(tmp_path, track("cat", track_box(7), track_box("x")))
    assert "track 1: frame x" in said(tmp_path)
    cvat_tracks(tmp_path, track("cat", track_box(7), track_box(8)))
    assert "frame_000008.png: missing image" in said(tmp_path)


def test_via_csv(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    head = "# Exported using VIA\nfilename,file_size,region_count,region_shape_attributes,region_attributes\n"
    shape = '"{""name"":""rect"",""x"":1,""y"":2,""width"":8,""height"":7}"'
    rows = f'a.png,9,1,{shape},"{{""type"":""cat""}}"\nb.png,9,0,"{{}}","{{}}"\n'
    text(tmp_path / "export.csv", head + rows)
    found = read_split(tmp_path, "all")
    assert [path.name for path in found.image_paths] == ["a.png", "b.png"]
    assert boxes(tmp_path, "all") == [[1, 2, 9, 9]]
    for broken in ("{{", "[" * 5000):
        text(tmp_path / "export.csv", f'{head}{rows}a.png,9,1,"{broken}","{{}}"\n')
        assert "export.csv: data line 4" in said(tmp_path)


def test_labelstudio_rotation_is_about_the_top_left_corner(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    # 40 x 12 px at (40, 30), turned by 90 degrees: 12 wide to the left, 40 high
    value = {"x": 50, "y": 50, "width": 25, "height": 20, "rotation": 90, "rectanglelabels": ["cat"]}
    region = {"original_width": WIDTH, "original_height": HEIGHT, "value": value}
    text(tmp_path / "tasks.json", [{"data": {"image": "s3://bucket/p0.png"}, "annotations": [{"result": [region]}]}])
    assert boxes(tmp_path) == [[28, 30, 40, 50]]


@pytest.mark.parametrize("size", ["0", -1, "nan", [1]])
def test_labelstudio_rotation_in_a_picture_without_extent(tmp_path: Path, size: Any) -> None:
    picture(tmp_path / "p0.png")
    value = {"x": 50, "y": 50, "width": 25, "height": 20, "rotation": 90, "rectanglelabels": ["cat"]}
    region = {"original_width": size, "original_height": HEIGHT, "value": value}
    text(tmp_path / "tasks.json", [{"data": {"image": "p0.png"}, "annotations": [{"result": [region]}]}])
    assert "task 1: region 1: is {" in said(tmp_path)


def test_labelstudio_min_and_cancelled(tmp_path: Path) -> None:
    for name in FILES[:2]:
        picture(tmp_path / name)
    region = {"x": 25, "y": 25, "width": 25, "height": 50, "rectanglelabels": ["cat"]}
    text(tmp_path / "min.json", [{"image": "/data/local-files/?d=set/p0.png", "id": 1, "label": [region]}])
    assert boxes(tmp_path) == [[20, 15, 40, 45]]
    done = {"result": [{"value": region}]}
    tasks = [
        {"data": {"image": "p0.png"}, "annotations": [{**done, "was_cancelled": True}]},
        {"data": {"image": "p1.png"}, "annotations": [done, done]},
    ]
    (tmp_path / "min.json").unlink()
    text(tmp_path / "full.json", tasks)
    assert boxes(tmp_path) == [[20, 15, 40, 45]]
    assert any("annotated several times" in note for note in read_split(tmp_path, "all").notes)


def test_via_shapes_and_checkboxes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    regions = {
        "0": {
            "shape_attributes": {"name": "circle", "cx": 20, "cy": 20, "r": 5},
            "region_attributes": {"type": {"cat": True}},
        },
        "1": {
            "shape_attributes": {"name": "polygon", "all_points_x": [1, 9], "all_points_y": [2, 8]},
            "region_attributes": {"name": "dog"},
        },
        "2": {"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {"name": "dog"}},
    }
    text(tmp_path / "via.json", {"a.png1": {"filename": "a.png", "regions": regions}})
    found = read_split(tmp_path, "all")
    assert boxes(tmp_path) == [[15, 15, 25, 25], [1, 2, 9, 8]]
    assert found.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("line", "expected"),
    [("a.png,80,60,cat,x,1,2,3", "boxes.csv:2: 'x' is no number"), ("a.png,80", "boxes.csv:2: has too few")],
)
def test_csv_mistakes(tmp_path: Path, line: str, expected: str) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "boxes.csv", f"filename,width,height,class,xmin,ymin,xmax,ymax\n{line}\n")
    assert expected in said(tmp_path)


def test_csv_of_other_writers(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    text(tmp_path / "t.csv", "Image_Name;x1;y1;x2;y2;label\n\\img\\a.png;1;2;9;8;5\n")
    assert boxes(tmp_path) == [[1, 2, 9, 8]]
    assert read_split(tmp_path, "all").class_names == ("5",)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.png": None, "a.tfrecord": "x"}, "TFRecord files: export as COCO, VOC or YOLO instead"),
        ({"set.zip": "x"}, "an archive: unpack it first"),
        ({"a.png": None}, "found 1 pictures and no annotations"),
        ({"pictures/a.png": None, "texts/b.txt": "0 .5 .5 .1 .1"}, "nearest: YOLO, but no label file"),
        ({"a.png": None, "a.json": "{}"}, "JSON of an unknown kind: export as COCO instead"),
        ({"a.png": None, "t.csv": "a,b\n"}, "a table without the columns filename, class, xmin"),
        ({"clip.mp4": "x"}, "a video: take its frames"),
    ],
)
def test_unknown_layouts_name_the_next_step(tmp_path: Path, files: dict[str, str | None], expected: str) -> None:
    for name, content in files.items():
        if content is None:
            picture(tmp_path / name)
        else:
            text(tmp_path / name, content)
    with pytest.raises(UserError, match="unknown data layout") as caught:
        detect(tmp_path)
    assert expected in str(caught.value)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    text(tmp_path / "train.json", coco(FILES))
    with pytest.raises(UserError, match="json files are not data sets: name the folder"):
        detect(tmp_path / "train.json")


def test_a_file_of_results_does_not_hide_a_yolo_set(tmp_path: Path) -> None:
    EXPORTS["Roboflow YOLO, no test"][2](tmp_path)
    text(tmp_path / "predictions.json", coco(FILES))
    assert detect(tmp_path) == "yolo"


def test_pictures_without_annotations_are_no_split(tmp_path: Path) -> None:
    EXPORTS["CVAT COCO, subsets"][2](tmp_path)
    document = {key: value for key, value in coco(FILES).items() if key != "annotations"}
    for name in ("image_info_test2017.json", "image_info_test-dev2017.json"):
        text(tmp_path / "annotations" / name, document)
    assert available_splits(tmp_path) == ["train", "val"]
    found = check_data(tmp_path)
    assert not found.problems
    assert [finding.reason for finding in found.notes if finding.kind == "left-out"] == [
        "lists pictures without annotations; left out"
    ] * 2


def test_one_spoilt_split_does_not_spoil_the_others(tmp_path: Path) -> None:
    EXPORTS["Roboflow COCO"][2](tmp_path)
    (tmp_path / "test/_annotations.coco.json").write_text("{")
    for split in ("train", "val"):
        load_split(tmp_path, split)
    found = check_data(tmp_path)
    assert set(found.splits) == {"train", "val"}
    assert [finding.kind for finding in found.problems] == ["unreadable-annotations"]


def test_names_that_are_the_same_in_two_folders_are_not_guessed(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        picture(tmp_path / folder / "p0.png")
    text(tmp_path / "labels.json", json.dumps(coco(["p0.png"])))
    assert "several files could be meant" in said(tmp_path) or "missing image p0.png" in said(tmp_path)
