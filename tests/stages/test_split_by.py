"""The option --split-by of every ingest, from the raw file to the splits of the arrays."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from components import SlipwayError, params
from components.__main__ import main
from components.data import splits
from components.files import read_json
from components.recipes import split_by
from components.recipes.tabular.source import tabular
from components.stages import preprocess
from tests.conftest import no_quarantine

PARAMS = "name: old\nrecipe: images\nsplit:\n  by: auto  # kept\n"
OUT = Path("build/arrays")


def visits(patients: int, seed: int = 1) -> pd.DataFrame:
    """Five visits of each patient, whose label is one of two."""
    random = np.random.default_rng(seed)
    rows = 5 * patients
    return pd.DataFrame(
        {
            "patient_id": np.repeat(1000 * seed + np.arange(patients), 5),
            "age": random.integers(20, 80, rows),
            "pressure": random.normal(120, 15, rows).round(1),
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.permutation(rows), unit="D"),
            "ill": random.choice(["no", "yes"], rows),
        }
    )


def ingest(*arguments: str) -> None:
    assert main(["ingest", *arguments]) == 0


def sides() -> dict[str, set[str]]:
    """Of each value that the dataset is split by, the splits that it is in; preprocess is run first."""
    settings = params.load()
    preprocess.run(settings, Path("data"), no_quarantine(Path("q.parquet")), OUT)
    rule = read_json(OUT / "manifest.json")["split"]
    whole = pa.concat_tables(pq.read_table(path) for path in sorted(Path("data").glob("*.parquet")))
    if "split" not in whole.column_names:
        whole = whole.append_column("split", pa.nulls(len(whole), pa.string()))
    found: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        rows = pa.array(np.load(OUT / split / "row.npy"))
        assert (splits.in_test(rule, whole.take(rows)) == (split == "test")).all()
        for value in whole[rule["column"]].take(rows).to_pylist():
            found.setdefault(str(value).removesuffix(".0"), set()).add(split)
    return found


def test_rows_of_a_patient_stay_on_one_side_also_when_the_table_grows(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visits(40).to_csv("visits.csv", index=False)
    ingest("table", "visits.csv", "--label", "ill", "--date", "seen", "--split-by", "group=patient_id")
    assert "params.yaml: split.by: auto -> {'group': 'patient_id'}" in capsys.readouterr().out
    settings = params.load()
    assert settings.split.by == {"group": "patient_id"} and settings.task.numeric == ["age", "pressure"]
    assert pq.read_table("data/visits.parquet")["patient_id"].to_pylist()[:6] == ["1000"] * 5 + ["1001"]
    before = sides()
    assert len(before) == 40 and all(len(found) == 1 for found in before.values())
    later = visits(40)
    later["patient_id"] = later["patient_id"].astype(float)  # as pandas writes a column with gaps
    later.loc[0, "patient_id"] = np.nan
    later["age"] += 1
    pd.concat([later, visits(20, 2)]).to_csv("later.csv", index=False)
    assert main(["ingest", "table", "later.csv", "--label", "ill", "--date", "seen"]) == 1
    assert (
        "split by group, patient_id (split.by in params.yaml): add --split-by group=patient_id"
        in capsys.readouterr().err
    )
    ingest("table", "later.csv", "--label", "ill", "--date", "seen", "--split-by", "group=patient_id")
    after = sides()
    assert {name: after[name] for name in before} == before
    assert len(after) == 61 and all(len(found) == 1 for found in after.values())


def test_the_same_content_of_another_patient_is_another_row(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"who": ["a", "a", "b", "c"] * 20, "x": [1, 1, 1, 2] * 20, "y": ["n", "n", "n", "m"] * 20})
    table.to_csv("one.csv", index=False)
    ingest("table", "one.csv", "--label", "y", "--split-by", "group=who")
    table["who"] = table["who"].replace({"a": "d"})
    table.to_csv("two.csv", index=False)
    capsys.readouterr()
    ingest("table", "two.csv", "--label", "y", "--split-by", "group=who")
    assert "read 80 examples; 40 are new" in capsys.readouterr().out
    assert pq.read_table("data/two.parquet")["who"].to_pylist() == ["d"] * 40


def test_groups_that_look_alike_and_rows_without_one_are_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"who": ["P1", "p1", "P2", ""] * 20, "x": np.arange(80) * 7 % 80, "y": ["n", "m"] * 40})
    table.to_csv("one.csv", index=False)
    ingest("table", "one.csv", "--label", "y", "--split-by", "group=who")
    out = capsys.readouterr().out
    assert "one: 20 of 80 rows have no who: each is split by its id, as a group of one" in out
    assert "one: who 'P1' and 'p1' look alike, and are 2 groups, which may be on different sides" in out
    pd.DataFrame({"who": [" p2", "P3", " P1 ", " "], "x": [81, 82, 83, 84], "y": ["n", "m"] * 2}).to_parquet(
        "two.parquet"
    )
    ingest("table", "two.parquet", "--label", "y", "--split-by", "group=who")
    out = capsys.readouterr().out
    assert "two: who 'p2' and 'P2' look alike, and are 2 groups" in out
    assert "two: who 'P1' and 'p1' look alike" in out  # with P1 of the dataset, P1 with blanks is one group
    assert "two: 1 of 4 rows have no who" in out and "P3" not in out
    names = [f"{letter}{number}" for number in range(12) for letter in "pP"]
    pd.DataFrame({"who": names, "x": np.arange(24) * 7 % 24, "y": ["n", "m"] * 12}).to_csv("many.csv", index=False)
    ingest("table", "many.csv", "--label", "y", "--split-by", "group=who", "--replace")
    assert "... and 2 more groups that look alike" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_time_is_kept_beside_the_features(repo: Path, kind: str) -> None:
    table = visits(40)
    table.to_csv("visits.csv", index=False)
    table.to_parquet("visits.parquet")
    ingest("table", f"visits.{kind}", "--label", "ill", "--drop", "patient_id", "--split-by", "time=seen")
    assert params.load().split.by == {"time": "seen"} and params.load().task.dates == []
    order = {"train": 0, "validation": 1, "test": 2}
    found = [next(iter(split)) for _, split in sorted(sides().items())]
    assert sorted(found, key=order.__getitem__) == found and found.count("test") == 40


def test_a_time_in_another_form_is_read_as_it_is_said(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = visits(20)
    table["seen"] = table["seen"].dt.strftime("%d.%m.%Y")
    table.to_csv("visits.csv", index=False)
    assert main(["ingest", "table", "visits.csv", "--label", "ill", "--split-by", "time=seen"]) == 1
    assert "say how its dates are written, such as --split-by time=seen=%d.%m.%Y" in capsys.readouterr().err
    assert not Path("data").exists()
    ingest("table", "visits.csv", "--label", "ill", "--split-by", "time=seen=%d.%m.%Y")
    assert pq.read_table("data/visits.parquet").schema.field("seen").type == pa.timestamp("us")


def test_a_feature_may_be_split_by_where_it_is_named_as_one(repo: Path) -> None:
    visits(40).to_csv("visits.csv", index=False)
    ingest("table", "visits.csv", "--label", "ill", "--category", "patient_id", "--split-by", "group=patient_id")
    assert params.load().task.categorical == ["patient_id"]
    assert all(len(found) == 1 for found in sides().values())


def test_a_new_dataset_without_the_column_is_split_by_default_again(repo: Path) -> None:
    visits(40).to_csv("visits.csv", index=False)
    ingest("table", "visits.csv", "--label", "ill", "--split-by", "group=patient_id")
    subprocess.run(["git", "add", "--all"], check=True)
    visits(40).drop(columns="patient_id").to_csv("other.csv", index=False)
    ingest("table", "other.csv", "--label", "ill", "--replace")
    assert params.load().split.by == "auto"
    assert "# kept" in Path("params.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient", r"--split-by patient: expected group=COLUMN or time=COLUMN"),
        ("id=x", r"expected group=COLUMN or time=COLUMN"),
        ("group=", r"expected group=COLUMN or time=COLUMN"),
        ("group=nobody", r"visits\.csv has no 'nobody' \(there are: patient_id, age, pressure, seen, ill\)"),
        ("group=ill", r"ill is the example itself or what is predicted"),
    ],
)
def test_an_option_that_cannot_be_says_why(repo: Path, text: str, expected: str) -> None:
    visits(4).to_csv("visits.csv", index=False)
    with pytest.raises(SlipwayError, match=expected):
        tabular(Path("visits.csv"), ["ill"], split_by=text)


def test_a_column_that_looks_like_a_group_is_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    visits(40).to_csv("visits.csv", index=False)
    ingest("table", "visits.csv", "--label", "ill")
    told = capsys.readouterr().out
    assert (
        "patient_id: looks like a group (40 different values in 200 rows), but the split is by row, so that its rows "
        "may be on both sides: --split-by group=patient_id keeps them on one"
    ) in told
    assert told.count("looks like a group") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(patient_id=range(200)),  # each row its own: an id, no group
        lambda table: table.assign(patient_id=table["patient_id"] % 3),  # three of them: a category
        lambda table: table.assign(patient_id=table["pressure"] / 7),  # a measurement
        lambda table: table.rename(columns={"patient_id": "height"}),
        lambda table: table.assign(split=["train", "test"] * 100),  # an official split says how
    ],
)
def test_what_is_no_group_is_not_told(repo: Path, capsys: pytest.CaptureFixture[str], change) -> None:
    change(visits(40)).to_csv("visits.csv", index=False)
    ingest("table", "visits.csv", "--label", "ill")
    assert "looks like a group" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["patient", "CustomerID", "machine_no", "userId", "session", "speaker", "Device Name"])
def test_names_of_groups(name: str) -> None:
    assert split_by.owns(name)


@pytest.mark.parametrize("name", ["id", "paid", "customer_age", "device_type", "age", "", "7"])
def test_names_of_no_groups(name: str) -> None:
    assert not split_by.owns(name)


# --- other kinds of data


def pictures(folder: Path, patients: int, name: str = "{label}/p{patient}_{index}.png") -> list[str]:
    """Four small images of each patient, two a class; their names."""
    random = np.random.default_rng(1)
    names = []
    for number in range(4 * patients):
        label = "ab"[number % 2]
        file = folder / name.format(label=label, patient=number // 4, index=number)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (6, 6)).astype(np.uint8)).save(file)
        names.append(file.relative_to(folder).as_posix())
    return names


@pytest.mark.parametrize("name", ["{label}/p{patient}_{index}.png", "{label}/p{patient}/{index}.png"])
def test_images_of_a_patient_stay_on_one_side(repo: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    pictures(repo / "scans", 40, name)
    (repo / "scans" / "a" / "loose.png").write_bytes((repo / "scans" / pictures(repo / "scans", 1)[0]).read_bytes())
    pattern = Path(name).as_posix().removeprefix("{label}/").removesuffix(".png")
    ingest("images", "scans", "--pattern", pattern)
    told = capsys.readouterr().out
    assert "skipped 1: name does not match the pattern" in told or "/" in pattern
    assert "patient: looks like a group" in told
    subprocess.run(["git", "add", "--all"], check=True)
    ingest("images", "scans", "--pattern", pattern, "--split-by", "group=patient", "--replace")
    assert "looks like a group" not in capsys.readouterr().out
    assert params.load().split.by == {"group": "patient"}
    found = sides()
    assert set(found) == {str(number) for number in range(40)} and all(len(side) == 1 for side in found.values())


def test_a_list_of_images_may_have_the_group_and_the_time(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = pictures(repo / "scans", 40)
    lines = [f"{name},{name[0]},{at // 4},2024-01-{at % 28 + 1:02}" for at, name in enumerate(names)]
    (repo / "scans" / "list.csv").write_text("\n".join(["file,labels,patient,day", *lines]))
    ingest("images", "scans", "--labels", "scans/list.csv")
    assert "patient: looks like a group (40 different values in 160 rows)" in capsys.readouterr().out
    for option in ("group=patient", "time=day"):
        subprocess.run(["git", "add", "--all"], check=True)
        ingest("images", "scans", "--labels", "scans/list.csv", "--split-by", option, "--replace")
        assert all(len(side) == 1 for side in sides().values())
    assert main(["ingest", "images", "scans", "--labels", "scans/list.csv", "--split-by", "group=who"]) == 1
    assert "list.csv has no 'who' (there are: patient, day)" in capsys.readouterr().err


def test_whole_series_stay_on_one_side(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = pd.date_range("2024-01-01", periods=30)
    shops = [pd.DataFrame({"day": days, "shop": f"s{n}", "sold": np.arange(30.0) + n}) for n in range(20)]
    pd.concat(shops).to_csv("sales.csv", index=False)
    options = ["--time", "day", "--value", "sold", "--group", "shop", "--history", "7", "--horizon", "2"]
    ingest("series", "sales.csv", *options, "--split-by", "group=shop")
    settings = params.load()
    assert settings.split.by == {"group": "group"} and settings.register_.minimum == {"r2": 0.0}
    found = sides()
    assert len(found) == 20 and all(len(side) == 1 for side in found.values())
    block = splits.blocks_of(OUT)
    assert block is not None and len(set(block)) == sum(side == {"test"} for side in found.values())
    assert main(["ingest", "series", "sales.csv", *options, "--split-by", "group=day"]) == 1
    assert "can be split by time=day, as it is by default, or by group=shop" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [[], ["--keep", "speaker"]])
def test_a_speaker_is_on_one_side(repo: Path, capsys: pytest.CaptureFixture[str], keep: list[str]) -> None:
    random = np.random.default_rng(1)
    Path("voices").mkdir()
    for number in range(90):
        file = f"voices/{'ab'[number % 2]}_v{number // 3}_{number}.wav"
        soundfile.write(file, random.normal(0, 0.1, 800), 8000)
    ingest("audio", "voices", "--pattern", "{label}_{speaker}_{index}")
    assert "speaker: looks like a group (30 different values in 90 rows)" in capsys.readouterr().out
    subprocess.run(["git", "add", "--all"], check=True)
    options = ["--pattern", "{label}_{speaker}_{index}", *keep, "--split-by", "group=speaker", "--replace"]
    ingest("audio", "voices", *options)
    assert params.load().task.group == keep[1:]
    assert "speaker" in pq.read_table("data/voices.parquet").column_names
    found = sides()
    assert len(found) == 30 and all(len(side) == 1 for side in found.values())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_texts_of_an_author_stay_on_one_side(repo: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    rows = range(200)
    table = pd.DataFrame({"said": [f"text {row}" for row in rows], "mood": [["good", "bad"][row % 2] for row in rows]})
    table["user"], table["day"] = [row // 5 for row in rows], pd.date_range("2024-01-01", periods=200)
    table.to_csv("said.csv", index=False)
    table.to_json("said.jsonl", orient="records", lines=True, date_format="iso", date_unit="s")
    table.to_parquet("said.parquet")
    options = [f"said.{kind}", "--text", "said", "--label", "mood"]
    ingest("text", *options)
    assert "user: looks like a group (40 different values in 200 rows)" in capsys.readouterr().out
    for option, groups in (("group=user", 40), ("time=day", 200)):
        subprocess.run(["git", "add", "--all"], check=True)
        ingest("text", *options, "--replace", "--split-by", option)
        found = sides()
        assert len(found) == groups and all(len(side) == 1 for side in found.values())
    assert main(["ingest", "text", *options, "--replace", "--split-by", "group=author"]) == 1
    assert "no column 'author' (there are: day, mood, said, user)" in capsys.readouterr().err


def test_text_files_of_an_author_stay_on_one_side(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row in range(120):
        file = Path("said") / "ab"[row % 2] / f"u{row // 4}-{row}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text {row}")
    ingest("text", "said", "--pattern", "{user}-{number}", "--split-by", "group=user")
    found = sides()
    assert len(found) == 30 and all(len(side) == 1 for side in found.values())
    assert main(["ingest", "text", "said", "--split-by", "group=user", "--replace"]) == 1
    assert "--split-by group=user: --pattern has no 'user' (there are: none)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["NA", "2019", "", None, "2020"], [None, 2019.0, None, None, 2020.0]),
        ([" ", "2019-01-02", "NULL"], [None, pd.Timestamp("2019-01-02"), None]),
        ([3, None, 4], [3.0, None, 4.0]),
    ],
)
def test_times_are_dates_or_numbers_and_may_be_missing(values: list[object], wanted: list[object]) -> None:
    values = [None if value == " " else value for value in values]
    found = split_by.SplitBy("time", "when").read(pa.array(values), "a.csv")
    assert found.to_pylist() == wanted


def test_groups_are_text_and_may_be_missing() -> None:
    group = split_by.SplitBy("group", "who")
    assert group.read(pa.array([1.0, np.nan, None]), "a.csv").to_pylist() == ["1", None, None]
    assert group.read(pa.array(["a", "NA", "NULL", ""]), "a.csv").to_pylist() == ["a", None, None, None]
    assert group.read(pa.array([7, None]), "a.csv").to_pylist() == ["7", None]


@pytest.mark.usefixtures("repo")
def test_test_examples_that_training_knows_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    visits(30).drop(columns="seen").to_csv("a.csv", index=False)
    ingest("table", "a.csv", "--label", "ill", "--test", "a.csv", "--category", "patient_id")
    capsys.readouterr()
    preprocess.run(params.load(), Path("data"), no_quarantine(Path("q.parquet")), OUT)
    assert "150 of 150 test examples have the same content as one of training or validation" in capsys.readouterr().out
