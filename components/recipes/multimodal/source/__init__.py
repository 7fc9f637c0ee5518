"""Examples of several modalities: a table whose columns name files, or hold texts and values."""

import re
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError, listed
from components.data import csv_reader
from components.files import printable
from components.recipes.audio import source as audio_source
from components.recipes.images import source as images_source
from components.recipes.multimodal.example import NAME, RESERVED, Params
from components.recipes.multimodal.source import digits
from components.recipes.source import Command, Source, tell
from components.recipes.tabular import example as tabular_example
from components.recipes.tabular import source as table
from components.recipes.tabular.example import Params as Table
from components.recipes.tabular.source import guessing

BATCH_BYTES = 64 * 2**20  # bytes of files in memory at a time, and a row more
MAX_FILE_BYTES = 256 * 2**20  # bytes of a file
ANSWERS = ("labels", "targets")
DESCRIBED = 2_000  # files of a column that are looked at to choose its size or length


def multimodal(
    file: Path,
    label: list[str],
    image: Sequence[str] = (),
    text: Sequence[str] = (),
    audio: Sequence[str] = (),
    files: Path | None = None,
    known: Params | None = None,
    drop: Sequence[str] = (),
    **options: Any,
) -> Source:
    """Read a CSV or Parquet file: columns of images, texts and recordings, and all others as the recipe tabular does.

    A column of images or recordings names files, relative to the folder `files` (the table's own where there is none),
    or, in a Parquet file, holds their bytes. An empty cell is a modality that is missing. `known` is the section of the
    dataset that is added to. Raises SlipwayError for what cannot be read, naming the row of a file that is not there.
    """
    modalities = _modalities(file, {"images": image, "text": text, "audio": audio}, known)
    beside = [name for names in modalities.values() for name in names]
    label = guessing.asked(file, label)
    if twice := sorted({name for name in [*beside, *label] if [*beside, *label].count(name) > 1}):
        raise SlipwayError(f"{file}: {', '.join(twice)}: named twice; a column is one modality, or the label")
    if gone := sorted({*beside} & {*guessing.asked(file, drop)}):
        raise SlipwayError(f"{file}: --drop {gone[0]}: the column is also named as a modality; leave one of them out")
    folder = files or file.parent
    if not folder.is_dir():
        raise SlipwayError(f"--files {folder}: no such folder")
    before = None
    if known is not None and known.tabular is not None:
        before = Table(**known.tabular.model_dump(), labels=known.labels, targets=known.targets)
    elif known is not None:  # it has no columns of a table, and gets none
        used = {*beside, *label, *(options.get("key") or "",), "split"}
        drop = [*drop, *(name for name in _names(file, options) if name not in used)]
    found = table.tabular(file, label, known=before, beside=beside, drop=drop, **options)
    how = csv_reader.reading(options, before.reading.model_dump(exclude_defaults=True) if before else None)
    if known is None:
        settings: dict[str, Any] = {
            kind: {name: DESCRIBE[kind](name, _contents(file, how, name, folder)) for name in names}
            for kind, names in modalities.items()
        }
        has_table = any(found.settings[key] for key in ("numeric", "categorical", "boolean", "dates"))
        if not has_table and len(beside) == 1:
            raise SlipwayError(f"{file}: {beside[0]} is the only modality: use the ingest of its kind")
        # all of them, also what is empty: another dataset may have had it
        settings["tabular"] = (
            {key: value for key, value in found.settings.items() if key not in ANSWERS} if has_table else None
        )
        settings |= {key: found.settings[key] for key in ANSWERS}
    else:
        settings = known.model_dump(mode="json", exclude_unset=True)
        settings |= {key: found.settings[key] for key in ANSWERS if found.settings[key]}
    made = replace(found, recipe="multimodal", settings=settings, copies="keep" if found.key else "drop")
    if known is None:
        made.others = {**found.others, "evaluate": {"slices": ["absent"]}}
    made.tables = _examples(made, found, {*modalities["images"], *modalities["audio"]}, modalities["text"], folder)
    return made


def _modalities(file: Path, asked: dict[str, Sequence[str]], known: Params | None) -> dict[str, list[str]]:
    """Return the columns of each kind, or those of the dataset that is added to.

    Raises SlipwayError where others are asked for than the dataset has, or a column cannot be a modality.
    """
    found = {kind: guessing.asked(file, names) for kind, names in asked.items()}
    if known is not None:
        there: dict[str, list[str]] = {kind: list(getattr(known, kind)) for kind in found}
        for kind, names in found.items():
            if names and {*names} != {*there[kind]}:
                raise SlipwayError(
                    f"{file}: the existing dataset has {listed(there[kind]) or 'no column'} as {kind}, not "
                    f"{listed(names)}; leave the option out, or start a new dataset with --replace"
                )
        return there
    for name in (name for names in found.values() for name in names):
        if not re.fullmatch(NAME, name) or name in (*RESERVED, *tabular_example.FACTS):
            raise SlipwayError(
                f"{file}: column {name!r} cannot be a modality: expected a name of letters, digits and _ that begins "
                f"with a letter and is none of {listed(sorted({*RESERVED, *tabular_example.FACTS}))}; rename the column"
            )
    if not any(found.values()):
        raise SlipwayError(f"{file}: no column of images, texts or recordings: name one, such as --image photo")
    return found


def _names(file: Path, options: dict[str, Any]) -> list[str]:
    return list(guessing.schema(file, csv_reader.reading(options), []).names)


