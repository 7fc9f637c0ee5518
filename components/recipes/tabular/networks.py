"""Networks of the recipe tabular: Keras, for training only; what is served is their export."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import State
from components.recipes.networks import head
from components.recipes.tabular.example import Params, Settings, Size, categories_of, number_names, scaling, target

if TYPE_CHECKING:
    import keras

read_by = {
    **dict.fromkeys(("numeric_embedding", "frequencies", "sigma"), ("mlp", "transformer")),
    **dict.fromkeys(("embedding", "hidden", "batch_norm"), ("mlp",)),
    **dict.fromkeys(("width", "blocks", "heads"), ("transformer",)),
}
sample: dict[str, Any] = {"hidden": [16]}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe tabular."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["linear", "mlp", "transformer"] = "mlp"
    numeric_embedding: Literal["none", "piecewise", "periodic"] = "piecewise"  # of mlp and transformer
    frequencies: Size = 16  # of periodic
    sigma: Annotated[float, Field(gt=0)] = 0.1  # of periodic: the frequencies' initial deviation
    embedding: Size = 8  # width of a category's vector in the mlp, and of a periodic number's
    hidden: list[Size] = [256, 128]  # units of the mlp's hidden layers
    batch_norm: bool = False  # in the mlp
    width: Size = 64  # of the transformer: of a column's vector,
    blocks: Size = 2  # its blocks,
    heads: Size = 4  # and the heads of each

    @model_validator(mode="after")
    def _heads(self) -> "Network":
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} cannot be divided among {self.heads} heads: choose a multiple of heads"
            )
        return self


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """A linear model, an MLP with embeddings, or an FT-Transformer."""
    import keras

    given, x = features(network, params, state, dropout, len(target(params).names))
    return keras.Model(given, head(x, target(params), state), name="tabular")


def features(
    network: Network, params: Settings, state: State, dropout: float, answers: int
) -> tuple[dict[str, Any], Any]:
    """All of `build` but the last layers: its inputs, and `(n, features)`; `answers` are those of a linear model."""
    import keras

    sizes = categories_of(params, state)
    given: dict[str, Any] = {}
    if names := number_names(params, state["timeless"]):
        given["numeric"] = keras.Input((len(names),), dtype="float32", name="numeric")
    if sizes:
        given["categorical"] = keras.Input((len(sizes),), dtype="int32", name="categorical")
    if network.model == "linear":
        return given, _linear(given, params, state, answers)
    return given, (_mlp if network.model == "mlp" else _transformer)(given, network, params, state, dropout)


def _linear(given: dict[str, Any], params: Settings, state: State, answers: int) -> Any:
    """The numbers, and for each category's value a number for each answer: logistic or linear regression."""
    import keras

    parts = [given["numeric"]] if "numeric" in given else []
    if "categorical" in given:
        vectors = _embedded(given["categorical"], params, state, answers, "coefficients")
        parts.append(keras.ops.sum(vectors, axis=1))
    return _joined(parts)


