"""Predict with a registered model: slipway predict MODEL INPUT.

Light to import: every command line does.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import temporary
from components.serving.worker import FILE_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data.csv_reader import Reading


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parser `predict`."""
    text = "predict with a registered model for a file (image, recording, text), a folder of files, or a table"
    command = commands.add_parser(
        "predict",
        help=text,
        description=f"{text[0].upper()}{text[1:]}. The model runs on the code it was registered with. Exit code 1: an "
        "example cannot be predicted (the others are), or nothing was; the output says which and why.",
        epilog="e.g. %(prog)s digits five.png, which is %(prog)s digits@champion five.png",
    )
    command.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="NAME for its champion, NAME@ALIAS or NAME/VERSION (default: the champion of `name` in params.yaml)",
    )
    text = "file, folder, or table (.csv, .tsv, .jsonl, .parquet or .feather; also compressed)"
    command.add_argument("input", type=Path, metavar="INPUT", help=text)
    command.add_argument("--out", type=Path, metavar="FILE", help="write the predictions to this .csv or .parquet file")
    command.add_argument(
        "--trust", action="store_true", help="run the model's code even if it is not what Slipway registered"
    )
    from components.data import csv_reader

    csv_reader.arguments(command.add_argument_group("options for reading a CSV file, as for ingest"))
    series = command.add_argument_group(
        "options for a time series, as for ingest", "forecast what follows the last time in the file"
    )
    series.add_argument("--time", metavar="COLUMN", help="column with the time")
    series.add_argument("--group", metavar="COLUMN", help="column that says which series a row belongs to")
    series.add_argument(
        "--format",
        dest="form",
        metavar="FORMAT",
        help="format of the time, such as %%d.%%m.%%Y, or iso for ISO 8601 (default: as in training)",
    )
    command.add_argument(
        "--files",
        type=Path,
        metavar="FOLDER",
        help="folder that the names of images and recordings in a table are relative to (default: the table's)",
    )
    text = "time zone of times that name none, such as Europe/Berlin (default: as in training)"
    series.add_argument("--time-zone", metavar="ZONE", help=text)


def run(model: str | None, input: Path, out: Path | None, **options: Any) -> int:  # noqa: A002 - the argument's name
    """Print the predictions for INPUT, or write them to `out`; `options` say how a CSV is read.

    Returns 1 where an example has no prediction: a script must not take a part for all. Raises SlipwayError for an
    input that cannot be read, a model that does not exist, and no MLflow.
    """
    if out is not None:
        _writable(out, input)
    found, told = _predicted(model, input, **options)
    if out is None:
        _show(found)
    else:
        _write(out, found)
    failed = [at for at, error in enumerate(found["error"].to_pylist()) if error]
    if out is not None:
        print(f"wrote {len(found) - len(failed):,} predictions to {out}")
    tell(told)
    if failed:
        some = ", ".join(str(found["example"][at]) for at in failed[:5]) + ", ..." * (len(failed) > 5)
        why = "; the column error says why" if out is not None else ""
        print(f"without a prediction: {len(failed):,} of {len(found):,} examples ({some}){why}", file=sys.stderr)
    return 1 if failed else 0


def _writable(out: Path, given: Path) -> None:
    """Raise SlipwayError for a file that is no table, or whose writing would cost the user's data."""
    from components import SlipwayError

    if out.suffix not in (".csv", ".parquet"):
        raise SlipwayError(f"--out {out}: expected a .csv or .parquet file")
    if out.exists() and given.exists() and out.samefile(given):
        raise SlipwayError(f"--out {out}: is the file with the examples, which would be lost; choose another one")
    for folder in out.resolve().parents[:-1]:
        if (pointer := folder.with_name(f"{folder.name}.dvc")).is_file():
            raise SlipwayError(f"--out {out}: {folder.name}/ is the dataset of {pointer.name}; choose another place")


def answers(model: str | None, given: "Path | pa.Table", *, trust: bool = False, **options: Any) -> "pa.Table":
    """Predict with a registered model in a process of its own; None: the champion of `name` in params.yaml.

    Returns a row per example; for a path, the column `example` comes first. Raises as `run` does.
    """
    found, told = _predicted(model, given, trust=trust, **options)
    tell(told)
    return found


