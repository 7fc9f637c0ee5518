"""The expectations: a YAML file in Great Expectations' own form, read, checked, and held against a table.

The only file that knows Great Expectations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError, nearest
from components.validation import profile

MANY_ROWS = 30_000  # from which on each column is held by itself: under that, calling more often costs more
FIRST_ROWS = 2_000  # that tell whether a column has many different values
MOST_JUDGED = 20_000  # different values of a column of which is known, from one part to the next, what came of them
EXAMPLES_SHOWN = 3  # unexpected rows shown of each expectation
SECTIONS = {
    "examples": "one row per example, checked file by file",
    "columns": "each column as a whole",
    "classes": "one row per label of the whole dataset",
    "dataset": "one row for the whole dataset",
}
# Row-level for Great Expectations, yet about more than one row, or about a type that Parquet fixes already.
SHARES = {
    f"expect_{name}"
    for name in (
        "column_values_to_be_unique",
        "compound_columns_to_be_unique",
        "multicolumn_values_to_be_unique",
        "column_values_to_be_increasing",
        "column_values_to_be_decreasing",
        "column_value_z_scores_to_be_less_than",
        "column_values_to_not_be_outliers",
        "column_values_to_be_of_type",
        "column_values_to_be_in_type_list",
    )
}


# What came of an expectation on one table, plain JSON: `held` and `observed`; of a row-level one how many rows were
# `checked`, the unexpected `rows`, and of the first of these the values `shown` and their `places`.
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """An expectation of the file, with the values of its parameters."""

    where: str  # file and line, for messages
    section: str
    type: str
    kwargs: dict[str, Any]
    reason: str  # what is wrong with a row that breaks it, in a few words
    notes: str  # why it is expected
    words: list[tuple[str, bool]]  # what is expected, in Great Expectations' words; true marks a value
    columns: list[str]
    drafted: bool = False  # by an ingest or `slipway expect`, whatever somebody made of it since


@dataclass
class Result:
    """What came of an expectation, added up over the tables that it was held against."""

    entry: Entry
    held: bool = True
    checked: int = 0  # rows with a value
    unexpected: int = 0
    observed: str = ""  # of an expectation that is not row-level
    examples: list[tuple[str, str]] = field(default_factory=list)  # of unexpected rows: which one, its value
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # name of a table -> unexpected rows


def read(path: Path, columns: Mapping[str, list[str]], values: dict[str, Any]) -> list[Entry]:
    """Read the expectations; `columns` are those of each section's table, `values` those of $PARAMETER.

    Raises SlipwayError naming file, line and the nearest known name for anything that is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content, lines = YAML(typ="safe").load(text), YAML().load(text)
    except FileNotFoundError:
        raise SlipwayError(
            f"{path}: no such file; the expectations of a recipe NAME belong in expectations/NAME.yaml"
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SlipwayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SlipwayError(f"{path}: expected the sections {', '.join(SECTIONS)}")
    entries = []
    for section, listed in content.items():
        if section not in SECTIONS:
            raise SlipwayError(f"{path}: {section}: unknown section; {nearest(section, SECTIONS)}")
        if not isinstance(listed or [], list):
            raise SlipwayError(f"{path}: {section}: expected a list of expectations (`- type: ...`)")
        for index, item in enumerate(listed or []):
            where = f"{path}, line {lines[section].lc.item(index)[0] + 1}"
            entries.append(_entry(where, section, item, columns[section], values))
    if not entries:
        raise SlipwayError(f"{path}: contains no expectation; add one, such as those in expectations/tabular.yaml")
    return entries


def _entry(where: str, section: str, item: Any, known: list[str], values: dict[str, Any]) -> Entry:
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.expectations import registry
    from great_expectations.expectations.expectation import Expectation

    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise SlipwayError(f"{where}: expected `type: expect_...` and `kwargs:`, got {item!r}")
    name = item["type"]
    where = f"{where}: {name}"
    for key in item:
        if key not in ("type", "kwargs", "meta"):
            raise SlipwayError(f"{where}: {key}: unknown key; {nearest(key, ('type', 'kwargs', 'meta'))}")
    kwargs, meta = item.get("kwargs") or {}, item.get("meta") or {}
    if not isinstance(kwargs, dict) or not isinstance(meta, dict):
        raise SlipwayError(f"{where}: kwargs and meta must be mappings, such as {{column: label}}")
    types = registry.list_registered_expectation_implementations()
    if name not in types:
        raise SlipwayError(f"{where}: no such expectation; {nearest(name, types)}")
    model: Any = registry.get_expectation_impl(name)
    fields = [key for key in model.__fields__ if key not in Expectation.__fields__ and key != "batch_id"]
    for key in kwargs:
        if key not in fields:
            raise SlipwayError(f"{where}: {key}: unknown argument; {nearest(key, fields)}")
    kwargs = {key: _substituted(where, value, values) for key, value in kwargs.items()}
    try:
        model(**kwargs)
    except ValidationError as error:
        detail = error.errors()[0]
        key = str(detail["loc"][0])
        got = f" (got {kwargs[key]!r})" if key in kwargs else ""
        raise SlipwayError(f"{where}: {key}: {detail['msg']}{got}") from None
    columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    columns += [] if name.startswith("expect_table_") else kwargs.get("column_list", [])
    for column in columns:
        if column not in known:
            raise SlipwayError(f"{where}: no column {column} in {section}; {nearest(column, known)}")
    if section == "examples":
        _row_level(where, model)
    notes = meta.get("notes", "")
    notes = notes.get("content", "") if isinstance(notes, dict) else notes
    notes = " ".join(map(str, notes if isinstance(notes, list) else [notes]))
    reason = str(meta.get("reason", f"{', '.join(columns)}: {name}"))
    notes = " ".join(notes.split())
    return Entry(where, section, name, kwargs, reason, notes, _words(name, kwargs), columns, "drafted" in meta)


def _substituted(where: str, value: Any, values: dict[str, Any]) -> Any:
    """Put the values in for $PARAMETER, with Great Expectations' own arithmetic; in lists as well."""
    from great_expectations.core.suite_parameters import parse_suite_parameter
    from great_expectations.exceptions.exceptions import SuiteParameterError

    if isinstance(value, list):
        return [_substituted(where, item, values) for item in value]
    if not isinstance(value, dict) or "$PARAMETER" not in value:
        return value
    wanted = str(value["$PARAMETER"])
    try:
        return parse_suite_parameter(wanted, values)
    except (SuiteParameterError, TypeError) as error:
        unknown = [name for name in re.findall(r"[A-Za-z_]\w*", wanted) if name not in values]
        hint = f"no value {unknown[0]}; {nearest(unknown[0], values)}" if unknown else str(error)
        raise SlipwayError(f"{where}: $PARAMETER {wanted}: {hint}") from None


def _row_level(where: str, model: Any) -> None:
    from great_expectations.expectations import expectation as kinds

    if not issubclass(
        model, kinds.ColumnMapExpectation | kinds.ColumnPairMapExpectation | kinds.MulticolumnMapExpectation
    ):
        raise SlipwayError(
            f"{where}: does not check single rows, as everything in `examples:` must; "
            "move it to `dataset:` (rows, files, classes), `classes:` (label, rows, fraction) or `columns:` (a column "
            "as a whole)"
        )
    if model.expectation_type in SHARES:
        raise SlipwayError(
            f"{where}: compares rows or types, which cannot be checked file by file: move it to `columns:`; "
            "to find copies across all files, expect the column `copy` to be in [0]"
        )


def _words(name: str, kwargs: dict[str, Any]) -> list[tuple[str, bool]]:
    """Great Expectations' own rendering of an expectation, as pieces of text and of values."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer.inline_renderer import InlineRenderer

    configuration = ExpectationConfiguration(type=name, kwargs=kwargs)
    pieces: Any = InlineRenderer(configuration).get_rendered_content()[0].to_json_dict()["value"]
    if "template" not in pieces:  # a table or a graph in Data Docs
        return [(f"{name} ", False), (str(kwargs), True)]
    found = []
    for text in re.split(r"(\$\w+)", pieces["template"]):
        if text.startswith("$") and text[1:] in pieces["params"]:
            value = pieces["params"][text[1:]]["value"]  # 0.1 * 28 is 2.8000000000000003
            found.append((_shown(value) if isinstance(value, float) else str(value), True))
        elif text:
            found.append((text, False))
    return found


def hold(name: str, table: pa.Table, results: list[Result]) -> None:
    """Hold a table against expectations and add what came of it to their results.

    Raises SlipwayError where an expectation cannot be computed, such as a comparison of text with numbers.
    """
    add(name, outcomes(name, table, [result.entry for result in results]), results)


@dataclass
class Judged:
    """Values of a column that have been held against the expectations on it already: in earlier parts of a dataset."""

    values: pa.Array
    broken: np.ndarray  # (expectations, values) bool
    missing: list[bool]  # if an expectation is about missing values too


def outcomes(
    name: str, table: pa.Table, entries: list[Entry], judged: dict[tuple[str, bool], Judged] | None = None
) -> list[Outcome]:
    """Hold a table, or a part of one, against expectations; raises SlipwayError as `hold` does.

    In a table of many rows, those on the single values of one column are held against each different value once: Great
    Expectations copies all columns for each expectation that it is given. What came of it is in `judged`, for the same
    expectations on further parts.
    """
    known = {} if judged is None else judged
    groups: dict[str | None, list[int]] = {}
    for number, entry in enumerate(entries):
        groups.setdefault(_alone(entry) if len(table) >= MANY_ROWS else None, []).append(number)
    found: dict[int, Outcome] = {}
    for column, numbers in groups.items():
        mine = [entries[number] for number in numbers]
        held = _held(name, table, mine) if column is None else _held_once(name, table, column, mine, known)
        found |= dict(zip(numbers, held, strict=True))
    return [found[number] for number in range(len(entries))]


def _alone(entry: Entry) -> str | None:
    """Return the column whose single values an expectation is about; None where it is about more than these."""
    alone = entry.section == "examples" and entry.columns == [entry.kwargs.get("column")]
    return entry.columns[0] if alone and not entry.kwargs.get("row_condition") else None


def _held_once(
    name: str, table: pa.Table, column: str, entries: list[Entry], judged: dict[tuple[str, bool], Judged]
) -> list[Outcome]:
    """Hold the different values of a column against expectations on single values, and tell it of all rows."""
    # of numbers the first rows tell; of dates they might be too few, and each takes Great Expectations 5 us
    numbers = pa.types.is_floating(table[column].type)
    for part in (table.slice(0, FIRST_ROWS), table) if numbers else (table,):
        encoded = part[column].combine_chunks().dictionary_encode("encode")
        if 2 * len(encoded.dictionary) > len(part):
            return _held(name, table.select([column]), entries)
    values, codes = encoded.dictionary, encoded.indices.to_numpy()
    missing = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    # pandas has whole numbers as others where one is missing
    known = judged.get((column, bool(missing.any())))
    if known is None:
        known = Judged(values.slice(0, 0), np.empty((len(entries), 0), bool), [False] * len(entries))
    new = pc.index_in(values, value_set=known.values).is_null().to_numpy(zero_copy_only=False)
    if new.any():
        asked = np.flatnonzero(new | missing)
        held = _held(name, pa.table({column: values.take(pa.array(asked))}), entries)
        broken = np.zeros((len(entries), len(values)), bool)
        for each, outcome in zip(broken, held, strict=True):
            each[asked[outcome["rows"]]] = True
        known = Judged(
            pa.concat_arrays([known.values, values.filter(pa.array(new))]),
            np.concatenate([known.broken, broken[:, new]], axis=1),
            [outcome["checked"] == len(asked) for outcome in held],
        )
    if len(known.values) <= MOST_JUDGED:
        judged[column, bool(missing.any())] = known
    at = pc.index_in(values, value_set=known.values).to_numpy()
    empty = int(np.bincount(codes, minlength=len(values))[missing].sum())
    found = []
    for each, about_missing in zip(known.broken, known.missing, strict=True):
        rows = np.flatnonzero(each[at][codes]).tolist()
        shown = [_shown(table[column][row].as_py()) for row in rows[:EXAMPLES_SHOWN]]
        checked = len(table) - (0 if about_missing else empty)
        found.append({"checked": checked, "rows": rows, "shown": shown, "places": []})
    return found


def _held(name: str, table: pa.Table, entries: list[Entry]) -> list[Outcome]:
    if not entries:
        return []
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validator import Validator

    frame = table if any(entry.kwargs.get("row_condition") for entry in entries) else _used(table, entries)
    # as a batch does it, which also takes two digests of the frame: of many rows they take as long as all else
    engine = PandasExecutionEngine(batch_data_dict={"table": frame.to_pandas()})
    validator = Validator(execution_engine=engine, data_context=_context())
    configurations = [
        ExpectationConfiguration(type=entry.type, kwargs=entry.kwargs, meta={"number": number})
        for number, entry in enumerate(entries)
    ]
    found: Any = validator.graph_validate(
        validator.process_expectations_for_validation(configurations),
        runtime_configuration={"result_format": {"result_format": "COMPLETE"}},
    )
    if len(found) != len(entries):
        raise RuntimeError("Great Expectations left out an expectation")
    by_number = {outcome.expectation_config.meta["number"]: outcome for outcome in found}
    return [_outcome(name, table, by_number[number], entry) for number, entry in enumerate(entries)]


@cache
def _context() -> Any:
    """Return a context, all in memory and silent. It sees no table, so that it keeps none."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    configuration = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=configuration)


def _used(table: pa.Table, entries: list[Entry]) -> pa.Table:
    """Return the columns that expectations are about, all where one is about the table; it may have thousands."""
    if any(entry.type.startswith("expect_table_") for entry in entries):
        return table
    used = dict.fromkeys(column for entry in entries for column in entry.columns)
    return table.select(list(used) or table.column_names)


def _outcome(name: str, table: pa.Table, outcome: Any, entry: Entry) -> Outcome:
    found = outcome.result
    for info in (outcome.exception_info, *outcome.exception_info.values()):
        if isinstance(info, dict) and info.get("raised_exception"):
            message = str(info.get("exception_message")).strip().splitlines()[-1]
            raise SlipwayError(f"{entry.where}: cannot be evaluated on {name}: {message}")
    if "unexpected_index_list" not in found:
        return {"held": bool(outcome.success), "observed": _shown(found.get("observed_value"))}
    rows = [int(row) for row in sorted(found["unexpected_index_list"] or [])]
    shown = [", ".join(_shown(table[column][row].as_py()) for column in entry.columns) for row in rows[:EXAMPLES_SHOWN]]
    places = [] if entry.section == "examples" else [_place(table, entry, row) for row in rows[:EXAMPLES_SHOWN]]
    checked = int(found["element_count"] - found.get("missing_count", 0))
    kept: Outcome = {"checked": checked, "rows": rows, "shown": shown, "places": places}
    if entry.section == "dataset":  # one row: its value says more than a count
        kept["observed"] = ", ".join(_shown(table[column][0].as_py()) for column in entry.columns)
    return kept


def _place(table: pa.Table, entry: Entry, row: int) -> str:
    if entry.section != "columns":
        return str(table[0][row].as_py())
    return f"{table[profile.FILE][row].as_py()} row {table[profile.ROW][row].as_py()}"


def add(name: str, found: list[Outcome], results: list[Result], start: int = 0) -> None:
    """Add what came of a table, or of its part from row `start` on, to the results of its expectations."""
    for outcome, result in zip(found, results, strict=True):
        result.observed = outcome.get("observed", result.observed)
        if "rows" not in outcome:
            result.held = result.held and outcome["held"]
            continue
        rows = outcome["rows"]
        result.checked += outcome["checked"]
        result.unexpected += len(rows)
        # over all tables, while Great Expectations sees only this one
        result.held = result.unexpected <= (1 - result.entry.kwargs.get("mostly", 1)) * result.checked + 1e-9
        if rows:
            before = result.rows.get(name, np.empty(0, np.int64))
            result.rows[name] = np.concatenate([before, np.array(rows, np.int64) + start])
        places = outcome["places"] or [f"{name} row {start + row}" for row in rows[:EXAMPLES_SHOWN]]
        result.examples += list(zip(places, outcome["shown"], strict=True))[: EXAMPLES_SHOWN - len(result.examples)]


def _shown(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"quantiles", "values"}:
        return ", ".join(f"{share:g}: {_shown(each)}" for share, each in zip(*value.values(), strict=True))
    if isinstance(value, list):
        return ", ".join(map(_shown, value[:20])) + (" ..." if len(value) > 20 else "")
    text = "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
