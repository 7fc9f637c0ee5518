"""Networks of the recipe multimodal: an encoder per modality, of the recipe of its kind, and what joins them."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import State
from components.recipes.audio import networks as audio_networks
from components.recipes.images import networks as images_networks
from components.recipes.multimodal.example import PRESENT, THERE, Modality, Params, modalities, target
from components.recipes.networks import head
from components.recipes.tabular import networks as tabular_networks
from components.recipes.text import networks as text_networks

if TYPE_CHECKING:
    import keras

ENCODERS: dict[str, Any] = {
    "images": images_networks,
    "text": text_networks,
    "audio": audio_networks,
    "tabular": tabular_networks,
}
read_by = {"heads": ("attention_fusion",), "hidden": ("late_fusion",)}
sample: dict[str, Any] = {
    "width": 16,
    "hidden": [16],
    "modality_dropout": 0.1,
    "images": images_networks.sample,
    "audio": audio_networks.sample,
    "tabular": tabular_networks.sample,
}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe multimodal."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["late_fusion", "attention_fusion"] = "late_fusion"  # side by side, or attending to each other
    width: Annotated[int, Field(ge=1)] = 128  # of a modality's vector
    hidden: list[Annotated[int, Field(ge=1)]] = [128]  # late_fusion: units of the layers behind them
    heads: Annotated[int, Field(ge=1)] = 4  # attention_fusion
    modality_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2  # share of the modalities left out in training
    images: images_networks.Network = images_networks.Network()
    text: text_networks.Network = text_networks.Network()
    audio: audio_networks.Network = audio_networks.Network()
    tabular: tabular_networks.Network = tabular_networks.Network()

    @model_validator(mode="after")
    def _heads(self) -> "Network":
        if self.model == "attention_fusion" and self.width % self.heads:
            raise ValueError(
                f"width {self.width} cannot be divided among {self.heads} heads: choose a multiple of heads"
            )
        return self


def check(network: Network, params: Params) -> None:
    """Raise ValueError where an image is too small for its network."""
    for name, own in params.images.items():
        try:
            images_networks.check(network.images, own)
        except ValueError as error:
            raise ValueError(f"images.{error} (of {name}: multimodal.images.{name})") from None


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """A vector per modality; one that is missing is a vector that was learned for that.

    Late fusion puts them side by side; attention lets them attend to each other, in one pre-norm block (as in a
    Transformer, Vaswani and others 2017), and takes their mean. In training, modalities are left out at random
    (ModDrop: Neverova and others 2016, https://arxiv.org/abs/1501.00102), so that the model can do without.
    """
    import keras
    from keras import layers, ops

    every = modalities(params)
    present = keras.Input((len(every),), dtype="int32", name=PRESENT)
    there = ops.cast(ops.equal(present, THERE), "float32")
    if network.modality_dropout:  # what is left of a 1 is more than 1 in training, where others are 0
        there = ops.sign(layers.Dropout(network.modality_dropout, name="modality_dropout")(there))
    given: dict[str, Any] = {PRESENT: present}
    vectors = []
    for at, modality in enumerate(every):
        encoder = _encoder(network, modality, params, state, dropout)
        own = {
            name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=modality.called(name))
            for name, tensor in encoder.input.items()
        }
        given |= {tensor.name: tensor for tensor in own.values()}
        if "tokens" in own:  # of a text that is missing none is there, and the mean of none is not a number
            first = np.eye(1, own["tokens"].shape[1], dtype=np.int32)
            own["tokens"] = ops.maximum(own["tokens"], first)
        x = layers.Dense(network.width, activation="gelu", name=f"{modality.name}_vector")(encoder(own))
        one = there[:, at : at + 1]
        x = layers.Multiply(name=f"{modality.name}_there")([x, one])
        # a bias alone, of a layer that reads nothing else
        none = layers.Dense(network.width, use_bias=False, name=f"{modality.name}_missing")(ops.subtract(1.0, one))
        vectors.append(layers.Add(name=f"{modality.name}_or_missing")([x, none]))
    if network.model == "late_fusion":
        x = layers.Concatenate(name="joined")(vectors)
        for number, units in enumerate(network.hidden, 1):
            x = layers.Dense(units, activation="gelu", name=f"hidden_{number}")(x)
            x = layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x
    else:
        x = _attended(ops.stack(vectors, axis=1), network, dropout)
    return keras.Model(given, head(x, target(params), state), name="multimodal")


def _encoder(network: Network, modality: Modality, params: Params, state: State, dropout: float) -> "keras.Model":
    """The layers of a modality's recipe but the last, as a model of its own: the names of layers are each one's own."""
    import keras

    kind = modality.recipe.__name__.split(".")[-2]
    module, settings = ENCODERS[kind], getattr(network, kind)
    more = (len(target(params).names),) if module is tabular_networks else ()
    given, x = module.features(settings, modality.params, state[modality.name], dropout, *more)
    return keras.Model(given, x, name=f"{modality.name}_encoder")


def _attended(x: Any, network: Network, dropout: float) -> Any:
    """Modalities `(n, modalities, width)` to `(n, width)`."""
    from keras import layers

    y = layers.LayerNormalization(epsilon=1e-6, name="attention_norm")(x)
    attention = layers.MultiHeadAttention(
        network.heads, network.width // network.heads, dropout=dropout, name="attention"
    )
    x = layers.Add(name="attended")([x, attention(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6, name="forward_norm")(x)
    y = layers.Dense(2 * network.width, activation="gelu", name="forward_in")(y)
    y = layers.Dense(network.width, name="forward_out")(layers.Dropout(dropout, name="dropout")(y) if dropout else y)
    x = layers.LayerNormalization(epsilon=1e-6, name="last_norm")(layers.Add(name="forwarded")([x, y]))
    return layers.GlobalAveragePooling1D(name="average")(x)
