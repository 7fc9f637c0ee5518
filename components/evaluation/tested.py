"""The test split, and what models answer to it, in the form in which they are measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import recipes
from components.data import raw_rows, splits
from components.evaluation import metrics
from components.evaluation.examples import Examples
from components.files import read_json
from components.params import Params
from components.recipes import State


def split(params: Params, data: Path, arrays: Path) -> Examples:
    """Read all that is known of the test split but a model's outputs, which are NaN."""
    manifest = read_json(arrays / "manifest.json")
    target = params.target()
    actual = np.load(arrays / "test" / "label.npy")
    return Examples(
        actual=actual,
        outputs=np.full((len(actual), *target.shape), np.nan, np.float32),
        target=target,
        costs=params.cost_matrix(),
        scale=_scale(params, data, arrays, manifest),
        deviation=None if target.classes else np.array(manifest["state"]["target"]["deviation"]),
        bins=params.evaluate.calibration_bins,
        blocks=splits.blocks_of(arrays),
    )


def _scale(params: Params, data: Path, arrays: Path, manifest: dict[str, Any]) -> np.ndarray | None:
    """Return the in-sample error of the naive forecast for each test example; see `scale`."""
    names = len(params.target().names)
    if not isinstance(manifest["state"].get("mase_scale"), dict):
        return scale(manifest["state"], names, [None] * int(manifest["rows"]["test"]))
    recipe = recipes.load(params.recipe)
    columns = recipes.schema(recipe, params.task)
    groups = [
        name
        for part in raw_rows.read(data, arrays, "test", columns, only=["group"])
        for name in part["group"].to_pylist()
    ]
    return scale(manifest["state"], names, groups)


def scale(state: State, names: int, groups: Sequence[str | None]) -> np.ndarray | None:
    """Return the in-sample error of the naive forecast of examples, by the groups that they are of: `(n, names)`.

    The recipe tells one for each column, of which several names in a row are steps; None where it tells none.
    """
    found = state.get("mase_scale")
    if found is None:
        return None
    if not isinstance(found, dict):
        return np.tile(np.repeat(found, names // len(found)), (len(groups), 1))
    # a missing group is the empty one, as in recipes/series/example; where whole series are held out none is known
    of_group = {name: np.repeat(each, names // len(each)) for name, each in found.items()}
    unknown = np.full(names, np.nan)
    every = np.array([of_group.get("" if name is None else str(name), unknown) for name in groups], np.float64)
    return None if np.isnan(every).all() else every


def answered(examples: Examples, answers: pa.Table, metric: str, names: Sequence[str]) -> Examples:
    """Return the examples with what a version answered; the worst there can be where it gave no answer that fits.

    `names` are the version's own, of which its probabilities are. A metric of the answers alone sees these and no
    probabilities: a version may decide by costs or thresholds of its own.
    """
    target, decision = examples.target, None
    if metric in metrics.of(target).OF_OUTPUTS and "probabilities" in answers.column_names:
        found = answers["probabilities"].to_pylist()
        fits = np.array([row is not None and len(row) == len(names) for row in found], bool)
        own = {name: index for index, name in enumerate(names)}
        theirs = np.array([row for row, fit in zip(found, fits, strict=True) if fit], np.float64).reshape(
            -1, len(names)
        )
        outputs = np.zeros((len(theirs), len(target.names)))
        for index, name in enumerate(target.names):
            if name in own:
                outputs[:, index] = theirs[:, own[name]]
    else:
        there = target.answer in answers.column_names
        found = answers[target.answer].to_pylist() if there else [None] * len(answers)
        fits, outputs, decision = target.restored(found)
    every = np.empty((len(fits), *target.shape))
    every[fits] = outputs
    if not fits.all():
        known = examples.take(fits).answered(outputs, decision)
        every[~fits] = metrics.of(target).missed(examples.actual[~fits], known)
    return examples.answered(every, decision)
