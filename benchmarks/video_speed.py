"""A video end to end against its parts: reading, the model, drawing and writing, each alone, then all of `tinynas predict`.

    python benchmarks/video_speed.py MODEL [--clip VIDEO] [--frames 300] [--rounds 5] [--threads N] [--keep DIR]

The clip (1280x720) is made here: textured blocks that move over a textured ground. Each round times the four one after the
other; medians over the rounds. Loading the model, and the clip, are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePath

import cv2
import numpy as np

from detector.detector import Detector
from detector.prediction.frames import Looked
from detector.prediction.looking import prepared
from detector.prediction.outputs import Heading, _drawn, open_output
from detector.prediction.run import Wishes, predict
from detector.prediction.sources import Item, find_items
from detector.prediction.thresholds import Thresholds
from detector.prediction.video import video_frames

WIDTH, HEIGHT, FPS, BLOCKS = 1280, 720, 30, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clip", type=Path, help="a video of your own instead")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the model's runtime; default: its own choice")
    parser.add_argument("--score-threshold", type=float, default=0.3)
    parser.add_argument("--keep", type=Path, help="a folder for the clip and what is drawn")
    options = parser.parse_args()
    detector, look = prepared(
        Detector.load(options.model, threads=options.threads), Thresholds(options.score_threshold)
    )
    with tempfile.TemporaryDirectory() as temporary:
        home = options.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        clip = options.clip or _clip(home / "clip.mp4", options.frames)
        (item,) = find_items([str(clip)], home / "out")
        count, boxes, parts = _parts(item, look, detector, home)
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(options.rounds):
            for name, part in parts.items():
                begun = time.perf_counter()
                part()
                seconds[name].append(time.perf_counter() - begun)
    median = {name: 1000 * statistics.median(values) / count for name, values in seconds.items()}
    print(f"{count} frames, {boxes / count:.1f} boxes a frame, {options.rounds} rounds")
    for name, milliseconds in median.items():
        print(f"{name:20} {milliseconds:7.2f} ms a frame  {1000 / milliseconds:7.1f} frames a second")
    *alone, together = median.values()
    print(f"{'sum of the parts':20} {sum(alone):7.2f} ms a frame  {1000 / sum(alone):7.1f} frames a second")
    print(f"end to end takes {together / sum(alone):.2f} of the sum, {together / max(alone):.2f} of the longest part")


def _parts(
    item: Item, look: Callable[..., list], detector: Detector, home: Path
) -> tuple[int, int, dict[str, Callable[[], None]]]:
    """Frames, boxes found in all, and what is timed."""
    frames = list(video_frames(item))
    found = look([frame.pixels for frame in frames])
    heading = Heading("model", detector.card, {PurePath(item.name): PurePath("drawn.mp4")})

    def read() -> None:
        for _ in video_frames(item):
            pass

    def infer() -> None:
        for frame in frames:
            look([frame.pixels])

    def draw() -> None:
        outputs = [_drawn.Writer(home, heading, 1), open_output("jsonl", home, heading)]
        for frame, one in zip(frames, found):
            for output in outputs:
                output.write(Looked(frame, one))
        for output in outputs:
            output.close(())

    def whole() -> None:
        outcome = predict([item], look, detector.card, home / "out", Wishes(formats=("jsonl",)), model="model")
        assert outcome.frames == len(frames)

    parts = {"reading": read, "model": infer, "drawing, writing": draw, "end to end": whole}
    return len(frames), sum(map(len, found)), parts


def _clip(path: Path, frames: int) -> Path:
    rng = np.random.default_rng(0)
    ground = cv2.resize(
        rng.integers(60, 180, (45, 80, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    blocks = [np.array(rng.integers(0, 255, (s, s, 3)), np.uint8) for s in rng.integers(60, 220, BLOCKS)]
    at, speed = rng.uniform(0, 500, (BLOCKS, 2)), rng.uniform(-6, 6, (BLOCKS, 2))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for _ in range(frames):
        picture = ground.copy()
        for i, block in enumerate(blocks):
            size = len(block)
            for axis, side in enumerate((WIDTH, HEIGHT)):
                if not 0 <= at[i, axis] + speed[i, axis] <= side - size:
                    speed[i, axis] *= -1
            at[i] = np.clip(at[i] + speed[i], 0, [WIDTH - size, HEIGHT - size])
            x, y = at[i].astype(int)
            picture[y : y + size, x : x + size] = cv2.GaussianBlur(block, (0, 0), 5)
        writer.write(picture)
    writer.release()
    return path


if __name__ == "__main__":
    main()
