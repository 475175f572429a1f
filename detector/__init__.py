"""The trainer side: detectors from structures. `from detector import Detector` is all that using one needs.

Importing the package imports nothing else; torch comes with the first use of a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.detector import Detection as Detection
    from detector.detector import Detector as Detector

__all__ = ["Detection", "Detector"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("detector.detector"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
