"""How the text of a file is to be read: the options, and what is kept of them with a dataset."""

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components import SlipwayError
from components.data import csv_numbers
from components.data.csv_numbers import BLANKS, Style
from components.files import file_or_text

# What Excel writes for an error in other languages than English; a word of two stands in the first.
EXCEL = {
    "German": "#NV #WERT! #BEZUG! #ZAHL! #ÜBERLAUF! #KALK! #FELD!",
    "French": "#NUL! #VALEUR! #NOM? #NOMBRE! #EPARS! #PROPAGATION! #CHAMP!",
    "Spanish": "#¡NULO! #¡DIV/0! #¡VALOR! #¡REF! #¿NOMBRE? #¡NUM! #¡DESBORDAMIENTO! #¡CALC! #¡CAMPO!",
    "Italian": "#N/D #NULLO! #VALORE! #RIF! #NOME?",
    "Portuguese": "#NULO! #VALOR! #NÚM!",
    "Dutch": "#N/B #LEEG! #DEEL/0! #WAARDE! #VERW! #NAAM? #GETAL!",
    "Danish": "#I/T #DIVISION/0! #VÆRDI! #REFERENCE! #NAVN?",
    "Norwegian": "#VERDI!",
    "Swedish": "#SAKNAS! #SKÄRNING! #VÄRDEFEL! #REFERENS! #NAMN? #OGILTIGT!",
    "Finnish": "#PUUTTUU! #TYHJÄ! #JAKO/0! #ARVO! #VIITTAUS! #NIMI? #LUKU!",
    "Polish": "#N/D! #ZERO! #DZIEL/0! #ARG! #ADR! #NAZWA? #LICZBA!",
    "Czech": "#NENÍ_K_DISPOZICI #HODNOTA! #ODKAZ! #NÁZEV? #ČÍSLO!",
    "Hungarian": "#HIÁNYZIK #NULLA! #ZÉRÓOSZTÓ! #ÉRTÉK! #HIV! #NÉV? #SZÁM!",
    "Turkish": "#YOK #BOŞ! #SAYI/0! #DEĞER! #BAŞV! #AD? #SAYI!",
    "Russian": "#Н/Д #ПУСТО! #ДЕЛ/0! #ЗНАЧ! #ССЫЛКА! #ИМЯ? #ЧИСЛО!",  # noqa: RUF001
}
# What databases, spreadsheets and pandas write for a missing value.
MISSING_WORDS = (
    *("", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "-nan", "null", "NULL", "Null", "(null)", "None", r"\N", "<NA>"),
    *("NaT", "#N/A", "#N/A N/A", "#NA", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "1.#QNAN"),
    *("#SPILL!", "#CALC!", "#FIELD!"),
    *" ".join(EXCEL.values()).split(),
)
# Signs of it only where all other values are numbers, dates or booleans; among words they are values.
AMONG_NUMBERS = ("-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "?", "na", "n.a.", "N.A.")
# Words that are values, but may well mean a missing one: told where they are categories.
MAY_BE_MISSING = tuple(
    spelling
    for word in (
        *("none", "unknown", "missing", "undefined", "unspecified", "not specified", "not available", "not applicable"),
        *("not known", "no data", "no answer", "empty", "blank", "n.d.", "tbd", "unbekannt"),
    )
    for spelling in dict.fromkeys((word, word.capitalize(), word.upper(), word.title()))
    if spelling not in (*MISSING_WORDS, *AMONG_NUMBERS)
)


@dataclass(frozen=True)
class Reading:
    """How the text of a CSV is to be read."""

    columns: tuple[str, ...] = ()  # of a file without a header
    delimiter: str | None = None  # None: guessed
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()  # beside `words`
    words: tuple[str, ...] = MISSING_WORDS  # that stand for a missing value; but in text all of MISSING_WORDS do
    decimal: str | None = None  # None: what a column makes sense with
    thousands: str | None = None
    numbers: dict[str, Style] = field(default_factory=dict)  # columns that are written otherwise
    dates: dict[str, str] = field(default_factory=dict)  # column -> format, as in strptime
    zones: dict[str, str] = field(default_factory=dict)  # column of dates that name theirs -> by whose clock they are
    footer: int = 0  # last lines that are no data
    skip: int | None = None  # first lines that are none; None: guessed

    def style(self, column: str) -> Style:
        """Say how the numbers of a column are written."""
        return self.numbers.get(column) or Style(self.decimal or ".", self.thousands or "")


def arguments(parser: Any) -> None:
    """Add the options of `Reading` to a parser, or to a group of one."""
    text = "column names, if the file has no header; or a file with one name per line"
    parser.add_argument("--columns", type=file_or_text, metavar="A,B,C", help=text)
    parser.add_argument("--delimiter", metavar="CHARACTER", help="column delimiter (default: guessed)")
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="text encoding, such as latin-1 (default: utf-8)"
    )
    text = (
        "text that also means a missing value, such as unknown (besides empty, NA, NULL, NaN, #N/A and the like, and, "
        "in columns of numbers, dates or booleans, - . and ?); repeatable"
    )
    parser.add_argument("--missing", action="append", default=[], metavar="TEXT", help=text)
    text = "word such as NA that is an ordinary value in text columns; repeatable"
    parser.add_argument("--not-missing", action="append", default=[], metavar="TEXT", help=text)
    text = "decimal mark (default: guessed by ingest, column by column, and reported)"
    parser.add_argument("--decimal", choices=[".", ","], help=text)
    text = "thousands separator, such as ','; a blank stands for all kinds of blanks (default: guessed by ingest)"
    parser.add_argument("--thousands", metavar="CHARACTER", help=text)
    text = "number of lines to ignore before the header (default: guessed, and reported)"
    parser.add_argument("--skip", type=int, metavar="N", help=text)
    parser.add_argument(
        "--footer",
        type=int,
        default=0,
        metavar="N",
        help="number of lines to ignore at the end of the file (default: 0)",
    )


