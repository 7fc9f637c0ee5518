"""Networks: what a recipe learns with, components/recipes/NAME/networks.py; and the layers that all of them end in.

Keras is imported where a network is built: params.yaml is read by every stage. What is served is the export.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from pydantic import BaseModel

from components import recipes
from components.recipes import Arrays, State
from components.targets import Target

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Pretraining:
    """A task without labels, fitted on the training split before the model's own.

    When it ends, each layer of the recipe's model takes the weights of the layer of the same name here, where
    their shapes agree: the encoder is built by one function for both. The batch size, optimizer and schedule are
    those of `train:`. Killed half-way, it resumes from its last epoch too.
    """

    model: "keras.Model"  # not compiled; any inputs and one output
    batch: Callable[[Arrays, np.random.Generator], tuple[Arrays, np.ndarray, np.ndarray | None]]
    """From a batch of encoded examples to (inputs by name, targets, weights); e.g. the tokens with some of them
    masked, the tokens as they were, and 1 where one was masked. Weights have the shape of the loss before its mean,
    `(n,)` or `(n, length)` float32; None weighs all alike. All that is random in it comes of the generator."""
    epochs: int
    loss: Any = "sparse_categorical_crossentropy"  # a name or an object of keras.losses, on the model's output
    learning_rate: float | None = None  # None: train.learning_rate


class Networks(Protocol):
    """The networks of a recipe.

    Optional parts, used where the module has them:

    - `pretraining(network, params, state, dropout) -> Pretraining | None`: a task without labels that the model's
      layers learn first; None where the settings ask for none;
    - `check(network, params)`: ValueError, beginning with the key and a colon, where the network does not suit the
      recipe's section;
    - `read_by`: the models that read a setting, where not all do, {"hidden": ("mlp",)}: a training tells one that is
      set and not read. `which(network, params)` is the model's name where the network has no setting `model`;
    - `moved`: where settings of the recipe's section went that are no longer there, {"OLD: VALUE": "NEW: VALUE"}. Those
      that are settings of the network now need no entry.
    """

    Network: type[BaseModel]  # the section `network` of params.yaml
    sample: dict[str, Any]  # that section, for the recipe's sample: small and fast

    def build(self, network: Any, params: Any, state: State, dropout: float) -> "keras.Model":
        """Build a Keras model from inputs of encode, all or some, to the outputs of the target; see `head`."""


def load(name: str) -> Networks:
    """Import the networks of the recipe of that name; SlipwayError names the nearest one there is."""
    recipes.load(name)
    return cast("Networks", importlib.import_module(f"components.recipes.{name}.networks"))


def pretraining(name: str, network: Any, params: Any, state: State, dropout: float) -> Pretraining | None:
    """Return the task without labels of a recipe, None where it has none or its settings ask for none."""
    part = getattr(load(name), "pretraining", None)
    return part(network, params, state, dropout) if part else None


def unread(name: str, network: Any, params: Any) -> list[str]:
    """Return the settings of a network that are not the default, and that the chosen model does not read."""
    module = load(name)
    read_by: dict[str, tuple[str, ...]] = getattr(module, "read_by", {})
    which: str = module.which(network, params) if hasattr(module, "which") else getattr(network, "model", "")
    default = {key: field.default for key, field in type(network).model_fields.items()}
    return [key for key, models in read_by.items() if which not in models and getattr(network, key) != default[key]]


def head(x: Any, target: Target, state: State) -> Any:
    """The last layers of a model: `x` (n, features) to what the target asks for, in float32.

    Numbers are predicted in units of the training labels' deviation around their mean (`state["target"]`) and
    scaled back, so that every loss sees numbers around one.
    """
    import keras

    if target.activation == "linear":
        x = keras.layers.Dense(len(target.names), dtype="float32", name="standardised")(x)
        scale = state["target"]
        return keras.layers.Rescaling(scale["deviation"], scale["mean"], dtype="float32", name="values")(x)
    x = keras.layers.Dense(len(target.names), name="logits")(x)
    return keras.layers.Activation(target.activation, dtype="float32", name="probabilities")(x)
