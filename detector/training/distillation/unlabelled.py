"""Pictures without annotations that the teacher labels before a training: sure boxes are labels, unsure ones ignored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed
from tqdm import tqdm

from detector.data.annotations import Annotations, joined
from detector.data.formats import available_splits, read_split
from detector.data.image import read_image
from detector.data.image_facts import examine
from detector.data.origins import Origins, Source
from detector.detector import Detector
from detector.distillers import DistillConfig
from detector.prediction.sources import find_pictures
from detector.teachers import check_class_names
from detector.training.machine.processes import Processes
from detector.training.run import Splits
from search_spaces.errors import UserError
from search_spaces.saying import Say

FILE_NAME = "pseudo_labels.json"
UNSURE = 0.25
"""Share of `distill.threshold` from which on a box is unsure: neither a label nor background."""


def with_unlabelled(
    splits: Splits, config: DistillConfig, processes: Processes, say: Say, *, resumed: Path | None = None
) -> tuple[Splits, dict[str, str]]:
    """The splits with the pictures of `config.unlabelled` added to `train`, labelled by the teacher; and the files that keep
    the labels in the run folder, {name: text}, none without such pictures.

    resumed: the run folder that they are read from, in place of labelling. Of several processes the first one labels.
    Raises UserError without a teacher, for other classes, and for folders without pictures.
    """
    if not config.unlabelled:
        return splits, {}
    if config.teacher is None:
        raise UserError(
            "--unlabelled: somebody has to label these pictures; expected --teacher with a checkpoint or an export"
        )
    texts: list[str | None] = [None]
    if processes.is_main:
        texts[0] = _labelled(config, splits, say) if resumed is None else _kept(resumed / FILE_NAME)
    if processes.world_size > 1:
        distributed.broadcast_object_list(texts, 0, device=processes.device)
    text = texts[0] or "[]"
    added = _annotations(text, splits.train)
    sure = int((~added.ignore).sum())
    say(
        f"unlabelled: {len(added)} pictures with {sure} boxes from the teacher, and {len(added.ignore) - sure} unsure ones "
        "that are neither labels nor background"
    )
    if len(added) and not sure:
        say("warning: the teacher finds nothing sure in these images; is it the right one?")
    return replace(splits, train=joined([splits.train, added])), {FILE_NAME: text}


def _kept(path: Path) -> str:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; the run's labels of its pictures without annotations are not there any more"
        )
    text = path.read_text(encoding="utf-8")
    rows = _rows(text)
    changed = [
        (Path(row["path"]), fact.reason or "another size than when the teacher labelled it")
        for row, fact in zip(rows, examine([Path(row["path"]) for row in rows]), strict=True)
        if fact.mismatch(tuple(row["size_hw"]))
    ]
    if changed:
        raise UserError(
            f"{changed[0][0]}: {changed[0][1]}; {len(changed)} of the run's {len(rows)} pictures without annotations are not "
            "as they were: put them back"
        )
    return text


def _others(paths: Sequence[Path], splits: Splits, say: Say) -> list[Path]:
    """The pictures that are not those of the data set itself."""
    left = list(paths)
    of = {
        "training": splits.train.image_paths,
        "validation": splits.val.image_paths,
        "test": _test_images(splits.source),
    }
    for what, images in of.items():
        own = {path.resolve() for path in images}
        found = [path for path in left if path.resolve() not in own]
        if len(found) < len(left):
            say(f"note: --unlabelled: {len(left) - len(found)} {what} images of the data set itself are left out")
        left = found
    if not left:
        raise UserError(
            "--unlabelled: all these images are the data set's own; expected a folder of other images, or leave it out"
        )
    return left


def _test_images(source: str) -> Sequence[Path]:
    """Those of the data's test split, which the training does not read; none where there is none, or none that is sound."""
    try:
        return read_split(Path(source), "test").image_paths if "test" in available_splits(Path(source)) else ()
    except UserError:
        return ()


def _labelled(config: DistillConfig, splits: Splits, say: Say) -> str:
    """JSON: the classes that the teacher knows; per picture its path, height and width, and boxes with class and score."""
    assert config.teacher is not None
    class_names = splits.train.class_names
    least = UNSURE * config.threshold
    teacher = Detector.load(config.teacher).with_thresholds(score=least)
    check_class_names(teacher.card.class_names, class_names, config.teacher_classes, config.teacher)
    numbers = {name.casefold(): number for number, name in enumerate(class_names)}
    own = [numbers.get(name.casefold(), -1) for name in teacher.card.class_names]
    rows = []
    paths = _others(find_pictures([Path(name) for name in config.unlabelled], Path(FILE_NAME)), splits, say)
    detected = teacher.detect_each(read_image(path) for path in paths)
    for path, found in zip(paths, tqdm(detected, "labels", len(paths), unit="image", disable=None)):
        boxes = [
            [*map(float, box), own[label], float(score)]
            for box, label, score in zip(found.boxes_xyxy, found.labels.tolist(), found.scores)
            if own[label] >= 0 and score > least
        ]
        rows.append({"path": str(path), "size_hw": [*found.image_size], "threshold": config.threshold, "boxes": boxes})
    return json.dumps({"classes": [class_names[label] for label in own if label >= 0], "pictures": rows})


def _rows(text: str) -> list[dict[str, Any]]:
    content = json.loads(text)
    rows: list[dict[str, Any]] = content["pictures"] if isinstance(content, dict) else content
    return rows


def _annotations(text: str, like: Annotations) -> Annotations:
    """The labelled pictures, with the classes of `like`: of those that the teacher does not know, they tell nothing."""
    content, rows = json.loads(text), _rows(text)
    known = content["classes"] if isinstance(content, dict) else like.class_names
    source = Source("unlabelled", {name: name for name in known})
    alone = like.origins is None and set(known) == set(like.class_names)
    origins = None if alone else Origins((source,), np.zeros(len(rows), dtype=np.int32))
    boxes = np.array([box for row in rows for box in row["boxes"]], dtype=np.float64).reshape(-1, 6)
    least = np.array([row["threshold"] for row in rows for _ in row["boxes"]])
    xyxy = boxes[:, :4].astype(np.float32)
    return replace(
        like, image_paths=tuple(Path(row["path"]) for row in rows), image_ids=np.arange(len(rows), dtype=np.int64),
        sizes_hw=np.array([row["size_hw"] for row in rows], dtype=np.int32).reshape(-1, 2),
        offsets=np.cumsum([0, *(len(row["boxes"]) for row in rows)]).astype(np.int64), boxes_xyxy=xyxy,
        labels=boxes[:, 4].astype(np.int32), ignore=boxes[:, 5] < least,
        areas=np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1), origins=origins,
    )  # fmt: skip
