"""Drafted expectations hold for other samples of the same data, and not for data that is another."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.validation import profile
from components.validation.drafting import Draft, drafts

LABELS = {"no": 700, "yes": 270, "maybe": 30}


def frame(random: np.random.Generator, rows: int) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "normal": random.normal(5, 2, rows),
        "age": np.floor(17 + random.gamma(2.2, 9.5, rows)).clip(17, 90),
        "exponential": random.exponential(1, rows),
        "income": np.exp(random.normal(0, 2, rows)),
        "pareto": 1 / random.random(rows),
        "count": random.poisson(4, rows).astype(float),
        "mostly_zero": np.where(random.random(rows) < 0.9, 0, np.exp(random.normal(0, 1, rows))),
        "gaps": np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
        "few_gaps": np.where(random.random(rows) < 0.005, np.nan, random.normal(size=rows)),
        "sparse": np.where(random.random(rows) < 0.94, np.nan, random.normal(size=rows)),
        "letter": random.choice(list("abcde"), rows, p=[0.5, 0.3, 0.15, 0.04, 0.01]),
        "shop": [f"s{number}" for number in np.minimum(random.zipf(1.6, rows), 10**6)],
        "key": [f"u{number}" for number in random.integers(0, 10**12, rows)],
        "flag": random.random(rows) < 0.3,
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 500, rows), unit="D"),
    }
    return pd.DataFrame(columns)


def table(content: pd.DataFrame) -> pa.Table:
    found = pa.Table.from_pandas(content, preserve_index=False)
    at = found.column_names.index("when") if "when" in found.column_names else -1
    return found if at < 0 else found.set_column(at, "when", found["when"].cast(pa.timestamp("us")))


def drafted(content: pd.DataFrame, labels: dict[str, int] | None = None) -> list[Draft]:
    return drafts(profile.of([(table(content), "a.parquet", 0)]), labels or {})


def broken(found: list[Draft], content: pd.DataFrame) -> list[str]:
    """Hold them by hand: Great Expectations, as in tests/stages/test_expect.py, takes too long for so many samples."""
    names = []
    for draft in found:
        wanted, column = draft.kwargs, content[draft.kwargs["column"]]
        there = column.dropna()
        low, high = wanted.get("min_value"), wanted.get("max_value")
        if "quantile_ranges" in wanted:
            ((low, high),) = wanted["quantile_ranges"]["value_ranges"]
            (share,) = wanted["quantile_ranges"]["quantiles"]
            good = low <= there.quantile(share, interpolation="nearest") <= high
        elif "median" in draft.type:
            good = low <= there.median() <= high
        elif "non_null" in draft.type:
            good = column.notna().mean() >= low
        elif "unique" in draft.type:
            good = there.nunique() / len(there) >= low
        else:
            values = there.str.len() if "lengths" in draft.type else there
            bad = ~values.isin(wanted["value_set"]) if "value_set" in wanted else pd.Series(False, values.index)
            bad |= (values < low) if low is not None else False
            bad |= (values > high) if high is not None else False
            good = bad.sum() <= (1 - wanted.get("mostly", 1)) * len(there) + 1e-9
        names += [] if good else [f"{column.name} {draft.type}"]
    return names


@pytest.mark.parametrize(("rows", "trials"), [(60, 25), (300, 20), (2000, 10)])
def test_they_hold_for_their_own_data_and_for_other_samples_of_it(rows: int, trials: int) -> None:
    random = np.random.default_rng(rows)
    failed = []
    for _ in range(trials):
        content = frame(random, rows)
        found = drafted(content)
        assert broken(found, content) == []
        others = (frame(random, rows), content.sample(rows, replace=True, random_state=1), content.sample(rows // 2))
        failed += [names for other in others if (names := broken(found, other))]
    assert len(failed) <= 0.01 * 3 * trials + 1, failed


def test_a_new_maximum_a_bit_above_the_old_one_and_a_rare_new_category_are_no_failure() -> None:
    content = frame(np.random.default_rng(1), 2000)
    found = drafted(content)
    content.loc[0, ["age", "normal", "income"]] = [97, 1.2 * content.normal.max(), 1.4 * content.income.max()]
    content.loc[:5, "letter"] = "f"
    assert broken(found, content) == []


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda content: content.assign(age=content.age * 1000), "age"),
        (lambda content: content.assign(mostly_zero=content.mostly_zero * 1000), "mostly_zero"),
        (lambda content: content.assign(pareto=content.pareto * 1000), "pareto"),
        (lambda content: content.assign(normal=np.nan), "normal"),
        (lambda content: content.assign(letter=None), "letter"),
        (lambda content: content.assign(age=content.normal, normal=content.age), "age"),
        (lambda content: content.assign(letter=np.where(np.arange(len(content)) % 2, "f", content.letter)), "letter"),
        (lambda content: content.assign(key="same"), "key"),
        (lambda content: content.assign(when=pd.Timestamp("1970-01-01")), "when"),
        (lambda content: content.assign(when=pd.Timestamp("2099-01-01")), "when"),
    ],
)
def test_they_catch_what_a_person_expects(change: Any, column: str) -> None:
    content = frame(np.random.default_rng(2), 2000)
    assert column in {name.split()[0] for name in broken(drafted(content), change(content))}


def test_one_row_that_is_far_outside_is_set_aside_where_a_column_has_clear_ends() -> None:
    content = frame(np.random.default_rng(3), 2000)[["normal", "income"]]
    by_column = {draft.kwargs["column"]: draft for draft in drafted(content) if draft.section == "examples"}
    assert "mostly" not in by_column["normal"].kwargs
    assert "a row outside is set aside" in by_column["normal"].notes
    assert by_column["income"].kwargs["mostly"] == 0.99
    assert by_column["income"].notes.endswith("more than 1 % outside stop the run")


@pytest.mark.parametrize("sign", [1, -1])
def test_what_rises_or_falls_from_row_to_row_has_no_end_there_and_no_middle(sign: int) -> None:
    rows = np.arange(500)
    content = pd.DataFrame({"meter": sign * (1000 + rows * 3.0 + np.random.default_rng(4).normal(0, 20, 500))})
    (reach, gaps) = drafted(content)
    assert ("max_value" in reach.kwargs, "min_value" in reach.kwargs) == (sign < 0, sign > 0)
    assert "non_null" in gaps.type


def test_numbers_that_differ_by_their_last_digits_are_one_number() -> None:
    noise = np.random.default_rng(5).choice([-1, 0, 1], 80) * 1e-16
    content = pd.DataFrame({"share": 0.06 + noise, "zero": noise * 0, "large": 1e9 + noise * 1e16})
    found = drafted(content)
    assert not broken(found, content * (1 + 1e-12))
    assert not [draft for draft in found if "median" in draft.type and draft.kwargs["column"] == "share"]


def test_each_says_what_was_seen() -> None:
    content = pd.DataFrame({"tenure": np.r_[np.arange(73), np.arange(73)].astype(float), "sex": ["f", "m"] * 73})
    notes = [draft.notes for draft in drafted(content, LABELS)]
    assert notes == [
        "seen: 0 to 72 in 146 rows; room: half of the range; more than 4.8 % outside stop the run",
        "seen: 36; 80 % of the values are from 7 to 65",
        "seen: none missing in 146 rows; up to 4.8 % may be",
        "seen: 2 values in 146 rows, most often 'f' (50 %); more than 4.8 % of others stop the run",
        "seen: none missing in 146 rows; up to 4.8 % may be",
        "seen: 70 % of 1,000 rows are 'no'; room: half of that, or half way to all rows",
        "seen: 27 % of 1,000 rows are 'yes'; room: half of that, or half way to all rows",
    ]


def test_few_rows_say_nothing_and_a_very_wide_table_only_of_its_labels() -> None:
    assert drafted(pd.DataFrame({"x": np.arange(20.0)}), LABELS) == []
    wide = pd.DataFrame(np.random.default_rng(5).normal(size=(60, 300)), columns=[f"x{at}" for at in range(300)])
    assert {draft.section for draft in drafted(wide, LABELS)} == {"classes"}


def test_a_profile_of_parts_adds_up_and_can_be_kept() -> None:
    content = table(frame(np.random.default_rng(6), 60_000))
    parts = [
        (content[start : start + 5000], f"{start // 30_000}.parquet", start % 30_000)
        for start in range(0, 60_000, 5000)
    ]
    whole, halves = profile.of(parts), [profile.of(parts[:6]), profile.of(parts[6:])]
    both = profile.Profile()
    for half in halves:
        both.merge(profile.unpacked(half.packed().to_pybytes()))
    assert both.columns == whole.columns
    assert both.files == whole.files
    assert both.rows == whole.rows == 60_000
    assert both.sample.equals(whole.sample)
    assert len(whole.sample) == profile.SAMPLE_ROWS
    assert whole.columns["age"].low == content["age"].to_pandas().min()
    assert abs(np.median(whole.sample["normal"]) - 5) < 0.1


def test_the_share_of_a_label_is_of_the_rows_however_many_labels_these_have() -> None:
    """As the stage validate counts it: an image that has two classes is one row of each."""
    content = profile.of([(pa.table({"x": [float(n) for n in range(200)]}), "a.parquet", 0)])
    found = [each for each in drafts(content, {"cat": 190, "dog": 100}, 200) if each.section == "classes"]
    assert ["95 % of 200 rows" in found[0].notes, "50 % of 200 rows" in found[1].notes] == [True, True]
