"""The columns of a table: which become features, of what type, and how their text is read."""

from collections import Counter
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from components import SlipwayError
from components.data import csv_reader, csv_values, file_kinds, times
from components.data.csv_reader import Reading
from components.recipes.source import BESIDE, tell
from components.recipes.tabular.source import guessing, left_out, numbers, telling

Types = dict[str, pa.DataType]


@dataclass
class Columns:
    """What a first look at a file finds."""

    types: Types  # of the features
    how: Reading  # with what was found out
    words: csv_reader.Words = field(default_factory=dict)  # that stand for a missing value, by column
    seen: dict[str, left_out.Seen] = field(default_factory=dict)
    dates: dict[str, csv_values.Kind] = field(default_factory=dict)  # columns of dates that may name their zones
    mixed: list[str] = field(default_factory=list)  # columns of text of which some values may be numbers
    no_class: tuple[str, ...] = ()  # words that mean a missing label beside `how.words`: it is of numbers


def find(
    file: Path,
    how: Reading,
    schema: pa.Schema,
    own: list[str],
    label: list[str],
    types: Types,
    keep: Collection[str],
    *,
    grown: bool = False,
) -> Columns:
    """Look at all rows of a file: columns of its `own`, of the `types` that the user says, else of those of its values.

    `grown`: the types are those of the dataset that is added to, and so is how their numbers are written. Raises
    SlipwayError for a file without rows, and for a column that is not of one type.
    """
    found = Columns(types, how)
    if csv_reader.is_typed(file):
        texts = _dates_in_text(file, how, schema, own, types)
        found.types = {
            name: types.get(name)
            or (guessing.date_or_text(file, name, how, texts[name]) if name in texts else None)
            or guessing.stored_type(file, schema.field(name))
            for name in own
        }
        blocks = csv_reader.typed(file, how, found.words)
        for _ in left_out.watched((block.select(own) for block in blocks), found.seen):
            pass
        gone = left_out.chosen(found.seen, own, keep)
        found.types = {name: kind for name, kind in found.types.items() if name not in gone}
        for name in (name for name, kind in found.types.items() if kind == csv_values.DATE):
            if name in texts:
                found.dates |= {} if name in how.dates else {name: texts[name]}
                continue
            zoned = getattr(schema.field(name).type, "tz", None) is not None
            found.dates[name] = csv_values.Kind(1, Counter(zoned=zoned), zoned=(0, str(schema.field(name).type)))
        found.mixed = [name for name, kind in found.types.items() if kind == pa.string()]
        return found
    for line in csv_reader.told(file, how):
        print(line)
    every = replace(how, words=(*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS))
    odd: list[str] = []
    rows = csv_reader.blocks(file, every, found.words, odd)
    kinds = csv_values.look(left_out.watched(rows, found.seen), how)
    tell(odd, "such values")
    if not kinds:
        raise SlipwayError(f"{file}: there are no rows after the header")
    gone = left_out.chosen(found.seen, own, keep)
    own = [name for name in own if name not in gone]
    read = {name: kinds[name] for name in (*own, *label) if types.get(name, pa.float64()) == pa.float64()}
    settled = [name for name, kind in types.items() if grown and kind == pa.float64()]
    found.how = replace(how, numbers=numbers.styles(file, how, read, settled))
    found.types = {name: types.get(name) or guessing.guessed_type(file, name, found.how, kinds[name]) for name in own}
    numeric = [name for name, kind in found.types.items() if kind == pa.float64() and name not in types]
    telling.tell_coded({name: kinds[name] for name in numeric})
    telling.tell_padded({name: kinds[name] for name in own}, found.types)
    found.dates = {name: kinds[name] for name in own if found.types[name] == csv_values.DATE and name not in how.dates}
    some = [name for name in own if 0 < kinds[name].matches["written"] < kinds[name].count]
    found.mixed = [name for name in some if found.types[name] == pa.string()]
    if csv_values.is_plain(kinds[label[0]]) or label[0] in found.how.numbers:
        found.no_class = csv_reader.AMONG_NUMBERS
    return found


def _dates_in_text(
    file: Path, how: Reading, schema: pa.Schema, own: list[str], types: Types
) -> dict[str, csv_values.Kind]:
    """Look at the text of a typed file that may be dates: what the user says is, and of JSON all of it, by its values.

    JSON has no type for dates; that of Parquet is what its writer chose.
    """
    is_json = file_kinds.kind(file) in ("json", "json lines")
    likely = [name for name in own if types.get(name) == csv_values.DATE or (is_json and name not in types)]
    chosen = [name for name in likely if guessing.is_text(schema.field(name).type)]
    every = replace(how, words=(*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS))
    blocks = (block.select(chosen) for block in csv_reader.typed(file, every)) if chosen else iter(())
    return csv_values.look(blocks, how)


def must_agree(file: Path, known: Reading, found: Columns, label: Iterable[str], features: Container[str]) -> None:
    """Raise SlipwayError for what goes against the dataset that is added to.

    A label that is one of its features, for then it predicts something else; numbers of another unit.
    """
    if feature := next((name for name in label if name in features), None):
        raise SlipwayError(
            f"{file}: --label {feature}: the dataset has {feature} as a feature, so it predicts something else; name "
            f"the column of what it predicts; if this is another dataset, {BESIDE}"
        )
    for name, kind in found.types.items():
        old, new = known.style(name).unit, found.how.style(name).unit
        if kind == pa.float64() and old != new and not csv_reader.is_typed(file) and not found.seen[name].empty:
            has, had = (f"the unit {unit!r}" if unit else "no unit" for unit in (new, old))
            raise SlipwayError(
                f"{file}: column {name}: its numbers have {has}, but those of the dataset have {had} "
                "(tabular.reading.numbers); write them as the dataset's"
            )


def with_zones(file: Path, found: Columns, zone: str | None, known: Reading | None) -> Reading:
    """Say by the clock of which zone the dates of each column are read that name theirs: `zone`, else UTC.

    `known` is how the dataset that is added to was read. Raises SlipwayError, naming a row of each, for a column of
    which some dates name a zone and some do not, and for one that is not as the dataset's.
    """
    if zone is not None:
        times.zone(zone)
    chosen = {}
    for name, kind in found.dates.items():
        zoned, old = kind.matches["zoned"], known.zones.get(name) if known else None
        if zoned and kind.zoned and known is not None and old is None and zone is None:
            raise SlipwayError(
                f"{file}: column {name}: row {kind.zoned[0]} ({kind.zoned[1]}) names its zone, but the dates of the "
                "dataset name none (tabular.reading.zones): give the --time-zone of theirs, such as Europe/Berlin"
            )
        if 0 < zoned < kind.count and kind.zoned and not (zone or old):
            row, text = kind.odd["zoned"]
            raise SlipwayError(
                f"{file}: column {name}: row {kind.zoned[0]} ({kind.zoned[1]}) names its zone, row {row} ({text}) does "
                f"not: write all dates with it, or none; give the --time-zone of those without, such as "
                f"Europe/Berlin; or --category {name}, or --drop {name}"
            )
        if old or zoned or zone:
            chosen[name] = zone or old or "UTC"
    in_utc = [name for name, own in chosen.items() if own == "UTC" and not zone]
    tell(
        [f"{name}: dates in UTC; for local ones: --time-zone, such as Europe/Berlin" for name in in_utc], "such columns"
    )
    return replace(found.how, zones=chosen)
