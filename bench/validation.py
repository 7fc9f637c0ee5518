"""What validation costs, beside the same rules written by hand: python -m bench.validation [--rows N].

A tabular dataset of 20 columns in files of half a million rows: 12 numbers, 5 categories, a boolean, a date and the
label, with gaps, and a few values out of range, unknown categories and copies. The stage `validate`, from nothing and
with what it has kept (components/reuse.py), beside the same rules in pandas, in polars (lazy, streaming; it is not
among the locked packages: pip install polars) and in Great Expectations called naively: the whole frame, one suite.
Each in a process of its own, in turns; medians of --runs. All must find the same counts and the same rows. The stage
does more: it hashes the content of each row, profiles the columns, and writes the bad rows and a report.
"""

import argparse
import datetime
import functools
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from bench import measuring
from components import params, recipes
from components.data import dataset
from components.recipes.tabular.example import dates

ROOT = measuring.ROOT
FILE_ROWS = 500_000
NUMBERS = [f"number_{at:02}" for at in range(12)]
CATEGORIES = {f"category_{at}": [f"value {at}-{code}" for code in range(4 * (at + 1))] for at in range(5)}
LABELS = ["no", "yes"]
FIRST, LAST = datetime.datetime(2020, 1, 1), datetime.datetime(2025, 1, 1)
FEATURES = [*NUMBERS, *CATEGORIES, "member", "since"]
SECTION = {
    "numeric": NUMBERS,
    "categorical": [*CATEGORIES],
    "boolean": ["member"],
    "dates": ["since"],
    "labels": LABELS,
}
MAX_GAPS = 4  # of a row
WRONG, GAP, COPIES = 0.0002, 0.02, 50  # shares of a column's values; rows of each file that are those of the first
# What is wrong with a row -> the rule: its kind, its column and what that may be.
RULES: dict[str, tuple[str, str, Any]] = {
    **{f"{name} out of range": ("between", name, (0, 100)) for name in NUMBERS},
    **{f"{name} unknown": ("in_set", name, values) for name, values in CATEGORIES.items()},
    "since out of range": ("between", "since", (FIRST, LAST)),
    "member is missing": ("not_null", "member", None),
    "label is missing": ("not_null", "label", None),
    "unknown label": ("in_set", "label", LABELS),
    "id is missing": ("not_null", "id", None),
    "too many gaps": ("gaps", "missing", MAX_GAPS),
    "a copy": ("unique", "id", None),
}
KINDS = {"between": "values_to_be_between", "in_set": "values_to_be_in_set", "not_null": "values_to_not_be_null"}
GX_MEMORY_MB = 12_000  # naive Great Expectations is ended there


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.validation", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="number of rows (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=CONTESTANTS, default=[*CONTESTANTS], help="those to measure"
    )
    out = ROOT / "build" / "bench" / "validation.json"
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args()
    chosen = [name for name in CONTESTANTS if name in options.only]
    if "polars" in chosen and find_spec("polars") is None:
        chosen.remove("polars")
        print("polars is left out: pip install polars")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        room = Path(name)
        make(room, options.rows)
        runs, failed = measure(room, chosen, options.runs)
    found = {name: measuring.medians(each) for name, each in runs.items() if each}
    known = {name: each[0]["found"] for name, each in runs.items() if each}
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "rows": options.rows, "columns": 20}
    report |= {"rules": len(RULES), "medians": found, "failed": failed, "runs": runs}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{options.rows:,} rows, 20 columns, {len(RULES)} rules; medians of {options.runs}")
    print(f"{'':<22}{'seconds':>10}{'processor, s':>14}{'peak, MB':>10}{'bad rows':>10}")
    for name, each in found.items():
        numbers = f"{each['seconds']:>10.1f}{each['cpu_seconds']:>14.1f}{each['peak_mb']:>10,.0f}"
        print(f"{name:<22}{numbers}{known[name]['bad']:>10,}")
    for name, why in failed.items():
        print(f"{name:<22}{why}")
    if {"stage", "pandas"} <= {*found}:
        mine, plain = found["stage"], found["pandas"]
        shares = [f"{mine[key] / plain[key]:.2f}" for key in ("seconds", "cpu_seconds", "peak_mb")]
        print(f"\nof pandas's: time {shares[0]} (aim: 1), processor time {shares[1]}, memory {shares[2]} (aim: 0.1)")
    print(options.out)
    if len({json.dumps(each, sort_keys=True) for each in known.values()}) > 1:
        sys.exit(f"error: not all find the same: {json.dumps(known, indent=2)}")
    print("all find the same counts and rows")


