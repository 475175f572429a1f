"""What a check ran on: the card, its driver, the software, and the rates that its other figures are to be seen against."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from typing import Any

import torch
from _call import Call, parse

from latency_tables.on_device.host import host_processor

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnx",
    "onnxruntime",
    "pydantic",
    "torchvision",
    "triton",
)
QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,compute_cap"


def software() -> dict[str, Any]:
    """Versions of what is there."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card() -> dict[str, Any]:
    """What torch and the driver say of the first card."""
    properties = torch.cuda.get_device_properties(0)
    found = {
        "name": properties.name, "count": torch.cuda.device_count(), "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count, "capability": f"{properties.major}.{properties.minor}",
        "cudnn": torch.backends.cudnn.version(), "nccl": ".".join(map(str, torch.cuda.nccl.version())),
    }  # fmt: skip
    if shutil.which("nvidia-smi"):
        words = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
        told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=15)
        found["nvidia_smi"] = told.stdout.strip()
    return found


def rates(device: torch.device, side: int) -> dict[str, float]:
    """GB/s of a copy on the device (bytes read and written), TFLOP/s of square products."""
    values = torch.empty(side * side * 16, dtype=torch.uint8, device=device)
    other = torch.empty_like(values)
    seconds = timed(lambda: other.copy_(values), device)
    found = {"copy_gb_per_s": round(2 * values.numel() / seconds / 1e9, 1)}
    for dtype in (torch.float32, torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.float32,):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = timed(lambda a=a, b=b: a @ b, device)
        found[f"product_{str(dtype).removeprefix('torch.')}_tflop_per_s"] = round(2 * side**3 / seconds / 1e12, 2)
    return found


def timed(run: Any, device: torch.device, times: int = 10) -> float:
    """Seconds of one run, the mean of `times` after three that are not counted."""
    for _ in range(3):
        run()
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        run()
    wait(device)
    return (time.perf_counter() - start) / times


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(call: Call) -> None:
    device = torch.device(call.device)
    found: dict[str, Any] = {"software": software(), "processor": host_processor(), "cores": os.cpu_count()}
    call.keep(found)
    if device.type == "cuda":
        found["card"] = card()
        call.keep(found)
    found["rates"] = rates(device, 256 if call.quick else 8192)
    call.keep(found)


if __name__ == "__main__":
    main(parse(__doc__))
