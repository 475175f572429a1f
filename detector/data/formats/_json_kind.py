"""Which tool's JSON a file is, from its first kilobytes."""

from __future__ import annotations

import re
from pathlib import Path

from search_spaces.files import text_encoding

_HEAD = 1 << 16
_KEY = r'"{}"\s*:\s*'
_MARKS = (
    ("datumaro", (_KEY.format("categories") + r"\{", _KEY.format("items") + r"\[")),
    ("labelme", (_KEY.format("shapes") + r"\[", _KEY.format("(?:imagePath|imageData|imageHeight)"))),
    ("via", (_KEY.format("(?:_via_img_metadata|_via_settings)"),)),
    ("via", (_KEY.format("filename"), _KEY.format("regions"))),
    ("coco", (_KEY.format("images") + r"\[", _KEY.format("(?:file_name|categories|annotations)"))),
    ("coco", (_KEY.format("annotations") + r"\[", _KEY.format("image_id"))),
    ("coco", (_KEY.format("categories") + r"\[", _KEY.format("(?:images|annotations)") + r"\[")),
    ("labelstudio", (_KEY.format("(?:annotations|completions)") + r"\[", _KEY.format("data") + r"\{")),
    ("labelstudio", (_KEY.format("(?:rectanglelabels|polygonlabels|ellipselabels|brushlabels)"),)),
    ("createml", (_KEY.format("coordinates"), _KEY.format("label"))),
    ("createml", (_KEY.format("(?:image|imagefilename)"), _KEY.format("annotations?") + r"\[\s*[\]{]")),
)  # fmt: skip
_COMPILED = tuple((kind, tuple(re.compile(mark) for mark in marks)) for kind, marks in _MARKS)


def json_kind(path: Path) -> str:
    """coco, createml, labelme, labelstudio or via; datumaro, which no format here is; "" for none of them, and for what
    cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    text = head.decode(text_encoding(head), errors="replace")
    return next((kind for kind, marks in _COMPILED if all(mark.search(text) for mark in marks)), "")
