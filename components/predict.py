"""Ask a registered model for answers: python -m components predict MODEL INPUT.

This file also runs by its path, in a process that knows nothing of the checkout (`isolated`), so that the
code which answers is the code that was shipped with the model. Light to import: every command line does.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa


FILE = "content of a file"  # a column that stands for the only one of the model's signature, or the only binary one


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parser `predict`."""
    text = "answer a file (picture, recording, text), a folder of them, a CSV or a Parquet file with a registered model"
    command = commands.add_parser(
        "predict",
        help=text,
        description=f"{text[0].upper()}{text[1:]}; the model runs by the code that it was registered with.",
        epilog="e.g. python -m components predict models:/digits@champion five.png",
    )
    command.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="models:/NAME@ALIAS or models:/NAME/VERSION (default: the champion of params.yaml's name)",
    )
    text = "a file, a folder, or a table: .csv, .tsv, .jsonl or .parquet"
    command.add_argument("input", type=Path, metavar="INPUT", help=text)
    command.add_argument("--out", type=Path, metavar="FILE", help="write the answers to this .csv or .parquet")
    from components.sources import tables

    tables.arguments(command.add_argument_group("of a .csv, as at its ingest"))
    series = command.add_argument_group("of a series as it was ingested", "forecasts what follows the last time in it")
    series.add_argument("--time", metavar="COLUMN", help="the column with the time")
    series.add_argument("--group", metavar="COLUMN", help="the column that tells several series apart")
    series.add_argument("--format", dest="form", metavar="FORMAT", help="of the time, such as %%d.%%m.%%Y (ISO 8601)")


def run(model: str | None, input: Path, out: Path | None, **options: Any) -> None:  # noqa: A002 - the argument's name
    """Print the answers for INPUT, or write them to `out`; `options` say how a CSV is read.

    Raises SlipwayError for an input that cannot be read, a model that does not exist, and MLflow away.
    """
    import pyarrow.parquet as pq

    from components import params, store

    if out is not None and out.suffix not in (".csv", ".parquet"):
        from components import SlipwayError

        raise SlipwayError(f"--out {out}: expected a .csv or .parquet file")
    store.check()
    version = store.pinned(model or f"models:/{params.load().name}@champion")
    forecast = {name: options.pop(name) for name in ("time", "group", "form")}
    if forecast["time"] is None:
        names, examples = _read(input, **options)
    else:
        names, examples = _latest(version, input, options, **forecast)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "examples.parquet")
        pq.write_table(examples, given)
        answers = isolated(version, given)
    answers = answers.add_column(0, "example", [names])
    if out is None:
        _show(answers)
    else:
        _write(out, answers)
        print(f"wrote {len(answers):,} answers to {out}")


def _read(path: Path, **options: Any) -> "tuple[list[str], pa.Table]":
    """Read examples and what to call each of them; a table is read as `ingest` does.

    A CSV stays text: the model's signature says which columns are numbers, not the values that this file happens to
    have. In a column of categories, 007 stays 007. How numbers are written, and which words such as NA may stand for
    a missing value, is left in the schema's metadata.
    """
    import pyarrow as pa

    from components import SlipwayError
    from components.sources import tables

    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        how = tables.reading(options)
        written = {"missing": how.words, "none": tables.MISSING, "decimal": how.decimal, "thousands": how.thousands}
        table = tables.whole(path, replace(how, words=("",))).replace_schema_metadata({"written": json.dumps(written)})
        return [str(row) for row in range(len(table))], table
    if kind in (".parquet", ".jsonl", ".ndjson"):
        table = tables.whole(path, tables.Reading()) if kind == ".parquet" else _lines(path)
        return [str(row) for row in range(len(table))], table
    if kind in (".gz", ".zip", ".bz2", ".xz"):
        raise SlipwayError(f"{path}: unpack it first")
    found = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    found = [item for item in found if not item.name.startswith(".")]
    try:
        table = pa.table({FILE: pa.array([item.read_bytes() for item in found], pa.binary())})
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file or folder") from None
    return [str(item.relative_to(path)) if path.is_dir() else item.name for item in found], table


def _lines(path: Path) -> "pa.Table":
    """Read a table of JSON lines, with the types that its values have."""
    import pyarrow as pa
    import pyarrow.json

    from components import SlipwayError

    try:
        return pa.json.read_json(path)
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file") from None
    except pa.ArrowException as error:
        raise SlipwayError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def _latest(version: str, path: Path, options: dict[str, Any], **given: Any) -> "tuple[list[str], pa.Table]":
    """Read a series as it was ingested: the last window of each group, and what it is called."""
    from components import SlipwayError, store
    from components.recipes.series import Params
    from components.sources import series, tables

    about = store.about(version)
    if about.get("recipe") != "series":
        raise SlipwayError(
            f"{version}: --time is for a model of series; this one is of {about.get('recipe', 'others')}"
        )
    return series.latest(path, Params.model_validate(about["params"]), how=tables.reading(options), **given)


