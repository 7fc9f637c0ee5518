"""Columns of numbers with a few words among them, which are read as categories: what an ingest tells of them."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.data import csv_numbers, csv_reader, csv_values, dataset, spelling
from components.data.csv_reader import Reading
from components.recipes.source import tell
from components.recipes.tabular.source import guessing

MAX_WORDS = 5  # different ones that are all named, for all of them have to be given
SHARE = 0.5  # of a column's values, or of its different ones, that are numbers


@dataclass
class Mixed:
    """The values of a column that are numbers, and those that are none."""

    numbers: int = 0
    different: set[str] = field(default_factory=set)  # of the numbers; not all where there are very many
    words: Counter[str] = field(default_factory=Counter)
    codes: bool = False  # a number has zeros before it, or the words are too many to count: no column of numbers

    def add(self, column: pa.ChunkedArray, how: Reading) -> None:
        """Look at the next rows: text, null where a value is missing."""
        counted = pc.value_counts(column.drop_null())
        values = counted.field("values")
        if not dataset.is_text(values):
            return  # told when the row is read
        are = csv_numbers.among(values, csv_numbers.marks(how.decimal, how.thousands))
        numbers = values.filter(are)
        self.codes = self.codes or bool(pc.any(pc.match_substring_regex(numbers, csv_values.PADDED)).as_py())
        self.numbers += pc.sum(counted.field("counts").filter(are)).as_py() or 0
        if len(self.different) < guessing.MAX_VALUES_READ:
            self.different.update(numbers.to_pylist())
        gone = (*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS)  # missing anyway, once the column is of numbers
        for item in counted.filter(pc.invert(are)).to_pylist():
            if item["values"] not in gone:
                self.words[item["values"]] += item["counts"]
        self.codes = self.codes or len(self.words) > guessing.MAX_VALUES_READ

    def is_numbers(self) -> bool:
        """Tell whether the column may be meant as one of numbers: most are, and the others are words that repeat."""
        total, words = self.words.total(), len(self.words)
        if self.codes or not words or len(self.different) < 2:
            return False
        few = words <= MAX_WORDS or total >= 2 * words
        many = self.numbers >= SHARE * (self.numbers + total)
        return few and (many or len(self.different) > SHARE * (len(self.different) + words))


def told(file: Path, how: Reading, names: Iterable[str]) -> list[str]:
    """Tell which columns that are read as categories are of numbers but for a few words; return their names."""
    found = {name: Mixed() for name in names}
    for block in guessing.blocks(file, how) if found else ():
        for name, mixed in found.items():
            if not mixed.codes:
                mixed.add(guessing.cast(file, name, block[name], pa.string(), how), how)
    of_numbers = {name: mixed for name, mixed in found.items() if mixed.is_numbers()}
    typed = csv_reader.is_typed(file)
    tell([_line(name, mixed, typed=typed) for name, mixed in of_numbers.items()], "columns of numbers and words")
    return list(of_numbers)


def _line(name: str, mixed: Mixed, *, typed: bool) -> str:
    """Say what a column has, and which options read it as numbers: text of a typed file stays text without --number."""
    quoted = shlex.quote(name)
    most = mixed.words.most_common(MAX_WORDS)
    parts = ", ".join(f"{count:,} {word[:50]!r}" for word, count in most)
    if rest := len(mixed.words) - len(most):
        parts += f" and {rest:,} more words"
        options = "--missing=WORD for each of these words"
    else:
        options = " ".join(f"--missing={shlex.quote(word)}" for word, _ in most if not spelling.untypable(word))
    odd = next((word for word in mixed.words if spelling.untypable(word)), None)
    odd_hint = f"; {odd[:50]!r}: {spelling.untypable(odd)}" if odd is not None else ""
    options += f" --number {quoted}" if typed else ""
    way = f"{options.strip()} reads numbers, with missing values there; " if options else ""
    total = mixed.numbers + mixed.words.total()
    return (
        f"{name}: {mixed.numbers:,} of {total:,} values are numbers, the others {parts}; read as categories: {way}"
        f"if the column is categorical, use --category {quoted}{odd_hint}"
    )
