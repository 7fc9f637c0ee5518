"""Slipway for notebooks and scripts: each function works on the project that contains the current folder.

The command line is `slipway`; both call `flows` and `components`.
"""

import contextlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import project
from slipway.project import ProjectError, root

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

    from components.params import Params
    from slipway.model import Model

__all__ = ["ProjectError", "__version__", "data", "load", "params", "predict", "root"]
__version__: str = tomllib.loads((project.OWN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def params() -> "Params":
    """Return the project's params.yaml, checked and typed; the settings of the recipe are in `task`."""
    place = root()
    project.use(place)
    from components import params as settings

    return settings.load(place / "params.yaml")


def data(model: str = "") -> "pandas.DataFrame":
    """Return the dataset of a model as a DataFrame, a row per example, `id` as its index; "" is the root's model.

    All of it, also what the last validation set aside; pictures and recordings are bytes. Raises SlipwayError where
    there is no such model, or its files are not here, TypeError for what is not a name.
    """
    _must_be_a_name(model)
    place = root()
    project.use(place)
    import pandas
    import pyarrow.parquet as pq

    from components import SlipwayError
    from flows.machinery import models, workspace

    with contextlib.chdir(place):
        found = models.find(model)
        folder = workspace.WORKSPACES / found.name / "data" if found.name else Path("data")
        files = sorted(folder.glob("*.parquet"))
        if not files:
            how = f"slipway run {found.name}" if found.name else "dvc pull data.dvc"
            raise SlipwayError(f"{folder.absolute()}: there is no dataset here; `{how}` brings it")
        frame: pandas.DataFrame = pandas.concat([pq.read_table(file).to_pandas() for file in files])
    return frame.set_index("id")


def predict(
    model: str | None, examples: "pandas.DataFrame | pa.Table | Path | str", *, trust: bool = False
) -> "pandas.DataFrame":
    """Predict with a registered model, in a process of its own, with the code it was registered with.

    `model` is as for `load`. `examples` are a table with the columns that the model takes, or a path: a file (an image,
    a recording, a text), a folder of them, a .csv, .tsv, .jsonl or .parquet. Returns a row per example, in order: a
    DataFrame keeps its index; for a path, the column `example` holds the file name or the row number. `error` says why
    a row has no prediction.
    Raises SlipwayError for a version that is not as Slipway registered it, unless `trust`: its code would run here, and
    TypeError for a `model` that is not a name.
    """
    _must_be_a_name(model)
    from slipway import model as models

    return models.answers(model, examples, root(), trust=trust)


def load(model: str | None = None, *, trust: bool = False) -> "Model":
    """Find a registered version, which can `predict`, `evaluate` and `explain`, and has `metrics` and `params`.

    `model` is NAME for its champion, NAME@ALIAS or NAME/VERSION, these two also after models:/; None is the champion of
    `name` in params.yaml. An alias is looked up once: the version stays the same when it moves. Raises SlipwayError
    where there is none, and for one that is not as Slipway registered it, unless `trust`: its code would run here.
    TypeError for what is not a name.
    """
    _must_be_a_name(model)
    from slipway import model as models

    return models.load(model, root(), trust=trust)


def _must_be_a_name(model: object) -> None:
    if not isinstance(model, str | None):
        raise TypeError(f"expected the name of a model, such as 'digits', not {type(model).__name__}")
