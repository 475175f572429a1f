"""This host's CPU: what it calls itself, and whether a table is of this very processor.

Two hosts are the same when processor model (name, family, model number), vector extensions and the clock governor, where
the system shows one, are. A virtual machine can hide its model: there, the table's own kernels are timed for a second or
two, once per boot, and have to agree.
"""

from __future__ import annotations

from latency_tables.metadata import HostFacts, TableMetadata
from latency_tables.on_device.host import cpu_info, governor, host_processor

EXTENSIONS = (
    "sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_bf16", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""Flags that the choice of kernels depends on."""


def differences(metadata: TableMetadata) -> list[str]:
    """What tells a CPU table's processor from this host's: `processor A, here B`. What one of them does not show tells
    nothing; a table that says nothing of its processor differs in that."""
    here = host_facts()
    there = metadata.host or HostFacts(processor=metadata.processor)
    pairs = [
        ("processor", there.processor, here.processor),
        ("vector extensions", " ".join(there.extensions), " ".join(here.extensions)),
        ("clock governor", there.governor, here.governor),
    ]
    found = [f"{what} {then}, here {now}" for what, then, now in pairs if then and now and then != now]
    return found if there.processor else [f"no processor named, here {here.processor}"]


def is_this_host(metadata: TableMetadata) -> bool:
    """Whether the host calls itself what the table's did. (`latency_tables.probe` tells hosts apart that hide behind one
    name.)"""
    return metadata.kind == "cpu" and not differences(metadata)


def host_facts() -> HostFacts:
    """What this host tells of itself."""
    info = cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return HostFacts(
        processor=host_processor(), extensions=tuple(name for name in EXTENSIONS if name in flags), governor=governor(),
        virtual="hypervisor" in flags,
    )  # fmt: skip
