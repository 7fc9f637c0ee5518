"""Which columns of a file become features, which are left out, and what is kept of how it was read."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError, recipes
from components.recipes.source import Source
from components.recipes.tabular.source import left_out, tabular
from tests.data.test_csv_reader import read

recipe: Any = recipes.load("tabular")


def frame(rows: int = 30) -> pd.DataFrame:
    numbers = np.random.default_rng(1).normal(size=rows).round(3)
    return pd.DataFrame({"a": numbers, "label": ["no"] * (rows // 2) + ["yes"] * (rows - rows // 2)})


def text_of(table: pd.DataFrame, **options: Any) -> str:
    file = io.StringIO()
    table.to_csv(file, **options)
    return file.getvalue()


def again(text: str) -> str:
    """What pandas writes of what it reads."""
    return text_of(pd.read_csv(io.StringIO(text)), index=False)


SHUFFLED = frame().sample(frac=1, random_state=1)
INDEXED = {
    "an index": (text_of(frame()), "Unnamed: 0", "has no name"),
    "an index, written again": (again(text_of(frame())), "Unnamed: 0", "has no name"),
    "an index of shuffled rows": (text_of(SHUFFLED), "Unnamed: 0", "has no name"),
    "another index": (text_of(SHUFFLED.rename_axis("Unnamed: 0.1")), "Unnamed: 0.1", "has no name"),  # as pandas has it
    "a reset index": (text_of(frame().reset_index(), index=False), "index", "counts the rows"),
    "an index with gaps": (text_of(frame()[::2].reset_index(), index=False), "index", "rises from row to row"),
    "a level": (text_of(frame().reset_index(names="level_0"), index=False), "level_0", "counts the rows"),
    "a counter from 1": (text_of(frame().assign(k=range(1, 31)), index=False), "k", "counts the rows"),
    "a counter from 0": (text_of(frame().assign(k=range(30)), index=False), "k", "counts the rows"),
    "a short counter": (text_of(frame(4).assign(row_id=range(4)), index=False), "row_id", "counts the rows"),
}


@pytest.mark.parametrize("name", INDEXED)
def test_a_counting_or_nameless_column_is_no_feature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, column, why = INDEXED[name]
    source, found = read(tmp_path, text, ["label"])
    assert source.settings["numeric"] == ["a"]
    assert found.column_names == ["a", "label"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    assert line.startswith(f"left out: {column} (")
    assert why in line
    assert "--keep " in line
    source, _ = read(tmp_path, text, ["label"], keep=[column])
    assert set(source.settings["numeric"]) == {"a", column}
    assert "left out" not in capsys.readouterr().out


def test_a_column_that_rises_from_row_to_row_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = read(tmp_path, text_of(frame().assign(order=range(1000, 1060, 2)), index=False), ["label"])
    assert source.settings["numeric"] == ["a", "order"]
    said = capsys.readouterr().out
    assert "order: rises from row to row, like a counter or an id; --drop order leaves it out" in said
    assert "a: rises" not in said


def test_excels_empty_columns_at_the_end_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, found = read(tmp_path, "a,label,,\n1.5,x,,\n2.5,y,,\n", ["label"])
    assert source.settings["numeric"] == ["a"]
    assert found.column_names == ["a", "label"]
    assert "left out: Unnamed: 2 (is empty and has no name" in capsys.readouterr().out
    source, found = read(tmp_path, "a,label,\n1.5,x,remark\n2.5,y,\n", ["label"])
    assert found.column_names == ["a", "label"]
    with pytest.raises(SlipwayError, match="two columns are named 'a'"):
        read(tmp_path, "a,a,label\n1,2,x\n3,4,y\n", ["label"])


def test_an_index_in_parquet_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SHUFFLED.to_parquet(tmp_path / "t.parquet")  # keeps the index as __index_level_0__
    assert tabular(tmp_path / "t.parquet", ["label"]).settings["numeric"] == ["a"]
    assert "left out: __index_level_0__" in capsys.readouterr().out
    pq.write_table(pa.Table.from_pandas(frame().assign(k=range(30)), preserve_index=False), tmp_path / "t.parquet")
    assert tabular(tmp_path / "t.parquet", ["label"]).settings["numeric"] == ["a"]
    assert "left out: k (counts the rows" in capsys.readouterr().out


def test_what_only_nearly_counts_is_a_feature(tmp_path: Path) -> None:
    rows = list(range(30))
    table = frame().assign(
        year=[1990 + at for at in rows],
        step=[2 * at for at in rows],
        odd=[*rows[:-1], 3],
        half=[at + 0.5 for at in rows],
    )
    source, _ = read(tmp_path, text_of(table, index=False), ["label"])
    assert source.settings["numeric"] == ["a", "year", "step", "odd", "half"]
    source, _ = read(tmp_path, "x,y\n1,a\n2,b\n3,a\n", ["y"])  # too few rows to tell
    assert source.settings["numeric"] == ["x"]
    source, _ = read(tmp_path, text_of(frame().assign(k=range(30)), index=False), ["k"], drop=["label"])  # or asked for
    assert source.settings["targets"] == ["k"]


def test_a_counter_is_seen_over_blocks() -> None:
    def seen(*parts: list[Any]) -> left_out.Seen:
        found: dict[str, left_out.Seen] = {}
        for _ in left_out.watched([pa.table({"x": part}) for part in parts], found):
            pass
        return found["x"]

    assert seen(["0", "1"], ["2", "3"]).counts
    assert seen([1, 2], [3]).counts
    assert not seen(["0", "1"], ["1", "2"]).counts
    assert not seen(["0", "1"], ["3"]).counts
    assert seen(["0", "1"], ["3"]).rises
    assert not seen(["0", "1"], [None]).rises
    assert seen(["a"], ["a"]).same
    assert not seen(["a"], ["b"]).same
    assert seen([None], [None, None]).empty


def test_columns_that_say_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "x,same,none,user_id,y\n" + "".join(
        f"{at % 7}.5,k,NULL,{1000 - at * 3},{'ab'[at % 2]}\n" for at in range(60)
    )
    source, _ = read(tmp_path, text)
    said = capsys.readouterr().out
    assert "same: has the same value in every row ('k'); --drop same leaves it out" in said
    assert "none: every value is missing; --drop none leaves it out" in said
    assert "user_id: looks like an id (no value stands twice), read as numbers: --drop user_id leaves it out" in said
    assert source.settings["numeric"] == ["x", "user_id"]


def settled(source: Source) -> Any:
    """The section of params.yaml, as YAML gives it back."""
    return recipe.Params.model_validate(json.loads(json.dumps(source.settings)))


def test_a_column_that_the_dataset_does_not_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = read(tmp_path, "x,y\n1,a\n2,b\n")
    second, found = read(tmp_path, "x,z,y\n1,5,a\n2,6,b\n", known=settled(first))
    assert found.column_names == ["x", "label"]
    assert "reading" not in second.settings
    assert "left out: z (the dataset does not have it)" in capsys.readouterr().out


SPELLED = "land;price;share;when;y\nNA;1.234,50 €;62%;31.12.2023;a\nunknown;2,00 €;7%;1.2.2024;b\nDE;-;NULL;;a\n"


def test_what_words_numbers_and_dates_meant_is_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"missing": ["unknown"], "not_missing": ["NA"], "date": ["when=%d.%m.%Y"]}
    source, found = read(tmp_path, SPELLED, **options)
    assert source.settings["reading"] == {
        "missing": ["unknown"],
        "not_missing": ["NA"],
        "numbers": {"price": "1.234,5 €", "share": "1234.5 %"},
        "dates": {"when": "%d.%m.%Y"},
    }
    again, more = read(tmp_path, SPELLED, known=settled(source))  # without any option
    assert more.select(found.column_names).equals(found)
    assert found["land"].to_pylist() == ["NA", None, "DE"]
    assert found["price"].to_pylist() == [1234.5, 2.0, None]
    assert "reading" not in again.settings  # it is there already
    assert read(tmp_path, "x,y\n1,a\n2,b\n")[0].settings["reading"] == {}


def test_more_rows_of_another_unit_are_refused_and_of_other_marks_read(tmp_path: Path) -> None:
    first, _ = read(tmp_path, "x,y\n62%,a\n7%,b\n")
    with pytest.raises(SlipwayError, match=r"column x: its numbers have no unit, but .* have the unit '%'"):
        read(tmp_path, "x,y\n0.62,a\n0.07,b\n", known=settled(first))
    with pytest.raises(SlipwayError, match=r"column x: its numbers have the unit 'kg', but .* have the unit '%'"):
        read(tmp_path, "x,y\n62 kg,a\n7 kg,b\n", known=settled(first))
    _, found = read(tmp_path, 'x,y\n"6,5%",a\nNULL,b\n', known=settled(first))
    assert found["x"].to_pylist() == [6.5, None]
    plain, _ = read(tmp_path, "x,y\n62,a\n7,b\n")
    with pytest.raises(SlipwayError, match=r"column x: its numbers have the unit '%', but .* have no unit"):
        read(tmp_path, "x,y\n62%,a\n7%,b\n", known=settled(plain))
    comma, _ = read(tmp_path, "x;y\n0,5;a\n7,25;b\n")
    _, found = read(tmp_path, "x;y\n1,234;a\n2,345;b\n", known=settled(comma))  # no riddle: the dataset says it
    assert found["x"].to_pylist() == [1.234, 2.345]


def test_durations_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{n % 5}:{n % 60:02}:{n * 7 % 60:02},{n % 2}\n" for n in range(120))
    (tmp_path / "t.csv").write_text(f"took,y\n{rows}")
    tabular(tmp_path / "t.csv", ["y"])
    said = capsys.readouterr().out
    assert "took: looks like durations or times of day, such as '0:00:00', read as categories" in said
    assert "looks like an id" not in said
