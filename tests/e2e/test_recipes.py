"""Every recipe goes the whole way by its sample: dataset, stages, registry, and raw examples answered from there."""

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from components import params, recipes
from components.recipes import networks
from tests.conftest import write_dataset
from tests.e2e.conftest import Clone

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_recipe_goes_the_whole_way(recipe: str, clone: Callable[[str], Clone], prefect_server: str) -> None:
    project = clone(recipe)
    module = recipes.load(recipe)
    section, sample = module.sample(400, 3)
    # what is learned of so little is not the matter here: no gate
    content: dict[str, Any] = YAML(typ="safe").load(project.path / "params.yaml")
    content |= {"name": "trial", "recipe": recipe, recipe: section, "network": networks.load(recipe).sample}
    content |= {"train": {"epochs": 2, "batch_size": 32}, "register": {"minimum": {}, "maximum": {}}}
    YAML(typ="safe").dump(content, project.path / "params.yaml")
    settings = params.load(project.path / "params.yaml")
    write_dataset(project.path / "data" / "a.parquet", settings, sample)
    project.run("dvc", "add", "data")

    said = project.run("python", "-m", "flows", "retrain", PREFECT_API_URL=prefect_server)
    assert "400 rows" in said
    assert (
        "challenger" in project.versions()["trial 1"]
    )  # and champion, where so little training beats the trivial answer
    assert "Data and pipelines are up to date" in project.run("dvc", "status")

    raw = sample.select(module.columns(settings.task).names).slice(0, 5)
    pq.write_table(raw, project.path / "raw.parquet")
    project.run(
        "python", "-m", "components", "predict", "models:/trial@challenger", "raw.parquet", "--out", "answers.parquet"
    )
    answers = pq.read_table(project.path / "answers.parquet")
    assert len(answers) == 5
    assert answers["error"].null_count == 5
    assert answers.columns[1].null_count == 0
    if recipe == "series":
        months = [f"{2000 + month // 12}-{month % 12 + 1:02}" for month in range(30)]
        lines = [f"{month},{name},{at + 10}" for at, month in enumerate(months) for name in ("north", "NA")]
        (project.path / "now.csv").write_text("\n".join(["when,place,value", *lines]))
        predict = ("python", "-m", "components", "predict", "models:/trial@challenger", "now.csv")
        said = project.run(*predict, "--time", "when", "--group", "place")
        assert "NA after 2002-06 " in said and "north after 2002-06 " in said
        assert "1 of 2 series are new to the model: 'NA'" in said
        assert "give their column with --group" in project.run(*predict, "--time", "when", fails=True)
