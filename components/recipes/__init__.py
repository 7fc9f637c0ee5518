"""Recipes: a folder for each kind of data, found by its name; `images` is components/recipes/images/.

`example` says what an example is, with the parts of `Recipe`: it is shipped with a model, and no network changes it.
`networks` builds what learns (networks.py of this folder), `source` reads raw files (source.py). Nothing has to be
registered.
"""

import importlib
import math
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, cast

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, Field

from components import SlipwayError, nearest

Arrays = dict[str, np.ndarray]  # name of a model input -> array, a row per example
State = dict[str, Any]  # what was fitted on the training split; plain JSON


def _once(names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}")
    return names


Names = Annotated[list[str], AfterValidator(_once)]  # a setting: each name once
Labels = Annotated[Names, Field(min_length=2)]  # a setting: what a label may be


@dataclass(frozen=True)
class Target:
    """What is predicted: one of `names` (label), any of them (labels), or a number for each of them (values).

    The model has an output a name: softmax probabilities, sigmoid probabilities, or numbers in their own units.
    """

    kind: Literal["label", "labels", "values"]
    names: tuple[str, ...]

    @property
    def type(self) -> pa.DataType:
        """The type of the dataset's column `label`: text, a list of texts, a number, or a list of numbers."""
        if self.kind == "values":
            return pa.float64() if len(self.names) == 1 else pa.list_(pa.float64())
        return pa.string() if self.kind == "label" else pa.list_(pa.string())


@dataclass(frozen=True)
class Input:
    """What an input of the model is made of, so that it can be augmented and explained.

    image: (height, width, channels) uint8; spectrogram: (frames, bands) float32; tokens: (length,) int32, 0 is
    padding; numbers: (columns,) float32; codes: (columns,) int32, 0 is missing or unseen; history:
    (steps, columns) float32; weights: (length,) float32, one a token, neither augmented nor explained.
    """

    kind: Literal["image", "spectrogram", "tokens", "numbers", "codes", "history", "weights"]
    names: tuple[str, ...] = ()  # of its columns, for numbers, codes and history
    mask: int = 0  # the token that stands for one left out


