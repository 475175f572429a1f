"""Structures through every model format: how far each file is from torch, its size, how long the export took, as JSON.

    python benchmarks/export_formats.py Ns Nm Nl T S M L s/structure.txt --out FOLDER

Weights are random, with a head whose logits have a spread, so that thousands of priors score apart. Formats whose runtime
is not here are named with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from detector.checkpoint import Checkpoint
from detector.deploy import exportable, get_format
from detector.export import ExportSettings, export_checkpoint
from detector.network import Network
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

LOGIT_SPREAD, LOGIT_MEAN = 1.5, -5.0


def spread_checkpoint(structure: Structure, seed: int = 0) -> Checkpoint:
    """Random weights whose class and box logits have a standard deviation of 1.5 on noise, class logits a mean of -5."""
    torch.manual_seed(seed)
    network = Network(structure).eval()
    images = torch.rand(1, 3, *structure.image_size) * 255
    with torch.no_grad():
        for level, scale in enumerate(network.detect.scales):
            scale.fill_(0.6 + 0.5 * level)
        raw = network.forward_raw(images)
        for name, parameter in network.named_parameters():
            if name.startswith("head.level") and name.endswith("conv.weight"):
                logits = raw.cls_logits if ".cls." in name else raw.reg_logits
                parameter.mul_(LOGIT_SPREAD / logits.std())
            elif name.startswith("head.level") and ".cls." in name:
                parameter.fill_(LOGIT_MEAN)
    names = tuple(f"class {label}" for label in range(structure.head.num_classes))
    return Checkpoint(structure=structure, class_names=names, weights=network.state_dict())


def settings_of(name: str) -> list[tuple[str, ExportSettings]]:
    """What is exported in a format: its default, and the same in half precision where it knows that."""
    plugin = get_format(name)
    output = "nms" if "nms" in plugin.OUTPUTS else "raw"
    found = [("fp32", ExportSettings(output=output))]  # type: ignore[arg-type]
    if "half" in plugin.PRECISIONS:
        found.append(("half", ExportSettings(output=output, half=True)))  # type: ignore[arg-type]
    return found


def exported(checkpoint: Checkpoint, name: str, settings: ExportSettings, folder: Path) -> dict[str, Any]:
    """One export: worst differences in pixels and scores, bytes, seconds; or why there is none."""
    plugin = get_format(name)
    if find_spec(plugin.RUNTIME) is None:
        return {"not_run": f"{plugin.RUNTIME} is not installed"}
    start = time.perf_counter()
    try:
        report = export_checkpoint(checkpoint, folder / f"m{plugin.SUFFIXES[0]}", name, settings, overwrite=True)
    except UserError as error:
        return {"not_run": str(error)}
    found = {
        "boxes_px": report.network.boxes_px, "scores": report.network.scores, "compared": report.network.compared,
        "golden": str(report.golden), "bytes": sum(file.stat().st_size for file in report.files),
        "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    return found | ({} if report.detections is None else {"nms": str(report.detections)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structures", nargs="+", help="shipped names or structure files")
    parser.add_argument("--formats", nargs="+", default=exportable())
    parser.add_argument("--image-size", type=int, help="side in pixels, instead of each structure's")
    parser.add_argument("--out", type=Path, help="keep the JSON there")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.structures:
            structure = resolve_structure(name)
            if arguments.image_size:
                structure = structure.with_image_size(arguments.image_size, arguments.image_size)
            checkpoint = spread_checkpoint(structure)
            for format_name in arguments.formats:
                for precision, settings in settings_of(format_name):
                    found = exported(checkpoint, format_name, settings, Path(folder))
                    row = {"structure": name, "format": format_name, "precision": precision, **found}
                    print(json.dumps(row), file=sys.stderr, flush=True)
                    results.append(row)
    text = json.dumps({"torch": torch.__version__, "results": results}, indent=1)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "export_formats.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
