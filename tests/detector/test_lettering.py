"""Class names of any script in pictures: legible where a font or a reading exists, numbered with a legend where not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from detector import lettering as module
from detector.drawing import draw_detections
from detector.lettering import FONT_VARIABLE, drawable, font, font_families, lettering, plotted, readable


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the fonts that are installed here."""
    monkeypatch.setattr(module, "_installed", lambda: iter(()))
    monkeypatch.delenv(FONT_VARIABLE, raising=False)
    _forget()
    yield
    _forget()


def _forget() -> None:
    for cached in (module._files, module._loaded, module._has, module.lettering):
        cached.cache_clear()


def font_with(path: Path, letters: str) -> Path:
    """A font file with these letters as blocks, and nothing else."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (600, 700), (600, 0)):
        pen.lineTo(corner)
    pen.closePath()
    block, names = pen.glyph(), [f"g{i}" for i in range(len(letters))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names)})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **dict.fromkeys(names, block)})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (700, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Blocks", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.parametrize(
    ("name", "text"),
    [("cat", "cat"), ("кошка", "кошка"), ("γάτα", "γάτα"), ("ネコ", "neko"), ("고양이", "goyangi"),
     ("ｶﾒﾗ", "kamera"), ("猫", None),
     ("車 blue", None), ("🦊", "[fox face]"), ("x" * 200, "x" * 45 + "..."), ("", "?"),
     ("a\nb\x00", "a b"), ("👨‍👩‍👧", "[man][woman][girl]")],
)  # fmt: skip
def test_without_other_fonts(name: str, text: str | None) -> None:
    assert readable(name) == text


@pytest.mark.usefixtures("no_fonts")
def test_what_has_no_reading_is_numbered_with_a_legend() -> None:
    found = lettering(("cat", "猫", "ネコ", "狗"))
    assert found.texts == ("cat", "class 1", "neko", "class 3")
    assert found.legend == ("class 1: 猫", "class 3: 狗")


@pytest.mark.usefixtures("no_fonts")
def test_a_font_that_has_the_letters_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FONT_VARIABLE, str(font_with(tmp_path / "blocks.ttf", "猫狗 01.")))
    _forget()
    assert lettering(("猫", "dog", "鳥")).texts == ("猫", "dog", "class 2")
    assert font(20, "猫").getname()[0] == "Blocks"
    assert font(20, "dog").getname()[0] == "DejaVu Sans"
    assert font_families(["dog", "猫"]) == ["DejaVu Sans", "Blocks"]


@pytest.mark.usefixtures("no_fonts")
@pytest.mark.parametrize(
    "name",
    [
        "cat\n",
        "猫",
        "🐱",
        "$x_{",
        "a\ud800b",
        "\u202e\u0007",
        "كلب",
        "ไทย",
        "🇩🇪",
        "\U0010fffd",
        "x" * 5000,
        "",
        "[red]",
        "हिन्दी",
    ],
)
def test_no_name_ends_a_drawing(name: str) -> None:
    boxes = np.array([[10, 30, 60, 60]], np.float32)
    drawn = draw_detections(np.zeros((80, 100, 3), np.uint8), boxes, np.array([0]), [name], np.array([0.5], np.float32))
    assert drawn.any()
    assert drawable(f"{name}\nsecond").count("\n") >= 1


def test_matplotlib_draws_dollars_and_any_script(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = ["$x", "a $\\frac$ b", "猫", "ネコ", "🐱", "x_{^"]
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks(range(len(names)), [plotted(name) for name in names], family=font_families(names))
    FigureCanvasAgg(figure).print_figure(tmp_path / "a.png")
    assert axes.get_xticklabels()[0].get_text() == r"\$x"
