"""Which data set each image comes from, where several are one: what its annotators looked for, and what they did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Source:
    """One data set of several.

    becomes: each of its own classes, and the class of the label space that it is (None: left out)
    absent: classes that it does not label and that its pictures have nothing of, so that they are background there
    """

    name: str
    becomes: Mapping[str, str | None]
    absent: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        """The classes of which its pictures tell where they are and where not."""
        return frozenset(name for name in self.becomes.values() if name is not None) | self.absent


@dataclass(frozen=True, slots=True)
class Origins:
    """The S data sets of N images: `of_image` (N,) int32 indexes `sources`."""

    sources: tuple[Source, ...]
    of_image: npt.NDArray[np.int32]

    def only(self, images: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Origins:
        """Of the images that a mask or an index array names."""
        return replace(self, of_image=self.of_image[images])

    def labelled(self, class_names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(S, C): whether the images of a data set tell of a class. What is not labelled is not background."""
        rows = [[name in source.known for name in class_names] for source in self.sources]
        return np.array(rows, dtype=np.bool_).reshape(len(self.sources), len(class_names))

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """By class of the label space, the other names that the data sets have for it."""
        found: dict[str, dict[str, None]] = {}
        for source in self.sources:
            for own, name in source.becomes.items():
                if name is not None and own.casefold() != name.casefold():
                    found.setdefault(name, {})[own] = None
        return {name: tuple(others) for name, others in found.items()}


def aliases_of(origins: Origins | None) -> dict[str, tuple[str, ...]]:
    """By class, the other names that several data sets have for it; nothing for one data set."""
    return {} if origins is None else origins.aliases()


def joined_origins(parts: Sequence[tuple[Origins | None, int]], class_names: Sequence[str]) -> Origins | None:
    """Of several parts (their origins, their numbers of images) put one behind the other; None where none has any.

    A part without origins is one data set that labels all of `class_names`.
    """
    if all(origins is None for origins, _ in parts):
        return None
    sources: list[Source] = []
    numbers: list[npt.NDArray[np.int32]] = []
    for origins, images in parts:
        if origins is None:
            whole = Source("data", {name: name for name in class_names})
            origins = Origins((whole,), np.zeros(images, dtype=np.int32))
        numbers.append((origins.of_image + len(sources)).astype(np.int32))
        sources += origins.sources
    return Origins(tuple(sources), np.concatenate(numbers))
