"""What looks wrong is told, and what is ordinary is not."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import datasets

from components.validation import profile
from components.validation.advice import advice, related

ROWS = 800


def ordinary() -> pd.DataFrame:
    """Columns of which each is near to something that looks wrong, and is not."""
    random = np.random.default_rng(1)
    content = pd.DataFrame(
        {
            "x": random.normal(size=ROWS),
            "children": random.poisson(1.5, ROWS).astype(float),
            "gain": np.where(random.random(ROWS) < 0.9, 0, np.exp(random.normal(8, 1, ROWS)).round()),
            "rain": np.where(random.random(ROWS) < 0.5, 0, random.exponential(4, ROWS).round(1)),
            "degrees": random.normal(0, 10, ROWS).round(),
            "score": random.integers(0, 101, ROWS).astype(float),
            "town": random.choice(["Totnes", "Summerville", "Rome"], ROWS),
            "plan": random.choice(["a 2h", "b", "7-12"], ROWS),
            "note": [f"a text of some length, the {number}. of them, all different" for number in range(ROWS)],
            "flag": random.random(ROWS) < 0.3,
        }
    )
    return content.assign(label=np.where(content.x + random.normal(size=ROWS) > 0, "yes", "no"))


def looks(content: pd.DataFrame, **options: Any) -> list[str]:
    counts: Any = {} if content.label.dtype == float else content.label.value_counts()
    return advice(of({"a.parquet": content}), {str(label): int(n) for label, n in counts.items()}, **options)


def of(files: dict[str, pd.DataFrame]) -> profile.Profile:
    return profile.of((pa.Table.from_pandas(content, preserve_index=False), name, 0) for name, content in files.items())


def test_what_is_ordinary_is_not_told() -> None:
    assert looks(ordinary()) == []


@pytest.mark.parametrize("name", ["iris", "wine", "diabetes", "breast_cancer"])
def test_no_false_alarm_on_well_known_data(name: str) -> None:
    content = getattr(datasets, f"load_{name}")(as_frame=True).frame.rename(columns={"target": "label"})
    assert looks(content.astype(float)) == []
    if name != "diabetes":
        assert looks(content.assign(label=content.label.astype(str))) == []


NUMBERS = np.random.default_rng(2)
SOME = np.arange(ROWS) % 25 == 0


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        (
            "age",
            np.where(SOME, 9999, NUMBERS.integers(18, 90, ROWS)),
            "4 % of the values are 9999, far from all others",
        ),
        ("temperature", np.where(SOME, -999, NUMBERS.normal(20, 8, ROWS)), "4 % of the values are -999"),
        ("days", np.where(SOME, -1, NUMBERS.integers(0, 300, ROWS)), "4 % of the values are -1"),
        ("glucose", np.where(SOME, 0, NUMBERS.normal(120, 20, ROWS).round()), "4 % of the values are 0, and no other"),
        ("number", np.arange(ROWS) * 3.0, "rises from row to row"),
        ("constant", np.ones(ROWS), "the same value in every row"),
        ("nothing", np.full(ROWS, np.nan), "every value is missing"),
        ("key", [f"k{number}" for number in range(ROWS)], "nearly every value stands once, like an id"),
        ("day", [f"{number % 28 + 1}/{number % 12 + 1}/2024" for number in range(ROWS)], "looks like dates, such as"),
        ("took", [f"{number % 5}h {number % 60}m" for number in range(ROWS)], "looks like durations, such as '0h 0m'"),
        ("region", ["north", "south"] * (ROWS // 2 - 1) + ["north", "Total"], "a row says 'Total'"),
        ("copy", ordinary().x, "the same in every row; one is enough (--drop copy)"),
        ("refunded", np.where(ordinary().label == "yes", NUMBERS.integers(1, 99, ROWS), 0), "alone tells the label"),
        ("answer", ordinary().label, "alone tells the label"),
    ],
)
def test_what_looks_wrong_is_told(column: str, values: Any, told: str) -> None:
    (line,) = looks(ordinary().assign(**{column: values}))
    assert column in line
    assert told in line


def test_a_number_that_is_told_by_one_column_and_a_class_of_a_few_rows() -> None:
    content = ordinary()
    assert looks(content.assign(label=content.score * 2.54 + 3, town="Rome", total=1.0)) == [
        "town: the same value in every row, so it tells nothing",
        "total: the same value in every row, so it tells nothing",
        "score: alone tells the label, nearly without an error; if it is known only once that is, leave it out "
        "(--drop score)",
    ]
    content.loc[:3, "label"] = "maybe"
    assert looks(content) == ["class 'maybe': only 4 rows; too few to learn it, and maybe none to test it"]
    assert looks(content, ingest=True) == []


def tells(values: Any, label: Any) -> float:
    columns = [pa.chunked_array([pa.array(np.asarray(each), from_pandas=True)]) for each in (values, label)]
    found = related(*(each.cast(pa.string()) if pa.types.is_large_string(each.type) else each for each in columns))
    assert found is not None
    return found


@pytest.mark.parametrize("rows", [100, 250, 1000])
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_noise_tells_nothing_of_the_label(rows: int, kind: str) -> None:
    random, found = np.random.default_rng(rows), []
    for _ in range(20):
        label = random.normal(size=rows)
        answers = label if kind == "numbers" else np.where(label > 0, "yes", "no").astype(object)
        groups = random.integers(0, rows // 6, rows).astype(str).astype(object)
        number = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows))
        found += [tells(number, answers), tells(groups, answers), tells(random.integers(0, 3, rows) * 1.0, answers)]
    assert np.mean(found) < 0.02


def test_a_linear_effect_tells_its_r_squared_of_few_rows() -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(40):
        x, noise = random.normal(size=(2, 250))
        found.append(tells(x, 1000 + 0.4 * x + np.sqrt(0.84) * noise))  # r squared is 0.16
    assert 0.12 < np.mean(found) < 0.2


def test_a_step_is_seen_that_has_no_linear_effect() -> None:
    random = np.random.default_rng(1)
    found, classes = [], []
    for _ in range(20):
        age = random.integers(0, 80, 800) * 1.0
        inside = (age > 30) & (age < 45)
        found.append(tells(age, inside + random.normal(0, 0.4, 800)))  # r squared is 0.48
        classes.append(tells(age, np.where(random.random(800) < 0.3 + 0.4 * inside, "yes", "no").astype(object)))
    assert 0.35 < np.mean(found) < 0.52
    assert 0.07 < np.mean(classes) < 0.13  # 0.4 squared, of a share of 0.18, by the variance of the label


def test_a_group_of_values_is_all_of_the_label_and_an_id_nothing() -> None:
    label = np.arange(300.0) % 5
    assert tells(label, label) == pytest.approx(1)
    assert tells(label.astype(str).astype(object), label.astype(str).astype(object)) == pytest.approx(1)
    assert tells([f"id {row}" for row in range(300)], label) == 0
    assert tells(np.where(label > 3, np.nan, 1), label) > 0.4  # that it is missing
