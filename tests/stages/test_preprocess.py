import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError, recipes
from components.data import dataset, splits
from components.files import read_json
from components.stages import preprocess
from tests import fabricate
from tests.conftest import Make, no_quarantine, write_dataset

DATA, OUT = Path("data"), Path("build/arrays")


def run(settings, *aside: tuple[str, int]) -> dict[str, Any]:
    preprocess.run(settings, DATA, no_quarantine(Path("q.parquet"), *aside), OUT)
    return read_json(OUT / "manifest.json")


def arrays(split: str) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in (OUT / split).glob("*.npy")}


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_example_is_encoded_once_on_its_side(make: Make, recipe: str) -> None:
    settings = make(recipe)
    manifest = run(settings)
    module = recipes.load(recipe)
    columns, target = recipes.schema(module, settings.task), module.target(settings.task)
    whole = pa.concat_tables(dataset.read(c, columns) for c in dataset.chunks(DATA, columns))
    rule = manifest["split"]
    assert rule == json.loads(json.dumps(fabricate.rule(settings, whole)))
    sides = splits.assigned(rule, whole)
    if ordered := recipes.part(module, "ordered"):
        column, gap = ordered(settings.task)
        assert rule["by"] == "time" and rule["column"] == column
        blocks = splits.blocks_of_time(whole[column].to_numpy()[sides == 2], gap)
        assert np.array_equal(np.load(OUT / "test" / "block.npy"), blocks) and len(set(blocks)) > 1
    else:
        assert rule["by"] == "id" and splits.blocks_of(OUT) is None
    for index, split in enumerate(dataset.SPLITS):
        rows = np.flatnonzero(sides == index)
        found = arrays(split)
        assert manifest["rows"][split] == len(rows)
        assert found["id"].astype(str).tolist() == [whole["id"][int(row)].as_py() for row in rows]
        labels = [whole["label"][int(row)].as_py() for row in rows]
        assert np.array_equal(found["label"], target.encode(labels))
        encoded = module.encode(whole.take(pa.array(rows)), settings.task, manifest["state"])
        for name, array in encoded.items():
            assert np.array_equal(found[name], array)
            assert list(array.shape[1:]) == manifest["inputs"][name]["shape"]


def keep(name: str, values: Any) -> pa.Table:
    """Give the dataset a column that is none of the recipe's; the whole of it."""
    table = pq.read_table("data/a.parquet").append_column(name, values)
    pq.write_table(table, "data/a.parquet", row_group_size=50)
    return table if "split" in table.column_names else table.append_column("split", pa.nulls(len(table), pa.string()))


def sides_of(table: pa.Table) -> np.ndarray:
    """What preprocess did with each row: the place of its split, or -1."""
    found = np.full(len(table), -1)
    for index, split in enumerate(dataset.SPLITS):
        found[np.load(OUT / split / "row.npy")] = index
    return found


