"""How many training images a second one core makes, and how many the loader hands over. Prints JSON.

    python benchmarks/input_pipeline.py DATA [--size 640] [--images 200] [--workers 0] [--batch 64] [--seconds 10]

`per_core`: images per second of processor time in one process, so that other jobs on the machine do not count:

    decode         one picture read, decoded and stretched to the network's size
    quiet_cold     as the last epochs have it: no mosaic, every picture decoded
    quiet_cached   the same, pictures decoded before
    strong_cold    mosaic, affine, mixup and mirror of the published recipe, every picture decoded
    strong_cached  the same, pictures decoded before
    sada_cached    with SADA at half of its probabilities
    collate        samples made into a batch

`loader`: images per second by the clock that arrive with `--workers` processes (0: left out), of the strong kinds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from detector.data.annotations import Annotations
from detector.data.augment import AugmentConfig
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.loader import build_loader, collate

NO_CACHE, CACHE = 0, 8 << 30


def rate(make: Callable[[int], object], images: int, seconds: float, per_call: int = 1) -> float:
    """Images per second of this process's own time; `make` is called with 0, 1, ..., images - 1 and again."""
    start, wall, done = time.process_time(), time.perf_counter(), 0
    while done < images or time.perf_counter() - wall < seconds:
        make(done % images)
        done += 1
    return round(done * per_call / (time.process_time() - start), 1)


def recipe(*, sada: float = 0.0) -> AugmentConfig:
    """The published recipe of S, M and L."""
    return AugmentConfig(sada=sada)


def made(
    images: Annotations, size: tuple[int, int], config: AugmentConfig, cache: int, *, strong: bool
) -> DetectionDataset:
    """A data set in the middle of its strong epochs, or in its quiet ones; its cache filled."""
    data = DetectionDataset(images, size, config, cache_bytes=cache)
    data.set_epoch(0, strong=strong, progress=(0.5, 0.5))
    for index in range(len(images)) if cache else ():
        data._source(index)
    return data


def per_core(images: Annotations, options: argparse.Namespace, bar: Any) -> dict[str, float]:
    """Images per second of processor time of everything in the module's docstring."""
    size, found = (options.size, options.size), {}
    plain = DetectionDataset(images, size, cache_bytes=NO_CACHE)
    jobs: dict[str, Callable[[int], object]] = {"decode": plain._source}
    for name, config, cache, strong in (
        ("quiet_cold", recipe(), NO_CACHE, False), ("quiet_cached", recipe(), CACHE, False),
        ("strong_cold", recipe(), NO_CACHE, True), ("strong_cached", recipe(), CACHE, True),
        ("sada_cached", recipe(sada=1.0), CACHE, True),
    ):  # fmt: skip
        jobs[name] = made(images, size, config, cache, strong=strong).__getitem__
    for name, make in jobs.items():
        found[name] = rate(make, len(images), options.seconds)
        bar.update()
    batch = [jobs["quiet_cached"](index % len(images)) for index in range(options.batch)]
    found["collate"] = rate(lambda _: collate(batch), 1, options.seconds / 2, options.batch)  # type: ignore[arg-type]
    bar.update()
    return found


def arriving(images: Annotations, options: argparse.Namespace, cache: int) -> float:
    """Images per second by the clock from a loader, its first pass (workers begin, pictures are decoded) not counted."""
    data = made(images, (options.size, options.size), recipe(), cache, strong=True)
    loader = build_loader(
        data, options.batch, shuffle=True, workers=options.workers, pin_memory=torch.cuda.is_available()
    )

    def batches() -> Iterator[Any]:
        for epoch in count():
            data.set_epoch(epoch, progress=(0.5, 0.5))
            yield from loader

    stream = batches()
    for _ in range(len(loader) + 1):
        next(stream)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < options.seconds:
        done += len(next(stream))
    seconds = time.perf_counter() - start
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()
    return round(done / seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=640, help="image side in pixels, a multiple of 32")
    parser.add_argument("--images", type=int, default=200, help="of the training split, repeated if there are fewer")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure, at least")
    options = parser.parse_args()
    if min(options.images, options.batch) < 1 or options.size < 32 or options.size % 32:
        parser.error("counts must be positive and --size a multiple of 32")
    cv2.setNumThreads(0)  # as in loader processes
    torch.set_num_threads(1)
    train, _ = load_split(options.data, "train")
    images = train.subset([index % len(train) for index in range(options.images)])
    with tqdm(total=7 + 2 * bool(options.workers), desc="input pipeline") as bar:
        found: dict[str, Any] = {"per_core": per_core(images, options, bar)}
        if options.workers:
            found["loader"] = {"workers": options.workers}
            for name, cache in (("strong_cold", NO_CACHE), ("strong_cached", CACHE)):
                found["loader"][name] = arriving(images, options, cache)
                bar.update()
    keys = ("size", "images", "batch", "seconds")
    print(json.dumps({"data": str(options.data), **{key: getattr(options, key) for key in keys}, **found}, indent=1))


if __name__ == "__main__":
    main()
