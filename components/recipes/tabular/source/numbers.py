"""Which columns of a CSV are numbers that are written with marks, units or other signs, and how."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from components import SlipwayError
from components.data import csv_numbers, csv_reader
from components.data.csv_numbers import Style, Written
from components.data.csv_reader import AMONG_NUMBERS, MISSING_WORDS, Reading
from components.data.csv_values import NEARLY, Kind
from components.recipes.source import tell
from components.recipes.tabular.source import guessing


def styles(file: Path, how: Reading, kinds: dict[str, Kind]) -> dict[str, Style]:
    """Return how the columns of numbers are written that are not as `how` says of all; tell what they are read as.

    What `how` knows of a column decides where 1,234 may be either. Raises SlipwayError, naming rows, for a column in
    which it may be a whole number or a fraction, that has numbers of several spellings, or several units.
    """
    full = replace(how, words=(*MISSING_WORDS, *AMONG_NUMBERS))
    pairs = csv_numbers.marks(how.decimal, how.thousands)
    odd = [name for name, kind in kinds.items() if kind.matches["number"] < kind.count == kind.matches["written"]]
    if not odd:
        return {}

    def look(names: Iterable[str]) -> dict[str, Written]:
        chosen = list(names)
        blocks = (block.select(chosen) for block in csv_reader.blocks(file, full))
        return csv_numbers.look(blocks, list(dict.fromkeys([*csv_numbers.MARKS, *pairs])))

    looked = look(odd)
    # in a file that is separated by commas, nobody has them as decimal marks, unless a column can be nothing else
    point = csv_reader.delimiter(file, how) == "," or any(_only(written, ".") for written in looked.values())
    comma = any(_only(written, ",") for written in looked.values())
    unclear = [name for name, written in looked.items() if _either(written, pairs, point=point, comma=comma)]
    if comma or unclear:  # what the plain columns have between whole and fraction
        plain = look(name for name, kind in kinds.items() if kind.matches["number"] == kind.count > 0)
        point = point or any(written.fits[",", "."] < written.count for written in plain.values())
        if comma and not how.decimal:
            unclear += [name for name, written in plain.items() if _either(written, pairs, point=point, comma=comma)]
            looked |= plain
    found: dict[str, Style] = {}
    lines = []
    for name in (*odd, *(name for name in unclear if name not in odd)):
        written = looked[name]
        own = _style(file, name, written, pairs, how.numbers.get(name), point=point, comma=comma)
        if own is None:
            first = ", ".join(csv_numbers.rows_of(written, [unit for unit, _ in written.units.most_common(2)]))
            lines.append(f"{name}: numbers with different units ({first}), read as categories")
            continue
        found[name] = own
        if written.marked is not None:
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


def _either(written: Written, pairs: list[csv_numbers.Marks], *, point: bool, comma: bool) -> bool:
    some = any(written.fits[pair] == written.count for pair in pairs)
    return some and csv_numbers.chosen(written, pairs, point=point, comma=comma) is None


def _style(
    file: Path,
    name: str,
    written: Written,
    pairs: list[csv_numbers.Marks],
    known: Style | None,
    *,
    point: bool,
    comma: bool,
) -> Style | None:
    """Return how a column is written; None for one of several units that may be codes, such as 1a and 1b."""
    category = f"if the column is categorical, use --category {name}"
    most = written.units.most_common()
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
    if _either(written, pairs, point=point, comma=comma):
        raise SlipwayError(
            f"{file}: column {name}: {written.marked or written.odd[',', ''][1]!r} looks like a number with thousands "
            f"separators, but may be a fraction: use --thousands CHARACTER, or --decimal; {category}"
        )
    best = max(pairs, key=lambda pair: written.fits[pair])
    if written.fits[best] < written.count:
        row, text = written.odd[best]
        raise SlipwayError(
            f"{file}: column {name}: the numbers are not all written with {_words(best)}: row {row} has {text[:50]!r}; "
            f"write all of them alike, or use --decimal or --thousands; {category}"
        )
    pair = csv_numbers.chosen(written, pairs, point=point, comma=comma) or best
    return Style(*pair, *most[0][0])


def _words(pair: csv_numbers.Marks) -> str:
    return f"the decimal mark {pair[0]!r}" + (f" and the thousands separator {pair[1]!r}" if pair[1] else "")
