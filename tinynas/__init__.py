"""tinynas: from a latency budget on a device to a trained, exported, verified object detector."""

__version__ = "0.1.0"
