"""Formats in which people write dates: which of them the values of a column are written in."""

import functools
import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

DAYS = (
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y"),
)
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
MONTHS = ("%m/%Y", "%m.%Y", "%b %Y", "%b-%y", "%B %Y")  # of series; a row's date has a day
FIRST = 20  # different values, half of which are dates where nearly all are
DIGITS = {"%d": r"(0?[1-9]|[12]\d|3[01])", "%m": r"(0?[1-9]|1[0-2])", "%Y": r"\d{4}", "%y": r"\d{2}"}
DIGITS |= {"%H": r"([01]?\d|2[0-3])", "%I": r"(0?[1-9]|1[0-2])", "%M": r"[0-5]\d", "%S": r"[0-5]\d", "%p": "(?i:[ap]m)"}
DIGITS |= {
    "%b": "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    "%B": "(?i:january|february|march|april|may|june|july|august|september|october|november|december)",
}


def forms(values: pa.Array | pa.ChunkedArray, *, months: bool = False) -> list[str]:
    """Return the formats, as in strptime, that all values look like, and there is one; `months`: also without a day."""
    first = values[0].as_py() if len(values) else ""  # spares most columns the rest
    likely = [form for form in _every(months=months) if _compiled(_expression(form)).fullmatch(first)]
    return [form for form in likely if pc.all(_fit(values, form)).as_py()]


def several(values: pa.Array) -> dict[str, str]:
    """Return the formats that different values look like, the commonest first, and the first value of each.

    What looks like no date has the format "", and stands last.
    """
    found: dict[str, str] = {}
    while len(values):
        counts = {form: pc.sum(_fit(values, form)).as_py() or 0 for form in _every(months=False)}
        best = max(counts, key=lambda form: counts[form])
        if not counts[best]:
            found[""] = values[0].as_py()
            break
        fit = _fit(values, best)
        found[best] = values.filter(fit)[0].as_py()
        values = values.filter(pc.invert(fit))
    return found


def share(values: pa.Array) -> float:
    """Return the share of different values that look like a date of any format."""
    any_ = "|".join(map(_expression, _every(months=False)))
    first = values[:FIRST].to_pylist()
    if sum(bool(_compiled(any_).fullmatch(value)) for value in first) < len(first) / 2:
        return 0.0
    return (pc.sum(pc.match_substring_regex(values, f"^({any_})$")).as_py() or 0) / len(values) if len(values) else 0.0


def _every(*, months: bool) -> Iterable[str]:
    return (*(day + time for time in TIMES for day in DAYS), *(MONTHS if months else ()))


def _fit(values: pa.Array | pa.ChunkedArray, form: str) -> pa.Array:
    return pc.match_substring_regex(values, f"^{_expression(form)}$")


@functools.cache
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


@functools.cache
def _expression(form: str) -> str:
    """Return the regular expression of a format; strptime takes 23 for the year 23."""
    return re.sub("%[a-zA-Z]", lambda found: DIGITS[found[0]], form.replace(".", r"\."))
