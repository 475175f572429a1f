"""The trainer side: detectors from structures. `from detector import Detector` is all that using one needs.

Importing the package imports nothing else; torch comes with what needs it (an exported model does not).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.detections import Detections as Detections
    from detector.detector import Detector as Detector

_HOMES = {"Detections": "detector.detections", "Detector": "detector.detector"}
__all__ = ["Detections", "Detector"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
