"""Numbers as people write them: thousands marks, decimal commas, currencies, percent signs, units, minus signs."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError

MINUS = (
    "\u2212\u2013\ufe63\uff0d-"  # minus sign, en dash, small and full-width hyphens; the hyphen last, or it is a range
)
BLANKS = " \u00a0\u2007\u2009\u202f"  # as thousands marks, a blank stands for all of these
APOSTROPHES = "'\u2019"
MARKS = [(".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")]
CODES = (  # of currencies: ISO 4217, those most traded
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|KZT|MAD|MXN|MYR|"
    "NGN|NOK|NZD|PEN|PHP|PKR|PLN|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
BEFORE = rf"(?:[A-Z]{{0,3}}\p{{Sc}}|(?:{CODES})|kr\.?|Rs\.?|Fr\.?)?"
AFTER = r"(?:[\p{L}\p{Sc}%\x{2030}\x{B0}\x{2032}\x{2033}][\p{L}\p{Sc}%\x{2030}\x{B0}\x{B2}\x{B3}/\x{B7}.^ ]*[23]?)?"
# Units that make a mistake of a mixture, where letters such as those of 1a and 1b may be a code.
UNITS = re.compile(
    "[mkt]?g|t|lbs?|oz|[mck]?m[²2³3]?|mi|ft|in|yd|[mc]?l|L|ms|s(ec)?|min|h(rs?|ours?)?|days?|weeks?|months?|years?|°[CF]|"
    "[kM]Wh?|[kMG]?Hz|[kKMGT]B|[hk]Pa|bar|psi|km/h|mph|m/s|kcal|kJ|ha|bpm|mmHg|[kKM%‰]"
)
HINT = "\x1f"  # between a value and why it cannot be read: serving.worker makes an error of its row of them
EXACT = 2**53  # whole numbers beyond it are not exact in float64
LONG = r"^[+-]?\d{16,}$"
ORDINAL = r"(?i)^(?:\d*(?:1[123]|[04-9])th|(?:\d*[02-9])?(?:1st|2nd|3rd))$"  # 5st are stones, and a unit
WHOLE_NUMBER = r"^[+-]?(?P<digits>\d+)$"
GROUPED = r"^[+-]?([1-9]\d{0,2}(\.\d{3})+|\d{1,3})$"  # 23.456 and 760: thousands with a point, or fractions
Marks = tuple[str, str]  # decimal and thousands
Unit = tuple[str, str]  # before and after the number


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written."""

    decimal: str = "."
    thousands: str = ""  # a blank and an apostrophe stand for all of their kind
    before: str = ""  # the unit before the number, such as $
    after: str = ""  # and after it, such as %

    def __str__(self) -> str:
        """Write 1234.5 in this style: how params.yaml holds it."""
        return f"{self.before} 1{self.thousands}234{self.decimal}5 {self.after}".strip()

    @property
    def unit(self) -> str:
        """The unit, in a word."""
        return f"{self.before} {self.after}".strip()


def style(sample: str) -> Style:
    """Read a style off 1234.5 written in it; SlipwayError for another text."""
    found = re.fullmatch(r"(.*?) ?1([,.' ]?)234([.,])5 ?(.*)", sample)
    if not found or found[2] == found[3]:
        raise SlipwayError(
            f"{sample!r} does not say how numbers are written; expected 1234.5 as in '1.234,5 €' or 1,234.5%"
        )
    return Style(found[3], found[2], found[1], found[4])


def core(decimal: str, thousands: str) -> str:
    """Return the regular expression of a number with these marks, without sign and unit.

    A point at its end is the last of all but the dash of a price, 5.-: "2. Married" is the second of a list.
    """
    point = re.escape(decimal)
    power = r"[eE][+-]?\d+"
    plain = rf"(?:\d+(?:{point}\d+)?|{point}\d+)(?:{power})?|\d+{point}(?:-?$|{power})|(?i:inf|infinity)"
    if not thousands:
        return plain
    mark = _class(thousands)
    groups = r"[1-9]\d{0,2}(?:M\d{3})+|[1-9]\d?(?:M\d{2})+M\d{3}" if thousands == "," else r"[1-9]\d{0,2}(?:M\d{3})+"
    return rf"(?:{groups.replace('M', mark)})(?:{point}\d+|{point}-?$)?|{plain}"


def _class(thousands: str) -> str:
    return f"[{next((all_ for all_ in (BLANKS, APOSTROPHES) if thousands in all_), re.escape(thousands))}]"


def _whole(core: str, before: str, after: str) -> str:
    """Return the expression of all of a value; its groups are read by `_digits`."""
    return (
        rf"^(?P<open>\(?)\s*(?P<minus>[+{MINUS}]?)\s*(?P<before>{before})\s*(?P<inner>[+{MINUS}]?)\s*"
        rf"(?P<core>{core})[{BLANKS}]*(?P<after>{after})\s*(?P<close>\)?)(?P<trailing>[{MINUS}]?)$"
    )


