"""Recipes: a folder for each kind of data, found by its name; `images` is components/recipes/images/.

`example` says what an example is, with the parts of `Recipe`: it is shipped with a model, and no network changes it.
`networks` builds what learns (networks.py of this folder), `source` reads raw files (source.py). Nothing has to be
registered.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, cast

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from components import SlipwayError, nearest
from components.targets import Target

Arrays = dict[str, np.ndarray]  # name of a model input -> array, a row per example
AT_ONCE, BYTES_AT_ONCE = (
    1024,
    16 * 2**20,
)  # encoded examples that a model gets: it may make a hundred times as much of them
State = dict[str, Any]  # what was fitted on the training split; plain JSON


def _once(names: list[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}")
    return names


Names = Annotated[list[str], AfterValidator(_once)]  # a setting: each name once
Labels = Annotated[Names, Field(min_length=2)]  # a setting: what a label may be


def at_once(arrays: Arrays) -> int:
    """Return how many encoded examples a model gets at a time, as many as memory likes."""
    rows = len(next(iter(arrays.values())))
    bytes_each = sum(array.nbytes for array in arrays.values()) // max(rows, 1)
    return max(1, min(AT_ONCE, BYTES_AT_ONCE // max(bytes_each, 1)))


class ReadAs(BaseModel):
    """The setting `reading`: what words, numbers and dates in the files of a dataset meant; an ingest writes it.

    Predictions from files, and further ingests, read theirs the same way. Only its words for missing values concern
    tables of typed columns.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    missing: list[str] = []  # texts that stand for a missing value, beside the usual ones
    not_missing: list[str] = []  # usual ones, such as NA, that are values in columns of text
    decimal: Literal[".", ","] | None = None  # of all columns but those of `numbers`; null: a point
    thousands: str | None = None
    numbers: dict[str, str] = {}  # column -> 1234.5 as its numbers are written, such as '1.234,5 €'
    dates: dict[str, str] = {}  # column -> format of its dates; ISO 8601 where it is not here
    zones: dict[str, str] = {}  # column of dates with a zone -> the one by whose clock they are read, or UTC


@dataclass(frozen=True)
class Input:
    """What an input of the model is made of, so that it can be augmented and explained.

    image: (height, width, channels) uint8; spectrogram: (frames, bands) float32; tokens: (length,) int32, 0 is
    padding; numbers: (columns,) float32; codes: (columns,) int32, 0 is missing or unseen; history:
    (steps, columns) float32; weights: (length,) float32, one per token of the input that `names` names, neither
    augmented nor explained.
    """

    kind: Literal["image", "spectrogram", "tokens", "numbers", "codes", "history", "weights"]
    names: tuple[str, ...] = ()  # of its columns, for numbers, codes and history; of the tokens, for weights
    mask: int = 0  # the token that stands for one left out


class Recipe(Protocol):
    """What an example is: components/recipes/NAME/example.

    Optional parts, used where the module has them (see `part`):

    - `ordered(params) -> (column, gap)`: split by that column's order instead of a hash, leaving out `gap`
      distinct values before each cut, for labels that reach into the future;
    - `kept(params) -> tuple[str, ...]`: columns that are kept with an example, for slices, but that encode does not
      read: predictions do not need them;
    - `baseline(arrays, params, state) -> outputs`: a trivial baseline better than the most frequent class or the mean;
    - `spell(tokens, state, name) -> list[str]`: the text of each token of one example, in the input of that name;
    - `views(arrays, params) -> (name, mask, arrays) each`: which of the examples are measured with something left out,
      and the arrays of all of them then.
    """

    Params: type[BaseModel]  # its section of params.yaml
    requirements: tuple[str, ...]  # packages that encode imports, for serving

    def columns(self, params: Any) -> pa.Schema:
        """Return the columns of an example, without id, label and split."""

    def target(self, params: Any) -> Target:
        """Return what is predicted, one of components/targets."""

    def facts(self, table: pa.Table, params: Any) -> pa.Table:
        """Derive plain columns, a row per example, on which expectations can be written."""

    def fit(self, tables: Iterable[pa.Table], params: Any) -> State:
        """Fit what encode needs on the training split (columns and label), given table by table, as often as wanted."""

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
    module = f"{__name__}.{name}.example"
    if module not in sys.modules and name not in names():  # a model's folder may be gone, and its code loaded
        raise SlipwayError(f"{where}: no recipe {name!r}; {nearest(name, names())}")
    return cast("Recipe", importlib.import_module(module))


def part(recipe: Recipe, name: str) -> Any:
    """Return an optional part of a recipe; None where it has none."""
    return getattr(recipe, name, None)


def schema(recipe: Recipe, params: Any) -> pa.Schema:
    """Return the columns of an example and its `label`, as the functions of components.data.dataset take them."""
    return recipe.columns(params).append(pa.field("label", recipe.target(params).type))


def asked(recipe: Recipe, params: Any) -> pa.Schema:
    """Return the columns that a prediction needs: those of an example without the ones that are only kept."""
    kept = part(recipe, "kept")
    names = kept(params) if kept else ()
    return pa.schema([field for field in recipe.columns(params) if field.name not in names])