def _show(answers: "pa.Table") -> None:
    rows = answers.to_pylist()
    width = max([len("example"), *(len(row["example"]) for row in rows)])
    shown = [name for name in answers.column_names if name not in ("example", "error", "probabilities")]
    if shown == ["labels"]:
        shown.append("probabilities")
    print(f"{'example':<{width}}  {'  '.join(f'{name:<20}' for name in shown).rstrip()}")
    for row in rows:
        text = f"error: {row['error']}" if row["error"] else "  ".join(f"{_cell(row[name]):<20}" for name in shown)
        print(f"{row['example']:<{width}}  {text.rstrip()}")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _write(out: Path, answers: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from components.files import replacing

    with replacing(out) as aside:
        if out.suffix == ".parquet":
            pq.write_table(answers, aside)
            return
        for at, name in enumerate(answers.column_names):
            if pa.types.is_list(answers.schema.field(name).type):
                texts = [None if value is None else json.dumps(value) for value in answers[name].to_pylist()]
                answers = answers.set_column(at, name, pa.array(texts, pa.string()))
        pa.csv.write_csv(answers, aside)


def isolated(uri: str, given: Path) -> "pa.Table":
    """Load the model `uri` from MLflow in a fresh process and ask it about the examples in a Parquet file.

    Returns a table as components.serving.predict does.

    The process starts in a temporary folder, with no way to import the checkout. Raises SlipwayError with the
    reason where the model cannot be loaded or does not answer.
    """
    import pyarrow.parquet as pq

    from components import SlipwayError, store
    from components.store import mask

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= store.environment() | {"PYTHONDONTWRITEBYTECODE": "1"}  # a local store is read in place
    with tempfile.TemporaryDirectory() as folder:
        answered = Path(folder, "answers.parquet")
        # -P: neither this file's folder nor the current one is looked into for modules
        command = [sys.executable, "-P", str(Path(__file__).resolve()), uri, str(given.resolve()), str(answered)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not answered.exists():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SlipwayError(f"{uri}: the model does not answer: {mask(last)[:500]}")
        return pq.read_table(answered, memory_map=False)


def _answer(uri: str, given: str, answered: str) -> None:
    """Run in the fresh process: load, answer by row group, write."""
    import mlflow
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = mlflow.pyfunc.load_model(uri, suppress_warnings=True)
    kinds = {"string": pa.string(), "double": pa.float64(), "Array(double)": pa.list_(pa.float64())}
    kinds["Array(string)"] = pa.list_(pa.string())
    asked, answer = model.metadata.get_input_schema(), model.metadata.get_output_schema().inputs
    recipe = (model.metadata.metadata or {}).get("recipe")
    schema = pa.schema([(column.name, kinds[_kind(column)]) for column in answer])
    with pq.ParquetFile(given) as file, pq.ParquetWriter(answered, schema) as writer:
        for batch in file.iter_batches(1024):
            frame, problems = _asked(batch, asked, recipe)
            if lacking := _lacking(frame, asked):
                own = "; a series as it was ingested is read with --time COLUMN" if recipe == "series" else ""
                sys.exit(lacking + own)
            answers = model.predict(frame)
            for row, problem in problems.items():
                answers.loc[row, schema.names] = [None] * (len(schema) - 1) + [problem]
            writer.write_table(pa.Table.from_pandas(answers, schema, preserve_index=False))


def _lacking(frame: "pandas.DataFrame", schema: Any) -> str:
    """Say which columns that the model needs are not there; empty where none is lacking."""
    needed = [column.name for column in schema.inputs if column.required] if schema is not None else []
    lacking = [name for name in needed if name not in frame.columns]
    if not lacking:
        return ""
    if frame.columns.tolist() == [FILE]:
        return f"it takes a .csv or .parquet with the columns {', '.join(needed)}, not files of one example each"
    several = len(lacking) > 1
    return (
        f"the column{'s' if several else ''} {', '.join(lacking)} {'are' if several else 'is'} missing; the table has: "
        f"{', '.join(map(str, frame.columns))}"
    )


def _kind(column: Any) -> str:
    """Name the type of a column of a signature: string, double, Array(double) ..."""
    return str(getattr(column.type, "name", None) or repr(column.type))


def _asked(
    batch: "pa.RecordBatch", schema: Any, recipe: str | None = None
) -> "tuple[pandas.DataFrame, dict[int, str]]":
    """Make the frame that the model's signature asks for; name the rows whose text is not what it should be.

    A file's content becomes the only column, or the only binary one. Numbers are cast as `ingest` does; the text of a
    CSV is read as numbers, truths, times or lists of numbers where those are asked for. MLflow would refuse the whole
    table. NA is a missing category, but a text, or the name of a series, as any.
    """
    import pandas
    import pyarrow as pa

    problems: dict[int, str] = {}
    columns = list(schema.inputs) if schema is not None else []
    taking = [column for column in columns if _kind(column) == "binary"] or columns
    if batch.schema.names == [FILE] and len(taking) == 1:
        batch = batch.rename_columns([taking[0].name])
        for column in columns:  # text kept beside the file, such as who speaks, that no model sees
            if column is not taking[0]:
                batch = batch.append_column(column.name, pa.array([""] * len(batch), pa.string()))
    elif len(batch.schema.names) == 1 and len(columns) == 1:  # whatever it is called
        batch = batch.rename_columns([columns[0].name])
    written = json.loads((batch.schema.metadata or {}).get(b"written", "{}"))
    arrow = {"double": pa.float64(), "string": pa.string(), "datetime": pa.timestamp("us")}
    for column in columns:
        at, kind = batch.schema.get_field_index(column.name), arrow.get(_kind(column))
        is_bytes = at >= 0 and pa.types.is_binary(batch.column(at).type)
        if is_bytes and kind == pa.string():
            batch = batch.set_column(at, column.name, _decoded(batch.column(at), column.name, problems))
        elif at >= 0 and kind is not None and not pa.types.is_string(batch.column(at).type):
            batch = batch.set_column(at, column.name, batch.column(at).cast(kind))
    frame = batch.to_pandas()
    for column in columns:
        given, parse = frame.get(column.name), PARSERS.get(_kind(column))
        if given is None:
            continue
        if pandas.api.types.is_string_dtype(given) and (parse or recipe == "tabular"):
            words = set(written.get("none" if parse else "missing", ()))  # --not-missing is of texts
            text = [None if pandas.isna(item) or item in words else item for item in given]
            found = _parsed(text, column, problems, written) if parse else pandas.Series(text, dtype="object")
            frame[column.name] = found
        if _kind(column).startswith("Array"):  # MLflow would refuse the whole table for a row without a list
            frame[column.name] = [[] if item is None else item for item in frame[column.name]]
    return frame, problems


def _parsed(text: list[str | None], column: Any, problems: dict[int, str], written: dict[str, Any]) -> "pandas.Series":
    """Read the text of a column as what the signature asks for; what is none becomes missing, and a problem."""
    import pandas

    noun, function = PARSERS[_kind(column)]
    numbers = _kind(column) == "double" and written
    plain = partial(_plain, decimal=written["decimal"] or ".", thousands=written["thousands"]) if numbers else str
    values = [None if item is None else function(plain(item)) for item in text]
    for row, (item, value) in enumerate(zip(text, values, strict=True)):
        if value is None and item is not None:
            problems.setdefault(row, f"{column.name}: {item[:100]!r} is not {noun}")
    kind = {"double": "float64", "datetime": "datetime64[us]"}.get(_kind(column), "object")
    return pandas.Series(values, dtype=kind)


def _plain(text: str, decimal: str, thousands: str | None) -> str:
    """Write a number as Python reads it; empty where these marks make none of it."""
    if thousands and re.fullmatch(rf"[+-]?\d{{1,3}}({re.escape(thousands)}\d{{3}})+({re.escape(decimal)}\d*)?", text):
        text = text.replace(thousands, "")
    if decimal == ".":
        return text
    return "" if "." in text else text.replace(decimal, ".")


def _decoded(contents: "pa.Array", name: str, problems: dict[int, str]) -> "pa.Array":
    """Read files' contents as UTF-8 text; one that is none becomes empty, and a problem of its row."""
    import pyarrow as pa

    texts: list[str | None] = []
    for row, content in enumerate(contents.to_pylist()):
        try:
            texts.append(content.decode("utf-8-sig") if content is not None else None)
        except UnicodeDecodeError as error:
            texts.append("")
            problems[row] = f"{name}: not UTF-8 text (byte {error.start})"
    return pa.array(texts, pa.string())


def _number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text.strip()) if "_" not in text else None  # Python would read 1_5 as 15
    return None


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False, "1": True, "0": False}.get(text.strip().lower())


def _time(text: str) -> datetime.datetime | None:
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.datetime.fromisoformat(text.strip())
        return found.astimezone(datetime.UTC).replace(tzinfo=None) if found.tzinfo else found  # as at an ingest
    return None


def _list(text: str) -> list[float] | None:
    with contextlib.suppress(ValueError, TypeError):
        return [float("nan") if item is None else float(item) for item in json.loads(text)]
    return None


PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "double": ("a number", _number),
    "boolean": ("true or false", _truth),
    "datetime": ("a time such as 2026-01-31 or 2026-01-31T12:00", _time),
    "Array(double)": ("a list of numbers such as [1, 2.5, null]", _list),
}


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _answer(*sys.argv[1:])
