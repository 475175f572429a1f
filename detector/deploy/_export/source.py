"""What a format is written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detector.model_card import ModelCard
from detector.network import Network


@dataclass(frozen=True, slots=True)
class Source:
    """card: what the file will say of itself. network: in deploy form. onnx: the ONNX model of the card's outputs.

    half: weights stored in fp16.
    """

    card: ModelCard
    network: Network
    onnx: Any
    half: bool = False
