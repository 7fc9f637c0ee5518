"""Examples of several modalities: a table whose columns name files, or hold texts and values."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError
from components.data import csv_reader
from components.files import printable
from components.recipes.audio import source as audio_source
from components.recipes.images import source as images_source
from components.recipes.multimodal.example import Params
from components.recipes.multimodal.source import digits
from components.recipes.source import Command, Source, tell
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
    if known is not None:
        image, text, audio = (list(section) for section in (known.images, known.text, known.audio))
    image, text, audio = (guessing.asked(file, names) for names in (image, text, audio))
    beside = [*image, *text, *audio]
    if not beside:
        raise SlipwayError(f"{file}: no column of images, texts or recordings: name one, such as --image photo")
    if twice := sorted({name for name in [*beside, *label] if [*beside, *label].count(name) > 1}):
        raise SlipwayError(f"{file}: {', '.join(twice)}: named twice; a column is one modality, or the label")
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
        columns = {"images": image, "text": text, "audio": audio}
        settings = {
            key: {name: DESCRIBE[key](name, _contents(file, how, name, folder)) for name in names}
            for key, names in columns.items()
            if names
        }
        if any(found.settings[key] for key in ("numeric", "categorical", "boolean", "dates")):
            settings["tabular"] = {key: value for key, value in found.settings.items() if key not in ANSWERS}
        elif len(beside) == 1:
            raise SlipwayError(f"{file}: {beside[0]} is the only modality: use the ingest of its kind")
    else:
        settings = known.model_dump(mode="json", exclude_unset=True)
    settings |= {key: found.settings[key] for key in ANSWERS if found.settings[key]}
    made = replace(found, recipe="multimodal", settings=settings, copies="keep" if found.key else "drop")
    if known is None:
        made.others = {**found.others, "evaluate": {"slices": ["absent"]}}
    made.tables = _examples(made, found, {*image, *audio}, text, folder)
    return made


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
    for at, path in enumerate(_paths(column, folder), row):
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


def _contents(file: Path, how: csv_reader.Reading, name: str, folder: Path) -> Iterator[bytes]:
    """Yield the first contents of a column, those that are there."""
    row = count = 0
    for block in guessing.blocks(file, how):
        column = block[name]
        for at in range(0, len(column), 100):
            for content in _read(column.slice(at, 100), name, folder, row + at).drop_null().to_pylist():
                count += 1
                yield content
            if count >= DESCRIBED:
                return
        row += len(block)


def _images(name: str, contents: Iterable[bytes]) -> dict[str, Any]:
    return images_source.described(
        ((f"column {name}: image {at:,}", BytesIO(content)) for at, content in enumerate(contents, 1)), f"column {name}"
    )


def _texts(name: str, contents: Iterable[bytes]) -> dict[str, Any]:  # noqa: ARG001 - nothing follows from them
    return {"encoding": "ngrams"}


def _recordings(name: str, contents: Iterable[bytes]) -> dict[str, Any]:
    rates: Counter[int] = Counter()
    lengths: list[float] = []
    bad = sum(not audio_source.describe(content, rates, lengths) for content in contents)
    if not rates:
        raise SlipwayError(f"column {name}: none of its {bad:,} recordings can be read")
    return audio_source.settings_of(rates, lengths)


DESCRIBE: dict[str, Callable[[str, Iterable[bytes]], dict[str, Any]]] = {
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
