"""Tables: CSV and Parquet files, and scikit-learn's breast cancer data."""

from argparse import ArgumentParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from components import SlipwayError, table
from components.sources import Command, Source, slug


def breast_cancer() -> Source:
    """Make scikit-learn's breast cancer table (Wolberg, Street and Mangasarian 1995): 569 rows, 30 numbers."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    names = [slug(name, "_") for name in raw.feature_names]
    columns = {name: raw.data[:, index] for index, name in enumerate(names)}
    columns["label"] = pa.array([str(raw.target_names[index]) for index in raw.target])
    settings = {"numeric": names, "categorical": [], "labels": sorted(str(name) for name in raw.target_names)}
    return Source("breast-cancer", "tabular", settings, iter([pa.table(columns)]))


def tabular(file: Path, label: str, drop: list[str], missing: list[str]) -> Source:
    """Read a CSV or Parquet file: numbers become numeric columns, text and booleans categorical ones."""
    raw = read_table(file, missing)
    for name in (*drop, label):
        if name not in raw.column_names:
            raise SlipwayError(f"{file}: no column {name!r} (there are: {', '.join(raw.column_names)})")
    raw = raw.drop_columns(drop)
    numeric, categorical, columns = [], [], {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        if name == label:
            columns["label"] = column.cast(pa.string())
        elif name == "split":
            columns["split"] = column.cast(pa.string())
        elif name in table.RESERVED:
            raise SlipwayError(
                f"{file}: a column may not be called {name!r}; leave it out (--drop {name}) or rename it"
            )
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numeric.append(name)
            try:
                columns[name] = column.cast(pa.float64())
            except pa.ArrowInvalid as error:
                raise SlipwayError(f"{file}: column {name}: {error}; leave it out: --drop {name}") from None
        elif pa.types.is_string(column.type) or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
            categorical.append(name)
            columns[name] = column.cast(pa.string())
        else:
            raise SlipwayError(f"{file}: column {name} is {column.type}, neither number nor text; --drop {name}")
    labels = sorted(pc.unique(columns["label"]).drop_null().to_pylist())
    if len(labels) < 2 or len(labels) > max(50, len(raw) // 10):
        raise SlipwayError(
            f"{file}: column {label} has {len(labels)} different values; a label needs 2 or more classes"
        )
    settings = {"numeric": numeric, "categorical": categorical, "labels": labels}
    return Source(slug(file.stem), "tabular", settings, iter([pa.table(columns)]))


def read_table(file: Path, missing: list[str]) -> pa.Table:
    """Read a CSV with a header, or Parquet: numbers as numbers, all else as the text that it is."""
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        convert = pyarrow.csv.ConvertOptions(
            null_values=["", "NA", "NaN", "nan", "null", *missing],
            strings_can_be_null=True,
            true_values=[],
            false_values=[],
        )
        return pyarrow.csv.read_csv(file, convert_options=convert)
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SlipwayError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def _table(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--label", required=True, metavar="COLUMN", help="the column to predict")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out; repeatable")
    parser.add_argument("--missing", action="append", default=[], metavar="TEXT", help="a missing value, such as '?'")


SOURCES = {
    "breast-cancer": Command("569 rows of 30 numbers, from scikit-learn", breast_cancer),
    "table": Command("a CSV or Parquet file with a header", tabular, _table),
}
