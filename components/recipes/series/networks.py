"""Networks of the recipe series: Keras, for training only; what is served is their export."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import State
from components.recipes.series.example import Count, Params, calendar, season_of

if TYPE_CHECKING:
    import keras

read_by = {
    **dict.fromkeys(("filters", "kernel"), ("cnn",)),
    **dict.fromkeys(("patch", "width", "heads", "blocks"), ("transformer",)),
}
sample: dict[str, Any] = {}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe series."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["seasonal_naive", "linear", "cnn", "transformer"] = "linear"
    filters: Count = 32  # cnn: channels of its layers
    kernel: Annotated[int, Field(ge=2)] = 3  # cnn: steps under a filter
    patch: Annotated[int, Field(ge=2)] = 16  # transformer: steps of a patch; the next begins half a patch later
    width: Count = 64  # transformer: of a patch's vector
    heads: Count = 4
    blocks: Count = 2

    @model_validator(mode="after")
    def _heads(self) -> "Network":
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, which is not a multiple of heads ({self.heads})")
        return self


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """A forecast of the normalised history, scaled back: outputs `(n, names)` float32 in the values' own units.

    Each history is centred on its mean and divided by its deviation, and the forecast has both again (reversible
    instance normalisation without its affine part, Kim et al. 2022). linear: one linear map from the history to the
    horizon, shared by all columns (RLinear, Li et al. 2023, arXiv:2305.10721; Zeng et al. 2023, arXiv:2205.13504).
    cnn: residual blocks of dilated causal convolutions, as many as it takes to see the whole history (Bai et al. 2018,
    arXiv:1803.01271). transformer: half-overlapping patches of each column on its own (PatchTST, Nie et al. 2023,
    arXiv:2211.14730), with the norms before attention and MLP. The calendar and the group add to the forecast.
    seasonal_naive reads the history alone: it repeats the last season and learns nothing.
    """
    import keras
    from keras import layers, ops

    shape = (len(params.values), params.horizon)
    history = keras.Input((params.history, len(params.values)), dtype="float32", name="history")
    if network.model == "seasonal_naive":
        last = layers.Permute((2, 1), dtype="float32", name="columns")(ops.take(history, season_of(params), axis=1))
        answer = layers.Reshape((shape[0] * shape[1],), dtype="float32", name="values")(last)
        return keras.Model({"history": history}, answer, name="series")

    inputs = {"history": history}
    units = np.reshape(state["target"]["deviation"], shape).mean(axis=1)  # so that 1e-5 means little in any unit
    x = layers.Rescaling((1 / units).tolist(), dtype="float32", name="units")(history)
    mean = ops.mean(x, axis=1, keepdims=True)
    x = x - mean
    deviation = ops.sqrt(ops.mean(ops.square(x), axis=1, keepdims=True) + 1e-5)
    x = x / deviation
    x = {"linear": _linear, "cnn": _cnn, "transformer": _transformer}[network.model](x, network, params, dropout)
    context = []
    if cycles := calendar.cycles(params):
        inputs["calendar"] = keras.Input((2 * len(cycles),), dtype="float32", name="calendar")
        context.append(inputs["calendar"])
    if params.group:
        inputs["group"] = keras.Input((1,), dtype="int32", name="group")
        zeros = "zeros"  # a group that was never seen adds nothing
        vector = layers.Embedding(len(state["groups"]) + 1, 8, embeddings_initializer=zeros, name="embed_group")
        context.append(vector(inputs["group"][:, 0]))
    if context:
        known = layers.Concatenate(name="context")(context) if len(context) > 1 else context[0]
        shift = layers.Dense(shape[0] * shape[1], name="shift")(known)
        x = layers.Add(name="shifted")([x, layers.Reshape(shape, name="shift_steps")(shift)])
    x = layers.Activation("linear", dtype="float32", name="standardised")(x)
    back = {"level": mean, "spread": deviation}
    for name, part in back.items():
        part = layers.Rescaling(units.tolist(), dtype="float32", name=f"{name}_units")(part)  # noqa: PLW2901
        back[name] = layers.Permute((2, 1), dtype="float32", name=name)(part)
    # in this order: Keras on TensorFlow takes one number per example for a bias of the steps, where there are as many
    x = back["level"] + x * back["spread"]
    answer = layers.Reshape((shape[0] * shape[1],), dtype="float32", name="values")(x)
    return keras.Model(inputs, answer, name="series")


def _linear(x: Any, network: Network, params: Params, dropout: float) -> Any:  # noqa: ARG001
    """Normalised histories `(n, history, columns)` to forecasts `(n, columns, horizon)`."""
    from keras import layers

    x = layers.Permute((2, 1), name="columns")(x)
    x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
    # from zero, the forecast starts as the history's mean, and few epochs leave most of hundreds of lags small
    return layers.Dense(params.horizon, kernel_initializer="zeros", name="forecast")(x)


def _cnn(x: Any, network: Network, params: Params, dropout: float) -> Any:
    """Normalised histories `(n, history, columns)` to forecasts `(n, columns, horizon)`."""
    from keras import layers

    seen, number = 1, 0
    while seen < params.history:
        name, skip = f"block_{number + 1}", x
        for part in ("a", "b"):
            convolution = {"padding": "causal", "dilation_rate": 2**number, "activation": "relu"}
            x = layers.Conv1D(network.filters, network.kernel, name=f"{name}_{part}", **convolution)(x)
            x = layers.Dropout(dropout, name=f"{name}_dropout_{part}")(x) if dropout else x
        if number == 0:  # as many channels as the blocks have
            skip = layers.Conv1D(network.filters, 1, name="widen")(skip)
        x = layers.Add(name=f"{name}_add")([x, skip])
        seen += 2 * (network.kernel - 1) * 2**number
        number += 1
    x = layers.Dense(len(params.values) * params.horizon, name="forecast")(x[:, -1])
    return layers.Reshape((len(params.values), params.horizon), name="steps")(x)


def _transformer(x: Any, network: Network, params: Params, dropout: float) -> Any:
    """Normalised histories `(n, history, columns)` to forecasts `(n, columns, horizon)`."""
    from keras import layers, ops

    size = min(network.patch, params.history)
    stride = max(size // 2, 1)
    starts = range((params.history - size) % stride, params.history - size + 1, stride)  # the last step is in
    index = [list(range(start, start + size)) for start in starts]
    x = layers.Permute((2, 1), name="columns")(x)
    x = ops.reshape(ops.take(x, np.array(index), axis=2), (-1, len(index), size))  # each column on its own
    # a bias of its own for each patch is a learned embedding of its position
    project = layers.EinsumDense("bnp,pd->bnd", (len(index), network.width), bias_axes="nd", name="patches")
    x = project(x)
    x = layers.Dropout(dropout, name="patches_dropout")(x) if dropout else x
    for number in range(1, network.blocks + 1):
        name = f"block_{number}"
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_a")(x)
        attention = layers.MultiHeadAttention(
            network.heads, network.width // network.heads, dropout=dropout, name=f"{name}_attention"
        )
        x = layers.Add(name=f"{name}_add_a")([x, attention(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_b")(x)
        y = layers.Dense(2 * network.width, activation="gelu", name=f"{name}_mlp_a")(y)
        y = layers.Dense(network.width, name=f"{name}_mlp_b")(y)
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y) if dropout else y
        x = layers.Add(name=f"{name}_add_b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(params.horizon, name="forecast")(x)
    return ops.reshape(x, (-1, len(params.values), params.horizon))
