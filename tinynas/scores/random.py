"""Baseline: luck. A hash of the backbone, spread evenly over [0, 1).

The same backbone always has the same score, whatever the seed, the image size and the order of candidates; backbones
that differ in any width, depth or kernel have unrelated ones. A search under this score is a random search.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search_spaces.graph import Dim, Graph, MainConv
from tinynas.scores._groups import Values, plain

# none are used
WEIGHTS: tuple[float, ...] = ()

_Hash = npt.NDArray[np.uint64]


def score(graph: Graph, weights: Sequence[float] = WEIGHTS) -> Values:
    """The hash as a float, or (P,). `weights` are not used."""
    # a sum, because a population counts repeated convs where a single network lists them
    total = np.zeros(1, np.uint64)
    for conv in graph.main_path:
        total = total + _conv_hash(conv) * _words(conv.count)
    fraction = (_mixed(total) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return plain(fraction if fraction.size > 1 or _is_population(graph) else fraction[0])


def _conv_hash(conv: MainConv) -> _Hash:
    """Hash of a conv's stage, its place in the block, its fan-in and its width."""
    scopes = conv.path.split(".")
    place = zlib.crc32(f"{scopes[1]}.{scopes[-1]}.{conv.level}".encode())
    hashed = _mixed(_words(conv.fan_in) + np.uint64(place) * np.uint64(2**32))
    return _mixed(hashed + _words(conv.out_channels))


def _mixed(words: _Hash) -> _Hash:
    """Every bit of a word spread over all of its bits (the finaliser of SplitMix64, which is a bijection)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _words(values: Dim) -> _Hash:
    return np.atleast_1d(np.asarray(values)).astype(np.uint64)


def _is_population(graph: Graph) -> bool:
    return any(
        isinstance(value, np.ndarray)
        for conv in graph.main_path
        for value in (conv.fan_in, conv.out_channels, conv.count)
    )