def reading(options: dict[str, Any], known: Mapping[str, Any] | None = None) -> Reading:
    """Take the options of `Reading` out of those of a command; what they leave open is as the dataset's is `known`.

    Raises SlipwayError for an option that cannot be.
    """
    known = known or {}
    named = options.pop("columns", None)
    columns: tuple[str, ...] = ()
    if named:
        file = Path(file_or_text(named))
        lines = file.read_text(encoding="utf-8-sig").split("\n") if file.is_absolute() else named.split(",")
        columns = tuple(filter(None, (name.strip() for name in lines)))
    taken = {
        name: options.pop(name)
        for name in ("delimiter", "encoding", "decimal", "thousands", "footer", "skip")
        if name in options
    }
    if taken.get("delimiter") == "\\t":
        taken["delimiter"] = "\t"
    if len(taken.get("delimiter") or ",") != 1:
        raise SlipwayError(f"--delimiter {taken['delimiter']!r}: expected one character")
    if taken.get("thousands") and taken["thousands"] in BLANKS:
        taken["thousands"] = " "
    if taken.get("thousands") == "." and not taken.get("decimal"):  # it cannot be both
        taken["decimal"] = ","
    mark = taken.get("thousands") or "_"
    if len(mark) != 1 or mark.isalnum() or mark == taken.get("decimal"):
        raise SlipwayError(
            f"--thousands {mark!r}: expected one character, no digit or letter, and not the decimal mark"
        )
    must_be_encoding(taken.get("encoding", "utf-8"))
    kept = options.pop("not_missing", ())
    if odd := [word for word in kept if word not in MISSING_WORDS[1:]]:
        raise SlipwayError(
            f"--not-missing {odd[0]!r}: is not a word that means a missing value; these are: "
            f"{', '.join(word for word in MISSING_WORDS[1:] if word[0] != '#')}, and Excel's errors, such as #N/A"
        )
    words = tuple(word for word in MISSING_WORDS if word not in {*kept, *known.get("not_missing", ())})
    # argparse takes `--missing=--` for no value at all: https://github.com/python/cpython/issues/59317
    given = [word if isinstance(word, str) else "--" for word in options.pop("missing", ())]
    missing = dict.fromkeys([*known.get("missing", ()), *given])
    marks = {name: taken[name] for name in ("decimal", "thousands") if taken.get(name)}
    numbers = {name: replace(csv_numbers.style(text), **marks) for name, text in known.get("numbers", {}).items()}
    taken |= {name: known[name] for name in ("decimal", "thousands") if known.get(name) and name not in marks}
    meant = {name: known.get(name, {}) for name in ("dates", "zones")}
    return Reading(columns, missing=tuple(missing), words=words, numbers=numbers, **meant, **taken)


def must_be_encoding(name: str) -> None:
    """Raise SlipwayError for what is no encoding."""
    try:
        codecs.lookup(name)
    except LookupError:
        raise SlipwayError(
            f"--encoding {name}: unknown encoding; try utf-8, cp1252, latin-1, utf-16 or gb18030"
        ) from None


def kept(how: Reading, columns: Iterable[str]) -> dict[str, Any]:
    """Return what `reading` takes as known: what words, and numbers and dates of some columns, mean. Plain JSON."""
    names, usual = set(columns), Style(how.decimal or ".", how.thousands or "")
    found = {
        "missing": list(how.missing),
        "not_missing": [word for word in MISSING_WORDS if word not in how.words],
        "decimal": how.decimal,
        "thousands": how.thousands,
        "numbers": {name: str(own) for name, own in how.numbers.items() if name in names and own != usual},
        "dates": {name: form for name, form in how.dates.items() if name in names},
        "zones": {name: zone for name, zone in how.zones.items() if name in names},
    }
    return {name: value for name, value in found.items() if value}


def conflicts(how: Reading, known: Mapping[str, Any]) -> list[str]:
    """Say where options of a file go against how the dataset was read."""
    own = kept(how, [])
    return [
        f"--{name.replace('_', '-')} is {own[name]!r} here, but {known.get(name, 'not given')!r} for the training data"
        for name in ("missing", "not_missing", "decimal", "thousands")
        if own.get(name, known.get(name)) != known.get(name)
    ]
