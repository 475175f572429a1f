"""The process of a CPU run: how its threads wait, and what becomes of memory that a step frees. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # from malloc.h
SPINS = "2000"  # rounds of gomp's waiting loop before a thread sleeps


def let_threads_sleep() -> None:
    """Have OpenMP's idle threads spin shortly, then sleep; call before torch is first imported, it has no effect after.

    Spinning threads hold the core that another process (or a loader worker) needs: on two busy cores a training step
    took four times as long. Sleeping at once costs a fifth of the speed on an idle machine. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse large freed blocks; True if it took the settings.

    By default every activation above 32 MB is a fresh mapping that the system zeroes page by page, which costs a third
    of a training step on two cores. The process's memory then stays at its peak. Elsewhere than on glibc: no effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # -1 is the largest size_t: never trim.
    return all(mallopt(key, value) == 1 for key, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20)))