class Recipe(Protocol):
    """What an example is: components/recipes/NAME/example.

    Optional parts, used where the module has them (see `part`):

    - `ordered(params) -> (column, gap)`: split by that column's order instead of a hash, leaving out `gap`
      distinct values before each cut, for labels that reach into the future;
    - `kept(params) -> tuple[str, ...]`: columns that are kept with an example, for slices, but that encode does not
      read: nobody who asks the model has to give them;
    - `baseline(arrays, params, state) -> outputs`: a trivial answer better than the most frequent class or the mean;
    - `classical(params) -> estimator`: an unfitted scikit-learn estimator on the DataFrame of `columns`;
    - `spell(tokens, state) -> list[str]`: the text of each token of one example.
    """

    Params: type[BaseModel]  # its section of params.yaml
    requirements: tuple[str, ...]  # packages that encode imports, for serving

    def columns(self, params: Any) -> pa.Schema:
        """Return the columns of an example, without id, label and split."""

    def target(self, params: Any) -> Target:
        """Return what is predicted."""

    def facts(self, table: pa.Table, params: Any) -> pa.Table:
        """Derive plain columns, a row per example, on which expectations can be written."""

    def fit(self, tables: Iterable[pa.Table], params: Any) -> State:
        """Fit what encode needs on the training split (columns and label), given table by table."""

    def encode(self, table: pa.Table, params: Any, state: State) -> Arrays:
        """Turn examples into arrays, in training and in serving; ValueError names what is wrong."""

    def inputs(self, params: Any, state: State) -> dict[str, Input]:
        """Say what each input is made of."""

    def sample(self, rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
        """Make a small synthetic dataset: its section of params.yaml, and columns plus label."""


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load(name: str, where: str = "recipe") -> Recipe:
    """Import the recipe of that name; SlipwayError names the nearest one there is."""
    if name not in names():
        raise SlipwayError(f"{where}: no recipe {name!r}; {nearest(name, names())}")
    return cast("Recipe", importlib.import_module(f"{__name__}.{name}.example"))


def part(recipe: Recipe, name: str) -> Any:
    """Return an optional part of a recipe; None where it has none."""
    return getattr(recipe, name, None)


def schema(recipe: Recipe, params: Any) -> pa.Schema:
    """Return the columns of an example and its `label`, as the functions of components.data.dataset take them."""
    return recipe.columns(params).append(pa.field("label", recipe.target(params).type))


def asked(recipe: Recipe, params: Any) -> pa.Schema:
    """Return the columns that a model is asked with: those of an example without the ones that are only kept."""
    kept = part(recipe, "kept")
    names = kept(params) if kept else ()
    return pa.schema([field for field in recipe.columns(params) if field.name not in names])


def answers(outputs: np.ndarray, target: Target, decision: list[Any] | None = None) -> pa.Table:
    """Answers that a user reads, of a model's outputs `(n, names)`.

    label: `label`, `probability`, `probabilities`; `decision` is a matrix `(labels, labels)`: the label chosen
    is that of the largest of `probabilities @ decision`, without one the likeliest. labels: `labels`,
    `probabilities`; `decision` is a threshold for each, 0.5 without. values: `value`, or `values` for several.
    """
    if target.kind == "values":
        if len(target.names) == 1:
            return pa.table({"value": pa.array(outputs[:, 0], pa.float64())})
        return pa.table({"values": pa.array(list(outputs.astype(np.float64)), pa.list_(pa.float64()))})
    probabilities = pa.array(list(outputs), pa.list_(pa.float32()))
    best = chosen(outputs, target, decision)
    if target.kind == "labels":
        found = [[name for name, held in zip(target.names, row, strict=True) if held] for row in best]
        return pa.table({"labels": pa.array(found, pa.list_(pa.string())), "probabilities": probabilities})
    return pa.table(
        {
            "label": pa.array([target.names[i] for i in best], pa.string()),
            "probability": pa.array(outputs[np.arange(len(best)), best], pa.float32()),
            "probabilities": probabilities,
        }
    )


def chosen(outputs: np.ndarray, target: Target, decision: list[Any] | None = None) -> np.ndarray:
    """Decide: `(n,)` int, an index into the names, for label; `(n, names)` bool for labels."""
    if target.kind == "labels":
        held: np.ndarray = outputs >= (np.array(decision) if decision else 0.5)
        return held
    best: np.ndarray = (outputs @ np.array(decision, np.float64) if decision else outputs).argmax(axis=1)
    return best


def unfit(labels: Iterable[Any], target: Target) -> list[bool]:
    """Tell which labels of a dataset the target does not allow: missing, unknown, given twice, or no finite numbers."""
    known = frozenset(target.names)
    if target.kind == "label":
        return [label not in known for label in labels]
    if target.kind == "labels":
        return [label is None or not known.issuperset(label) or len(frozenset(label)) < len(label) for label in labels]
    if len(target.names) == 1:
        return [label is None or not math.isfinite(label) for label in labels]
    return [
        label is None or len(label) != len(known) or not all(n is not None and math.isfinite(n) for n in label)
        for label in labels
    ]


def encoded(labels: list[Any], target: Target) -> np.ndarray:
    """Labels that fit as numbers: `(n,)` int32 codes, `(n, names)` uint8 of 0 and 1, or `(n, names)` float32."""
    if target.kind == "values":
        return np.array(labels, np.float32).reshape(len(labels), len(target.names))
    codes = {label: index for index, label in enumerate(target.names)}
    if target.kind == "label":
        return np.array([codes[label] for label in labels], np.int32)
    held = np.zeros((len(labels), len(codes)), np.uint8)
    for row, found in enumerate(labels):
        held[row, [codes[label] for label in found]] = 1
    return held
