"""The stage validate, with Great Expectations and Parquet files as they are."""

import contextlib
import inspect
import io
import re
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from components import SlipwayError, params, recipes
from components.data import dataset, raw_rows
from components.files import read_json
from components.stages import ingest, preprocess, validate
from tests.conftest import ROOT, Make, write_dataset

SUITES = ROOT / "expectations"
ROWS = 200
COPIED, CONFLICT = "copy of an earlier example", "same content under two labels"


pytestmark = pytest.mark.usefixtures("read_once")


class Case:
    """A dataset in `folder`/data made of `tables` by file name, and what validate needs to check it."""

    def __init__(self, folder: Path, recipe: str, rows: int = ROWS, max_bad_fraction: float = 0.05) -> None:
        self.folder, self.recipe = folder, recipes.load(recipe)
        self.section, table = self.recipe.sample(rows, 1)
        self.columns = self.recipe.columns(self.recipe.Params(**self.section))
        self.suite = SUITES / f"{recipe}.yaml"
        self.data, self.out = folder / "data", folder / "build" / "validation"
        self.settings: dict[str, Any] = {"name": "trial", "recipe": recipe, recipe: self.section}
        self.settings["validate"] = {"max_bad_fraction": max_bad_fraction}
        half = rows // 2
        self.tables = {"a.parquet": self.whole(table[:half]), "b.parquet": self.whole(table[half:])}

    def whole(self, table: pa.Table) -> pa.Table:
        """Add ids, and give all columns their types."""
        schema = recipes.schema(self.recipe, self.recipe.Params(**self.section))
        table = table.select(schema.names).cast(schema)
        return table.add_column(0, "id", pa.array(dataset.ids(table, self.columns), pa.string()))

    def change(self, file: str, row: int, again: bool = True, **values: Any) -> None:
        """Give a row other values; its id follows unless `again` is false."""
        table = self.tables[file]
        rows = table.to_pylist()
        rows[row] |= values
        table = pa.Table.from_pylist(rows, table.schema)
        self.tables[file] = self.whole(table) if again else table

    def run(self, row_group_size: int | None = None) -> None:
        """Write the files and run the stage."""
        self.data.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            pq.write_table(table, self.data / name, row_group_size=row_group_size)
        self.check()

    def check(self) -> None:
        path = self.folder / "params.yaml"
        YAML().dump(self.settings, path)
        validate.run(params.load(path), self.data, self.suite, self.out)

    def suite_of(self, text: str) -> None:
        self.suite = self.folder / "suite.yaml"
        self.suite.write_text(text)

    @property
    def summary(self) -> Any:
        return read_json(self.out / "summary.json")

    @property
    def quarantine(self) -> dict[tuple[str, int], str]:
        rows = pq.read_table(self.out / "quarantine.parquet").to_pylist()
        return {(row["file"], row["row"]): row["reasons"] for row in rows}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stage keeps of files (components/reuse.py) is kept in a place of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Case:
    return Case(tmp_path, "images")


@pytest.fixture
def tabular(tmp_path: Path) -> Case:
    return Case(tmp_path, "tabular")


