"""int8 model files out of fp32 ones: calibrated on the user's pictures, checked by COCO AP, the most harmful layers kept.

A file that `tinynas export` wrote in fp32 (.onnx, .xml) goes in; a file of the same kind with the same inputs, outputs and
metadata comes out. What was done is in its metadata (`Record`).
"""

from __future__ import annotations

from detector.quantisation.record import Record, read_record
from detector.quantisation.run import Settings, quantise

__all__ = ["Record", "Settings", "quantise", "read_record"]
