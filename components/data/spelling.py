"""Texts that are the same for people and not for a computer: é of two kinds, blanks that are not seen, 1 and 1.0.

Those that can only be one are joined (`plain`); those that look alike and may be two are told (`looks`).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))  # soft hyphen, zero-width space and no-break, mark
JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))  # letters of some scripts need them
MINUS = "\u2212"
# Letters of other scripts that have the shape of a Latin one (https://www.unicode.org/reports/tr39/, confusables.txt).
SHAPES = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb", "aeopcyxijsdh")
SHAPES |= str.maketrans("\u043a\u043c\u0442\u0432\u043d", "kmtbh")  # so far Cyrillic ones, then Greek
SHAPES |= str.maketrans("\u03b1\u03bf\u03c1\u03c4\u03c5\u03b9\u03ba\u03bd", "aoptuikv")
WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")


def plain(text: str) -> str:
    """Return a text in one Unicode form (NFC), without characters that are not seen, and with plain single blanks."""
    return " ".join(unicodedata.normalize("NFC", text).translate(UNSEEN).split()) or text


def whole(text: str) -> str:
    """Return a whole number without the .0 that it has where a column has gaps; another text as it is."""
    found = WHOLE.fullmatch(text)
    return found[1] if found else text


def looks(text: str) -> str | Decimal:
    """Return what texts that look alike have in common: the number, or the letters of any case, width and script."""
    wide = unicodedata.normalize("NFKC", plain(text)).translate(JOINERS)
    folded = " ".join(wide.replace(MINUS, "-").casefold().translate(SHAPES).split())
    try:
        number = Decimal(folded)  # exact, as a float is not: 9007199254740993
    except InvalidOperation:
        return folded
    return number if number.is_finite() else folded


def joined(texts: Iterable[str], known: Sequence[str] = ()) -> dict[str, str]:
    """Return the spelling of each text that gets another one: that of a known one, or the plain one.

    1.0 and 1 are one where all are whole numbers; 1.0 beside 1.1 may be a version.
    """
    texts = list(texts)
    numbers = all(WHOLE.fullmatch(plain(text)) for text in (*texts, *known))

    def spelled(text: str) -> str:
        return whole(plain(text)) if numbers else plain(text)

    names = {spelled(text): text for text in reversed(known)}
    found = {}
    for text in texts:
        name = text if text in known else names.setdefault(spelled(text), spelled(text))
        if name != text:
            found[text] = name
    return found


def distinct(texts: Iterable[str]) -> int:
    """Count texts that are not the same."""
    texts = list(texts)
    names = joined(texts)
    return len({names.get(text, text) for text in texts})


def alike(texts: Iterable[str]) -> list[list[str]]:
    """Return the groups of different texts that look alike."""
    groups: dict[str | Decimal, list[str]] = {}
    for text in dict.fromkeys(texts):
        groups.setdefault(looks(text), []).append(text)
    return [group for group in groups.values() if len(group) > 1]


def twin(name: str, names: Iterable[str]) -> str:
    """Return a hint for a name that is not there: that another one looks the same; empty if none does."""
    found = next((other for other in names if other != name and looks(other) == looks(name)), None)
    if found is None:
        return ""
    return (
        f"; {shown(found)} looks the same, but has other characters: rename the column in the file, or copy the name "
        "from there"
    )


def shown(text: str) -> str:
    """Return a text in quotes, and where that may not tell it from another one, its characters as ASCII."""
    return repr(text) if repr(text) == ascii(text) else f"{text!r} ({ascii(text)[1:-1]})"


def ordered(texts: Iterable[str]) -> list[str]:
    """Sort texts; numbers by their size, where all are numbers."""
    listed = list(texts)
    try:
        return sorted(listed, key=lambda text: (float(text), text))
    except ValueError:
        return sorted(listed)


def untypable(shown: str) -> str:
    """Say what to do with a value, or a message that shows it, where no option can name it; else empty."""
    if "\0" not in shown and r"\x00" not in shown:
        return ""
    return (
        "it has NUL bytes, which cannot be typed: give the right --encoding, or remove them from the file, "
        "such as with tr -d '\\000' < OLD > NEW"
    )
