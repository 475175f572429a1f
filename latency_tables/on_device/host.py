"""Which machine this is, as results and tables name it."""

from __future__ import annotations

import os
import platform
from typing import Any

EXTENSIONS = (
    "sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_bf16", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""Flags that the choice of kernels depends on."""


def cpu_info() -> dict[str, str]:
    """The first value of each key of /proc/cpuinfo; nothing on systems without it."""
    info: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                info.setdefault(key.strip(), value.strip())
    except OSError:
        return {}
    return info


def host_processor() -> str:
    """The processor: the model name, with family and model number where the system tells."""
    info = cpu_info()
    if "model name" not in info:
        return platform.processor() or platform.machine()
    return "{} (family {}, model {})".format(info["model name"], info.get("cpu family", "?"), info.get("model", "?"))


def flags() -> set[str]:
    """What the system says that the processor can do."""
    info = cpu_info()
    return set((info.get("flags") or info.get("Features") or "").split())


def vector_extensions() -> tuple[str, ...]:
    """Those flags that the choice of kernels depends on."""
    known = flags()
    return tuple(name for name in EXTENSIONS if name in known)


def board() -> str:
    """What a board calls itself (`Raspberry Pi 5 Model B Rev 1.0`); empty on other machines."""
    try:
        with open("/proc/device-tree/model", encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def host_clock() -> str:
    """What the system tells of the first processor's clock and its governor; empty where it tells nothing."""
    reported, kept = cpu_info().get("cpu MHz", ""), governor()
    told = [f"{float(reported):.0f} MHz as the system reports it"] if reported else []
    return ", ".join([*told, f"governor {kept}"] if kept else told)


def governor() -> str:
    """Of the first processor's clock; empty where the system shows none."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def machine() -> dict[str, Any]:
    """What tells one machine from another, and what is good to know of it."""
    return {
        "host": platform.node(),
        "processor": host_processor(),
        "extensions": vector_extensions(),
        "board": board(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(),
        "python": platform.python_version(),
        "clock": host_clock(),
    }