def marks(decimal: str | None, thousands: str | None) -> list[Marks]:
    """Return the pairs of marks that a column may be written with, where the user has said some of it."""
    if thousands and all(thousands != mark for _, mark in MARKS):
        return [(point, thousands) for point in (".", ",") if decimal in (None, point)]
    return [
        (point, mark) for point, mark in MARKS if decimal in (None, point) and (thousands is None or mark == thousands)
    ]


def anything(pairs: Iterable[Marks] = ()) -> str:
    """Return the expression of a number with any marks and any unit."""
    return _whole("|".join(core(*pair) for pair in dict.fromkeys([*MARKS, *pairs])), BEFORE, AFTER)


@dataclass
class Written:
    """What a column of numbers, as people write them, looks like."""

    count: int = 0  # values that are not missing
    units: Counter[Unit] = field(default_factory=Counter)
    fits: Counter[Marks] = field(default_factory=Counter)  # values that are numbers with these marks
    first: dict[Unit, tuple[int, str]] = field(default_factory=dict)  # row and text of the first with that unit
    odd: dict[Marks, tuple[int, str]] = field(default_factory=dict)  # of the first that does not fit
    ordinals: int = 0  # values such as 1st, whose letters are no unit
    marked: str | None = None  # the first that is not plain: what is told
    short: int = 0  # of them whole numbers of at most three digits
    long: int = 0  # and of more, without thousands separators


def look(tables: Iterable[pa.Table], pairs: list[Marks]) -> dict[str, Written]:
    """Find how the numbers of columns are written, in one pass; values that are none are of no unit and fit nothing."""
    found: dict[str, Written] = {}
    start = 1
    for table in tables:
        for name in table.column_names:
            _add(found.setdefault(name, Written()), table[name], pairs, start)
        start += len(table)
    return found


def _add(written: Written, column: pa.ChunkedArray, pairs: list[Marks], start: int) -> None:
    counted = pc.value_counts(column.drop_null())
    values, counts = counted.field("values"), counted.field("counts")
    written.count += pc.sum(counts).as_py() or 0
    parts = pc.extract_regex(values, anything(pairs))

    def first(which: pa.Array) -> tuple[int, str]:
        texts = values.filter(which)
        row: int = pc.index(pc.is_in(column, texts), value=True).as_py()
        return start + row, column[row].as_py()

    units = pc.binary_join_element_wise(pc.struct_field(parts, "before"), pc.struct_field(parts, "after"), "\0")
    for unit in units.drop_null().unique().to_pylist():
        same = pc.fill_null(pc.equal(units, unit), fill_value=False)
        key = tuple(part.strip() for part in unit.split("\0"))
        written.units[key[0], key[1]] += pc.sum(counts.filter(same)).as_py()
        written.first.setdefault((key[0], key[1]), first(same))
    for pair in pairs:
        fits = pc.fill_null(
            pc.match_substring_regex(pc.struct_field(parts, "core"), f"^(?:{core(*pair)})$"), fill_value=False
        )
        written.fits[pair] += pc.sum(counts.filter(fits)).as_py() or 0
        if pair not in written.odd and not pc.all(fits).as_py():
            written.odd[pair] = first(pc.invert(fits))
    ordinal = pc.match_substring_regex(values, ORDINAL)
    written.ordinals += pc.sum(counts.filter(ordinal)).as_py() or 0
    digits = pc.fill_null(pc.utf8_length(pc.struct_field(pc.extract_regex(values, WHOLE_NUMBER), "digits")), 0)
    written.short += pc.sum(counts.filter(pc.and_(pc.greater(digits, 0), pc.less_equal(digits, 3)))).as_py() or 0
    written.long += pc.sum(counts.filter(pc.greater(digits, 3))).as_py() or 0
    if written.marked is None:
        plain = pc.match_substring_regex(values, f"^[+-]?(?:{core('.', '')})$")
        written.marked = None if pc.all(plain).as_py() is not False else values.filter(pc.invert(plain))[0].as_py()


def among(values: pa.Array, pairs: Iterable[Marks]) -> pa.Array:
    """Tell which of different values are numbers, though some are words: without a unit, or with one that is known."""
    parts = pc.extract_regex(values, anything(pairs))
    units = pc.binary_join_element_wise(pc.struct_field(parts, "before"), pc.struct_field(parts, "after"), "\0")
    (most, _), *_ = [*Counter(units.drop_null().to_pylist()).most_common(1), ("\0", 0)]
    before, after = most.split("\0")
    if most != "\0" and not _is_known((before.strip(), after.strip())):  # 1a and 2a are codes
        most = "\0"
    return pc.equal(units, most).fill_null(fill_value=False)


