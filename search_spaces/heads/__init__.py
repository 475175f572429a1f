"""Heads, one plug-in per file: `emit(b, features, head) -> Tensor`, the decoded detections."""