def _examples(made: Source, found: Source, of_files: set[str], text: Sequence[str], folder: Path) -> Iterator[pa.Table]:
    """Yield the table's examples with the contents of their files, BATCH_BYTES at a time."""
    found.schema, found.values = made.schema, made.values  # set before the tables are read
    row = 0
    missing: Counter[str] = Counter()
    for block in found.tables:
        for part in _parts(block, of_files, folder):
            columns = dict(zip(part.column_names, part.columns, strict=True))
            for name in of_files:
                columns[name] = _read(part[name], name, folder, row)
            for name in text:
                columns[name] = part[name].cast(pa.string())
            for name in (*sorted(of_files), *text):
                missing[name] += columns[name].null_count
            row += len(part)
            yield pa.table(columns)
    tell([f"{name}: missing in {count:,} of {row:,} rows" for name, count in missing.items() if count], "modalities")


def _parts(block: pa.Table, of_files: set[str], folder: Path) -> Iterator[pa.Table]:
    """Cut a block where the files of its rows get larger than BATCH_BYTES."""
    start = size = 0
    for row, names in enumerate(zip(*(_paths(block[name], folder) for name in sorted(of_files)), strict=True)):
        size += sum(path.stat().st_size for path in names if path is not None and path.is_file())
        if size > BATCH_BYTES and row > start:
            yield block.slice(start, row - start)
            start, size = row, 0
    if start < len(block):
        yield block.slice(start)


def _paths(column: pa.ChunkedArray, folder: Path) -> list[Path | None]:
    """Return the files that a column names; None where it names none, or holds their bytes."""
    if not guessing.is_text(column.type):
        return [None] * len(column)
    return [folder / name if name else None for name in column.to_pylist()]


def _read(column: pa.ChunkedArray, name: str, folder: Path, row: int) -> pa.Array:
    """Return the contents of a column's files, or the bytes that it holds, also as `{bytes, path}`; null for none."""
    kind = column.type
    if pa.types.is_struct(kind) and any(field.name == "bytes" for field in kind):
        column = pc.struct_field(column, "bytes")
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind):
        return column.cast(pa.binary()).combine_chunks()
    if not guessing.is_text(kind):
        raise SlipwayError(f"column {name} is {kind}: expected the names of files, or their bytes")
    contents: list[bytes | None] = []
    for at, path in enumerate(_paths(column, folder), row + 1):  # from 1, as the ingest of tables counts them
        try:
            if path is not None and path.stat().st_size > MAX_FILE_BYTES:
                raise SlipwayError(f"row {at}: {name}: {path} is larger than {MAX_FILE_BYTES // 2**20} MB")
            contents.append(None if path is None else path.read_bytes())
        except (OSError, ValueError) as error:  # ValueError: a null byte in a name
            why = getattr(error, "strerror", None) or error
            raise SlipwayError(
                f"row {at}: {name}: {printable(str(path))} cannot be read ({why}); names of files are relative to the "
                "table's folder, or to that of --files; leave the cell empty where there is none"
            ) from None
    return pa.array(contents, pa.binary())


def _contents(file: Path, how: csv_reader.Reading, name: str, folder: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the first contents of a column, those that are there, each with its row; from 1."""
    row = count = 0
    for block in guessing.blocks(file, how):
        column = block[name]
        for at in range(0, len(column), 100):
            contents = _read(column.slice(at, 100), name, folder, row + at).to_pylist()
            for place, content in enumerate(contents, row + at + 1):
                if content is not None:
                    count += 1
                    yield place, content
            if count >= DESCRIBED:
                return
        row += len(block)
    if not count:
        raise SlipwayError(f"{file}: column {name} is empty in all rows; leave it out with --drop {name}")


def _images(name: str, contents: Iterable[tuple[int, bytes]]) -> dict[str, Any]:
    files = ((f"row {row}: {name}", BytesIO(content)) for row, content in contents)
    return images_source.described(files, f"column {name}")


def _texts(name: str, contents: Iterable[tuple[int, bytes]]) -> dict[str, Any]:  # noqa: ARG001 - nothing follows
    return {"encoding": "ngrams"}


def _recordings(name: str, contents: Iterable[tuple[int, bytes]]) -> dict[str, Any]:
    rates: Counter[int] = Counter()
    lengths: list[float] = []
    bad = [row for row, content in contents if not audio_source.describe(content, rates, lengths)]
    if not rates:
        raise SlipwayError(f"column {name}: none of its {len(bad):,} recordings can be read")
    tell([f"row {row}: {name}: cannot be read as a recording; validate will set it aside" for row in bad], "recordings")
    return audio_source.settings_of(rates, lengths)


DESCRIBE: dict[str, Callable[[str, Iterable[tuple[int, bytes]]], dict[str, Any]]] = {
    "images": _images,
    "text": _texts,
    "audio": _recordings,
}


def _arguments(parser: ArgumentParser) -> None:
    for option, noun in (("image", "images"), ("text", "texts"), ("audio", "recordings")):
        what = "texts" if option == "text" else f"files of {noun}, or in a Parquet file of their bytes"
        parser.add_argument(
            f"--{option}", action="append", default=[], metavar="COLUMN", help=f"column of {what}; repeatable"
        )
    text = "folder that the names of files are relative to (default: the table's)"
    parser.add_argument("--files", type=Path, metavar="FOLDER", help=text)
    table.arguments(parser)


SOURCES = {
    "digits-seen-and-heard": Command(
        "MNIST's digits with recordings of the same digits (Free Spoken Digit Dataset), either missing now and then",
        digits.digits,
        digits.arguments,
    ),
    "multimodal": Command(
        "a table with columns of images, texts or recordings, and what else tells the label; any may be missing",
        multimodal,
        _arguments,
        known="multimodal",
    ),
}
