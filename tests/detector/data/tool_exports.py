"""Small data sets as annotation tools export them by default: the same four pictures, one box each, cat and dog in turn."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 80, 60
BOX = (20, 15, 50, 45)  # xyxy
NAMES = ("cat", "dog")
FILES = tuple(f"p{i}.png" for i in range(4))
SPLIT = (("train", FILES[:2]), ("val", FILES[2:]))
X0, Y0, X1, Y1 = BOX
CENTRE = ((X0 + X1) / 2 / WIDTH, (Y0 + Y1) / 2 / HEIGHT, (X1 - X0) / WIDTH, (Y1 - Y0) / HEIGHT)


def label_of(name: str) -> str:
    return NAMES[FILES.index(name) % 2]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(path.name.encode())).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


def text(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def yolo_line(name: str) -> str:
    return f"{NAMES.index(label_of(name))} {' '.join(map(str, CENTRE))}\n"


def voc_xml(name: str) -> str:
    sides = "".join(f"<{tag}>{side:.1f}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), BOX))
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth></depth></size>"
    item = f"<object><name>{label_of(name)}</name><occluded>0</occluded><bndbox>{sides}</bndbox></object>"
    return f"<annotation><folder></folder><filename>{name}</filename>{size}{item}</annotation>"


def coco(files: Sequence[str], prefix: str = "", first: int = 1) -> dict[str, Any]:
    return {
        "info": {"description": ""},
        "images": [
            {"id": i, "width": WIDTH, "height": HEIGHT, "file_name": f"{prefix}{name}"} for i, name in enumerate(files)
        ],
        "categories": [{"id": first + i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": first + NAMES.index(label_of(name)), "bbox": [X0, Y0, X1 - X0, Y1 - Y0],
             "area": 900.0, "iscrowd": 0, "segmentation": []} for i, name in enumerate(files)
        ],
    }  # fmt: skip


def _beside(root: Path, suffix: str, content: Callable[[str], Any], pictures: str = "", labels: str = "") -> None:
    for name in FILES:
        picture(root / pictures / name)
        text(root / labels / name.replace(".png", suffix), content(name))


def _cvat_coco(root: Path) -> None:
    for name in FILES:
        picture(root / "images/default" / name)
    text(root / "annotations/instances_default.json", coco(FILES))


def _cvat_coco_subsets(root: Path) -> None:
    for folder, (_, files) in zip(("Train", "Validation"), SPLIT):
        for name in files:
            picture(root / "images" / folder / name)
        text(root / f"annotations/instances_{folder}.json", coco(files))


def _cvat_voc(root: Path) -> None:
    _beside(root, ".xml", voc_xml, "JPEGImages", "Annotations")
    text(root / "ImageSets/Main/default.txt", "".join(f"{name[:-4]}\n" for name in FILES))
    text(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n")


def _cvat_voc_subsets(root: Path) -> None:
    _beside(root, ".xml", voc_xml, "JPEGImages", "Annotations")
    for listing, (_, files) in zip(("Train", "Validation"), SPLIT):
        text(root / f"ImageSets/Main/{listing}.txt", "".join(f"{name[:-4]}\n" for name in files))


def _cvat_yolo(root: Path) -> None:
    _beside(root, ".txt", yolo_line, "obj_train_data", "obj_train_data")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "train.txt", "".join(f"data/obj_train_data/{name}\n" for name in FILES))


def _cvat_ultralytics(root: Path) -> None:
    _beside(root, ".txt", yolo_line, "images/train", "labels/train")
    text(root / "train.txt", "".join(f"data/images/train/{name}\n" for name in FILES))
    text(root / "data.yaml", "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")


def _cvat_ultralytics_subsets(root: Path) -> None:
    for folder, (_, files) in zip(("Train", "Validation"), SPLIT):
        for name in files:
            picture(root / "images" / folder / name)
            text(root / "labels" / folder / f"{name[:-4]}.txt", yolo_line(name))
        text(root / f"{folder}.txt", "".join(f"data/images/{folder}/{name}\n" for name in files))
    text(root / "data.yaml", "Train: Train.txt\nValidation: Validation.txt\nnames: {0: cat, 1: dog}\npath: .\n")


def _cvat_xml(root: Path) -> None:
    images = []
    for i, name in enumerate(FILES):
        picture(root / "images" / name)
        box = f'<box label="{label_of(name)}" occluded="0" xtl="{X0}" ytl="{Y0}" xbr="{X1}" ybr="{Y1}" z_order="0"/>'
        images.append(f'<image id="{i}" name="{name}" width="{WIDTH}" height="{HEIGHT}">{box}</image>')
    head = '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>'
    text(root / "annotations.xml", f"{head}{''.join(images)}</annotations>")


def _labelstudio_yolo(root: Path) -> None:
    _beside(root, ".txt", yolo_line, "images", "labels")
    text(root / "classes.txt", "cat\ndog\n")
    text(root / "notes.json", {"categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)], "info": {}})


def _labelstudio_coco(root: Path, prefix: str = "images/") -> None:
    for name in FILES:
        picture(root / "images" / name)
    text(root / "result.json", coco(FILES, prefix, 0))


def _labelstudio_json(root: Path) -> None:
    tasks = []
    for i, name in enumerate(FILES):
        picture(root / "images" / name)
        value = {"x": 25, "y": 25, "width": 37.5, "height": 50, "rotation": 0, "rectanglelabels": [label_of(name)]}
        region = {"type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value}
        tasks.append(
            {"id": i, "data": {"image": f"/data/upload/1/0a1b2c3d-{name}"}, "annotations": [{"result": [region]}]}
        )
    text(root / "project-1.json", tasks)


def _roboflow(
    root: Path, write: Callable[[Path, str], None], files: str, content: Callable[[Sequence[str]], Any]
) -> None:
    for split, names in (("train", FILES[:2]), ("valid", FILES[2:3]), ("test", FILES[3:])):
        for name in names:
            picture(root / split / name)
            write(root / split, name)
        if files:
            text(root / split / files, content(names))


def _roboflow_yolo(root: Path) -> None:
    for split, names in (("train", FILES[:2]), ("valid", FILES[2:])):
        for name in names:
            picture(root / split / "images" / name)
            text(root / split / "labels" / f"{name[:-4]}.txt", yolo_line(name))
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    text(root / "data.yaml", f"{paths}\nnc: 2\nnames: ['cat', 'dog']\n\nroboflow:\n  workspace: w\n")


def _csv(names: Sequence[str]) -> str:
    lines = [f"{name},{WIDTH},{HEIGHT},{label_of(name)},{','.join(map(str, BOX))}\n" for name in names]
    return "filename,width,height,class,xmin,ymin,xmax,ymax\n" + "".join(lines)


def _labelimg_yolo_splits(root: Path) -> None:
    for split, names in SPLIT:
        for name in names:
            picture(root / split / name)
            text(root / split / f"{name[:-4]}.txt", yolo_line(name))
        text(root / split / "classes.txt", "cat\ndog\n")


def _labelimg_yolo(root: Path) -> None:
    _beside(root, ".txt", yolo_line)
    text(root / "classes.txt", "cat\ndog\n")


def createml(names: Sequence[str]) -> list[dict[str, Any]]:
    where = {"x": (X0 + X1) / 2, "y": (Y0 + Y1) / 2, "width": X1 - X0, "height": Y1 - Y0}
    return [{"image": name, "annotations": [{"label": label_of(name), "coordinates": where}]} for name in names]


def _one_file(file: str, content: Callable[[], Any], folder: str = "") -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for name in FILES:
            picture(root / folder / name)
        text(root / file, content())

    return build


def _via(project: bool = False) -> dict[str, Any]:
    shape = {"name": "rect", "x": X0, "y": Y0, "width": X1 - X0, "height": Y1 - Y0}
    data = {
        f"{name}99": {
            "filename": name, "size": 99, "file_attributes": {},
            "regions": [{"shape_attributes": shape, "region_attributes": {"class": label_of(name)}}],
        }
        for name in FILES
    }  # fmt: skip
    return {"_via_settings": {}, "_via_img_metadata": data, "_via_attributes": {}} if project else data


def _via_csv() -> str:
    table = io.StringIO()
    columns = ("filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
               "region_attributes")  # fmt: skip
    rows = csv.writer(table)
    rows.writerow(columns)
    for entry in _via().values():
        for number, region in enumerate(entry["regions"]):
            shape, attributes = (json.dumps(region[key]) for key in ("shape_attributes", "region_attributes"))
            rows.writerow([entry["filename"], 99, '{"caption":""}', len(entry["regions"]), number, shape, attributes])
    return table.getvalue()


def _via_coco() -> dict[str, Any]:
    document = coco(FILES)
    for entry in document["images"]:
        entry["id"] = str(entry["id"])
    for entry in document["annotations"]:
        entry.update(image_id=str(entry["image_id"]), segmentation=[X0, Y0, X1, Y0, X1, Y1, X0, Y1])
    return document


def labelme(name: str) -> dict[str, Any]:
    shape = {
        "label": label_of(name),
        "points": [[X1, Y1], [X0, Y0]],
        "group_id": None,
        "shape_type": "rectangle",
        "flags": {},
    }
    return {"version": "5.4.1", "flags": {}, "shapes": [shape], "imagePath": name, "imageData": None,
            "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip


def _labelme_splits(root: Path) -> None:
    for split, names in SPLIT:
        for name in names:
            picture(root / split / name)
            text(root / split / f"{name[:-4]}.json", labelme(name))


EXPORTS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], None]]] = {
    "CVAT COCO": ("coco", ("all",), _cvat_coco),
    "CVAT COCO, subsets": ("coco", ("train", "val"), _cvat_coco_subsets),
    "CVAT VOC": ("voc", ("all",), _cvat_voc),
    "CVAT VOC, subsets": ("voc", ("train", "val"), _cvat_voc_subsets),
    "CVAT YOLO 1.1": ("yolo", ("train",), _cvat_yolo),
    "CVAT Ultralytics": ("yolo", ("train",), _cvat_ultralytics),
    "CVAT Ultralytics, subsets": ("yolo", ("train", "val"), _cvat_ultralytics_subsets),
    "CVAT for images": ("cvat", ("all",), _cvat_xml),
    "Label Studio YOLO": ("yolo", ("all",), _labelstudio_yolo),
    "Label Studio COCO": ("coco", ("all",), _labelstudio_coco),
    "Label Studio COCO, Windows": ("coco", ("all",), lambda root: _labelstudio_coco(root, "images\\")),
    "Label Studio COCO, uploads": ("coco", ("all",), lambda root: _labelstudio_coco(root, "../../media/upload/7/")),
    "Label Studio VOC": ("voc", ("all",), lambda root: _beside(root, ".xml", voc_xml, "images", "Annotations")),
    "Label Studio JSON": ("labelstudio", ("all",), _labelstudio_json),
    "Roboflow YOLO, no test": ("yolo", ("train", "val"), _roboflow_yolo),
    "Roboflow COCO": ("coco", ("train", "val", "test"),
                      lambda root: _roboflow(root, lambda *_: None, "_annotations.coco.json", coco)),
    "Roboflow VOC": ("voc", ("train", "val", "test"),
                     lambda root: _roboflow(root, lambda folder, name: text(folder / f"{name[:-4]}.xml", voc_xml(name)),
                                            "", list)),
    "Roboflow Darknet": ("yolo", ("train", "val", "test"),
                         lambda root: _roboflow(root, lambda folder, name: text(folder / f"{name[:-4]}.txt", yolo_line(name)),
                                                "_darknet.labels", lambda _: "cat\ndog\n")),
    "Roboflow CSV": ("csv", ("train", "val", "test"),
                     lambda root: _roboflow(root, lambda *_: None, "_annotations.csv", _csv)),
    "Roboflow CreateML": ("createml", ("train", "val", "test"),
                          lambda root: _roboflow(root, lambda *_: None, "_annotations.createml.json", createml)),
    "labelImg VOC beside": ("voc", ("all",), lambda root: _beside(root, ".xml", voc_xml)),
    "labelImg VOC, two folders": ("voc", ("all",), lambda root: _beside(root, ".xml", voc_xml, "images", "annotations")),
    "labelImg YOLO": ("yolo", ("all",), _labelimg_yolo),
    "labelImg YOLO, splits": ("yolo", ("train", "val"), _labelimg_yolo_splits),
    "labelImg CreateML": ("createml", ("all",), _one_file("labels.json", lambda: createml(FILES))),
    "VIA COCO": ("coco", ("all",), _one_file("via_project_coco.json", _via_coco)),
    "VIA JSON": ("via", ("all",), _one_file("via_region_data.json", _via)),
    "VIA project": ("via", ("all",), _one_file("via_project.json", lambda: _via(project=True))),
    "VIA CSV": ("via", ("all",), _one_file("via_export_csv.csv", _via_csv)),
    "LabelMe": ("labelme", ("all",), lambda root: _beside(root, ".json", labelme)),
    "LabelMe, two folders": ("labelme", ("all",), lambda root: _beside(root, ".json", labelme, "images", "labels")),
    "LabelMe, splits": ("labelme", ("train", "val"), _labelme_splits),
    "labelme2coco": ("coco", ("all",), _one_file("annotations.json", lambda: coco(FILES, "JPEGImages/", 0), "JPEGImages")),
}  # fmt: skip
"""By tool and export: the format that it is read as, its splits, and what writes it."""