def picture(width: int, height: int, mode: str = "L", kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, kind)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims `side` x `side` pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_clean_dataset_passes_with_the_shipped_expectations(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, recipe)
    assert all(f"reason: {reason}" in case.suite.read_text() for reason in (COPIED, CONFLICT))
    case.run()
    assert case.summary["passed"] is True
    assert case.summary["failed_expectations"] == 0
    assert case.summary["expectations"] > 10
    assert (case.summary["rows"], case.summary["files"], case.summary["set_aside"]) == (ROWS, 2, 0)
    empty = pq.read_table(case.out / "quarantine.parquet")
    assert len(empty) == 0
    assert empty.column_names == ["file", "row", "reasons", "id", *case.columns.names, "label", "split"]
    assert sorted(path.name for path in case.out.iterdir()) == [
        *("columns.json", "quarantine.parquet", "report.html", "summary.json")
    ]
    columns = read_json(case.out / "columns.json")
    assert columns["rows"] == ROWS and columns["columns"]["label"]["missing"] == 0
    assert not {"id", "copy", "conflict", "id_matches"} & columns["columns"].keys()
    printed = capsys.readouterr()
    assert "rows          200 in 2 files" in printed.out
    assert str(case.out / "report.html") in printed.out
    assert printed.err == ""


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"image": b"no image"}, "undecodable image"),
    "empty": ({"image": b""}, "undecodable image"),
    "missing": ({"image": None}, "undecodable image"),
    "cut off": ({"image": picture(6, 6)[:44]}, "undecodable image"),
    "narrow": ({"image": picture(2, 6)}, "too narrow; blank image"),
    "low": ({"image": picture(6, 2)}, "too low; blank image"),
    "blank": ({"image": picture(9, 6)}, "blank image"),
    "32 bits": ({"image": picture(6, 6, "F", "tiff")}, "undecodable image; colour mode not supported"),
    "bomb": ({"image": bomb(60_000)}, "undecodable image; too many pixels"),
    "never seen": ({"label": "up"}, "unknown label"),
    "no label": ({"label": None}, "label is missing"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Images that are broken in all these ways, checked at once; the first of them in row 7."""
    case = Case(tmp_path_factory.mktemp("broken"), "images", max_bad_fraction=0.1)
    for row, (values, _) in enumerate(BROKEN.values(), 7):
        case.change("b.parquet", row, **values)
    with contextlib.chdir(case.folder):
        case.run()
    return case


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_picture_is_set_aside_with_its_reason(name: str, broken: Case) -> None:
    row = 7 + list(BROKEN).index(name)
    assert broken.quarantine["b.parquet", row] == BROKEN[name][1]
    kept = next(kept for kept in pq.read_table(broken.out / "quarantine.parquet").to_pylist() if kept["row"] == row)
    written = broken.tables["b.parquet"].to_pylist()[row]
    assert {key: kept[key] for key in written} == written


def test_what_is_set_aside_is_counted_and_nothing_else_is(broken: Case) -> None:
    assert set(broken.quarantine) == {("b.parquet", 7 + at) for at in range(len(BROKEN))}
    assert broken.summary["passed"] is True
    assert broken.summary["set_aside"] == len(BROKEN)
    assert broken.summary["bad_fraction"] == len(BROKEN) / ROWS
    counted = Counter(reason for _, reasons in BROKEN.values() for reason in reasons.split("; "))
    assert broken.summary["reasons"] == counted


def test_wrong_and_missing_ids_and_an_unknown_split(images: Case) -> None:
    images.change("a.parquet", 3, again=False, id="0" * 32)
    images.change("a.parquet", 4, again=False, id=None)
    images.change("a.parquet", 5, again=False, id=None)
    for name, table in images.tables.items():
        given = [None, "test", "train", "validation", "tset"][: 5 if name == "b.parquet" else 4]
        split = pa.array(given + [None] * (len(table) - len(given)), pa.string())
        images.tables[name] = table.append_column("split", split)
    images.run()
    missing = "id is missing; id is not the hash of the content"  # and no copy of the other missing one
    assert images.quarantine == {
        ("a.parquet", 3): "id is not the hash of the content",
        ("a.parquet", 4): missing,
        ("a.parquet", 5): missing,
        ("b.parquet", 4): "unknown split",
    }


@pytest.mark.parametrize("recipe", ["images", "series"])  # one label, and a list of numbers
def test_copies_and_conflicts_are_found_across_files(recipe: str, tmp_path: Path) -> None:
    case = Case(tmp_path, recipe)
    first = {name: case.tables["a.parquet"][name][0].as_py() for name in (*case.columns.names, "label")}
    second = {name: case.tables["a.parquet"][name][1].as_py() for name in (*case.columns.names, "label")}
    if isinstance(second["label"], list):
        second["label"] = [number + 1 for number in second["label"]]
    else:
        labels = case.section["labels"]
        second["label"] = labels[1 - labels.index(second["label"])]
    case.change("a.parquet", 50, **first)
    case.change("b.parquet", 10, **first)
    case.change("b.parquet", 11, **second)
    case.run()
    assert case.quarantine == {
        ("a.parquet", 1): CONFLICT,
        ("a.parquet", 50): COPIED,
        ("b.parquet", 10): COPIED,
        ("b.parquet", 11): f"{COPIED}; {CONFLICT}",
    }


def test_several_labels_are_the_same_in_any_order() -> None:
    given = [["a", "b"], ["b", "a"], ["a", None], [], None]
    found = validate._text(pa.chunked_array([pa.array(given, pa.list_(pa.string()))])).to_pylist()
    assert found == ['["a", "b"]', '["a", "b"]', '[null, "a"]', "[]", None]
    numbers = pa.chunked_array([pa.array([[2.0, 1.0]], pa.list_(pa.float64()))])
    assert validate._text(numbers).to_pylist() == ["[2.0, 1.0]"]


def test_a_missing_label_is_no_conflict(images: Case) -> None:
    image = images.tables["a.parquet"]["image"][0].as_py()
    images.change("b.parquet", 0, image=image, label=None)
    images.run()
    assert images.quarantine == {("b.parquet", 0): "copy of an earlier example; label is missing"}


def test_numbers_not_finite_and_rows_full_of_gaps(tabular: Case) -> None:
    tabular.change("a.parquet", 2, x=float("inf"))
    tabular.change("a.parquet", 3, x=float("nan"))
    text = tabular.suite.read_text()
    assert "max_value: 5" in text
    tabular.suite_of(text.replace("max_value: 5", "max_value: 3"))
    tabular.change("b.parquet", 4, x=None, y=None, member=None, since=None)
    tabular.run()
    assert tabular.quarantine == {
        ("a.parquet", 2): "a number is not finite",
        ("a.parquet", 3): "a number is not finite",
        ("b.parquet", 4): "too many values are missing",
    }


def test_the_page_of_numbers_to_predict_has_no_classes_and_names_what_is_predicted(make: Make) -> None:
    sample = recipes.load("tabular").sample(60, 3)[1]
    numbers = pa.array(np.arange(60.0))
    sample = sample.set_column(sample.column_names.index("label"), "label", numbers)
    make("tabular", 60)
    content = YAML(typ="safe").load(Path("params.yaml"))
    content["tabular"] |= {"labels": [], "targets": ["Salary"]}
    YAML().dump(content, Path("params.yaml"))
    write_dataset(Path("data/a.parquet"), params.load(), sample)
    own = Path("models/trial/expectations.yaml")
    own.parent.mkdir(parents=True)
    shutil.copy(SUITES / "tabular.yaml", own)
    with contextlib.suppress(SlipwayError):
        validate.run(params.load(), Path("data"), SUITES / "tabular.yaml", Path("build"))
    page = Path("build/report.html").read_text()
    assert "Class balance" not in page and "classes with rows" not in page
    assert '<strong class="name">Salary</strong><span class="note">number, the label</span>' in page
    assert '<strong class="name">label</strong>' not in page
    assert "<code>models/trial/expectations.yaml</code>" in page  # what the root has under that name is another file's
    own.write_text("dataset: []\n")
    with contextlib.suppress(SlipwayError):
        validate.run(params.load(), Path("data"), SUITES / "tabular.yaml", Path("build"))
    assert "<code>tabular.yaml</code>" in Path("build/report.html").read_text()


def test_a_failure_names_the_expectations_where_a_person_changes_them(tabular: Case) -> None:
    tabular.suite_of("dataset: [{type: expect_column_values_to_be_between, kwargs: {column: rows, min_value: 5000}}]")
    own = Path("models/trial/expectations.yaml")
    own.parent.mkdir(parents=True)
    shutil.copy(tabular.suite, own)
    with pytest.raises(SlipwayError, match=r"data: the dataset does not meet models/trial/expectations\.yaml\n"):
        tabular.run()
    own.unlink()
    with pytest.raises(SlipwayError, match=r"data: the dataset does not meet /.*/suite\.yaml\n"):
        tabular.check()


def test_rows_that_repeat_are_told(tabular: Case) -> None:
    tabular.run()
    assert "repeat the content" not in (tabular.out / "report.html").read_text()
    for name, table in tabular.tables.items():
        ids = table["id"].to_pylist()
        again = [ids[0] if row == 0 else f"{ids[0]}-{row + 1}" for row in range(20)]  # as an ingest keeps copies
        same = table.take(pa.array([0] * 20)).set_column(0, "id", pa.array(again))
        tabular.tables[name] = pa.concat_tables([same, table[20:]])
    tabular.run()
    assert tabular.summary["set_aside"] == 0
    page = (tabular.out / "report.html").read_text()
    assert "38 of 200 rows repeat the content of another one: there are 162 contents, one of 20 rows" in page
    assert "--split-by group=COLUMN" in page


def test_too_many_bad_rows_stop_the_run_with_a_table_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, "images", max_bad_fraction=0.01)
    case.run()
    assert (case.out / "quarantine.parquet").exists()
    for row in (3, 8, 90, 91):
        case.change("b.parquet", row, label="up")
    case.change("a.parquet", 5, image=picture(2, 6))
    with pytest.raises(SlipwayError) as raised:
        case.run()
    message = str(raised.value)
    assert "5 (2.50%; at most 1.00% allowed)" in message
    assert message.splitlines()[-1].startswith(
        "if a setting has changed by which an ingest read the files, such as lab"
    )
    labels = next(line for line in message.splitlines() if "label_known values must belong to this set" in line)
    assert re.search(r" 4  b.parquet row 3: False; b.parquet row 8: False; b.parquet row 90: False$", labels)
    width = next(line for line in message.splitlines() if "width values" in line)
    assert width.endswith(" 1  a.parquet row 5: 2")
    assert not (case.out / "quarantine.parquet").exists(), "a former run's quarantine must not be taken for this one's"
    assert case.summary["passed"] is False
    assert case.summary["reasons"] == {"unknown label": 4, "too narrow": 1, "blank image": 1}
    page = (case.out / "report.html").read_text()
    assert "Failed" in page
    assert "b.parquet row 8" in page
    assert "report.html" in capsys.readouterr().out


def test_a_column_that_params_no_longer_name_is_what_no_id_fits(make: Make) -> None:
    settings = make("tabular", 60)
    validate.run(settings, Path("data"), SUITES / "tabular.yaml", Path("build"))
    content = YAML(typ="safe").load(Path("params.yaml"))
    gone = content["tabular"]["numeric"].pop()
    YAML().dump(content, Path("params.yaml"))
    with pytest.raises(SlipwayError, match=rf"a\.parquet also has {gone}, which params.yaml does not name") as raised:
        validate.run(params.load(), Path("data"), SUITES / "tabular.yaml", Path("build"))
    assert "--drop COLUMN" in str(raised.value)


def test_a_limit_that_is_computed_is_shown_in_six_digits(tmp_path: Path) -> None:
    case = Case(tmp_path, "images")
    case.suite_of("""
dataset:
  - type: expect_column_max_to_be_between
    kwargs: {column: files, max_value: {$PARAMETER: "0.05 * height"}}
  - type: expect_column_values_to_be_in_set
    kwargs: {column: files, value_set: [{$PARAMETER: "width / 9"}]}
""")
    assert 0.05 * case.section["height"] == 0.30000000000000004
    with pytest.raises(SlipwayError) as raised:
        case.run()
    for text in (str(raised.value), (case.out / "report.html").read_text()):
        assert "0.3" in text and "0.666667" in text
        assert not re.search(r"\d\.\d{7}", text)


def test_exactly_the_limit_is_still_set_aside(tmp_path: Path) -> None:
    case = Case(tmp_path, "images", max_bad_fraction=0.01)
    for row in (3, 8):
        case.change("b.parquet", row, label="up")
    case.run()
    assert case.summary["set_aside"] == 2


def test_a_class_without_rows_stops_the_run(images: Case) -> None:
    images.section["labels"].append("down")
    with pytest.raises(SlipwayError, match=r"(?s)rows values must be .* 1  down: 0\n.*fraction values .*down: 0"):
        images.run()
    assert images.summary["passed"] is False


def test_balance_counts_what_is_left(tmp_path: Path) -> None:
    """The only rows of a class are bad ones: without them it has none."""
    case = Case(tmp_path, "images", max_bad_fraction=0.9)
    table = case.tables["a.parquet"]
    for row, label in enumerate(table["label"].to_pylist()):
        if label == "right":
            case.change("a.parquet", row, image=b"no image %d" % row)
    right = case.tables["b.parquet"].filter(pa.compute.equal(case.tables["b.parquet"]["label"], "left"))
    case.tables["b.parquet"] = right
    with pytest.raises(SlipwayError, match="right: 0"):
        case.run()
    case.settings["validate"]["max_bad_fraction"] = 0.0  # then what is left is not worth a word
    with pytest.raises(SlipwayError, match="decodable") as raised:
        case.check()
    assert "right: 0" not in str(raised.value)


GAPS = """examples: [{type: expect_column_values_to_be_in_set, kwargs: {column: colour, mostly: 0.9, value_set: SET}}]
columns:
  - type: expect_column_proportion_of_non_null_values_to_be_between
    kwargs: {column: y, min_value: 0.939}
"""


def test_a_failure_names_the_limit_and_the_file_that_lacks_most_values(tabular: Case) -> None:
    tabular.suite_of(GAPS.replace("SET", "[red, green, blue]"))

    def told(a: int, b: int) -> str:
        """Run with so many values of y missing in each file."""
        for name, missing in (("a.parquet", a), ("b.parquet", b)):
            table = tabular.tables[name]
            values = pa.array([None if row < missing else float(row) for row in range(len(table))], pa.float64())
            tabular.tables[name] = tabular.whole(table.set_column(table.column_names.index("y"), "y", values))
        with pytest.raises(SlipwayError) as raised:
            tabular.run()
        return " ".join(str(raised.value).split())

    half = ROWS // 2
    alone = told(1, 30)
    assert "y proportion of non-null values must be greater than or" in alone and "equal to 0.939." in alone
    assert f"found: {1 - 31 / ROWS:.6g}; b.parquet: {3000 / half:.3g} % missing" in alone
    assert "parquet: " not in told(25, 30)  # neither is far above the other
    # of what is very long the limit is kept too
    names = ", ".join(f"a colour that is number {number}" for number in range(100))
    tabular.suite_of(GAPS.replace("SET", f"[{names}]"))
    long = told(0, 0)
    assert "colour values must belong to this set: a colour" in long and "at least 90 % of the time." in long
    assert len(long) < 1000


def test_too_few_rows_and_none(tmp_path: Path) -> None:
    case = Case(tmp_path, "images", rows=20)
    with pytest.raises(SlipwayError, match=r"rows values must be .* 50.*found: 20"):
        case.run()
    case.tables = {name: table[:0] for name, table in case.tables.items()}
    with pytest.raises(SlipwayError, match="found: 0"):
        case.run()
    assert case.summary["rows"] == 0
    assert "Class balance" in (case.out / "report.html").read_text()


def test_files_that_are_no_dataset(images: Case) -> None:
    images.run()
    path = images.data / "b.parquet"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(SlipwayError, match=r"b.parquet: not a complete Parquet file"):
        images.check()
    pq.write_table(images.tables["b.parquet"].drop(["label"]), path)
    with pytest.raises(SlipwayError, match=r"b.parquet: column label is missing"):
        images.check()
    pq.write_table(images.tables["b.parquet"].set_column(1, "image", pa.array(range(100))), path)
    with pytest.raises(SlipwayError, match=r"b.parquet: column image is int64"):
        images.check()
    path.write_bytes(good)
    (images.data / "notes.txt").write_text("foreign")
    with pytest.raises(SlipwayError, match=r"notes.txt"):
        images.check()


def test_damage_inside_a_file_names_it(images: Case) -> None:
    images.run()
    path = images.data / "b.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[100:400] = bytes(300)
    path.write_bytes(damaged)
    with pytest.raises(SlipwayError, match=r"b.parquet"):
        images.check()


BAD_SUITES = {
    "examples: [": "not valid YAML",
    "- type: x": "expected the sections",
    "exmples: []": "exmples: unknown section; did you mean examples",
    "examples: []": "contains no expectation",
    "examples: {type: x}": "expected a list",
    "examples:\n  - kwargs: {column: id}": "line 2: expected `type: expect_...`",
    "examples:\n  - type: expect_column_values_to_be_in_sett\n    kwargs: {column: id}": (
        "line 2: expect_column_values_to_be_in_sett: no such expectation; "
        "did you mean expect_column_values_to_be_in_set?"
    ),
    "examples:\n\n  - type: expect_column_values_to_be_in_set\n    kwargs: {column: id, value_sett: [a]}": (
        "line 3: expect_column_values_to_be_in_set: value_sett: unknown argument; did you mean value_set?"
    ),
    "examples:\n  - {type: expect_column_values_to_not_be_null, kwargs: {column: id, meta: {}}}": (
        "meta: unknown argument"
    ),
    "examples:\n  - {type: expect_column_values_to_not_be_null, kwarg: {column: id}}": (
        "kwarg: unknown key; did you mean kwargs?"
    ),
    "examples:\n  - {type: expect_column_values_to_not_be_null}": "column: field required",
    "examples:\n  - {type: expect_column_values_to_not_be_null, kwargs: {column: widht}}": (
        "no column widht in examples; did you mean width?"
    ),
    "examples:\n  - {type: expect_column_values_to_not_be_null, kwargs: {column: image}}": "no column image",
    "classes:\n  - {type: expect_column_values_to_not_be_null, kwargs: {column: row}}": (
        "no column row in classes; did you mean rows?"
    ),
    "examples:\n  - {type: expect_column_values_to_be_in_set, kwargs: {column: id, value_set: {$PARAMETER: lables}}}": (
        "no value lables; did you mean labels?"
    ),
    "examples:\n  - {type: expect_column_values_to_be_in_set, kwargs: {column: id, value_set: {$PARAMETER: width}}}": (
        "value_set: "
    ),
    "examples:\n  - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}}": (
        "does not check single rows, .* move it to `dataset:`"
    ),
    "examples:\n  - {type: expect_column_mean_to_be_between, kwargs: {column: width, min_value: 1}}": (
        "does not check single rows"
    ),
    "examples:\n  - {type: expect_column_values_to_be_unique, kwargs: {column: id}}": "column `copy`",
    "examples:\n  - {type: expect_column_values_to_be_between, kwargs: {column: label, min_value: 1}}": (
        "line 2: expect_column_values_to_be_between: cannot be evaluated on a.parquet"
    ),
}


@pytest.mark.parametrize("text", BAD_SUITES)
def test_an_expectation_file_that_is_not_valid(text: str, images: Case) -> None:
    images.suite_of(text)
    with pytest.raises(SlipwayError, match=BAD_SUITES[text]) as raised:
        images.run()
    assert "suite.yaml" in str(raised.value)


def test_an_error_ends_the_work_that_is_under_way(images: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a typo in the expectations is told, and then the workers finish all files."""
    started = []
    whole = dataset.parallel

    def parallel(*arguments: Any) -> Any:
        started.append(whole(*arguments))
        return started[0]

    monkeypatch.setattr(dataset, "parallel", parallel)
    images.suite_of("exmples: []")
    with pytest.raises(SlipwayError):
        images.run(row_group_size=10)
    assert inspect.getgeneratorstate(started[0]) == inspect.GEN_CLOSED


def test_no_expectation_file(images: Case) -> None:
    images.suite = images.folder / "none.yaml"
    with pytest.raises(SlipwayError, match=r"none.yaml: no such file"):
        images.run()


def test_other_expectations(images: Case) -> None:
    """Arithmetic on parameters; `mostly` over all files; pairs of columns; aggregates; a reason by default."""
    images.suite_of("""
examples:
  - type: expect_column_values_to_be_between
    kwargs: {column: pixels, max_value: {$PARAMETER: "width * height"}}
  - type: expect_column_values_to_be_in_set
    kwargs: {column: mode, value_set: [L], mostly: 0.99}
  - type: expect_column_pair_values_to_be_equal
    kwargs: {column_A: width, column_B: height}
    meta: {reason: not square, notes: [Only, squares.]}
classes:
  - type: expect_column_distinct_values_to_equal_set
    kwargs: {column: label, value_set: {$PARAMETER: labels}}
dataset:
  - type: expect_table_row_count_to_equal
    kwargs: {value: 1}
  - type: expect_column_max_to_be_between
    kwargs: {column: files, max_value: 2}
""")
    images.change("a.parquet", 1, image=picture(6, 7))
    images.change("a.parquet", 2, image=picture(5, 5, "RGB"))  # 2 of 200: tolerated, though 2 % of its file
    images.change("a.parquet", 3, image=picture(6, 6, "RGB"))
    images.run()
    assert images.quarantine == {("a.parquet", 1): "pixels: expect_column_values_to_be_between; not square"}
    assert images.summary["failed_expectations"] == 2
    page = (images.out / "report.html").read_text()
    assert "Only squares." in page
    images.change("a.parquet", 4, image=picture(4, 4, "RGB"))  # 3 of 200 are too many
    images.run()
    assert [row for _, row in images.quarantine] == [1, 2, 3, 4]


def test_the_report_is_self_contained_and_the_same_everywhere(tmp_path: Path) -> None:
    found = []
    for folder in ("one", "another/place"):
        case = Case(tmp_path / folder, "images")
        case.change("a.parquet", 1, label="<script>alert(1)</script>")
        case.run()
        found.append({path.name: path.read_bytes() for path in sorted(case.out.iterdir())})
    assert found[0] == found[1]
    page = found[0]["report.html"].decode()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|url\(|@import|<script""", page, re.IGNORECASE)
    assert "&lt;script&gt;" in page
    assert str(tmp_path) not in page
    assert "Great Expectations" in page
    for text in ("200", "Passed, with rows set aside", "unknown label", "must belong to this set", "a.parquet row 1"):
        assert text in page


def test_pictures_are_read_chunk_by_chunk(images: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read of raw bytes is larger than a row group, and each row is read once, and some again to show samples."""
    whole = dataset.read
    rows = []

    def read(chunk: dataset.Chunk, columns: pa.Schema, only: Iterable[str] | None = None) -> pa.Table:
        table = whole(chunk, columns, only)
        if "image" in table.column_names:
            rows.append(len(table))
        return table

    monkeypatch.setattr(dataset, "read", read)
    images.run(row_group_size=30)
    assert rows[:8] == [30, 30, 30, 10, 30, 30, 30, 10]
    assert len(rows) <= 16
    assert max(rows) == 30


@pytest.mark.e2e
def test_worker_processes_find_the_same(tmp_path: Path) -> None:
    found = []
    for folder, size in (("many", 500), ("one", None)):
        case = Case(tmp_path / folder, "tabular", rows=6000)
        case.change("a.parquet", 2999, x=float("inf"))
        case.change("b.parquet", 1234, label="perhaps")
        case.run(row_group_size=size)
        found.append(case.quarantine)
    assert (
        found[0]
        == found[1]
        == {
            ("a.parquet", 2999): "a number is not finite",
            ("b.parquet", 1234): "unknown label",
        }
    )


def test_a_column_must_not_take_a_name_of_the_stage(tmp_path: Path) -> None:
    case = Case(tmp_path, "tabular")
    case.section["numeric"][0] = "copy"
    case.tables = {name: table.rename_columns({"x": "copy"}) for name, table in case.tables.items()}
    with pytest.raises(SlipwayError, match="cannot be named copy"):
        case.run()


def test_rows_that_a_table_repeats_pass_and_a_file_that_lies_there_twice_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a CSV to the arrays: no row is lost, whatever its label; copies are of one split."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{'abc'[n % 3]},{'xyzw'[n % 4]},{n % 7},{'no' if n % 5 else 'yes'}" for n in range(600)]
    Path("t.csv").write_text("\n".join(["p,q,r,y", *rows]) + "\n")
    Path("test.csv").write_text("\n".join(["p,q,r,y", *rows[:50]]) + "\n")
    ingest.run("table", file=Path("t.csv"), label=["y"], test=Path("test.csv"), category=["r"])
    settings = params.load()
    made = pq.read_table("data/t.parquet")
    assert len(made) == 650 and made["split"].to_pylist().count("test") == 50
    validate.run(settings, Path("data"), SUITES / "tabular.yaml", Path("build"))
    assert read_json(Path("build/summary.json"))["set_aside"] == 0
    preprocess.run(settings, Path("data"), Path("build/quarantine.parquet"), Path("arrays"))
    ids = {name: np.load(f"arrays/{name}/id.npy").astype(str).tolist() for name in dataset.SPLITS}
    assert sorted(chain.from_iterable(ids.values())) == sorted(made["id"].to_pylist())  # whole, numbers of copies too
    assert not {name[:32] for name in ids["train"]} & {name[:32] for name in ids["validation"]}
    recipe = recipes.load("tabular")
    read = raw_rows.read(Path("data"), Path("arrays"), "test", recipes.schema(recipe, settings.task))
    assert [name for part in read for name in part["id"].to_pylist()] == ids["test"]
    shutil.copy("data/t.parquet", "data/u.parquet")
    with pytest.raises(SlipwayError, match="the dataset does not meet"):
        validate.run(settings, Path("data"), SUITES / "tabular.yaml", Path("build"))
    assert read_json(Path("build/summary.json"))["reasons"] == {"copy of an earlier example": 650}


def test_an_id_that_is_no_hash_and_number_does_not_match(tabular: Case) -> None:
    names = ["0" * 32 + "-1", "0" * 32 + "-02", "0" * 32 + "-x", "0" * 33, "0" * 31]
    for row, name in enumerate(names):
        real = tabular.tables["a.parquet"]["id"][row].as_py()
        tabular.change("a.parquet", row, again=False, id=name.replace("0" * 32, real))
    tabular.run()
    assert tabular.quarantine == {("a.parquet", row): "id is not the hash of the content" for row in range(len(names))}


def test_a_condition_on_rows_sets_aside_the_right_ones_in_every_part(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`row_condition` is Great Expectations' own: of the rows that it chooses, those that break the expectation."""
    monkeypatch.setattr(validate, "ROWS_CHECKED", 50)  # four parts of one file
    settings = make("tabular", 200, validate={"max_bad_fraction": 0.5})
    stored = pq.read_table("data/a.parquet")
    colours, x = stored["colour"].to_pylist(), stored["x"].to_pylist()
    wrong = [row for row in range(200) if colours[row] == "red" and x[row] < -1]
    Path("e.yaml").write_text(
        "examples:\n"
        "  - type: expect_column_values_to_be_between\n"
        "    kwargs: {column: x, min_value: -1, row_condition: 'colour == \"red\"', condition_parser: pandas}\n"
        "    meta: {reason: red and low}\n"
    )
    validate.run(settings, Path("data"), Path("e.yaml"), Path("build"))
    aside = pq.read_table("build/quarantine.parquet")
    assert aside["row"].to_pylist() == wrong and len({row // 50 for row in wrong}) > 1


def test_a_leaking_column_can_be_forbidden(tabular: Case) -> None:
    shipped = tabular.suite.read_text()
    forbidden = "  - type: expect_column_values_to_not_match_regex\n"
    forbidden += '    kwargs: {column: columns, regex: "(?:^|, )(?:%s)(?:,|$)"}\n'
    tabular.suite_of(shipped + forbidden % "refund|sinc|embers")
    tabular.run()
    tabular.suite_of(shipped + forbidden % "since")
    with pytest.raises(SlipwayError, match="columns"):
        tabular.run()
