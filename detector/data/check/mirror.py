"""Classes that a left-right mirror turns into other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detector.data.check.findings import Finding
from detector.data.mirror import advise
from detector.data.raw_split import RawSplit, packed
from search_spaces.errors import UserError


def check(splits: Mapping[str, RawSplit]) -> Iterator[Finding]:
    """At most one finding, about the training split; none when it cannot be read, which others tell."""
    if "train" not in splits:
        return
    try:
        train, _ = packed(splits["train"])
        advice = advise(train)
    except UserError:
        return
    if advice.setting:
        reason = (
            f"{advice.why}; the preset auto sees to it when it trains, any other needs --set '{advice.setting}', or "
            "mirrored pictures teach the wrong class"
        )
        yield Finding(kind="mirrored-class", split="train", where=_source(splits["train"]), reason=reason)


def _source(split: RawSplit) -> str:
    """Where the class names stand."""
    return str(split.files[0]) if len(set(split.files)) == 1 else split.source