def tell(lines: list[str]) -> None:
    """Print what is to be told of examples."""
    for line in lines:
        print(f"note: {line}", file=sys.stderr)


@dataclass(frozen=True)
class Given:
    """Examples as a registered version takes them."""

    version: str  # models:/NAME/VERSION
    examples: "pa.Table"
    names: list[str] | None  # what to call each, where they come from a path
    told: list[str]  # what is to be told of them
    failed: dict[int, str] = field(default_factory=dict)  # rows whose files cannot be read, and why


def _predicted(
    model: str | None, given: "Path | pa.Table", *, trust: bool = False, **options: Any
) -> "tuple[pa.Table, list[str]]":
    """Predict as `answers` does; return also what is to be told of the examples."""
    import pyarrow.parquet as pq

    from components.tracking import isolated

    taken = prepared(pinned(model), given, **options)
    with temporary.folder() as folder:
        path = Path(folder, "examples.parquet")
        pq.write_table(taken.examples, path)
        found = isolated.predict(taken.version, path, trust=trust)
    found = _failed(found, taken.failed)
    return found if taken.names is None else found.add_column(0, "example", [taken.names]), taken.told


def _failed(answers: "pa.Table", failed: dict[int, str]) -> "pa.Table":
    """Return answers in which some rows have an error and nothing else."""
    import pyarrow as pa

    rows = answers.to_pylist() if failed else []
    for row, why in failed.items():
        rows[row] = dict.fromkeys(answers.column_names) | {"error": why}
    return pa.Table.from_pylist(rows, answers.schema) if failed else answers


def pinned(model: str | None) -> str:
    """Return models:/NAME/VERSION for what `predict` calls MODEL; None: the champion of `name` in params.yaml."""
    from components import params
    from components.tracking import connection, origin

    connection.check()
    return origin.pinned(model or params.load().name)


def prepared(version: str, given: "Path | pa.Table", **options: Any) -> Given:
    """Read examples, or take those of a table, in the spelling that a version knows."""
    import pyarrow as pa

    from components.tracking import connection

    about = connection.about(version)
    names, examples = None, given
    forecast = {name: options.pop(name, None) for name in ("time", "group", "form", "time_zone")}
    folder = options.pop("files", None) or (given.parent if isinstance(given, Path) else Path())
    several = about["params"] if about.get("recipe") == "multimodal" else {}
    if several:  # what else there is, is read as a table
        others = {name for section in ("images", "text", "audio") for name in several.get(section) or {}}
        kinds = {name: kind for name, kind in about["inputs"].items() if name not in others}
        about = {**about, "recipe": "tabular", "params": several.get("tabular") or {}, "inputs": kinds, "several": True}
    if isinstance(given, Path):
        if forecast["time"] is None:
            names, examples = _read(given, about, forecast["time_zone"], **options)
        else:
            names, examples = _latest(version, given, options, **forecast)
    told: list[str] = []
    if about.get("recipe") == "tabular":
        examples, told = _as_known(examples, version, about, part="table" if several else None)
    failed: dict[int, str] = {}
    for name in (*several.get("images", ()), *several.get("audio", ())):
        examples = _contents(examples, name, folder, failed, told)
    for name in several.get("text") or ():
        examples = _there(examples, name, pa.string(), told)
    return Given(version, examples, names, told, failed)


def _is_text(file: Path) -> bool:
    """Tell if a file is one of those that transcripts stand in beside recordings."""
    return file.suffix.lower() in (".txt", ".lab", ".tsv", ".csv", ".ctm", ".json") or file.name == "text"


def _and_more(files: list[Path]) -> str:
    return f" and {len(files) - 1:,} more" if len(files) > 1 else ""


def _there(examples: "pa.Table", name: str, kind: "pa.DataType", told: list[str]) -> "pa.Table":
    """Return examples with a column, of nulls where it is not there, which is told, or holds nothing."""
    import pyarrow as pa

    if name not in examples.column_names:
        told.append(f"there is no column {name}: it is missing in all rows")
        return examples.append_column(name, pa.nulls(len(examples), kind))
    if examples[name].null_count < len(examples):
        return examples
    return examples.set_column(examples.column_names.index(name), name, pa.nulls(len(examples), kind))


