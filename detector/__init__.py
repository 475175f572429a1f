"""The trainer side: detectors from structures. `from detector import Detector` is all that using one needs.

    network, units                           a graph as a torch module
    checkpoint, import_weights               its weights in a file, and those of the public format
    data/                                    data sets, to batches
    assigners/, losses/, criterion           the training loss
    training/, transfer/                     training, and its start from other weights
    distillers/, distillation, teachers/     learning from a teacher
    pretraining/, overfit/                   a backbone before there are boxes; a check of the whole chain on a few images
    priors, boxes, suppression, postprocess  from the head's outputs to detections
    detector, detections, tiling             a model of any file at work, and what it finds
    evaluation/, prediction/                 COCO's numbers; pictures, videos and streams
    deploy/, model_card, golden              model files by format, and what each says of itself and carries to check it by
    export/, agreement, quantisation/        model files written, compared with the network, in int8
    drawing, lettering, devices              pictures to look at, text in them; torch's devices by name

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
