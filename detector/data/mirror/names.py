"""What class names say about left and right, and about signs that a mirror spoils."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

SIDES = (
    ("left", "right"), ("l", "r"), ("lh", "rh"), ("lt", "rt"), ("links", "rechts"), ("linke", "rechte"),
    ("linker", "rechter"), ("gauche", "droite"), ("gauche", "droit"), ("izquierda", "derecha"),
    ("izquierdo", "derecho"), ("izq", "der"), ("sinistra", "destra"), ("sinistro", "destro"),
    ("esquerda", "direita"), ("esquerdo", "direito"), ("sol", "sag"), ("sola", "saga"), ("solda", "sagda"),
    ("soldan", "sagdan"), ("vanster", "hoger"), ("venstre", "hojre"), ("venstre", "hoyre"), ("vasen", "oikea"),
    ("vasemmalle", "oikealle"), ("lewo", "prawo"), ("lewy", "prawy"), ("lewa", "prawa"), ("vlevo", "vpravo"),
    ("levo", "desno"), ("stanga", "dreapta"), ("bal", "jobb"), ("kiri", "kanan"), ("trai", "phai"),
    ("hidari", "migi"), ("zuo", "you"), ("налево", "направо"), ("левыи", "правыи"), ("лево", "право"), ("左", "右"),
    ("왼쪽", "오른쪽"), ("αριστερα", "δεξια"),
)  # fmt: skip
"""Left and right in class names, lower case and without marks (as `_plain` leaves them)."""
_LONG = 4
"""A word of so many letters is also found inside another one (`turnleft`), and names a side on its own."""
_DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SIGN_WORDS = ("digit", "letter", "number", "char", "character")
_MANY = 3


def sided_pairs(names: Sequence[str]) -> dict[str, str]:
    """Classes whose names differ in left and right alone: {left: right}, names as given, in their order."""
    by_name = {_plain(name): name for name in names}
    pairs: dict[str, str] = {}
    for name in names:
        for other in _mirrored(_plain(name)):
            if other in by_name and by_name[other] != name and name not in pairs.values():
                pairs.setdefault(name, by_name[other])
    return pairs


def one_sided(names: Sequence[str]) -> tuple[str, ...]:
    """Classes whose name has a side in it (a word of four letters or more) without a class of the other side."""
    pairs = sided_pairs(names)
    paired = {*pairs, *pairs.values()}
    sides = {word for pair in SIDES for word in pair if len(word) >= _LONG}
    return tuple(name for name in names if name not in paired and sides & set(_words(_plain(name))))


def written(names: Sequence[str]) -> tuple[str, ...]:
    """Classes that are digits or letters by their names: `digit_3`, at least three of `two`, `b` and `K`.

    Numbers alone do not count: they may stand for classes that have no name.
    """
    found = [name for name in names if _is_sign(name)]
    told = [name for name in names if set(_words(_plain(name))) & set(_SIGN_WORDS) and len(_words(_plain(name))) > 1]
    return tuple(dict.fromkeys([*told, *found])) if told or len(found) >= _MANY else ()


def bare_numbers(names: Sequence[str]) -> bool:
    """Whether two or more names are single digits and nothing else."""
    return sum(name.strip() in set("0123456789") for name in names) > 1


def _is_sign(name: str) -> bool:
    plain = _plain(name).strip()
    return plain in _DIGIT_WORDS or (len(plain) == 1 and plain.isascii() and plain.isalpha())


def _mirrored(plain: str) -> Iterator[str]:
    """The name with left for right or right for left, for every word of `SIDES` that is in it."""
    for pair in SIDES:
        for side, other in (pair, pair[::-1]):
            inside = len(side) >= _LONG or not side.isascii()
            pattern = re.escape(side) if inside else rf"(?<![^\W_]){re.escape(side)}(?![^\W_])"
            swapped = re.sub(pattern, other, plain)
            if swapped != plain:
                yield swapped


def _words(plain: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", plain) if word]


def _plain(name: str) -> str:
    """Lower case, without marks on letters; words of `camelCase` apart."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    letters = unicodedata.normalize("NFKD", apart.lower().replace("ı", "i").replace("ø", "o"))
    return unicodedata.normalize("NFC", "".join(letter for letter in letters if not unicodedata.combining(letter)))
