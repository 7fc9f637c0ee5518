"""The process in which a registered model predicts, with the code that was shipped with it.

It runs by this file's path and knows nothing of the checkout (components/tracking/isolated.py), so it imports nothing
of ours.
"""

import contextlib
import datetime
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa
    import pyarrow.parquet as pq

FEW_ROWS, MANY_ROWS = 1024, 8192  # that are answered at once
SHORT_BYTES = 2000  # of a row, on average, up to which it is many
HINT = "\x1f"  # between a value that cannot be read and why: components/data/csv_numbers.py
FILE_COLUMN = "content of a file"  # stands for the only column of the model's signature, or the only binary one


def _answer(uri: str, given: str, answered: str) -> None:
    """Run in the fresh process: load, answer some rows at a time, write."""
    import mlflow
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = mlflow.pyfunc.load_model(uri, suppress_warnings=True)
    asked, answer = model.metadata.get_input_schema(), model.metadata.get_output_schema().inputs
    recipe = (model.metadata.metadata or {}).get("recipe")
    schema = pa.schema([(column.name, _arrow(column.type)) for column in answer])
    with pq.ParquetFile(given) as file, pq.ParquetWriter(answered, schema) as writer:
        for batch in file.iter_batches(_at_once(file)):
            frame, problems = _asked(batch, asked, recipe)
            if lacking := _lacking(frame, asked):
                own = "; to read a time series as it was ingested, use --time COLUMN" if recipe == "series" else ""
                sys.exit(lacking + own)
            answers = model.predict(frame)
            for row, problem in problems.items():
                answers.loc[row, schema.names] = [None] * (len(schema) - 1) + [problem]
            writer.write_table(pa.Table.from_pandas(answers, schema, preserve_index=False))


def _arrow(kind: Any) -> "pa.DataType":
    """Return the type of a column of answers by that of a signature: texts, numbers, objects of them, and lists."""
    import pyarrow as pa

    if hasattr(kind, "properties"):
        return pa.struct([(each.name, _arrow(each.dtype)) for each in kind.properties])
    if (each := getattr(kind, "dtype", None)) is not None and not hasattr(kind, "name"):
        return pa.list_(_arrow(each))
    return {"string": pa.string(), "double": pa.float64()}[kind.name]


def _at_once(file: "pq.ParquetFile") -> int:
    """Return how many rows are answered at once: more of short ones, for MLflow looks at all columns each time."""
    import pyarrow as pa

    about, kinds = file.metadata, file.schema_arrow.types
    size = sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
    files = any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in kinds)
    return FEW_ROWS if files or size > SHORT_BYTES * about.num_rows else MANY_ROWS


def _lacking(frame: "pandas.DataFrame", schema: Any) -> str:
    """Say which columns that the model needs are not there; empty where none is lacking."""
    needed = [column.name for column in schema.inputs if column.required] if schema is not None else []
    lacking = [name for name in needed if name not in frame.columns]
    if not lacking:
        return ""
    if frame.columns.tolist() == [FILE_COLUMN]:
        return f"the model needs a .csv or .parquet with the columns {', '.join(needed)}, not one file per example"
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
    CSV (of plain spellings, see components/stages/predict.py) is read as numbers, booleans, times or lists of numbers
    where those are asked for. MLflow would refuse the whole table.
    """
    import pandas
    import pyarrow as pa

    problems: dict[int, str] = {}
    columns = list(schema.inputs) if schema is not None else []
    taking = [column for column in columns if _kind(column) == "binary"] or columns
    if batch.schema.names == [FILE_COLUMN] and len(taking) == 1:
        batch = batch.rename_columns([taking[0].name])
        for column in columns:  # text kept beside the file, such as who speaks, that no model sees
            if column is not taking[0]:
                batch = batch.append_column(column.name, pa.array([""] * len(batch), pa.string()))
    elif len(batch.schema.names) == 1 and len(columns) == 1:  # whatever it is called
        batch = batch.rename_columns([columns[0].name])
    batch = _without_hints(batch, problems)
    arrow = {"double": pa.float64(), "string": pa.string(), "datetime": pa.timestamp("us")}
    for column in columns:
        at, kind = batch.schema.get_field_index(column.name), arrow.get(_kind(column))
        is_bytes = at >= 0 and pa.types.is_binary(batch.column(at).type)
        if is_bytes and kind == pa.string():
            batch = batch.set_column(at, column.name, _decoded(batch.column(at), column.name, problems))
        elif at >= 0 and kind is not None and not pa.types.is_string(batch.column(at).type):
            batch = batch.set_column(at, column.name, _cast(batch.column(at), column, kind))
    frame = batch.to_pandas()
    for column in columns:
        given, parse = frame.get(column.name), PARSERS.get(_kind(column))
        if given is None:
            continue
        if pandas.api.types.is_string_dtype(given) and (parse or recipe in ("tabular", "multimodal")):
            text = [None if pandas.isna(item) else item for item in given]
            found = _parsed(text, column, problems) if parse else pandas.Series(text, dtype="object")
            frame[column.name] = found
        if _kind(column).startswith("Array"):  # MLflow would refuse the whole table for a row without a list
            frame[column.name] = [[] if item is None else item for item in frame[column.name]]
    return frame, problems


def _cast(values: "pa.Array", column: Any, kind: "pa.DataType") -> "pa.Array":
    """Cast a column of a typed file; end with a word about its type, or the value, that is not what is asked for."""
    import pyarrow as pa

    noun = "text" if _kind(column) == "string" else PARSERS[_kind(column)][0]
    try:
        return values.cast(kind)
    except pa.ArrowNotImplementedError:
        sys.exit(f"column {column.name} is {values.type}, not {noun}")
    except pa.ArrowException as error:
        sys.exit(f"column {column.name} is {values.type}, but not all values are {noun}: {str(error).splitlines()[0]}")


def _without_hints(batch: "pa.RecordBatch", problems: dict[int, str]) -> "pa.RecordBatch":
    """Take out the values that cannot be read as in training, which say why: they become missing, and a problem."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, name in enumerate(batch.schema.names):
        column = batch.column(at)
        if not pa.types.is_string(column.type) or not pc.any(pc.match_substring(column, HINT)).as_py():
            continue
        texts: list[str | None] = column.to_pylist()
        for row, text in enumerate(texts):
            if text is not None and HINT in text:
                value, why = text.split(HINT, 1)
                problems.setdefault(row, f"{name}: {value[:100]!r} {why}")
                texts[row] = None
        batch = batch.set_column(at, name, pa.array(texts, pa.string()))
    return batch


def _parsed(text: list[str | None], column: Any, problems: dict[int, str]) -> "pandas.Series":
    """Read the text of a column as what the signature asks for; what is none becomes missing, and a problem."""
    import pandas

    noun, function = PARSERS[_kind(column)]
    values = [None if item is None else function(item) for item in text]
    for row, (item, value) in enumerate(zip(text, values, strict=True)):
        if value is None and item is not None:
            problems.setdefault(row, f"{column.name}: {item[:100]!r} is not {noun}")
    kind = {"double": "float64", "datetime": "datetime64[us]"}.get(_kind(column), "object")
    return pandas.Series(values, dtype=kind)


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
        import mlflow.pyfunc  # noqa: F401 - it takes seconds, and what to predict may not be there yet

        _answer(*json.load(sys.stdin))