def measure(room: Path, names: list[str], times: int) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run each in turns; return what each run took and found, and why one could not."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for _ in range(times):
        for name in (name for name in names if name not in failed):
            try:
                if name == "stage":
                    shutil.rmtree(room / ".stage_cache", ignore_errors=True)
                most = GX_MEMORY_MB if name == "great expectations" else 0
                took = measuring.run(CONTESTANTS[name], room, most_mb=most)
            except measuring.FailedError as error:
                failed[name] = str(error)
                print(f"{name}: {error}", flush=True)
                continue
            output = took.pop("output")
            took["found"] = staged(room) if name.startswith("stage") else json.loads(output.splitlines()[-1])
            runs[name].append(took)
            numbers = f"{took['seconds']:.1f} s, processor {took['cpu_seconds']:.1f} s, {took['peak_mb']:,.0f} MB"
            print(f"{name}: {numbers}", flush=True)
    return runs, failed


# --- the dataset, and the expectations


def make(room: Path, rows: int) -> None:
    """Write params.yaml, expectations.yaml and data/."""
    settings = {"name": "bench", "recipe": "tabular", "tabular": SECTION, "validate": {"max_bad_fraction": 0.1}}
    YAML().dump(settings, room / "params.yaml")
    YAML().dump({"examples": [_expectation(reason) for reason in RULES]}, room / "expectations.yaml")
    (room / "data").mkdir()
    files = [(str(room), at, min(FILE_ROWS, rows - at * FILE_ROWS)) for at in range(-(-rows // FILE_ROWS))]
    with closing(dataset.parallel(_file, files, rows)) as made:
        for (_, at, _), _ in zip(files, made, strict=True):
            print(f"made file {at + 1} of {len(files)}", flush=True)


def _expectation(reason: str) -> dict[str, Any]:
    """Return a rule as an expectation of the stage."""
    kind, column, wanted = RULES[reason]
    kwargs: dict[str, Any] = {"column": column}
    if kind == "unique":
        kind, kwargs["column"], wanted = "in_set", "copy", [0]
    if kind == "gaps":
        kind, wanted = "between", (0, wanted)
    if kind == "in_set":
        kwargs["value_set"] = wanted
    elif kind == "between":
        kwargs["min_value"], kwargs["max_value"] = wanted
    return {"type": f"expect_column_{KINDS[kind]}", "kwargs": kwargs, "meta": {"reason": reason}}


def _file(item: tuple[str, int, int]) -> None:
    room, number, rows = item
    table = _table(number, rows)
    if number:
        table = pa.concat_tables([table.slice(0, rows - min(COPIES, rows)), _table(0, FILE_ROWS).slice(0, COPIES)])
        table = table.slice(0, rows)
    settings = params.load(Path(room) / "params.yaml")
    columns = recipes.schema(recipes.load("tabular"), settings.task)
    aside = Path(room, f"aside-{number}")

    def keyed() -> Any:
        for at in range(0, rows, 4096):
            part = table.slice(at, 4096).select(columns.names).cast(columns)
            yield part.add_column(0, "id", pa.array(dataset.ids(part, columns), pa.string()))

    for path in dataset.write(keyed(), aside, f"part-{number:03}", size=2**40):
        path.rename(Path(room, "data", path.name))
    aside.rmdir()


@functools.lru_cache(maxsize=1)
def _table(number: int, rows: int) -> pa.Table:
    """Draw the rows of a file: all of its values of one generator, so that the first file is drawn alike again."""
    random = np.random.default_rng([1, number])

    def gaps(share: float = GAP) -> np.ndarray:
        return random.random(rows) < share

    found: dict[str, Any] = {}
    for at, name in enumerate(NUMBERS):
        values = random.uniform(0, 100, rows)
        values = np.round(values) if at % 3 == 0 else values
        values[gaps(WRONG)] = random.choice([-1.0, 250.0])
        found[name] = pa.array(values, mask=gaps())
    for name, known in CATEGORIES.items():
        codes = random.integers(0, len(known), rows)
        codes[gaps(WRONG)] = len(known)
        found[name] = pa.array([*known, "nobody's"]).take(pa.array(codes, mask=gaps()))
    found["member"] = pa.array(random.random(rows) < 0.5, mask=gaps(WRONG))
    days = random.integers(0, (LAST - FIRST).days, rows)
    days[gaps(WRONG)] = 40_000
    since = (FIRST - datetime.datetime(1970, 1, 1)).days + days
    found["since"] = pa.array(since * dates.DAY_MICROSECONDS, mask=gaps()).cast(dates.DATE)
    codes = random.integers(0, len(LABELS), rows)
    codes[gaps(WRONG / 4)] = len(LABELS)
    found["label"] = pa.array([*LABELS, "perhaps"]).take(pa.array(codes, mask=gaps(WRONG / 4)))
    return pa.table(found)


# --- the contestants: what each finds is the counts by reason, the bad rows and a digest of which these are


def _answer(counts: dict[str, int], rows: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.sort(rows).astype("<i8").tobytes()).hexdigest()
    return {"counts": {reason: int(counts.get(reason, 0)) for reason in RULES}, "bad": len(rows), "rows": digest}


def staged(room: Path) -> dict[str, Any]:
    """Read what the stage has found."""
    counts = json.loads((room / "out" / "summary.json").read_text())["reasons"]
    aside = pq.read_table(room / "out" / "quarantine.parquet", columns=["file", "row"])
    start, starts = 0, {}
    for path in sorted((room / "data").iterdir()):
        starts[path.name] = start
        start += pq.read_metadata(path).num_rows
    before = np.array([starts[name] for name in aside["file"].to_pylist()], np.int64)
    return _answer(counts, before + aside["row"].to_numpy())


def by_pandas() -> dict[str, Any]:
    """Hold the rules with pandas."""
    import pandas

    frame = pandas.read_parquet("data")
    bad = np.zeros(len(frame), bool)
    counts = {}
    for reason, (kind, column, wanted) in RULES.items():
        if kind == "gaps":
            broken = frame[FEATURES].isna().sum(axis=1) > wanted
        elif kind == "unique":
            broken = frame[column].duplicated()
        elif kind == "not_null":
            broken = frame[column].isna()
        else:
            values = frame[column]
            broken = values.notna() & ~(values.between(*wanted) if kind == "between" else values.isin(wanted))
        counts[reason] = int(broken.sum())
        bad |= broken.to_numpy()
    return _answer(counts, np.flatnonzero(bad))


def by_polars() -> dict[str, Any]:
    """Hold the rules with polars, lazily."""
    import polars as pl  # type: ignore[import-not-found, unused-ignore]

    broken = []
    for reason, (kind, column, wanted) in RULES.items():
        values = pl.col(column)
        if kind == "gaps":
            found = pl.sum_horizontal(pl.col(FEATURES).is_null()) > wanted
        elif kind == "unique":
            found = ~values.is_first_distinct()
        elif kind == "not_null":
            found = values.is_null()
        else:
            found = values.is_not_null() & ~(values.is_between(*wanted) if kind == "between" else values.is_in(wanted))
        broken.append(found.fill_null(value=False).alias(reason))
    data = pl.scan_parquet("data/*.parquet", row_index_name="<row>")
    rows = data.select("<row>", *broken).filter(pl.any_horizontal(pl.col([*RULES]))).collect(engine="streaming")
    return _answer({reason: rows[reason].sum() for reason in RULES}, rows["<row>"].to_numpy())


def by_great_expectations() -> dict[str, Any]:
    """Hold the rules with Great Expectations as its tutorial does: the whole frame, one suite."""
    import great_expectations as gx
    import pandas
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    frame = pandas.read_parquet("data")
    frame["missing"] = frame[FEATURES].isna().sum(axis=1)
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    wanted = {reason: _expectation(reason) for reason in RULES}
    wanted["a copy"] |= {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
    suite: Any = gx.ExpectationSuite(
        name="suite", expectations=[ExpectationConfiguration(**each) for each in wanted.values()]
    )
    results = batch.validate(suite, result_format={"result_format": "COMPLETE"}).results
    counts, bad = {}, []
    for result in results:
        reason, found = result.expectation_config.meta["reason"], result.result
        rows = np.array(found["unexpected_index_list"] or [], np.int64)
        if reason == "a copy":  # the first one is among them
            order = np.argsort(rows)
            ids = frame["id"].to_numpy()[rows]  # the list of values ends at 200
            _, first = np.unique(ids[order], return_index=True)
            rows = np.delete(rows[order], first)
        counts[reason] = len(rows)
        bad.append(rows)
    return _answer(counts, np.unique(np.concatenate(bad)))


def _own(function: Callable[[], dict[str, Any]]) -> list[str]:
    code = f"import json; from bench import validation; print(json.dumps(validation.{function.__name__}()))"
    return [sys.executable, "-c", code]


STAGE = f"{sys.executable} -m components validate --data data --expectations expectations.yaml --out out".split()
CONTESTANTS = {
    "stage": STAGE,
    "stage, again": STAGE,
    "pandas": _own(by_pandas),
    "polars": _own(by_polars),
    "great expectations": _own(by_great_expectations),
}


if __name__ == "__main__":
    main()
