"""What a training on a new dataset begins with: components/recipes/NAME/defaults.py, by the size of the data.

`slipway ingest` and `slipway new` write it into params.yaml, each setting with a word why. No stage reads this: what is
in params.yaml is what counts.
"""

import importlib
import importlib.util
import math
from typing import Any, Protocol, cast

Chosen = dict[str, tuple[Any, str]]  # setting of `train` -> value, and why
STOPPING = "epochs without a better validation loss; the best epoch's weights ship"
OPTIMIZERS = "sgd, adam, adamw, lion or muon"
FIND_LR = "`slipway find-lr` looks for the one of this dataset"
FALLS = "over which the learning rate falls"
AT_MOST = "at most: early_stopping ends it"


class Defaults(Protocol):
    """The defaults of a recipe."""

    def training(self, rows: int, answer: str) -> Chosen:
        """Return settings of `train` for about so many training examples; `answer` is the kind of the target."""


def load(recipe: str) -> Defaults | None:
    """Import the defaults of a recipe, if it has any."""
    name = f"components.recipes.{recipe}.defaults"
    return cast("Defaults", importlib.import_module(name)) if importlib.util.find_spec(name) else None


def batch_size(rows: int, smallest: int, largest: int, batches: int) -> tuple[int, str]:
    """Return the power of two that makes about so many batches of the training examples, within bounds; and why."""
    wanted = 2 ** round(math.log2(max(rows / batches, 1)))
    found = min(max(wanted, smallest), largest)
    return found, f"{math.ceil(rows / found):,} batches in an epoch of about {rows:,} training examples"


def epochs(rows: int, batch: int, steps: int, fewest: int, most: int) -> int:
    """Return the epochs that make about so many steps, within bounds."""
    return min(max(round(steps * batch / max(rows, 1)), fewest), most)
