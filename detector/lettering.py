"""Text of any script in pictures: a font that has its letters where one is installed, else a reading or a number for it.

What is only drawn must never end a job, and should say something: `ネコ` without a Japanese font becomes `neko`, an emoji its
name, and a Chinese word, of which letters alone give no reading, `class 3`, with a legend that says what that is.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import ImageFont

from detector.data.scalars import clean_name

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_VARIABLE = "TINYNAS_FONT"
"""Environment variable: a font file to take before the installed ones."""
LONGEST = 48
# By their files' names, the widest first; NotoColorEmoji and the like hold pictures of one size, which are no letters.
_KNOWN = (
    "notosanscjk", "notosansmonocjk", "sourcehansans", "wqy", "droidsansfallback", "msyh", "simhei", "simsun", "yugoth",
    "meiryo", "msgothic", "malgun", "pingfang", "hiragino", "applesdgothic", "stheiti", "nanumgothic", "ipag", "takao",
    "vlgothic", "arialunicode", "arial unicode", "unifont", "notosans", "notonaskh", "freesans", "symbola", "notoemoji",
)  # fmt: skip
_FOLDERS = {
    "win32": (r"C:\Windows\Fonts",),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
}
_UNIX = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")
_ABSENT = "\U0010fffd"  # a code that no font has a letter for
_READ_AFTER = ("LETTER", "SYLLABLE", "CHARACTER", "SIGN", "DIGIT")


@dataclass(frozen=True, slots=True)
class Lettering:
    """How class names are drawn: `texts` by label, and `legend`: a line for each that is drawn as a number."""

    texts: tuple[str, ...]
    legend: tuple[str, ...]


@functools.lru_cache(maxsize=64)
def lettering(class_names: tuple[str, ...]) -> Lettering:
    """What to draw for each class name: itself where a font has its letters, else a reading, else `class N`."""
    texts, legend = [], []
    for label, name in enumerate(class_names):
        text = readable(name)
        if text is None:
            text = f"class {label}"
            legend.append(f"{text}: {name}")
        texts.append(text)
    return Lettering(tuple(texts), tuple(legend))


def readable(text: str) -> str | None:
    """One line that can be drawn and read, cut at 48 letters; None where a letter has neither a glyph nor a reading."""
    line = clean_name(text)
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - 3]}..."
    if _font_file(line) is not None:
        return line or "?"
    main = _files()[0]
    letters = (letter for letter in unicodedata.normalize("NFKC", line) if unicodedata.category(letter) != "Cf")
    parts = [letter if _has(main, letter) else _reading(letter) for letter in letters]
    if any(part is None for part in parts):
        return None
    return " ".join("".join(part or "" for part in parts).split()) or None


def drawable(text: str) -> str:
    """Text for a caption: letters that cannot be drawn become their reading, or ?; lines stay lines."""
    return "\n".join(_drawable_line(line) for line in text.split("\n"))


def font(size: int, text: str = "") -> Font:
    """The font of labels in that size: DejaVu Sans Bold as matplotlib ships it, or the first that has all of `text`."""
    return _loaded(_font_file(text) or _files()[0], size)


def font_families(texts: Sequence[str]) -> list[str]:
    """For matplotlib: its own font, and the names of those that these texts need besides, registered with it."""
    from matplotlib.font_manager import FontProperties, fontManager

    families = ["DejaVu Sans"]
    for path in dict.fromkeys(_font_file(text) for text in texts):
        if path is not None and path != _files()[0]:
            fontManager.addfont(str(path))
            families.append(FontProperties(fname=str(path)).get_name())
    return families


def plotted(text: str) -> str:
    """A text for matplotlib: letters that can be drawn, and dollars that are dollars."""
    return drawable(text).replace("$", r"\$")


def _drawable_line(line: str) -> str:
    main, letters = _files()[0], []
    for letter in "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in line):
        letters.append(letter if _has(main, letter) else _reading(letter) or "?")
    return "".join(letters)


def _font_file(text: str) -> Path | None:
    """The first font that has every letter; None if there is none."""
    return next((path for path in _files() if all(_has(path, letter) for letter in text)), None)


@functools.cache
def _files() -> tuple[Path, ...]:
    """matplotlib's own font (or a path that stands for Pillow's), the user's, and installed ones of many scripts."""
    given = os.environ.get(FONT_VARIABLE)
    first = [Path(given)] if given and Path(given).is_file() else []
    return (_own_font(), *first, *_installed())


def _own_font() -> Path:
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
        if path.is_file():
            return path
    return Path()


def _installed() -> Iterator[Path]:
    found: dict[Path, int] = {}
    for folder in _FOLDERS.get(sys.platform, _UNIX):
        for base, _, names in os.walk(os.path.expanduser(folder)):
            for name in names:
                plain = name.lower().replace("-", "").replace("_", "")
                rank = next((i for i, known in enumerate(_KNOWN) if plain.startswith(known)), None)
                if rank is not None and plain.endswith((".ttf", ".ttc", ".otf")) and "color" not in plain:
                    found[Path(base) / name] = rank
    yield from sorted(found, key=lambda path: (found[path], "bold" not in path.name.lower(), path.name))


@functools.lru_cache(maxsize=256)
def _loaded(path: Path, size: int) -> Font:
    if path != Path():
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:
            pass
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=1 << 16)
def _has(path: Path, letter: str) -> bool:
    """Whether the font draws the letter otherwise than a code that it does not have."""
    if letter.isspace():
        return True
    if letter == "\N{VARIATION SELECTOR-16}":
        return False
    found = _loaded(path, 20)
    try:
        return bytes(found.getmask(letter)) != bytes(found.getmask(_ABSENT))
    except (OSError, ValueError, RuntimeError):
        return False


def _reading(letter: str) -> str | None:
    """How a letter sounds or what a sign is called, by its Unicode name; "" for joiners and marks, None for neither."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return ""
    name = unicodedata.name(letter, "")
    words = name.split()
    after = max((i for i, word in enumerate(words) if word in _READ_AFTER), default=-1)
    if 0 <= after < len(words) - 1:
        small = "CAPITAL" not in words
        sound = words[-1] if not name.startswith("THAI") else words[after + 1]
        return sound.lower() if small else sound.title()
    if "PROLONGED SOUND" in name:
        return "-"
    if unicodedata.category(letter) in ("So", "Sk", "Po", "Sm"):
        return f"[{name.lower()}]" if name else None
    return None