def _contents(examples: "pa.Table", name: str, folder: Path, failed: dict[int, str], told: list[str]) -> "pa.Table":
    """Put the contents of files in place of their names, relative to a folder; `failed` gets what cannot be read."""
    import pyarrow as pa

    examples = _there(examples, name, pa.binary(), told)
    if not pa.types.is_string(examples[name].type):
        return examples
    contents: list[bytes | None] = []
    for row, file in enumerate(examples[name].to_pylist()):
        content, why = None, ""
        try:
            content = (folder / file).read_bytes() if file else None
            why = "it is empty" if content == b"" else ""
        except (OSError, ValueError) as error:  # ValueError: a null byte in a name
            why = getattr(error, "strerror", None) or str(error)
        if why:
            failed.setdefault(row, f"{name}: {folder / file} cannot be read: {why}")
        contents.append(b"not read" if why else content)  # an error, too, where nobody asks what failed
    return examples.set_column(examples.column_names.index(name), name, pa.array(contents, pa.binary()))


def _as_known(
    examples: "pa.Table", version: str, about: dict[str, Any], part: str | None = None
) -> "tuple[pa.Table, list[str]]":
    """Return examples of a table with the categories that the model knows, and what is to be told of the others.

    `part` of the model's state is that of the table, where it is not all of it.
    """
    from components.serving import categories
    from components.tracking import connection

    state = connection.state(version, about["data"])  # of a version that is not checked yet
    if part is not None:
        state = state.get(part) or {}
    known = state.get("values", {})
    values = {name: list(map(str, each)) for name, each in known.items()} if isinstance(known, dict) else {}
    if examples.num_columns == len(about["inputs"]) == len(values) == 1:  # whatever it is called
        values = dict.fromkeys(examples.column_names, *values.values())
    return categories.as_known(examples, values, about.get("params", {}).get("rare", 1))


def _read(path: Path, about: dict[str, Any], zone: str | None = None, **options: Any) -> "tuple[list[str], pa.Table]":
    """Read examples and what to call each of them; a table is read as those that the model, see `about`, has seen.

    A CSV stays text: the model's signature says which columns are numbers, not the values that this file happens to
    have. In a column of categories, 007 stays 007. What stands for a missing value, how numbers are written and dates
    are as they were in training, unless `options` say otherwise; that is told. `zone` is that of dates which name none
    in training.
    """
    import pyarrow as pa

    from components import SlipwayError
    from components.data import csv_reader, dataset, file_kinds
    from components.files import printable

    suffix = file_kinds.name(path).suffix.lower()
    of_a_table = about.get("recipe") == "tabular" and not about.get("several")  # of several modalities it may be a file
    if not path.is_dir() and (suffix in file_kinds.TABLE_SUFFIXES or of_a_table):
        known = about.get("params", {}).get("reading", {})
        how = csv_reader.reading(options, known)
        is_typed = csv_reader.is_typed(path)
        for line in [*csv_reader.conflicts(how, known), *([] if is_typed else csv_reader.told(path, how))]:
            print(f"note: {line}", file=sys.stderr)
        if is_typed:
            table = csv_reader.whole(path, csv_reader.Reading())
            if about.get("recipe") == "tabular":  # a text, or the name of a series, may be NA
                table = csv_reader.without_words(table, how)
            plain = _plain(table, how, about, zone)  # the text in it, such as JSON's dates
            return [str(row) for row in range(len(table))], _by_clock(plain, how, about, zone)
        odd: list[str] = []
        table = csv_reader.whole(path, replace(how, words=("",)), odd)
        for line in odd[:5]:
            print(f"note: {line}", file=sys.stderr)
        return [str(row) for row in range(len(table))], _plain(table, how, about, zone)
    if path.suffix.lower() in file_kinds.SUFFIXES and path.is_file():
        raise SlipwayError(f"{path}: is compressed and not a table: unpack it first")
    found = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    if path.is_dir():
        found = [item for item in found if not item.name.startswith(".")]
        found = [item for item in found if not dataset.is_junk(item.relative_to(path))]
        if about.get("recipe") == "speech":
            found, texts = [f for f in found if not _is_text(f)], [f for f in found if _is_text(f)]
            if texts:
                print(f"note: left out, for it is no recording: {texts[0].name}{_and_more(texts)}", file=sys.stderr)
    try:
        table = pa.table({FILE_COLUMN: pa.array([item.read_bytes() for item in found], pa.binary())})
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file or folder") from None
    return [printable(item.relative_to(path) if path.is_dir() else item.name) for item in found], table


