"""This host's CPU: what it calls itself, and whether a table is of this very processor.

Two hosts are the same when processor model (name, family, model number), vector extensions and the clock governor, where
the system shows one, are. A virtual machine can hide its model: there, the table's own kernels are timed for a second or
two, once per boot, and have to agree.
"""

from __future__ import annotations

from latency_tables.metadata import HostFacts, TableMetadata
from latency_tables.on_device.host import flags, governor, host_processor, vector_extensions


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
    return HostFacts(
        processor=host_processor(), extensions=vector_extensions(), governor=governor(), virtual="hypervisor" in flags()
    )
