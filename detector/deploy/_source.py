"""What a format is written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detector.model_card import ModelCard
from detector.network import Network


@dataclass(frozen=True, slots=True)
class Source:
    """card: what the file will say of itself. network: in deploy form. onnx: gives the ONNX model of the card's input and
    outputs (traced when first asked for; formats that are not made from ONNX do not ask)."""

    card: ModelCard
    network: Network
    onnx: Callable[[], Any]