def _mlp(given: dict[str, Any], network: Network, params: Settings, state: State, dropout: float) -> Any:
    """Hidden layers over the numbers and a vector for each category's value.

    Guo and Berkhahn (2016), "Entity Embeddings of Categorical Variables", https://arxiv.org/abs/1604.06737.
    """
    import keras

    parts = []
    if "numeric" in given:
        x = _channels(given["numeric"], network, params, state)
        if network.numeric_embedding == "periodic":
            x = _by_column(x, network.embedding, "periodic_embedding", activation="relu")
        parts.append(keras.layers.Flatten(name="numbers")(x))
    if "categorical" in given:
        vectors = _embedded(given["categorical"], params, state, network.embedding)
        parts.append(keras.layers.Flatten(name="categories")(vectors))
    x = _joined(parts)
    for number, units in enumerate(network.hidden, 1):
        x = keras.layers.Dense(units, use_bias=not network.batch_norm, name=f"hidden_{number}")(x)
        if network.batch_norm:
            x = keras.layers.BatchNormalization(name=f"batch_norm_{number}")(x)
        x = keras.layers.Activation("relu", name=f"relu_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x
    return x


def _transformer(given: dict[str, Any], network: Network, params: Settings, state: State, dropout: float) -> Any:
    """FT-Transformer: a vector a column and one for the answer, attending to each other.

    Gorishniy, Rubachev, Khrulkov and Babenko (2021), "Revisiting Deep Learning Models for Tabular Data",
    https://arxiv.org/abs/2106.11959: pre-norm blocks (none before the first attention), ReGLU with 4/3 of the
    width, the answer of layer norm and ReLU of the vector in front.
    """
    import keras

    layers, ops = keras.layers, keras.ops
    some = next(iter(given.values()))
    first = layers.Embedding(1, network.width, name="answer_token")(ops.cast(ops.zeros_like(some[:, :1]), "int32"))
    tokens = [first]
    if "numeric" in given:
        tokens.append(_by_column(_channels(given["numeric"], network, params, state), network.width, "numeric_tokens"))
    if "categorical" in given:
        tokens.append(_embedded(given["categorical"], params, state, network.width))
    x = layers.Concatenate(axis=1, name="tokens")(tokens)
    inner = max(1, network.width * 4 // 3)
    for number in range(1, network.blocks + 1):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"attention_norm_{number}")(x) if number > 1 else x
        attention = layers.MultiHeadAttention(
            network.heads, network.width // network.heads, dropout=dropout, name=f"attention_{number}"
        )
        x = layers.Add(name=f"attended_{number}")([x, attention(y, y)])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"forward_norm_{number}")(x)
        gate = layers.Dense(inner, activation="relu", name=f"gate_{number}")(y)
        y = layers.Multiply(name=f"gated_{number}")([layers.Dense(inner, name=f"forward_{number}")(y), gate])
        y = layers.Dropout(dropout, name=f"dropout_{number}")(y) if dropout else y
        x = layers.Add(name=f"forwarded_{number}")([x, layers.Dense(network.width, name=f"back_{number}")(y)])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, 0])
    return layers.Activation("relu", name="answer")(x)


def _joined(parts: list[Any]) -> Any:
    import keras

    return keras.layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]


def _embedded(codes: Any, params: Settings, state: State, width: int, name: str = "embedding") -> Any:
    """Give each code of each column a vector: `(n, columns)` to `(n, columns, width)`; one table for all columns."""
    import keras

    sizes = list(categories_of(params, state).values())
    offsets = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
    return keras.layers.Embedding(sum(sizes), width, name=name)(keras.ops.add(codes, offsets))


def _by_column(x: Any, width: int, name: str, activation: str | None = None) -> Any:
    """A dense layer for each column: `(n, columns, channels)` to `(n, columns, width)`."""
    import keras

    layer = keras.layers.EinsumDense(
        "nck,ckd->ncd", (x.shape[1], width), bias_axes="cd", activation=activation, name=name
    )
    return layer(x)


def _channels(numbers: Any, network: Network, params: Settings, state: State) -> Any:
    """Numbers `(n, columns)` to `(n, columns, channels)`: each itself, and its embedding.

    Gorishniy, Rubachev and Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep Learning",
    https://arxiv.org/abs/2203.05556: piecewise linear (equation 1; here bounded to 0 .. 1 at both ends too, the
    number itself goes on) over bins of the training data's quantiles, or periodic (equation 2).
    """
    import keras

    ops = keras.ops
    x = keras.layers.Reshape((-1, 1), name="numbers_apart")(numbers)
    if network.numeric_embedding == "none":
        return x
    if network.numeric_embedding == "periodic":
        layer = keras.layers.EinsumDense(
            "nck,ckd->ncd",
            (x.shape[1], network.frequencies),
            kernel_initializer=keras.initializers.RandomNormal(stddev=2 * np.pi * network.sigma),
            name="frequencies",
        )
        waves = layer(x)
        return keras.layers.Concatenate(name="channels")([x, ops.sin(waves), ops.cos(waves)])
    edges = state["edges"]
    bins = max(1, *(len(listed) - 1 for listed in edges))
    start, slope = np.zeros((2, len(edges), bins), np.float32)  # a bin that a column does not have stays 0
    for column, listed in enumerate(edges):
        if listed:
            one = {key: value if key == "normal" else [value[column]] for key, value in state["scale"].items()}
            scaled = scaling.scale(np.array(listed)[:, None], one, params.clip)[:, 0]
            wide = np.diff(scaled)
            start[column, : len(wide)] = scaled[:-1]
            slope[column, : len(wide)] = np.where(wide > 0, 1 / np.where(wide > 0, wide, 1), 0)
    pieces = ops.clip(ops.multiply(ops.subtract(x, start), slope), 0.0, 1.0)
    return keras.layers.Concatenate(name="channels")([x, pieces])
