"""Lines at the end of a file that are none of the series: totals, sources, notes."""

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data import csv_numbers

FEW = 10  # lines with a number: a total, a mean, a minimum ...; more of them are rows that lack their time
MONTH = (  # how a month begins in English, German, French, Spanish, Italian and Portuguese
    "jan|jän|gen|ene|feb|fév|fev|mar|mär|mrz|apr|avr|abr|mai|may|mag|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct|okt|"
    "ott|out|nov|dec|dez|déc|dic"
)
WEEKDAY = "mon|tue|wed|thu|fri|sat|sun"
# A date or a time in any spelling: numbers, separators, and the words that stand among them.
END = r"(?![^\W\d_])"  # of a word
TIME = re.compile(
    rf"(?:\d|[\W_]|(?<![^\W\d_])(?:(?:{MONTH}|{WEEKDAY})[^\W\d_]{{0,7}}|[TZQWHMS]|[CK]W|week|quarter|utc|gmt|[ap]m"
    rf"|st|nd|rd|th|of|de|uhr){END}|[年月日時时分秒년월일시])+",
    re.IGNORECASE,
)
# What the first word of a total may be, beside which there may be a year.
SUMMARY = re.compile(
    r"\W*(?:(?:grand|sub)?[ -]?total|sum|mean|average|avg|median|min|max|std|count|summe|gesamt|mittel|quelle|source|"
    r"notes?|updated|stand)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Line:
    """A line behind the last time."""

    number: int  # of the file
    time: str  # what stands in the column of the time
    values: list[str]  # in those of the values; of a line with other columns than the header, in all others

    def __str__(self) -> str:
        """What stands there, for messages."""
        return ", ".join(text for text in (self.time, *self.values) if text)


def is_like_a_time(text: str) -> bool:
    """Tell whether a text is a date or a time in any spelling: 31.01.2024, Jan 24, 2024Q1, 20240131, or cut off."""
    return bool(re.search(r"\d", text) and TIME.fullmatch(text))


def is_row(line: Line) -> bool:
    """Tell whether a line is one of the series: its time looks like one, or has digits beside a value."""
    if is_like_a_time(line.time):
        return True
    return bool(re.search(r"\d", line.time) and has_number(line) and not SUMMARY.match(line.time))


def has_number(line: Line) -> bool:
    """Tell whether a value of a line is a number, in any spelling."""
    return bool(
        pc.any(pc.match_substring_regex(pa.array([*line.values, ""], pa.string()), csv_numbers.anything())).as_py()
    )


def must_be_few(lines: list[Line], where: str, time: str) -> None:
    """Raise SlipwayError for more lines with a number than a file has totals; `where` precedes a line's number."""
    if len(lines) <= FEW or len(numbers := [line for line in lines if has_number(line)]) <= FEW:
        return
    first = numbers[0]
    raise SlipwayError(
        f"{where} {first.number}: {len(numbers):,} rows at the end, from this one ({str(first)[:80]!r}) on, have "
        f"values but no {time}, which is too many for a footer: give them their times, or remove them"
    )