def cast(column: pa.ChunkedArray, own: Style) -> pa.ChunkedArray:
    """Turn text into float64; ValueError with the first value that is not a number of this style."""
    plain = own == Style()
    if plain:
        exact(column.filter(pc.match_substring_regex(column, LONG)))
        try:
            return column.cast(pa.float64())
        except pa.ArrowInvalid:
            pass  # other signs, or no number
    text = _digits(column, own)
    exact(text.filter(pc.match_substring_regex(text, LONG)))
    if text.null_count > column.null_count:
        odd = column.filter(pc.and_(text.is_null(), column.is_valid()))[0].as_py()
        raise ValueError(f"{odd!r} is not a number{'' if plain else f' written as {own}'}")
    return text.cast(pa.float64())


def are(column: pa.ChunkedArray, own: Style) -> pa.ChunkedArray:
    """Tell which values are numbers of a style; null where one is missing."""
    return pc.if_else(column.is_null(), pa.scalar(None, pa.bool_()), _digits(column, own).is_valid())


def exact(column: pa.ChunkedArray) -> None:
    """Raise ValueError for a whole number that float64 cannot represent."""
    large = next((value for value in column.to_pylist() if value is not None and abs(int(value)) > EXACT), None)
    if large is not None:
        raise ValueError(f"{large} is too large to be represented exactly")


def spelled(column: pa.ChunkedArray, own: Style) -> pa.ChunkedArray:
    """Write the numbers of a column plainly, as Python reads them; what is none of this style says so, behind HINT."""
    digits = _digits(column, own)
    unit = f"{HINT}is not a number written as {own}" if own != Style() else ""
    return pc.coalesce(digits, pc.binary_join_element_wise(column, unit, "") if unit else column)


def _digits(column: pa.ChunkedArray, own: Style) -> pa.ChunkedArray:
    """Write numbers as the cast reads them; null for what is none."""
    expression = _whole(core(own.decimal, own.thousands), re.escape(own.before), re.escape(own.after))
    parts = pc.extract_regex(column, expression)
    group = {name: pc.struct_field(parts, name) for name in ("open", "minus", "inner", "core", "close", "trailing")}
    digits = group["core"]
    if own.thousands:
        digits = pc.replace_substring_regex(digits, _class(own.thousands), "")
    if own.decimal != ".":
        digits = pc.replace_substring(digits, own.decimal, ".")
    signs = pc.binary_join_element_wise(group["open"], group["minus"], group["inner"], group["trailing"], "")
    negative = pc.if_else(pc.is_in(signs, pa.array(["", "+"])), "", "-")
    # one sign at most, and brackets that close; and 5.- is a price, not a negative number
    price = pc.match_substring_regex(group["core"], "-$")
    good = pc.and_(
        pc.less_equal(pc.utf8_length(signs), 1),
        pc.equal(pc.utf8_length(group["open"]), pc.utf8_length(group["close"])),
    )
    good = pc.and_(good, pc.invert(price))
    return pc.if_else(good, pc.binary_join_element_wise(negative, digits, ""), pa.scalar(None, pa.string()))


def chosen(written: Written, pairs: list[Marks], *, point: bool, comma: bool, assumed: bool = False) -> Marks | None:
    """Return the marks that all values of a column are written with; None where no pair, or more than one, may be.

    1,234 is a number of four digits, or a fraction. `point` and `comma` say what the file's other columns have between
    whole and fraction; `assumed`: `point` is so only because the file is separated by commas.
    """
    fit = [pair for pair in pairs if written.fits[pair] == written.count]
    if (".", "") in fit:
        if not ((",", ".") in fit and (",", "") not in fit):
            return ".", ""
        # 1.234: in a file of decimal commas it is a thousand; of money it may be either, and so it may beside 760, for
        # a fraction has no zeros at its end
        if comma:
            return None if point else (",", ".")
        beside = written.short > 0 and not written.long and (assumed or not point)
        return None if beside or any(map(_is_money, written.units)) else (".", "")
    if (",", "") in fit and (".", ",") in fit:
        return (".", ",") if point and not comma else (",", "") if comma and not point else None
    return fit[0] if fit else None


def mixed(written: Written) -> tuple[Unit, Unit] | None:
    """Return two units of a column that together are a mistake: %, a currency or a known unit, and another or none."""
    most = [unit for unit, _ in written.units.most_common()]
    known = [unit for unit in most if any(unit)]
    if len(most) > 1 and len({f"{before} {after}".casefold() for before, after in most}) == 1:  # km and KM
        return most[0], most[1]
    if len(most) > 1 and known and all(_is_known(unit) for unit in known):
        return most[0], most[1]
    return None


def _is_money(unit: Unit) -> bool:
    before, after = unit
    return bool(before) or bool(re.fullmatch(rf"{CODES}|[$\u20ac\u00a3\u00a5\u20b9\u20bd]", after))


def _is_known(unit: Unit) -> bool:
    before, after = unit
    code = re.fullmatch(rf"{CODES}|[^\w\s]+", after)
    return bool(before or code or UNITS.fullmatch(after))


def rows_of(written: Written, units: Iterable[Unit]) -> Iterator[str]:
    """Say where a unit first stands."""
    for unit in units:
        row, text = written.first[unit]
        yield f"row {row} has {text[:50]!r}"
