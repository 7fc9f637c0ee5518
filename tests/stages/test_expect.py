"""Expectations drafted at an ingest and by `slipway expect`; what somebody wrote stays; validate holds them."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components import SlipwayError, params
from components.data import versions
from components.files import read_json
from components.recipes import source
from components.stages import expect, ingest, validate
from tests.conftest import ROOT

PARAMS = (ROOT / "params.yaml").read_text()
SUITE = Path("expectations/tabular.yaml")


def people(rows: int = 400, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    content = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "income": np.exp(random.normal(8, 1, rows)).round(2),
            "city": random.choice(["Rome", "Oslo", "Lima"], rows),
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 600, rows), unit="D"),
        }
    )
    return content.assign(left=np.where(content.age + random.normal(0, 20, rows) > 60, "yes", "no"))


@pytest.fixture
def project(repo: Path) -> Path:
    """An empty project with a table to ingest and the shipped expectations."""
    SUITE.parent.mkdir()
    shutil.copy(ROOT / SUITE, SUITE)
    people().to_csv("people.csv", index=False)
    return repo


def take(file: str = "people.csv", **options: Any) -> None:
    command = source.commands()["table"]
    assert command
    ingest.run("table", replace=options.pop("replace", True), file=Path(file), label=["left"], **options)


def check() -> dict[str, Any]:
    validate.run(params.load(), Path("data"), SUITE, Path("build/validation"))
    found: dict[str, Any] = read_json(Path("build/validation/summary.json"))
    return found


def entry(column: str, kind: str) -> str:
    """Return the three lines of a drafted entry."""
    found = re.search(rf"  - type: {kind}\n    kwargs: {{column: {column},.*\n.*\n", SUITE.read_text())
    assert found, f"{column} {kind}"
    return found[0]


def test_an_ingest_drafts_expectations_that_its_data_meets(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = SUITE.read_text()
    take()
    printed = capsys.readouterr().out
    assert "expectations/tabular.yaml: 12 expectations drafted from what the data is like: review them" in printed
    assert "to keep it: git add data.dvc params.yaml expectations/tabular.yaml && git commit" in printed
    text = SUITE.read_text()
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []
    assert "seen: 18 to 89 in 400 rows; room: half of the range" in entry("age", "expect_column_values_to_be_between")
    assert "value_set: [Lima, Oslo, Rome]" in entry("city", "expect_column_values_to_be_in_set")
    summary = check()
    assert (summary["passed"], summary["failed_expectations"], summary["set_aside"]) == (True, 0, 0)
    expect.run()
    assert "nothing to write" in capsys.readouterr().out


def damaged(content: pd.DataFrame, how: str) -> pd.DataFrame:
    half = np.arange(len(content)) % 2 == 0
    changes: dict[str, Any] = {
        "unit": {"income": content.income * 1000},
        "gaps": {"age": content.age.where(content.index < 3)},
        "swapped": {"age": content.income, "income": content.age},
        "category": {"city": np.where(half, "Bonn", content.city)},
        "date": {"since": pd.Timestamp("1970-01-01")},
    }
    return content[content.left == "no"] if how == "class" else content.assign(**changes[how])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("unit", r"income values must be .* data\.parquet row 0: \d"),
        (
            "gaps",
            r"age proportion of non-null values .* found: 0\.0075\n  equal to 0\.98\.\n    seen: "
            r"none missing in 400 rows; up to 2 %",
        ),
        ("swapped", r"age values must be .* data\.parquet row \d+: \d+"),
        ("category", r"city values must belong to this set.* data\.parquet row 0: Bonn"),
        ("date", r"since values must be .* data\.parquet row 0: 1970-01-01"),
        ("class", r'If label == "yes", then fraction values'),
    ],
)
def test_validate_stops_at_data_that_is_another(how: str, told: str, project: Path) -> None:
    take()
    settings, suite = Path("params.yaml").read_bytes(), SUITE.read_bytes()
    damaged(people(seed=2), how).to_csv("data.csv", index=False)
    shutil.rmtree("data")
    Path("data.dvc").unlink()
    if how == "class":  # params.yaml has both labels
        people(seed=2).to_csv("data.csv", index=False)
    take("data.csv", keep_params=True, name="data")
    if how == "class":
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pq.read_table("data/data.parquet")
        Path("data/data.parquet").unlink()
        pq.write_table(table.filter(pc.equal(table["label"], "no")), "data/data.parquet")
    assert (Path("params.yaml").read_bytes(), SUITE.read_bytes()) == (settings, suite)
    with pytest.raises(SlipwayError, match=told) as raised:
        check()
    assert "`slipway expect`" in str(raised.value)


def test_new_rows_of_the_same_kind_pass_and_change_no_expectation(project: Path) -> None:
    take()
    suite = SUITE.read_bytes()
    more = people(40, seed=3)
    more.loc[0, ["age", "income"]] = [99, people().income.max() * 1.4]
    more.loc[:1, "city"] = "Bonn"
    more.to_csv("more.csv", index=False)
    take("more.csv", replace=False)
    assert SUITE.read_bytes() == suite
    summary = check()
    assert (summary["rows"], summary["passed"], summary["set_aside"]) == (440, True, 0)


def test_what_somebody_wrote_changed_or_commented_out_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take()
    text = SUITE.read_text()
    between, in_set = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
    changed = (
        entry("age", between)
        .replace("max_value: 125", "max_value: 120  # nobody is older\n   ")
        .replace("\n    }", "}")
    )
    changed = entry("age", between).replace("max_value: 125", "max_value: 121")
    assert changed != entry("age", between)
    out = "".join(f"  # {line[2:]}\n" for line in entry("city", in_set).splitlines())
    own = (
        "  # Payroll says so.\n  - type: expect_column_values_to_be_between\n"
        "    kwargs: {column: income, min_value: 1}  # euros\n    meta: {reason: no income}\n"
    )
    text = text.replace(entry("age", between), changed).replace(entry("city", in_set), out)
    text = text.replace(entry("income", between), own)
    SUITE.write_text(text)
    people(500, seed=4).assign(age=lambda content: content.age / 2).to_csv("other.csv", index=False)
    take("other.csv", name="other")
    after = SUITE.read_text()
    for kept in (changed, out, own):
        assert kept in after
    assert after.count("column: city, value_set") == after.count("column: age, min_value: 0, max_value: 121") == 1
    assert "of the values are from" in entry("age", "expect_column_median_to_be_between")
    assert "in 500 rows" in after
    assert "left as you wrote it: age: expect_column_values_to_be_between" in capsys.readouterr().out
    take("people.csv", name="people")  # back again: only what is drafted changes
    assert SUITE.read_text() == text


def test_expect_shows_what_differs_and_writes_only_when_asked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take()
    suite = SUITE.read_text()
    people(300, seed=5).assign(age=lambda content: content.age + 200).to_csv("more.csv", index=False)
    take("more.csv", replace=False)
    capsys.readouterr()
    expect.run(command="slipway expect people")
    printed = capsys.readouterr().out
    assert "-    kwargs: {column: age, min_value: 0, max_value: 125" in printed
    assert "+    kwargs: {column: age, min_value: 0, max_value: 430" in printed
    assert "none missing in 700 rows" not in printed  # the same is expected, of more rows
    assert "nothing was changed; to write this: slipway expect people --write" in printed
    stay = "14 that were not drafted, or that were changed, stay"
    assert f"expectations/tabular.yaml: 12 drafted from 700 rows; {stay}" in printed
    assert SUITE.read_text() == suite
    expect.run(write=True)
    assert "max_value: 430" in SUITE.read_text()
    assert check()["passed"] is True
    capsys.readouterr()
    expect.run()
    assert "nothing to write" in capsys.readouterr().out


def test_an_ingest_that_fails_leaves_the_expectations_as_they_were(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    before = SUITE.read_bytes()
    monkeypatch.setattr(versions, "taken_over", interrupted)
    monkeypatch.setattr(versions, "replaceable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take()
    assert SUITE.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("examples: [\n", "no expectations were drafted: expectations/tabular.yaml: not valid YAML"),
        ("columns: [{type: expect_column_mean_to_be_between}]\n", "write a line `- type: ...` for each of yours"),
        ("- a list\n", "expected sections with lists of expectations"),
    ],
)
def test_a_file_that_cannot_be_read_stays_as_it_is(
    text: str, told: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SUITE.write_text(text)
    take()
    assert told in capsys.readouterr().out
    assert SUITE.read_text() == text
    with pytest.raises(SlipwayError):
        expect.run()


@pytest.mark.parametrize(
    "text", ["", "examples:\n", "# mine\nexamples: []\n\nclasses:  # few\n", "dataset:\n- type: x\n"]
)
def test_a_file_of_little_gets_sections(text: str, project: Path) -> None:
    SUITE.write_text(text)
    take()
    after = SUITE.read_text()
    assert all(after.count(f"{section}:\n") == 1 for section in ("examples", "columns", "classes"))
    if "type: x" not in text:
        assert check()["passed"] is True