def _plain(table: "pa.Table", how: "Reading", about: dict[str, Any], zone: str | None) -> "pa.Table":
    """Write the text of a table's columns plainly: as the model's process reads it, which knows of no such spellings.

    What is not written as in training stays as it is, or says so, and becomes an error of its row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from components.data import csv_numbers, csv_reader, csv_values

    kinds: dict[str, str] = dict(about["inputs"])
    for section, loose in (("boolean", "boolean"), ("dates", "datetime")):  # which the signature leaves open
        kinds |= dict.fromkeys(about.get("params", {}).get(section, ()), loose)
    if len(kinds) == table.num_columns == 1:  # whatever it is called
        kinds = dict.fromkeys(table.column_names, *kinds.values())
    none = pa.scalar(None, pa.string())
    every = (*csv_reader.MISSING_WORDS, *csv_reader.AMONG_NUMBERS)
    columns = []
    for name in table.column_names:
        column = table[name]
        kind = kinds.get(name) if pa.types.is_string(column.type) else None
        if kind in ("double", "boolean", "datetime"):
            column = pc.if_else(pc.is_in(column, pa.array(every)), none, column)
        elif kind == "string" and about.get("recipe") == "tabular":  # a text, or the name of a series, may be NA
            column = pc.if_else(pc.is_in(column, pa.array(how.words)), none, column)
        if kind == "double":
            column = csv_numbers.spelled(column, how.style(name))
        elif kind == "datetime" and name in how.dates:
            column = csv_values.spelled(column, how.dates[name])
        elif kind == "datetime" and "reading" in about.get("params", {}):  # UTC for models of before
            column = csv_values.by_clock(column, how.zones.get(name) or zone)
        columns.append(column)
    return pa.table(columns, table.column_names)


def _by_clock(table: "pa.Table", how: "Reading", about: dict[str, Any], zone: str | None) -> "pa.Table":
    """Read the dates of a typed file that name their zone as those of text are read: by the clock of the training's."""
    import pyarrow as pa

    from components.data import csv_values

    dates = about.get("params", {}).get("dates", ()) if "reading" in about.get("params", {}) else ()
    for at, each in enumerate(table.schema):
        if each.name in dates and pa.types.is_timestamp(each.type) and each.type.tz is not None:
            text = table[each.name].cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.string())
            column = csv_values.by_clock(text, how.zones.get(each.name) or zone)
            table = table.set_column(at, each.name, column)
    return table


def _latest(version: str, path: Path, options: dict[str, Any], **given: Any) -> "tuple[list[str], pa.Table]":
    """Read a series as it was ingested: the last window of each group, and what it is called."""
    from components import SlipwayError
    from components.data import csv_reader
    from components.recipes.series import source as series
    from components.recipes.series.example import Params
    from components.tracking import connection

    about = connection.about(version)
    if about.get("recipe") != "series":
        raise SlipwayError(
            f"{version}: --time is for models of the recipe series, not {about.get('recipe', 'of another one')}"
        )
    # older versions were registered with the settings of their network among these
    params = {name: value for name, value in about["params"].items() if name in Params.model_fields}
    params.setdefault("time_zone", "UTC")  # what a zone became before it was a setting
    how = csv_reader.reading(options, params.get("reading"))
    trained = connection.state(version, about["data"]).get("groups", []) if params.get("group") else []
    return series.latest(path, Params.model_validate(params), how=how, trained=trained, **given)


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
    if isinstance(value, dict):  # a box
        edges = ", ".join(f"{value[edge]:.3f}" for edge in ("left", "top", "right", "bottom"))
        return f"{value['label']} {value['score']:.2f} ({edges})"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _write(out: Path, answers: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from components.files import replacing

    with replacing(out) as aside, aside.open("wb") as sink:  # Arrow opens no path that is not UTF-8
        if out.suffix == ".parquet":
            pq.write_table(answers, sink)
            return
        for at, name in enumerate(answers.column_names):
            if pa.types.is_list(answers.schema.field(name).type):
                texts = [None if value is None else json.dumps(value) for value in answers[name].to_pylist()]
                answers = answers.set_column(at, name, pa.array(texts, pa.string()))
        pa.csv.write_csv(answers, sink)
