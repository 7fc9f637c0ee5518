"""Networks of the recipe text: Keras, for training only; what is served is their export."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from components.recipes import Arrays, State
from components.recipes.networks import Pretraining, head
from components.recipes.text.example import SPECIAL_TOKENS, Params, Settings, ngrams, target, tokenizer_of

if TYPE_CHECKING:
    import keras

# layers, width, heads: Turc, Chang, Lee and Toutanova 2019 (arXiv:1908.08962), table 1; base is Devlin 2019's
ENCODERS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
}
MASKED_SHARE = 0.15  # of the tokens, in pretraining
read_by = dict.fromkeys(("hidden", "bayes"), ("ngrams",)) | dict.fromkeys(
    ("model_size", "norm", "pooling", "pretraining_epochs"), ("pieces",)
)
moved = {"model: ngrams": "encoding: ngrams", "model: transformer": "encoding: pieces"}
sample: dict[str, Any] = {}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe text; which network it is follows from text.encoding."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    # ngrams: weighted n-grams
    hidden: Annotated[int, Field(ge=0)] = 0  # width of a hidden layer (fastText); 0: logistic regression
    bayes: bool = True  # scale by log-count ratios (NB-SVM)
    # pieces: a Transformer
    model_size: Literal["tiny", "mini", "small", "medium", "base"] = "tiny"
    norm: Literal["post", "pre"] = "post"  # layer normalisation behind each block (BERT), or before it
    pooling: Literal["mean", "cls"] = "mean"
    pretraining_epochs: Annotated[int, Field(ge=0)] = 0  # of masked-language modelling on the training split


def which(network: Network, params: Params) -> str:  # noqa: ARG001
    """Return what the network reads: it follows from the encoding."""
    return params.encoding


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """Weighted n-grams, or a Transformer encoder."""
    import keras

    given, x = features(network, params, state, dropout)
    model = keras.Model(given, head(x, target(params), state), name="text")
    if params.encoding == "ngrams" and not network.hidden:  # the coefficients are the logits' own
        outputs = len(params.labels)
        model.get_layer("logits").set_weights([np.eye(outputs), np.zeros(outputs)])
    return model


def features(network: Network, params: Settings, state: State, dropout: float) -> tuple[dict[str, Any], Any]:
    """All of `build` but the last layers: its inputs, and `(n, features)`."""
    answer = _pooled if params.encoding == "pieces" else _bag
    return answer(network, params, state, dropout)


def _bag(network: Network, params: Settings, state: State, dropout: float) -> tuple[dict[str, Any], Any]:
    """Logistic regression on the weights of n-grams, a hidden layer (Joulin 2016), or both side by side.

    With `bayes` a weight is scaled by the n-gram's log-count ratio (Wang and Manning 2012), one for each label.
    Dropout leaves out n-grams.
    """
    import keras
    from keras import layers

    vocabulary = ngrams.vocabulary(state["grams"], tuple(state["documents"]))
    rows, outputs = len(vocabulary.names), len(vocabulary.documents)
    bayes = network.bayes and outputs > 1  # there are no labels where numbers are predicted
    ids = keras.Input((params.length,), dtype="int32", name="ids")
    weights = keras.Input((params.length,), dtype="float32", name="weights")
    # 0 for n-gram 0 and 1 for any other: what stands for a token left out counts for nothing
    kept = layers.Rescaling(1.0, dtype="float32", name="number")(ids)
    kept = layers.ReLU(max_value=1.0, dtype="float32", name="kept")(kept)
    weight = layers.Multiply(name="weight")([weights, kept])
    weight = layers.Dropout(dropout, name="dropout")(weight) if dropout else weight
    parts = []
    if bayes or not network.hidden:
        x = layers.Embedding(rows, outputs, embeddings_initializer="zeros", name="coefficients")(ids)
        if bayes:
            scale = layers.Embedding(rows, outputs, embeddings_initializer="zeros", trainable=False, name="ratios")
            x = layers.Multiply(name="scaled")([x, scale(ids)])
            scale.set_weights([ngrams.ratios(vocabulary)])
        parts.append(layers.Dot(axes=1, name="linear")([weight, x]))
    if network.hidden:
        x = layers.Embedding(rows, network.hidden, name="vectors")(ids)
        x = layers.Dot(axes=1, name="mean")([weight, x])
        parts.append(layers.Activation("relu", name="hidden")(x))
    x = layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]
    return {"ids": ids, "weights": weights}, x


def _pooled(network: Network, params: Settings, state: State, dropout: float) -> tuple[dict[str, Any], Any]:
    """The encoder, the mean of its vectors or BERT's pooler on the first, and dropout."""
    from keras import layers

    tokens, there, x, _ = _encoder(network, params, state, dropout)
    if network.pooling == "mean":
        x = layers.GlobalAveragePooling1D(name="pooled")(x, mask=there)
    else:
        x = layers.Dense(x.shape[-1], "tanh", kernel_initializer=_start(), name="pooled")(x[:, 0])
    x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
    return {"tokens": tokens}, x


