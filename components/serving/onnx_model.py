"""The ONNX model as it ships: raw examples in, predictions out, with the recipe's own encode.

Needs no TensorFlow, no DVC and no MLflow: evaluate, register and a served model all go through here.
"""

import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError, recipes
from components.recipes import Arrays, Input
from components.serving import loose
from components.targets import Decision, Target

if TYPE_CHECKING:
    import pandas

LATENCY_ROUNDS = 5
BATCH_ROWS = 1024  # examples decoded at a time, so that memory does not grow with the table


@dataclass(frozen=True)
class Model:
    """A model ready to predict."""

    session: Any  # onnxruntime.InferenceSession
    recipe: recipes.Recipe
    params: Any  # the recipe's Params
    state: recipes.State
    target: Target
    decision: Decision | None

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The names of the inputs: a network may leave out some of what encode makes."""
        return tuple(given.name for given in self.session.get_inputs())


def runtime() -> Any:
    """Import onnxruntime, whose wheels report to Microsoft since 1.29 unless this is set before the first import."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def load(model_dir: Path) -> Model:
    """Open model.onnx and model.json of a folder such as build/model."""
    onnxruntime = runtime()
    try:
        content = json.loads((model_dir / "model.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.use_deterministic_compute = True
        options.intra_op_num_threads = min(4, os.cpu_count() or 1)
        options.log_severity_level = 3  # errors only
        # One provider everywhere: the answers that were measured are the answers that are served.
        session = onnxruntime.InferenceSession(model_dir / "model.onnx", options, providers=["CPUExecutionProvider"])
    except FileNotFoundError as error:
        raise SlipwayError(f"{error.filename}: no such file; run `dvc repro` to make the model") from None
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise SlipwayError(f"{model_dir / 'model.onnx'}: not a usable model ({error})") from None
        raise
    recipe = recipes.load(content["recipe"], where=f"{model_dir / 'model.json'}: recipe")
    params = recipe.Params.model_validate(content["params"])
    return Model(session, recipe, params, content["state"], recipe.target(params), content["decision"])


def inputs(model: Model) -> dict[str, Input]:
    """Say what each input that the model reads is made of."""
    every = model.recipe.inputs(model.params, model.state)
    return {name: entry for name, entry in every.items() if name in model.reads}


def outputs(model: Model, arrays: Arrays) -> np.ndarray:
    """Run encoded examples through the model: `(n, names)` float32, probabilities or numbers, or boxes.

    Arrays that it does not read are left alone.
    """
    rows = len(next(iter(arrays.values())))
    read = {name: arrays[name] for name in model.reads}
    batch = recipes.at_once(read)
    parts = [
        model.session.run(None, {name: np.ascontiguousarray(a[at : at + batch]) for name, a in read.items()})[0]
        for at in range(0, rows, batch)
    ]
    return np.concatenate(parts) if parts else np.empty((0, *model.target.shape), np.float32)


def schema(target: Target) -> pa.Schema:
    """Return the columns of an answer."""
    empty = target.answers(np.zeros((0, *target.shape), np.float32)).schema
    fields = [pa.field(field.name, _wide(field.type)) for field in empty]
    return pa.schema([*fields, pa.field("error", pa.string())])


def _wide(kind: pa.DataType) -> pa.DataType:
    """Return a type whose numbers are MLflow's double."""
    if pa.types.is_list(kind):
        return pa.list_(_wide(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _wide(field.type)) for field in kind])
    return pa.float64() if pa.types.is_floating(kind) else kind


def predict(model: Model, table: pa.Table) -> pa.Table:
    """Predict raw examples: a row each, with the columns of the target's answers, and error.

    An example that cannot be encoded, or for which the model gives no finite numbers, gets an error and no prediction;
    the others get theirs. Columns that the recipe only keeps (see recipes.asked) count as missing values.
    Raises SlipwayError where another column is missing.
    """
    columns, has = model.recipe.columns(model.params), dict.fromkeys(table.column_names)  # thousands, maybe: no search
    asked = dict.fromkeys(recipes.asked(model.recipe, model.params).names)
    missing = [name for name in asked if name not in has]
    if missing:
        raise SlipwayError(f"column {', '.join(missing)} is missing; the model needs {', '.join(asked)}")
    nothing = pa.nulls(len(table))
    table = pa.table({name: table[name] if name in asked else nothing for name in columns.names})
    answered = []
    for at in range(0, len(table), BATCH_ROWS):
        part = table.slice(at, BATCH_ROWS)
        try:
            answered.append(_answer(model, part, columns))
        except ValueError:  # one of them cannot be read or answered: find out which
            answered.extend(_alone(model, part.slice(row, 1), columns) for row in range(len(part)))
    return pa.concat_tables(answered) if answered else schema(model.target).empty_table()


def _answer(model: Model, table: pa.Table, columns: pa.Schema) -> pa.Table:
    arrays = model.recipe.encode(table.cast(columns).combine_chunks(), model.params, model.state)
    found = outputs(model, arrays)
    if not np.isfinite(found).all():  # a label would be chosen all the same, and JSON has no such numbers
        raise ValueError("the model's output is not finite (NaN or infinite)")
    answers = model.target.answers(found, model.decision)
    return answers.append_column("error", pa.nulls(len(table), pa.string())).cast(schema(model.target))


def _alone(model: Model, row: pa.Table, columns: pa.Schema) -> pa.Table:
    try:
        return _answer(model, row, columns)
    except ValueError as error:
        return _failed(model, error)


def _failed(model: Model, error: Exception) -> pa.Table:
    answer = schema(model.target)
    empty = dict.fromkeys(answer.names) | {"error": str(error) or type(error).__name__}
    return pa.Table.from_pylist([empty], answer)


def latency(
    model: Model, arrays: Arrays, calls: int = 40, warm_up: int = 10, rounds: int = LATENCY_ROUNDS
) -> dict[str, float]:
    """Measure one example at a time, in milliseconds: `latency_ms`, and `latency_spread_ms` of what was measured.

    It is the median of `calls` runs of the model in the best of several rounds, for a busy machine only adds to it; the
    spread is how far the worst round is from the best.
    """
    rows = len(next(iter(arrays.values())))
    if rows == 0:
        raise SlipwayError("there is no example to measure the latency with: the split is empty")
    took = []
    for call in range(warm_up + calls * rounds):
        one = {name: np.ascontiguousarray(a[call % rows : call % rows + 1]) for name, a in arrays.items()}
        started = time.perf_counter()
        outputs(model, one)
        took.append(time.perf_counter() - started)
    medians = np.median(np.reshape(took[warm_up:], (rounds, calls)), axis=1) * 1000
    return {
        "latency_ms": round(float(medians.min()), 4),
        "latency_spread_ms": round(float(medians.max() - medians.min()), 4),
    }


class Pyfunc:
    """What MLflow serves: a DataFrame of the recipe's columns in, a DataFrame of predictions out."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, frame: "pandas.DataFrame", params: dict[str, Any] | None = None) -> "pandas.DataFrame":  # noqa: ARG002 - MLflow's interface
        """Predict each row; see `predict` of this module. A missing prediction or error is None."""
        try:
            answers = self._answers(frame)
        except (ValueError, TypeError):  # a value that no table can hold, such as half a surrogate pair
            answers = pa.concat_tables([self._alone(frame.iloc[[row]]) for row in range(len(frame))])
        return _frame(answers)

    def _answers(self, frame: "pandas.DataFrame") -> pa.Table:
        typed, problems = loose.taken(frame, recipes.asked(self.model.recipe, self.model.params))
        table = pa.Table.from_pandas(frame.drop(columns=list(typed)), preserve_index=False)
        if typed:  # all at once; a table of no columns would have no rows
            table = pa.table([*table.columns, *typed.values()], names=[*table.column_names, *typed])
        answers = predict(self.model, table)
        if not problems:
            return answers
        failed = [problems.get(row) for row in range(len(answers))]
        parts = [
            answers.slice(row, 1) if text is None else _failed(self.model, ValueError(text))
            for row, text in enumerate(failed)
        ]
        return pa.concat_tables(parts)

    def _alone(self, row: "pandas.DataFrame") -> pa.Table:
        try:
            return self._answers(row)
        except (ValueError, TypeError) as error:
            return _failed(self.model, error)


def _frame(answers: pa.Table) -> "pandas.DataFrame":
    """Make a DataFrame of predictions; a column with gaps holds objects, None in them."""
    import pandas

    def series(column: pa.ChunkedArray) -> "pandas.Series":
        listed = pa.types.is_list(column.type)
        if column.null_count or (
            listed and (pa.types.is_struct(column.type.value_type) or pc.list_flatten(column).null_count)
        ):
            # pandas alone would put NaN for null, and MLflow write that into its JSON, which has no NaN
            return pandas.Series(column.to_pylist(), dtype="object")
        whole: pandas.Series = column.to_pandas()
        return whole

    return pandas.DataFrame({name: series(answers[name]) for name in answers.column_names})


def _load_pyfunc(data_path: str) -> Pyfunc:
    """Load for MLflow: its loader_module mechanism calls this with the folder that was logged."""
    return Pyfunc(load(Path(data_path)))
