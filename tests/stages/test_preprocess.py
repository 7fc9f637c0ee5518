import json
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


def test_workers_write_the_same_bytes_as_one_process(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make("tabular", rows=400)
    run(settings)
    alone = {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    monkeypatch.setattr(dataset, "MIN_PARALLEL_ROWS", 0)
    run(settings)
    assert {path: path.read_bytes() for path in OUT.rglob("*") if path.is_file()} == alone


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


def test_a_failure_keeps_what_was_there(make: Make) -> None:
    settings = make()
    run(settings)
    before = (OUT / "manifest.json").read_bytes()
    (Path("data") / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SlipwayError, match=r"b\.parquet"):
        run(settings)
    assert (OUT / "manifest.json").read_bytes() == before
    assert [path.name for path in Path("build").iterdir()] == ["arrays"]