def _start() -> Any:
    """BERT's initialization; a new object for each layer, or all would draw the same numbers."""
    import keras

    return keras.initializers.TruncatedNormal(stddev=0.02)


def _encoder(network: Network, params: Settings, state: State, dropout: float) -> tuple[Any, Any, Any, Any]:
    """BERT's encoder (Devlin 2019): learned positions, GELU, layer normalisation behind each block.

    With norm: pre it stands before each block (Xiong 2020), and a last one behind all. Returns the input tokens
    `(n, length)`, where one is no padding, the vectors `(n, length, width)`, and the layer that embeds tokens.
    """
    import keras
    from keras import layers, ops

    depth, width, heads = ENCODERS[network.model_size]

    def normal(x: Any, name: str) -> Any:
        return layers.LayerNormalization(epsilon=1e-6, name=name)(x)

    def drop(x: Any, name: str) -> Any:
        return layers.Dropout(dropout, name=name)(x) if dropout else x

    pieces = tokenizer_of(state["tokenizer"], params.length).get_vocab_size()
    tokens = keras.Input((params.length,), dtype="int32", name="tokens")
    there = ops.not_equal(tokens, 0)
    places = ops.subtract(ops.cumsum(ops.ones_like(tokens), axis=1), 1)
    embed = layers.ReversibleEmbedding(pieces, width, embeddings_initializer=_start(), name="token_embedding")
    place = layers.Embedding(params.length, width, embeddings_initializer=_start(), name="position_embedding")
    x = layers.Add(name="embedding")([embed(tokens), place(places)])
    x = drop(normal(x, "embedding_norm"), "embedding_dropout")
    mask = ops.expand_dims(there, 1)
    post = network.norm == "post"
    for number in range(1, depth + 1):
        y = x if post else normal(x, f"attention_norm_{number}")
        attend = layers.MultiHeadAttention(
            heads, width // heads, dropout=dropout, kernel_initializer=_start(), name=f"attention_{number}"
        )
        y = drop(attend(y, y, attention_mask=mask), f"attention_dropout_{number}")
        x = layers.Add(name=f"attention_add_{number}")([x, y])
        x = normal(x, f"attention_norm_{number}") if post else x
        y = x if post else normal(x, f"forward_norm_{number}")
        y = layers.Dense(4 * width, "gelu", kernel_initializer=_start(), name=f"forward_in_{number}")(y)
        y = layers.Dense(width, kernel_initializer=_start(), name=f"forward_out_{number}")(y)
        y = drop(y, f"forward_dropout_{number}")
        x = layers.Add(name=f"forward_add_{number}")([x, y])
        x = normal(x, f"forward_norm_{number}") if post else x
    return tokens, there, x if post else normal(x, "last_norm"), embed


def pretraining(network: Network, params: Params, state: State, dropout: float) -> Pretraining | None:
    """Masked-language modelling (Devlin 2019) on the training split: tell the tokens that are hidden.

    Of each text 15 % of the tokens are to be told: 80 % of these are masked, 10 % replaced by any other, 10 % left.
    The last layer is the embedding of the tokens, turned round.
    """
    import keras
    from keras import layers, ops

    if params.encoding != "pieces" or not network.pretraining_epochs:
        return None
    most = math.ceil(MASKED_SHARE * (params.length - 2))
    tokens, _, x, embed = _encoder(network, params, state, dropout)
    places = keras.Input((most,), dtype="int32", name="places")
    x = ops.take_along_axis(x, ops.expand_dims(places, 2), axis=1)
    x = layers.Dense(x.shape[-1], "gelu", kernel_initializer=_start(), name="told")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="told_norm")(x)
    x = layers.Activation("softmax", dtype="float32", name="told_tokens")(embed(x, reverse=True))
    model = keras.Model({"tokens": tokens, "places": places}, x, name="masked")
    return Pretraining(model, partial(_masked, most, embed.input_dim), network.pretraining_epochs)


def _masked(
    most: int, pieces: int, arrays: Arrays, random: np.random.Generator
) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Hide tokens: {tokens, places}, what stood at the places `(n, most)`, weights of mean 1, 0 for unused places."""
    tokens = arrays["tokens"]
    eligible = tokens >= len(SPECIAL_TOKENS)
    count = np.minimum(np.ceil(MASKED_SHARE * eligible.sum(axis=1)), most)
    places = np.argsort(np.where(eligible, random.random(tokens.shape), 2), axis=1)[:, :most].astype(np.int32)
    used = np.arange(most) < count[:, None]
    told = np.take_along_axis(tokens, places, axis=1)
    draw = random.random(places.shape)
    other = random.integers(min(len(SPECIAL_TOKENS), pieces - 1), pieces, places.shape, dtype=np.int32)
    new = np.where(draw < 0.8, np.int32(SPECIAL_TOKENS.index("[MASK]")), np.where(draw < 0.9, other, told))
    hidden = tokens.copy()
    np.put_along_axis(hidden, places, np.where(used, new, told), axis=1)
    weights = used.astype(np.float32) * (used.size / max(int(used.sum()), 1))
    return {"tokens": hidden, "places": places}, told, weights
