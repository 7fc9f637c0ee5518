"""Which columns of a CSV are numbers that are written with marks, units or other signs, and how."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from components import SlipwayError
from components.data import csv_numbers, csv_reader
from components.data.csv_numbers import Style, Written
from components.data.csv_reader import AMONG_NUMBERS, MISSING_WORDS, Reading
from components.data.csv_values import NEARLY, Kind
from components.recipes.source import tell
from components.recipes.tabular.source import guessing


class Marks(NamedTuple):
    """What stands between whole and fraction in the columns of a file."""

    point: bool
    comma: bool
    assumed: bool  # no column shows the point, but the file is separated by commas


def styles(file: Path, how: Reading, kinds: dict[str, Kind], settled: Collection[str] = ()) -> dict[str, Style]:
    """Return how the columns of numbers are written that are not as `how` says of all; tell what they are read as.

    What `how` knows of a column, and of those `settled`, decides where 1,234 may be either. Raises SlipwayError, naming
    rows, for a column in which it may be a whole number or a fraction, that has numbers of several spellings, or
    several units.
    """
    full = replace(how, words=(*MISSING_WORDS, *AMONG_NUMBERS))
    pairs = csv_numbers.marks(how.decimal, how.thousands)
    odd = [name for name, kind in kinds.items() if kind.matches["number"] < kind.count == kind.matches["written"]]
    plain = [name for name, kind in kinds.items() if kind.matches["number"] == kind.count > 0 and not kind.padded]
    dotted = [name for name in plain if kinds[name].grouped and kinds[name].dotted and name not in settled]
    dotted = [] if how.decimal else dotted
    if not odd and not dotted:
        return {}

    def look(names: Iterable[str]) -> dict[str, Written]:
        chosen = list(names)
        blocks = (block.select(chosen) for block in csv_reader.blocks(file, full))
        return csv_numbers.look(blocks, list(dict.fromkeys([*csv_numbers.MARKS, *pairs])))

    looked = look([*odd, *dotted])
    # in a file that is separated by commas, nobody has them as decimal marks, unless a column can be nothing else
    mark = csv_reader.delimiter(file, how)
    seen = any(_only(written, ".") for written in looked.values())
    comma = any(_only(written, ",") for written in looked.values())
    marks = Marks(point=seen or mark == ",", comma=comma, assumed=not seen)
    unclear = [name for name, written in looked.items() if _either(written, pairs, marks)]
    if comma or unclear or dotted:  # what the plain columns have between whole and fraction
        others = look(name for name in plain if name not in dotted)
        seen = seen or any(written.fits[",", "."] < written.count for written in others.values())
        marks = Marks(point=seen or mark == ",", comma=comma, assumed=not seen)
        if comma and not how.decimal:  # 1500 beside 23.456
            more = {name: written for name, written in others.items() if _dotted(written) and name not in settled}
            dotted, looked = [*dotted, *more], looked | more
    found: dict[str, Style] = {}
    lines = []
    for name in (*odd, *dotted):
        written = looked[name]
        known = how.numbers.get(name) or (how.style(name) if name in settled else None)
        own = _style(file, name, written, pairs, known, marks)
        if own is None and written.ordinals:
            lines.append(f"{name}: ordinals such as {written.marked!r}, read as categories")
            continue
        if own is None:
            first = ", ".join(csv_numbers.rows_of(written, [unit for unit, _ in written.units.most_common(2)]))
            lines.append(f"{name}: numbers with different units ({first}), read as categories")
            continue
        if name in dotted and own == Style():
            text = written.odd[",", ""][1]
            if mark == ";" or written.short:
                lines.append(f"{name}: {text!r} is read as {float(text):.15g}; for {_without(text)}: --thousands .")
            continue
        found[name] = own
        if name in dotted:
            text = written.odd[",", ""][1]
            lines.append(
                f"{name}: read as numbers, {text!r} as {_without(text)}, for other columns have a decimal comma; if it "
                f"is categorical, use --category {name}"
            )
        elif written.marked is not None:
            column = pa.chunked_array([[written.marked]])
            number = guessing.cast(file, name, column, pa.float64(), replace(how, numbers=found))[0].as_py()
            lines.append(
                f"{name}: read as numbers, {written.marked!r} as {number:.15g}; if it is categorical, use "
                f"--category {name}"
            )
    tell(lines, "such columns")
    return found


def _only(written: Written, decimal: str) -> bool:
    """Tell whether a column's values are numbers with this decimal mark and with no other."""
    fit = {point for (point, _), count in written.fits.items() if count == written.count}
    return fit == {decimal}


def _either(written: Written, pairs: list[csv_numbers.Marks], marks: "Marks") -> bool:
    some = any(written.fits[pair] == written.count for pair in pairs)
    return some and _chosen(written, pairs, marks) is None


def _chosen(written: Written, pairs: list[csv_numbers.Marks], marks: "Marks") -> csv_numbers.Marks | None:
    return csv_numbers.chosen(written, pairs, point=marks.point, comma=marks.comma, assumed=marks.assumed)


def _dotted(written: Written) -> bool:
    """Tell whether plain numbers are thousands too, with a decimal comma."""
    return written.fits[",", "."] == written.count > written.fits[",", ""]


def _without(text: str) -> str:
    return text.replace(".", "")


def _style(
    file: Path,
    name: str,
    written: Written,
    pairs: list[csv_numbers.Marks],
    known: Style | None,
    marks: "Marks",
) -> Style | None:
    """Return how a column is written; None for ordinals, and for several units that may be codes, such as 1a and 1b."""
    category = f"if the column is categorical, use --category {name}"
    most = written.units.most_common()
    if known is None and 0 < written.ordinals == sum(count for unit, count in most if any(unit)):
        return None
    two = csv_numbers.mixed(written)
    if two is None and len(most) > 1 and most[0][1] >= NEARLY * written.count:
        two = most[0][0], most[1][0]
    if two is not None:
        raise SlipwayError(
            f"{file}: column {name}: numbers with different units: {', but '.join(csv_numbers.rows_of(written, two))}; "
            f"write all of them with one unit, or leave the column out with --drop {name}; {category}"
        )
    if len(most) > 1:
        return None
    if known and written.fits[known.decimal, known.thousands] == written.count:
        return Style(known.decimal, known.thousands, *most[0][0])
    if _either(written, pairs, marks):
        text = written.marked or written.odd[",", ""][1]
        sign = "." if "." in text else ","
        raise SlipwayError(
            f"{file}: column {name}: {text!r} looks like a number with thousands separators, but may be a fraction: "
            f"use --thousands {sign} or --decimal {sign}; {category}"
        )
    best = max(pairs, key=lambda pair: written.fits[pair])
    if written.fits[best] < written.count:
        row, text = written.odd[best]
        raise SlipwayError(
            f"{file}: column {name}: the numbers are not all written with {_words(best)}: row {row} has {text[:50]!r}; "
            f"write all of them alike, or use --decimal or --thousands; {category}"
        )
    pair = _chosen(written, pairs, marks) or best
    return Style(*pair, *most[0][0])


def _words(pair: csv_numbers.Marks) -> str:
    return f"the decimal mark {pair[0]!r}" + (f" and the thousands separator {pair[1]!r}" if pair[1] else "")
