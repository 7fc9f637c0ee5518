"""Codes that lost their leading zeros, as where a spreadsheet wrote 01067 as 1067: read as the ones that are known."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from components.data import csv_values, dataset, spelling

BARE = r"^(0|[1-9]\d*)(\.0*)?$"  # a whole number without zeros before it; 7.0 where a column of them had gaps


@dataclass
class Codes:
    """The known codes of a column: `read` gives values of new files the zeros that they lost, and counts them."""

    padded: dict[str, set[str]] = field(default_factory=dict)  # number -> known codes that are it with zeros before it
    bare: set[str] = field(default_factory=set)  # numbers that are known without, too
    restored: Counter[tuple[str, str]] = field(default_factory=Counter)  # value and the code that it is read as
    unclear: Counter[str] = field(default_factory=Counter)  # values that may be either of two known codes

    def read(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return text in which numbers that are known with leading zeros alone have these."""
        if not self.padded:
            return column
        counted = pc.value_counts(column.filter(pc.match_substring_regex(column, BARE)))
        named: dict[str, str] = {}
        for item in counted.to_pylist():
            value, number = item["values"], spelling.whole(item["values"])
            codes = self.padded.get(number, set())
            if len(codes) == 1 and number not in self.bare:
                (named[value],) = codes
                self.restored[value, named[value]] += item["counts"]
            elif codes:
                self.unclear[value] += item["counts"]
        if not named:
            return column
        at = pc.index_in(column, value_set=pa.array(list(named), column.type), skip_nulls=True)
        return pc.coalesce(pa.array(list(named.values()), column.type).take(at), column)

    def told(self, name: str, of: str) -> list[str]:
        """Say of a column what was read, and what may be either of two; `of` says whose the known codes are."""
        lines = []
        if count := self.restored.total():
            ((value, code), _), *_ = self.restored.most_common(1)
            lines.append(
                f"{name}: {count:,} value{'s' * (count != 1)} without the leading zeros that {of} has, such as "
                f"{value!r}: read as {code!r}"
            )
        if count := self.unclear.total():
            (value, _), *_ = self.unclear.most_common(1)
            number = spelling.whole(value)
            twins = sorted({*self.padded[number], *({number} & self.bare)})
            lines.append(
                f"{name}: {count:,} value{'s' * (count != 1)}, such as {value!r}, may have lost leading zeros, but "
                f"{of} has {' and '.join(map(repr, twins))} as different categories: nothing is changed; to join "
                "these, write them alike in all files and start a new dataset with --replace"
            )
        return lines


def may_lack(column: pa.ChunkedArray) -> bool:
    """Tell whether some text of a column is a number without zeros before it; not where it is not UTF-8."""
    return dataset.is_text(column) and bool(pc.any(pc.match_substring_regex(column, BARE)).as_py())


def known(parts: Iterable[pa.Array | pa.ChunkedArray]) -> Codes:
    """Find the codes with leading zeros among known values."""
    found, whole = Codes(), []
    for values in parts:
        for code in values.filter(pc.match_substring_regex(values, csv_values.PADDED)).unique().to_pylist():
            found.padded.setdefault(code.lstrip("0") or "0", set()).add(code)
        whole.append(values.filter(pc.match_substring_regex(values, BARE)).unique())
    for values in whole if found.padded else ():
        found.bare.update(number for number in map(spelling.whole, values.to_pylist()) if number in found.padded)
    return found