PATIENTS = pa.array([None if row == 7 else f"p{row // 5}" for row in range(400)])
DAYS = pa.array([None if row == 7 else row // 3 for row in range(400)], pa.timestamp("us"))


@pytest.mark.parametrize("recipe", ["tabular", "text", "images", "audio", "series"])
def test_groups_are_on_one_side_and_drawn_as_one(make: Make, capsys: pytest.CaptureFixture[str], recipe: str) -> None:
    settings = make(recipe, rows=300, split={"by": {"group": "patient"}})
    table = keep("patient", PATIENTS.slice(0, 300))
    rule = run(settings)["split"]
    sides = sides_of(table)
    patients = np.array(table["patient"].to_pylist(), object)
    assert all(len(set(sides[patients == patient])) == 1 for patient in set(patients) - {None})
    assert splits.needs(rule) == ["patient"]
    assert np.array_equal(splits.in_test(rule, table), sides == 2)
    block = splits.blocks_of(OUT)
    assert block is not None
    tested = [name or "alone" for name, side in zip(table["patient"].to_pylist(), sides, strict=True) if side == 2]
    assert len(set(zip(tested, block.tolist(), strict=True))) == len(set(tested)) == len(set(block.tolist()))
    told = capsys.readouterr().out
    assert "split by group, patient: " in told and "1 examples have no value of patient" in told


@pytest.mark.parametrize("recipe", ["tabular", "text", "images", "audio"])
def test_the_last_times_are_test(make: Make, capsys: pytest.CaptureFixture[str], recipe: str) -> None:
    settings = make(recipe, rows=300, split={"by": {"time": "day"}})
    table = keep("day", DAYS.slice(0, 300))
    rule = run(settings, ("a.parquet", 299))["split"]  # what is set aside moves no cut
    sides = sides_of(table)
    day = np.array([-1 if value is None else value.microsecond for value in table["day"].to_pylist()])
    assert sides[7] == sides[299] == -1
    known = np.delete(np.arange(299), 7)
    assert (np.diff(sides[known][np.argsort(day[known], kind="stable")]) >= 0).all()
    assert (sides == 2).sum() == 59  # 20 % of 298 is 59.6, and days are whole
    assert np.array_equal(splits.in_test(rule, table)[:299], sides[:299] == 2)
    assert splits.blocks_of(OUT) is None
    assert "left out 1 examples without a value of day" in capsys.readouterr().out


def test_a_column_of_a_table_may_be_the_group_or_the_time(make: Make) -> None:
    settings = make("tabular", rows=300, split={"by": {"time": "since"}})
    assert run(settings)["split"]["starts"]["test"]["first"] > "20"
    settings = make("tabular", rows=300, split={"by": {"group": "x"}})
    assert run(settings)["split"]["column"] == "x"


def test_official_splits_go_before_groups_and_a_group_in_two_of_them_is_told(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make("tabular", rows=300, split={"by": {"group": "patient"}})
    keep("split", pa.array(["train"] * 203 + ["test"] * 97))
    table = keep("patient", PATIENTS.slice(0, 300))
    rule = run(settings)["split"]
    assert rule["official"] == ["test", "train"]
    assert np.array_equal(splits.in_test(rule, table), np.arange(300) >= 203)
    assert np.array_equal(sides_of(table) == 2, np.arange(300) >= 203)
    told = capsys.readouterr().out
    assert "1 groups are in several splits, such as p40" in told
    assert "only" not in told


def test_few_groups_are_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make("tabular", rows=300, split={"by": {"group": "machine"}, "seed": 3})
    keep("machine", pa.array([row % 9 for row in range(300)]))
    try:
        run(settings)
    except SlipwayError as error:  # which seed is good is the hash's to say
        found = re.search(r"with `seed: (\d+)` under `split:` none is empty", str(error))
        assert found
        settings = make("tabular", rows=300, split={"by": {"group": "machine"}, "seed": int(found[1])})
        keep("machine", pa.array([row % 9 for row in range(300)]))
        run(settings)
    assert re.search(r"the test split has only \d groups?: intervals, .* are rough", capsys.readouterr().out)


def test_a_column_that_the_dataset_does_not_have_is_named(make: Make) -> None:
    settings = make("tabular", split={"by": {"group": "patient"}})
    with pytest.raises(SlipwayError, match=r"a\.parquet: column patient is missing \(there are: id, x, .*--split-by"):
        run(settings)
    settings = make("tabular", split={"by": {"time": "colour"}})
    with pytest.raises(SlipwayError, match=r"split\.by: column colour is string, not a date or a number"):
        run(settings)


def test_another_seed_moves_no_example_another_split_seed_does(make: Make) -> None:
    one = run(make("tabular"))["digest"]
    assert run(make("tabular", seed=2))["digest"] == one
    assert run(make("tabular", split={"seed": 2}))["digest"] != one


@pytest.mark.e2e
def test_workers_write_the_same_bytes_as_one_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make("tabular", rows=400)
    run(settings)
    alone = {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    monkeypatch.setattr(dataset, "MIN_PARALLEL_ROWS", 0)
    run(settings)
    assert {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()} == alone


@pytest.mark.parametrize("ids", [["a" * 32, "b" * 32 + "-2", "c" * 32 + "-10"], ["é", None, "xy"], [""]])
def test_ids_are_taken_out_of_arrow_as_they_are(ids: list[Any]) -> None:
    column = pa.chunked_array([pa.array(["left out", *ids], pa.string()).slice(1), pa.array(ids[:1], pa.string())])
    found = preprocess._ids(column)
    wanted = np.array([str(value).encode() for value in [*ids, ids[0]]], "S")
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


def test_rows_set_aside_are_left_out(make: Make) -> None:
    settings = make()
    before = run(settings)["rows"]
    ids = pq.read_table("data/a.parquet")["id"].to_pylist()
    after = run(settings, ("a.parquet", 0), ("a.parquet", 120), ("elsewhere.parquet", 1))["rows"]
    assert sum(after.values()) == sum(before.values()) - 2
    left = np.concatenate([arrays(split)["id"].astype(str) for split in dataset.SPLITS])
    assert ids[0] not in left
    assert ids[120] not in left
    assert ids[1] in left


def test_statistics_come_from_the_training_split_alone(make: Make) -> None:
    settings = make("tabular", rows=400)
    state = run(settings)["state"]
    train = arrays("train")["numeric"]
    assert train[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert train[:, 0].std() == pytest.approx(1, abs=1e-6)
    whole = pq.read_table("data/a.parquet")
    assert abs(np.mean(whole["x"].to_numpy()) - state["scale"]["shift"][0]) > 1e-4


def test_fitting_in_pieces_is_fitting_at_once(make: Make) -> None:
    settings = make("tabular", rows=400)
    module = recipes.load("tabular")
    whole = pq.read_table("data/a.parquet")
    once = module.fit([whole], settings.task)
    pieces = module.fit([whole.slice(at, 37) for at in range(0, 400, 37)], settings.task)
    for key in ("shift", "unit"):
        assert pieces["scale"][key] == pytest.approx(once["scale"][key])
    assert pieces["fill"] == once["fill"]
    assert pieces["values"] == once["values"] == {"colour": ["blue", "green", "red"]}
    assert once["scale"]["unit"][1] == pytest.approx(np.nanstd(whole["y"].to_numpy(zero_copy_only=False)))


def test_an_empty_split_is_refused(make: Make) -> None:
    settings = make(rows=2)
    with pytest.raises(SlipwayError, match=r"the (test|validation|train) split is empty \(2 examples in total\)"):
        run(settings)
    assert not OUT.exists()


def test_a_label_that_params_do_not_name_is_refused_with_its_row(make: Make) -> None:
    settings = make()
    stored = pq.read_table("data/a.parquet").to_pydict()
    stored["label"][77] = "up"
    pq.write_table(pa.table(stored), "data/a.parquet", row_group_size=50)
    with pytest.raises(SlipwayError, match=r"a\.parquet: row 77: label 'up' is not in images\.labels"):
        run(settings)


def test_an_example_that_cannot_be_encoded_is_refused_with_its_row(make: Make) -> None:
    settings = make()
    _, sample = recipes.load("images").sample(20, 9)
    columns = sample.to_pydict()
    columns["image"][13] = b"no image"
    write_dataset(Path("data/b.parquet"), settings, pa.table(columns))
    with pytest.raises(SlipwayError, match=r"b\.parquet: row 13: the image cannot be decoded"):
        run(settings)
    assert not OUT.exists()


def test_an_example_that_statistics_cannot_read_is_refused_with_its_row(make: Make) -> None:
    section, sample = recipes.load("images").sample(300, 3)
    settings = make(rows=2, images=section | {"scale": "standardise"})
    values = sample.to_pydict()
    values["image"][170] = b"no image"
    Path("data/a.parquet").unlink()
    write_dataset(Path("data/b.parquet"), settings, pa.table(values))
    columns = recipes.schema(recipes.load("images"), settings.task)
    at = dataset.chunks(DATA, columns)
    parts = [preprocess.Part(chunk, np.zeros(chunk.rows, np.int8), (0, 0, 0), chunk.start) for chunk in at]
    with pytest.raises(SlipwayError, match=r"b\.parquet: row 170: the image cannot be decoded.*; add an expectation"):
        preprocess._fitted(recipes.load("images"), settings, parts, columns)


def test_a_failure_keeps_what_was_there(make: Make) -> None:
    settings = make()
    run(settings)
    before = (OUT / "manifest.json").read_bytes()
    (Path("data") / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SlipwayError, match=r"b\.parquet"):
        run(settings)
    assert (OUT / "manifest.json").read_bytes() == before
    assert [path.name for path in Path("build").iterdir()] == ["arrays"]
