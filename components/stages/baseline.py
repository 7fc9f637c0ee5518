"""Fit what a model has to beat: a trivial baseline, and a classical model on the same training split.

A stage of its own: no setting of `train:` or `network:` runs it again.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from components import SlipwayError, recipes
from components.data import raw_rows
from components.files import read_json, replacing, write_json
from components.params import Params
from components.recipes import Input, Recipe
from components.streams import stream
from components.targets import Target

MAX_TRAINING_BYTES = 2**30  # of the examples on which a classical model is fitted: of large ones it gets fewer
BATCH_ROWS = 1024  # encoded examples read at a time
Read = Callable[[str, np.ndarray], Iterator[Any]]  # split and rows -> what an estimator takes, part by part


def run(params: Params, data: Path, arrays: Path, out: Path) -> None:
    """Write `out`: trivial.npy and classical.npy, outputs `(test examples, names)` float32, and baseline.json.

    The classical model gets at most evaluate.baseline_rows training examples, and as many as MAX_TRAINING_BYTES holds.
    Raises SlipwayError where it cannot be fitted.
    """
    recipe = recipes.load(params.recipe)
    manifest = read_json(arrays / "manifest.json")
    target, tests = recipe.target(params.task), manifest["rows"]["test"]
    truth = np.load(arrays / "train" / "label.npy", mmap_mode="r")
    text, trivial = _trivial(recipe, params, arrays, manifest, truth)
    own = recipes.part(recipe, "classical")
    if own is not None:
        estimator, read = own(params.task), partial(_frames, recipe, params, data, arrays)
    else:
        inputs = recipe.inputs(params.task, manifest["state"])
        estimator, read = plain(inputs, manifest["inputs"], target), partial(_flat, inputs, arrays)
    rows = _chosen(read, len(truth), params)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            answers = fitted(estimator, read, rows, np.asarray(truth[rows]), tests, target)
        except (ValueError, TypeError) as error:
            raise SlipwayError(
                f"the classical baseline of components/recipes/{params.recipe}/example cannot be fitted: {error}"
            ) from error
    name = _name(estimator)
    if any(entry.category.__name__ == "ConvergenceWarning" for entry in said):
        name += ", stopped before it converged"
    if len(rows) < len(truth):  # wherever a model is said to beat it
        name += f", fitted on {len(rows):,} of {len(truth):,} training examples"
    with replacing(out) as aside:
        aside.mkdir(parents=True)
        np.save(aside / "trivial.npy", trivial.astype(np.float32))
        np.save(aside / "classical.npy", answers.astype(np.float32))
        about = {"trivial": text, "classical": name, "rows": len(rows), "of": len(truth)}
        write_json(aside / "baseline.json", about)
    print(f"trivial: {text}; classical: {name}", flush=True)


def _trivial(
    recipe: Recipe, params: Params, arrays: Path, manifest: dict[str, Any], truth: np.ndarray
) -> tuple[str, np.ndarray]:
    """Say what the trivial baseline is, and return its output for each test example."""
    target = recipe.target(params.task)
    if (own := recipes.part(recipe, "baseline")) is not None:
        asked = {name: np.load(arrays / "test" / f"{name}.npy", mmap_mode="r") for name in manifest["inputs"]}
        words = (own.__doc__ or "the recipe's own").strip().splitlines()[0].rstrip(".")
        return words, np.asarray(own(asked, params.task, manifest["state"]))
    text, answer = target.trivial(truth)
    return text, np.tile(answer, (manifest["rows"]["test"], 1))


def plain(inputs: dict[str, Input], specs: dict[str, Any], target: Target) -> Any:
    """Return an unfitted estimator on the encoded inputs, flattened side by side: `(n, features)` float32.

    The target's own; numbers are scaled to -1..1, codes have a column each, and tokens are counted.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder

    parts: list[tuple[str, Any, slice]] = []
    start = 0
    for name, entry in inputs.items():
        columns = slice(start, start + int(np.prod(specs[name]["shape"])))
        start = columns.stop
        if entry.kind == "tokens":
            parts.append((name, CountVectorizer(analyzer=_tokens), columns))
        elif entry.kind == "codes":
            parts.append((name, OneHotEncoder(handle_unknown="ignore"), columns))
        else:
            parts.append((name, MaxAbsScaler(), columns))
    return make_pipeline(ColumnTransformer(parts), target.classical())


def _tokens(row: np.ndarray) -> list[int]:
    return [int(token) for token in row if token]  # 0 is padding


def _flat(inputs: dict[str, Input], arrays: Path, split: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield encoded examples as `(n, features)` float32."""
    loaded = [np.load(arrays / split / f"{name}.npy", mmap_mode="r") for name in inputs]
    for at in range(0, len(rows), BATCH_ROWS):
        some = rows[at : at + BATCH_ROWS]
        yield np.concatenate([array[some].reshape(len(some), -1).astype(np.float32) for array in loaded], axis=1)


def _frames(recipe: Recipe, params: Params, data: Path, arrays: Path, split: str, rows: np.ndarray) -> Iterator[Any]:
    """Yield raw examples as DataFrames of the recipe's columns."""
    columns, names = recipes.schema(recipe, params.task), recipe.columns(params.task).names
    for found in raw_rows.read(data, arrays, split, columns, rows=rows, only=names):
        yield found.select(names).to_pandas()


def _joined(parts: list[Any]) -> Any:
    import pandas

    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pandas.concat(parts, ignore_index=True)


def _chosen(read: Read, n: int, params: Params) -> np.ndarray:
    """Choose the training examples that the classical model gets, by their size in memory."""
    sample = _joined(list(read("train", np.arange(min(n, 100)))))
    size = sample.nbytes if isinstance(sample, np.ndarray) else int(sample.memory_usage(deep=True).sum())
    most = min(n, params.evaluate.baseline_rows, max(1, MAX_TRAINING_BYTES * len(sample) // size))
    return np.sort(stream(params.seed, "rows of the classical baseline").permutation(n)[:most])


def fitted(estimator: Any, read: Read, rows: np.ndarray, truth: np.ndarray, tests: int, target: Target) -> np.ndarray:
    """Fit an estimator on training examples; return what it says of the test examples, `(tests, names)`.

    `truth` are encoded labels. A class that is not among them gets probability 0.
    """
    if target.exclusive and len(np.unique(truth)) == 1:  # nothing to tell apart
        return np.tile(target.certain(truth[:1]), (tests, 1))
    estimator.fit(_joined(list(read("train", rows))), target.fitted_on(truth))
    return np.concatenate([target.asked(estimator, part) for part in read("test", np.arange(tests))])


def _name(estimator: Any) -> str:
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    return type(getattr(last, "estimator", last)).__name__
