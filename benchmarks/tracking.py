"""Trackers of several packages on the same simulated detections: IDF1, switches, milliseconds a frame.

    python benchmarks/tracking.py [--seeds 5]

Boxes move at near constant speed and pass one another; detections are missed, jitter and appear where nothing is, and every
object is hidden for some frames now and then. Packages that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

FRAMES, OBJECTS, WIDTH, HEIGHT, FPS = 300, 14, 1280, 720, 30.0
Boxes = npt.NDArray[np.float64]
Update = Callable[[Boxes, Boxes], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: boxes (K, 4) px, scores (K,), truth (K,): the object that each is of, -1 for none."""

    boxes: Boxes
    scores: Boxes
    truth: npt.NDArray[np.int64]


def scene(seed: int, missed: float, hidden: int) -> Iterator[Shot]:
    """missed: share of detections; hidden: frames for which each object is gone, twice in the scene."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(40, 130, (OBJECTS, 2))
    at = rng.uniform(0, 1, (OBJECTS, 2)) * [WIDTH, HEIGHT]
    speed = rng.normal(0, 5, (OBJECTS, 2))
    gone = rng.integers(20, FRAMES - hidden, (OBJECTS, 2))
    for frame in range(FRAMES):
        speed += rng.normal(0, 0.15, speed.shape)
        at += speed
        outside = (at < 0) | (at > [WIDTH, HEIGHT])
        speed[outside] *= -1
        away = ((gone <= frame) & (frame < gone + hidden)).any(axis=1)
        seen = np.flatnonzero(~away & (rng.random(OBJECTS) > missed))
        centres = at[seen] + rng.normal(0, 2, (len(seen), 2))
        sides = size[seen] * rng.normal(1, 0.03, (len(seen), 2))
        false = rng.poisson(0.7)
        centres = np.concatenate([centres, rng.uniform(0, 1, (false, 2)) * [WIDTH, HEIGHT]])
        sides = np.concatenate([sides, rng.uniform(40, 130, (false, 2))])
        scores = np.concatenate([rng.uniform(0.35, 0.95, len(seen)), rng.uniform(0.3, 0.6, false)])
        yield Shot(
            np.concatenate([centres - sides / 2, centres + sides / 2], axis=1),
            scores,
            np.concatenate([seen, np.full(false, -1)]),
        )


def judged(shots: list[Shot], given: list[npt.NDArray[np.int64]]) -> tuple[float, int]:
    """IDF1 of the ids (-1: no track yet) over all detections of objects, and how often an object's id changed."""
    pairs: Counter[tuple[int, int]] = Counter()
    real = tracked = switches = 0
    last: dict[int, int] = {}
    for shot, ids in zip(shots, given):
        real += int((shot.truth >= 0).sum())
        tracked += int((ids >= 0).sum())
        for thing, track in zip(shot.truth.tolist(), ids.tolist()):
            if thing >= 0 and track >= 0:
                pairs[thing, track] += 1
                switches += last.get(thing, track) != track
                last[thing] = track
    tracks = sorted({track for _, track in pairs})
    table = np.array([[pairs[thing, track] for track in tracks] for thing in range(OBJECTS)])
    matched = int(table[linear_sum_assignment(-table)].sum()) if tracks else 0
    return 2 * matched / (real + tracked), switches


def byte_track() -> Update:
    """ByteTrack of the package trackers."""
    import supervision
    from trackers import ByteTrackTracker

    return _of_trackers(ByteTrackTracker(frame_rate=FPS), supervision)


def oc_sort() -> Update:
    """OC-SORT of the package trackers."""
    import supervision
    from trackers import OCSORTTracker

    return _of_trackers(OCSORTTracker(frame_rate=FPS), supervision)


def _of_trackers(tracker: Any, supervision: Any) -> Update:
    def update(boxes: Boxes, scores: Boxes) -> npt.NDArray[np.int64]:
        given = supervision.Detections(xyxy=boxes, confidence=scores, data={"row": np.arange(len(boxes))})
        found = tracker.update(given)
        ids = np.full(len(boxes), -1)
        if len(found):
            ids[found.data["row"]] = found.tracker_id
        return ids

    return update


def norfair() -> Update:
    """Norfair by IoU of boxes (norfair-enough, the fork that is kept up)."""
    import norfair as package

    tracker = package.Tracker("iou", distance_threshold=0.8, hit_counter_max=30, initialization_delay=2)
    frame = 0

    def update(boxes: Boxes, scores: Boxes) -> npt.NDArray[np.int64]:
        nonlocal frame
        frame += 1
        given = [package.Detection(box.reshape(2, 2), np.full(2, score), data=(frame, row))
                 for row, (box, score) in enumerate(zip(boxes, scores))]  # fmt: skip
        ids = np.full(len(boxes), -1)
        for thing in tracker.update(given):
            seen, row = thing.last_detection.data
            if seen == frame:
                ids[row] = thing.id
        return ids

    return update


def motpy() -> Update:
    """motpy's MultiObjectTracker; it does not tell which detection a track took, so the nearest box gets its id."""
    import motpy as package

    tracker = package.MultiObjectTracker(dt=1 / FPS, tracker_kwargs={"max_staleness": 30})
    numbers: dict[str, int] = {}

    def update(boxes: Boxes, scores: Boxes) -> npt.NDArray[np.int64]:
        ids = np.full(len(boxes), -1)
        for track in tracker.step([package.Detection(box=box, score=score) for box, score in zip(boxes, scores)]):
            far = np.abs(boxes - track.box).max(axis=1, initial=0)
            if len(far) and far.min() < 30 and ids[far.argmin()] < 0:
                ids[far.argmin()] = numbers.setdefault(track.id, len(numbers))
        return ids

    return update


CANDIDATES = {"trackers": (byte_track, oc_sort), "norfair": (norfair,), "motpy": (motpy,)}
SCENES = {"easy": (0.02, 0), "missed": (0.2, 0), "hidden": (0.1, 12)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    print(f"{'':22}" + "".join(f"{name:>26}" for name in SCENES) + f"{'ms a frame':>12}")
    for package, builders in CANDIDATES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed")
            continue
        for build in builders:
            cells, seconds = [], 0.0
            for missed, hidden in SCENES.values():
                results = []
                for seed in range(seeds):
                    update, shots = build(), list(scene(seed, missed, hidden))
                    begun = time.perf_counter()
                    given = [update(shot.boxes, shot.scores) for shot in shots]
                    seconds += time.perf_counter() - begun
                    results.append(judged(shots, given))
                idf1, switches = np.mean(results, axis=0)
                cells.append(f"IDF1 {idf1:.3f}, {switches:.1f} sw.")
            name = f"{package} {build.__name__}"
            per_frame = 1000 * seconds / (seeds * len(SCENES) * FRAMES)
            print(f"{name:22}" + "".join(f"{cell:>26}" for cell in cells) + f"{per_frame:12.2f}", flush=True)


if __name__ == "__main__":
    main()
