"""What is fed with spoilt files: a small sound data set (or file) of each kind, and what reads it."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from search_spaces.errors import UserError

WIDTH, HEIGHT = 48, 32
NAMES = ("cat", "dog")
PICTURE_SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp")


@dataclass(frozen=True, slots=True)
class Target:
    """build(root) writes the sound files; spoil: which of them are mutated; read(root) uses them.

    read raises nothing, and says whether all could be used: UserErrors are its own affair.
    """

    build: Callable[[Path], None]
    spoil: Callable[[Path], bool]
    read: Callable[[Path], bool]


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def text(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def coco(root: Path) -> None:
    for k, split in enumerate(("train", "val")):
        for i in range(2):
            picture(root / "images" / split / f"{split}{i}.png", 10 * k + i)
        rows = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 10, 12], "area": 120, "iscrowd": 0},
                {"id": 2, "image_id": 2, "category_id": 2, "segmentation": [[1, 1, 9, 1, 9, 9]], "iscrowd": 1},
                {"id": 3, "image_id": 2, "category_id": 2,
                 "segmentation": {"size": [32, 48], "counts": "04<4L4M0"}}]  # fmt: skip
        images = [{"id": i + 1, "width": WIDTH, "height": HEIGHT, "file_name": f"{split}{i}.png"} for i in range(2)]
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
        text(
            root / f"annotations/instances_{split}.json",
            {"images": images, "annotations": rows, "categories": categories},
        )


def voc_xml(name: str, label: str) -> str:
    box = "<bndbox><xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>17</ymax></bndbox>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    item = f"<object><name>{label}</name><difficult>0</difficult>{box}</object>"
    head = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{head}\n<annotation><filename>{name}</filename>{size}\n{item}</annotation>"


def voc(root: Path) -> None:
    for k, split in enumerate(("train", "val")):
        picture(root / f"JPEGImages/{split}.png", k)
        text(root / f"Annotations/{split}.xml", voc_xml(f"{split}.png", NAMES[0]))
        text(root / f"ImageSets/Main/{split}.txt", f"{split}\n")


def yolo(root: Path) -> None:
    for k, split in enumerate(("train", "val")):
        for i in range(2):
            picture(root / f"images/{split}/{split}{i}.png", 10 * k + i)
            text(root / f"labels/{split}/{split}{i}.txt", f"{i} 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.3 0.1 0.2 0.4\n")
    text(root / "lists/val.txt", "./images/val/val0.png\nimages/val/val1.png\n")
    text(root / "data.yaml", "path: .\ntrain: images/train\nval: lists/val.txt\nnc: 2\nnames:\n  0: cat\n  1: dog\n")


def darknet(root: Path) -> None:
    for i in range(2):
        picture(root / f"obj_train_data/a{i}.png", i)
        text(root / f"obj_train_data/a{i}.txt", f"{i} 0.5 0.5 0.25 0.25\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "train.txt", "data/obj_train_data/a0.png\ndata/obj_train_data/a1.png\n")


def cvat(root: Path) -> None:
    picture(root / "images/a.png")
    shapes = ('<box label="cat" xtl="4" ytl="5" xbr="20" ybr="17" rotation="30"/><polygon label="dog" points="1,1;9,1;9,9"/>'
              '<ellipse label="cat" cx="9" cy="9" rx="3" ry="2"/><points label="cat" points="1,1"/>')  # fmt: skip
    image = f'<image id="0" name="a.png" subset="Train" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    text(
        root / "annotations.xml",
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>\n{image}\n</annotations>',
    )


def labelstudio(root: Path) -> None:
    picture(root / "images/a.png")
    value = {"x": 10, "y": 10, "width": 25, "height": 50, "rotation": 15, "rectanglelabels": ["cat"]}
    polygon = {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": ["dog"]}
    results = [{"type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value},
               {"type": "polygonlabels", "original_width": WIDTH, "original_height": HEIGHT, "value": polygon}]  # fmt: skip
    text(
        root / "project.json",
        [{"id": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [{"result": results}]}],
    )


def labelme(root: Path) -> None:
    picture(root / "a.png")
    shapes = [{"label": "cat", "points": [[4, 5], [20, 17]], "shape_type": "rectangle"},
              {"label": "dog", "points": [[9, 9], [12, 9]], "shape_type": "circle"},
              {"label": "dog", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}]  # fmt: skip
    text(
        root / "a.json",
        {"version": "5", "shapes": shapes, "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH},
    )


def via(root: Path) -> None:
    picture(root / "a.png")
    shapes = [{"name": "rect", "x": 4, "y": 5, "width": 9, "height": 9}, {"name": "circle", "cx": 9, "cy": 9, "r": 4},
              {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]}]  # fmt: skip
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "cat"}} for shape in shapes]
    text(
        root / "via_region_data.json",
        {"a.png9": {"filename": "a.png", "size": 9, "regions": regions, "file_attributes": {}}},
    )


def via_csv(root: Path) -> None:
    picture(root / "a.png")
    cells = [json.dumps(value).replace('"', '""') for value in ({"name": "rect", "x": 4, "y": 5, "width": 9, "height": 9},
                                                                {"class": "cat"})]  # fmt: skip
    head = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    text(root / "via_export_csv.csv", f'{head}\na.png,9,"{{}}",1,0,"{cells[0]}","{cells[1]}"\n')


def cvat_tracks(root: Path) -> None:
    box = '<box frame="{}" outside="0" xtl="4" ytl="5" xbr="20" ybr="17"/>'
    for frame in range(2):
        picture(root / f"images/frame_{frame:06d}.png", frame)
    track = f'<track id="0" label="cat">{box.format(0)}{box.format(1)}</track>'
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    text(root / "annotations.xml", f"<annotations><meta>{size}</meta>\n{track}\n</annotations>")


def createml(root: Path) -> None:
    picture(root / "a.png")
    boxes = [{"label": "cat", "coordinates": {"x": 12, "y": 12, "width": 8, "height": 9}}]
    text(root / "labels.json", [{"image": "a.png", "annotations": boxes}])


def table(root: Path) -> None:
    picture(root / "a.png")
    text(
        root / "boxes.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,48,32,cat,4,5,20,17\na.png,48,32,dog,1,1,9,9\n",
    )


def pictures(root: Path) -> None:
    for seed, suffix in enumerate(PICTURE_SUFFIXES):
        picture(root / f"a{suffix}", seed)


def videos(root: Path) -> None:
    for suffix, codec in ((".avi", "MJPG"), (".mp4", "mp4v")):
        writer = cv2.VideoWriter(str(root / f"a{suffix}"), cv2.VideoWriter.fourcc(*codec), 10, (WIDTH, HEIGHT))
        for seed in range(4):
            writer.write(np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        writer.release()


def structures(root: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "search_spaces/structures/Ns.txt", root / "structure.yaml")


def read_data(root: Path) -> bool:
    """As training reads it, and as `tinynas data check` does. Whether every split could be loaded."""
    from detector.data.check import check_data
    from detector.data.formats import available_splits, load_split

    whole = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = None
            for split in available_splits(root):
                try:
                    loaded, report = load_split(root, split, names)
                    names = names or loaded.class_names
                    str(report)
                except UserError as error:
                    whole = _is_one_line(error)
        except UserError as error:
            whole = _is_one_line(error)
        with contextlib.suppress(UserError):
            json.dumps(check_data(root).as_json()).encode()
    return whole


def read_pictures(root: Path) -> bool:
    """As the check before training looks at them, and decoded. Whether all could be read."""
    from detector.data.image import look_at, read_with_damage

    whole = True
    for path in sorted(root.iterdir()):
        sizes = None
        try:
            sizes = look_at(path)
            image, _ = read_with_damage(path)
        except UserError as error:
            whole = _is_one_line(error)
        else:
            assert image.shape[:2] in sizes[:2], f"{path}: {sizes}, {image.shape}"
    return whole


def read_videos(root: Path) -> bool:
    """As `tinynas predict` reads them. Whether all could be, to their ends."""
    from detector.prediction.reading import Remarks, count_frames, read_frames
    from detector.prediction.sources import find_items

    items, remarks = find_items([str(root)], root / "out"), Remarks()
    count_frames(items, 1)
    frames = 0
    for frame in read_frames(items, 1, remarks, told=str, pause=lambda _: True):
        assert frame.pixels.ndim == 3
        assert frame.seconds is not None
        frames += 1
        if frames > 1000:
            # a rate or a count that was spoilt: the reader gives one after the other, however many
            return False
    for _, reason in remarks.skipped:
        _is_one_line(UserError(reason))
    return not remarks.skipped and frames == 4 * len(items)


def read_structures(root: Path) -> bool:
    """Parsed, and its graph built. Whether both could be done."""
    from search_spaces.emit import emit_detector
    from search_spaces.text import resolve_structure

    try:
        emit_detector(resolve_structure(str(root / "structure.yaml")))
    except UserError as error:
        return _is_one_line(error)
    return True


def several(root: Path) -> None:
    """Two data sets and the file that makes them one."""
    coco(root / "one")
    yolo(root / "two")
    text(
        root / "general.yaml",
        "label_space: 1\nsets:\n  one: {path: one, rename: {cat: tom cat}}\n  two:\n    path: two\n    classes: [cat, dog]\n"
        "    absent: all\naliases:\n  hound: [dog]\ndrop: []\n",
    )


def read_several(root: Path) -> bool:
    """As a training reads it. Whether the file is sound."""
    from detector.data.formats import load_split

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for split in ("train", "val"):
                load_split(root / "general.yaml", split)
    except UserError as error:
        return _is_one_line(error)
    return True


def _is_one_line(error: UserError) -> bool:
    """False; a message of several lines, or a long one, fails."""
    text = str(error)
    assert "\n" not in text, f"a message of several lines: {text[:500]!r}"
    assert len(text) < 3000, f"a message of {len(text)} letters: {text[:500]!r}"
    return False


def _annotations(path: Path) -> bool:
    return path.suffix not in PICTURE_SUFFIXES


TARGETS = {
    **{
        build.__name__: Target(build, _annotations, read_data)
        for build in (coco, voc, yolo, darknet, cvat, labelstudio, labelme, via, via_csv, cvat_tracks, createml, table)
    },
    "pictures": Target(pictures, lambda _: True, read_pictures),
    "videos": Target(videos, lambda _: True, read_videos),
    "several": Target(several, lambda path: path.name == "general.yaml", read_several),
    "structures": Target(structures, lambda _: True, read_structures),
}
