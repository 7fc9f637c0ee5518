"""A table of thousands of columns costs what its columns cost: twice as many, twice the time."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components import SlipwayError, nearest, recipes
from components.data import csv_reader, dataset
from components.recipes.tabular.source import guessing
from components.serving import onnx_model
from components.stages import validate
from tests import fabricate
from tests.conftest import Make, write_dataset

FEW, MANY = 200, 1600


def wide(make: Make, columns: int) -> Callable[[], object]:
    """Return what reads a dataset of so many columns, derives its facts, reads a CSV of it, and predicts."""
    names = [f"x{at}" for at in range(columns)]
    settings = make("tabular", 2)
    task = type(settings.task).model_validate({"numeric": names, "labels": ["a", "b"]})
    settings = settings.model_copy(update={"task": task})
    table = pa.table({name: np.random.default_rng(at).normal(size=10) for at, name in enumerate(names)})
    write_dataset(Path("data/a.parquet"), settings, table.append_column("label", pa.array(["a", "b"] * 5)))
    lines = [",".join([*names, "label"]), *(",".join(["1.5"] * columns + [label]) for label in "ab" * 5)]
    file = Path(f"{columns}.csv")
    file.write_text("\n".join(lines))
    recipe = recipes.load("tabular")
    schema = recipes.schema(recipe, settings.task)
    state = recipe.fit([table.set_column(0, "x0", pa.array([None, *range(9)], pa.float64()))], settings.task)
    fabricate.table_model(Path(f"model {columns}"), settings, state)
    model = onnx_model.load(Path(f"model {columns}"))

    def work() -> None:
        assert len(onnx_model.predict(model, table)) == 10
        (chunk,) = dataset.chunks(Path("data"), schema)
        validate._kept_facts("tabular", settings.task, (chunk, None))
        for block in csv_reader.blocks(file, csv_reader.Reading()):
            assert block.num_columns == columns + 1

    return work


def test_a_column_that_is_not_there_is_not_answered_with_thousands_that_are(tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    file.write_text(",".join(f"x{at}" for at in range(1000)) + "\n" + ",".join(["1"] * 1000) + "\n")
    with pytest.raises(SlipwayError) as error:
        guessing.schema(file, csv_reader.Reading(), ["price"])
    assert "no column 'price'" in str(error.value) and "x19 and 980 more" in str(error.value)
    assert len(str(error.value)) < 400
    assert nearest("price", [f"x{at}" for at in range(1000)]).endswith("x18, x19 and 980 more")


@pytest.mark.e2e
def test_the_time_for_a_table_is_linear_in_its_columns(make: Make) -> None:
    seconds = []
    for columns in (FEW, MANY):
        work = wide(make, columns)
        each = []
        for _ in range(2):
            start = time.process_time()
            work()
            each.append(time.process_time() - start)
        seconds.append(min(each))
    assert seconds[1] / seconds[0] < 3 * MANY / FEW  # of eight times the columns; 64 where it is quadratic
