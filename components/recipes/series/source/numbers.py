"""The values of a series, as people write them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data import csv_numbers, csv_reader, spelling
from components.data.csv_numbers import Style
from components.data.csv_reader import AMONG_NUMBERS, Reading
from components.recipes.source import told_missing


def read(
    file: Path,
    column: pa.ChunkedArray,
    name: str,
    line: np.ndarray,
    word: str,
    how: Reading,
    *,
    guess: bool,
    settled: bool = False,
) -> tuple[np.ndarray, Style]:
    """Return `(n,)` float64, NaN where a value is missing, and how they are written.

    `guess` the latter where `how` does not say it, and tell what is missing; `settled`: the dataset that is added to
    says it. Raises SlipwayError, naming the line, for what is no finite number.
    """
    own = how.style(name)
    words: csv_reader.Words = {}
    column = csv_reader.without_words(
        pa.table({name: column}), replace(how, words=(*how.words, *AMONG_NUMBERS)), words, trim=True
    )[name]
    if guess and (gone := words.get(name)):
        print(f"{file}: {told_missing(name, gone)}")
    if not pa.types.is_string(column.type):
        try:
            found: np.ndarray = column.cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise SlipwayError(f"{file}: column {name}: {str(error).splitlines()[0]}") from None
        _must_be(np.isfinite(found) | np.isnan(found), [], found, f"{file}: {word}", line, name, "")
        return found, own
    text = column
    numbers = csv_numbers.are(text, own)
    hint = ""
    if guess and not settled and own == Style() and not how.decimal:
        _must_be_clear(file, text, name, line, word, how)
    if guess and not pc.all(numbers).as_py():
        pairs = csv_numbers.marks(how.decimal, how.thousands)
        written = csv_numbers.look([pa.table({name: text})], pairs)[name]
        pair = csv_numbers.chosen(written, pairs, point=False, comma=False)
        if pair is None and any(written.fits[some] == written.count for some in pairs):
            hint = ", but may be one with thousands separators, or a fraction: use --decimal or --thousands"
        elif pair is not None and len(written.units) == 1:
            own = Style(*pair, *next(iter(written.units)))
            if own.unit != how.style(name).unit and name in how.numbers:
                raise SlipwayError(
                    f"{file}: {name} has numbers written as {own}, but the dataset's as {how.style(name)}"
                )
            numbers = csv_numbers.are(text, own)
            example = csv_numbers.cast(pa.chunked_array([[written.marked]]), own)[0].as_py()
            print(f"{file}: {name}: read as numbers, {written.marked!r} as {example:.15g}")
    good = numbers.fill_null(fill_value=True).to_numpy()
    _must_be(good, text.to_pylist(), None, f"{file}: {word}", line, name, hint)
    try:
        found = csv_numbers.cast(text, own).to_numpy()
    except ValueError as error:
        raise SlipwayError(f"{file}: column {name}: {error}") from None
    _must_be(~np.isinf(found), text.to_pylist(), found, f"{file}: {word}", line, name, "")
    return found, own


def _must_be_clear(file: Path, text: pa.ChunkedArray, name: str, line: np.ndarray, word: str, how: Reading) -> None:
    """Raise SlipwayError for numbers that may be thousands, 23.456 beside 760; tell where they are likely fractions."""
    written = csv_numbers.look([pa.table({name: text})], csv_numbers.MARKS)[name]
    if written.fits[",", "."] < written.count or written.fits[".", ""] < written.count:
        return
    dotted = pc.match_substring(text, ".").fill_null(fill_value=False)
    at = pc.index(dotted, value=True).as_py()
    if at < 0:
        return
    first = text[at].as_py()
    if written.short and not written.long:
        raise SlipwayError(
            f"{file}: {word} {line[at]}: {name} is {first!r}, which may be a number with thousands separators, or a "
            "fraction: use --thousands . or --decimal ."
        )
    if csv_reader.delimiter(file, how) == ";":
        print(f"{file}: {name}: {first!r} is read as {float(first):.15g}; for {first.replace('.', '')}: --thousands .")


def _must_be(
    good: np.ndarray, texts: list[str], found: np.ndarray | None, where: str, line: np.ndarray, name: str, hint: str
) -> None:
    if good.all():
        return
    at = int(np.flatnonzero(~good)[0])
    text = texts[at] if texts else str(found[at]) if found is not None else ""
    mended = spelling.untypable(text) or f"use --missing '{text}' to read it as a gap"
    hint = hint or (f"; {mended}" if texts else "")
    raise SlipwayError(f"{where} {line[at]}: {name} is {text!r}, which is not a finite number{hint}")
