"""Networks of the recipe speech: Keras, for training only; what is served is their export."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from components.recipes import State
from components.recipes.audio.networks import conformer
from components.recipes.speech.example import Params

if TYPE_CHECKING:
    import keras

sample: dict[str, Any] = {"model_size": "tiny"}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe speech."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["conformer"] = "conformer"
    model_size: Literal["tiny", "small", "medium"] = "small"


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":  # noqa: ARG001
    """A Conformer over the spectrogram; of each step the probabilities of no symbol, and of each."""
    import keras

    spectrogram = keras.Input((params.frames, params.bands), dtype="float32", name="spectrogram")
    x = keras.layers.Reshape((params.frames, params.bands, 1), name="picture")(spectrogram)
    x = conformer(x, network.model_size, dropout)
    x = keras.layers.Dense(len(params.symbols) + 1, dtype="float32", name="logits")(x)
    x = keras.layers.Activation("softmax", dtype="float32", name="probabilities")(x)
    return keras.Model({"spectrogram": spectrogram}, x, name="speech")
