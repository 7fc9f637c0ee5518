"""Recipes: one file a task, found by its name; `images` is components/recipes/images.py.

A recipe is a module with the parts of `Recipe`. Nothing else has to be registered.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from components import SlipwayError

if TYPE_CHECKING:
    import keras

Arrays = dict[str, np.ndarray]  # name of a model input -> array, a row an example
State = dict[str, Any]  # what was fitted on the training split; plain JSON


class Recipe(Protocol):
    """What an example is and what a model of it looks like."""

    Params: type[BaseModel]  # its section of params.yaml; `labels: list[str]` is part of it
    requirements: tuple[str, ...]  # packages that encode and decode import, for serving

    def columns(self, params: Any) -> pa.Schema:
        """Return the columns of an example, without id, label and split."""

    def facts(self, table: pa.Table, params: Any) -> pa.Table:
        """Derive plain columns, a row an example, on which expectations can be written."""

    def fit(self, tables: Iterable[pa.Table], params: Any) -> State:
        """Fit what encode needs on the training split, given table by table."""

    def encode(self, table: pa.Table, params: Any, state: State) -> Arrays:
        """Turn examples into arrays, in training and in serving; ValueError names what is wrong."""

    def build(self, params: Any, state: State) -> "keras.Model":
        """Build a Keras model from the inputs named by encode to class probabilities `(n, classes)`."""

    def decode(self, outputs: np.ndarray, params: Any) -> pa.Table:
        """Turn the model's outputs into answers: columns label, probability and probabilities."""

    def sample(self, rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
        """Make a small synthetic dataset: its section of params.yaml, and columns plus label."""


def names() -> list[str]:
    """Return the names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str, where: str = "recipe") -> Recipe:
    """Import the recipe of that name; SlipwayError names the nearest one there is."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
        raise SlipwayError(f"{where}: no recipe {name!r}; {hint}")
    return cast("Recipe", importlib.import_module(f"{__name__}.{name}"))


def answers(probabilities: np.ndarray, labels: list[str]) -> pa.Table:
    """Classification answers of `(n, classes)` probabilities: the likeliest label first."""
    best = probabilities.argmax(axis=1)
    return pa.table(
        {
            "label": pa.array([labels[i] for i in best], pa.string()),
            "probability": pa.array(probabilities[np.arange(len(best)), best], pa.float32()),
            "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        }
    )
