"""Rows of numbers and categories, one label each."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import Arrays, Input, State, Target, head

if TYPE_CHECKING:
    import keras

requirements = ()


class Params(BaseModel):
    """The section `tabular` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    numeric: list[str] = []
    categorical: list[str] = []
    labels: Annotated[list[str], Field(min_length=2)] = ["no", "yes"]
    embedding: Annotated[int, Field(ge=1)] = 8  # width of a category's vector
    hidden: list[Annotated[int, Field(ge=1)]] = [64]  # units of the MLP's hidden layers

    @model_validator(mode="after")
    def _columns(self) -> "Params":
        names = [*self.numeric, *self.categorical]
        if not names:
            raise ValueError("no columns: name some under numeric or categorical")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        if taken := sorted({"missing", "finite"} & set(names)):
            raise ValueError(f"a column may not be called {taken[0]}: a fact has that name")
        return self


def columns(params: Params) -> pa.Schema:
    """Numbers as float64, categories as strings; both may be missing."""
    numbers = [(name, pa.float64()) for name in params.numeric]
    return pa.schema(numbers + [(name, pa.string()) for name in params.categorical])


def target(params: Params) -> Target:
    """One of the labels."""
    return Target("label", tuple(params.labels))


def facts(table: pa.Table, params: Params) -> pa.Table:
    """The columns themselves, how many of a row are missing, and if all of its numbers are finite."""
    names = [*params.numeric, *params.categorical]
    missing = np.zeros(len(table), np.int64)
    finite = np.ones(len(table), bool)
    for name in names:
        missing += table[name].is_null().to_numpy()
    for name in params.numeric:
        finite &= pc.is_finite(table[name]).fill_null(fill_value=True).to_numpy()
    return table.select(names).append_column("missing", pa.array(missing)).append_column("finite", pa.array(finite))


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """Mean and standard deviation of each number, the sorted values of each category.

    One pass, merged by Chan, Golub and LeVeque's update (1979), so that memory does not grow.
    """
    count = np.zeros(len(params.numeric))
    mean, square = np.zeros_like(count), np.zeros_like(count)
    seen: dict[str, set[str]] = {name: set() for name in params.categorical}
    for table in tables:
        numbers = _numbers(table, params)
        n = np.sum(~np.isnan(numbers), axis=0)
        with np.errstate(invalid="ignore"):
            m = np.where(n > 0, np.nansum(numbers, axis=0) / np.maximum(n, 1), 0)
        s = np.nansum((numbers - m) ** 2, axis=0)
        total = np.maximum(count + n, 1)
        square += s + (m - mean) ** 2 * count * n / total
        mean += (m - mean) * n / total
        count += n
        for name, values in seen.items():
            values.update(pc.unique(table[name]).drop_null().to_pylist())
    deviation = np.sqrt(square / np.maximum(count, 1))
    return {
        "mean": mean.tolist(),
        "deviation": np.where(deviation > 0, deviation, 1.0).tolist(),
        "values": {name: sorted(values) for name, values in seen.items()},
    }


def _numbers(table: pa.Table, params: Params) -> np.ndarray:
    """Return `(n, numeric)` float64; missing is NaN."""
    arrays = [table[name].fill_null(float("nan")).to_numpy() for name in params.numeric]
    return np.stack(arrays, axis=1) if arrays else np.empty((len(table), 0))


def encode(table: pa.Table, params: Params, state: State) -> Arrays:
    """Standardised `numeric` float32, missing as 0, and `categorical` int32, unseen or missing as 0.

    Raises ValueError for a number that is infinite.
    """
    arrays: Arrays = {}
    if params.numeric:
        numbers = _numbers(table, params)
        if np.isinf(numbers).any():
            row, column = np.argwhere(np.isinf(numbers))[0]
            raise ValueError(f"{params.numeric[column]} is infinite (row {row} of these)")
        scaled = (numbers - np.array(state["mean"])) / np.array(state["deviation"])
        arrays["numeric"] = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    codes = []
    for name in params.categorical:
        found = pc.index_in(table[name], value_set=pa.array(state["values"][name], pa.string()))
        codes.append(found.fill_null(-1).to_numpy().astype(np.int32) + 1)
    if codes:
        arrays["categorical"] = np.stack(codes, axis=1)
    return arrays


def inputs(params: Params, state: State) -> dict[str, Input]:  # noqa: ARG001
    """The numbers, and the codes of the categories."""
    found = {}
    if params.numeric:
        found["numeric"] = Input("numbers", tuple(params.numeric))
    if params.categorical:
        found["categorical"] = Input("codes", tuple(params.categorical))
    return found


def build(params: Params, state: State, dropout: float) -> "keras.Model":
    """An MLP over the numbers and an embedding of each category, softmax."""
    import keras

    inputs: dict[str, Any] = {}
    parts = []
    if params.numeric:
        numeric = keras.Input((len(params.numeric),), dtype="float32", name="numeric")
        inputs["numeric"] = numeric
        parts.append(numeric)
    if params.categorical:
        categorical = keras.Input((len(params.categorical),), dtype="int32", name="categorical")
        inputs["categorical"] = categorical
        for number, name in enumerate(params.categorical):
            layer = keras.layers.Embedding(len(state["values"][name]) + 1, params.embedding, name=f"embed_{number}")
            parts.append(layer(categorical[:, number]))
    x = keras.layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]
    for number, units in enumerate(params.hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x
    answer = head(x, target(params), state)
    return keras.Model(inputs, answer, name="tabular")


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Two numbers, one of them with gaps, and a category that decide the label together."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=rows), random.normal(10, 5, rows)
    colour = random.choice(["red", "green", "blue"], rows)
    answer = np.where(x + (y - 10) / 5 + 2.0 * (colour == "red") > 0.7, "yes", "no")
    gaps = pa.array(y, mask=random.random(rows) < 0.05)
    section = {"numeric": ["x", "y"], "categorical": ["colour"], "labels": ["no", "yes"], "hidden": [16]}
    return section, pa.table({"x": x, "y": gaps, "colour": colour, "label": answer})
