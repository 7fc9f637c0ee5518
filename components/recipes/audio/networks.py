"""Networks of the recipe audio: Keras, for training only; what is served is their export."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from components.recipes import State
from components.recipes.audio.example import Params, Settings, target
from components.recipes.networks import head

if TYPE_CHECKING:
    import keras

CNN = {"tiny": (8, 16), "small": (16, 32, 64, 128), "medium": (32, 64, 128, 256)}  # filters of each block
CONFORMER = {"tiny": (24, 2, 2), "small": (96, 4, 4), "medium": (144, 8, 4)}  # width, blocks, attention heads
KERNEL = 15  # frames that a Conformer's convolution sees
sample: dict[str, Any] = {"model_size": "tiny"}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe audio."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["cnn", "conformer"] = "cnn"
    model_size: Literal["tiny", "small", "medium"] = "small"


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """A CNN or a small Conformer over the spectrogram, averaged over time, softmax."""
    import keras

    given, x = features(network, params, state, dropout)
    return keras.Model(given, head(x, target(params), state), name="audio")


def features(network: Network, params: Settings, state: State, dropout: float) -> tuple[dict[str, Any], Any]:  # noqa: ARG001
    """All of `build` but the last layers: its inputs, and `(n, features)`."""
    import keras

    spectrogram = keras.Input((params.frames, params.bands), dtype="float32", name="spectrogram")
    x = keras.layers.Reshape((params.frames, params.bands, 1), name="picture")(spectrogram)
    if network.model == "cnn":
        x = _cnn(x, network, dropout)
    else:
        x = keras.layers.GlobalAveragePooling1D(name="average")(conformer(x, network.model_size, dropout))
    x = keras.layers.Dropout(dropout, name="dropout")(x) if dropout else x
    return {"spectrogram": spectrogram}, x


def _cnn(x: Any, network: Network, dropout: float) -> Any:
    """Blocks of a 3 x 3 convolution with batch normalisation, each halving time and bands: `(n, filters)`.

    Between them whole maps are dropped (Tompson et al. 2015), at half the rate of the last layer's.
    """
    import keras

    for block, filters in enumerate(CNN[network.model_size], 1):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"convolution_{block}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"normal_{block}")(x)
        x = keras.layers.Activation("relu", name=f"relu_{block}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{block}")(x)
        x = keras.layers.SpatialDropout2D(dropout / 2, name=f"dropout_{block}")(x) if dropout else x
    return keras.layers.GlobalAveragePooling2D(name="average")(x)


def conformer(x: Any, size: str, dropout: float) -> Any:
    """An encoder after Gulati et al. 2020 (arXiv:2005.08100): `(n, frames, bands, 1)` to `(n, frames / 4, width)`.

    Subsampled four times by two convolutions; each block half a feed-forward, self-attention, a convolution
    module, half a feed-forward and a layer normalisation. Attention has no relative positions: recordings are
    short and of one length, and the convolutions tell what comes before what.
    """
    import keras

    width, blocks, heads = CONFORMER[size]
    for number in (1, 2):
        x = keras.layers.Conv2D(width // 2, 3, 2, padding="same", activation="relu", name=f"subsample_{number}")(x)
    frames = x.shape[1]
    x = keras.layers.Reshape((frames, x.shape[2] * x.shape[3]), name="frames")(x)
    x = keras.layers.Dense(width, name="project")(x)

    def dropped(x: Any, name: str) -> Any:
        return keras.layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x

    def normal(x: Any, name: str) -> Any:
        return keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_normal")(x)

    def forward(x: Any, name: str) -> Any:
        y = keras.layers.Dense(4 * width, activation="silu", name=f"{name}_widen")(normal(x, name))
        y = keras.layers.Dense(width, name=f"{name}_narrow")(dropped(y, f"{name}_inner"))
        y = keras.layers.Rescaling(0.5, name=f"{name}_half")(dropped(y, name))
        return keras.layers.Add(name=f"{name}_add")([x, y])

    def attention(x: Any, name: str) -> Any:
        y = normal(x, name)
        y = keras.layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=name)(y, y)
        return keras.layers.Add(name=f"{name}_add")([x, dropped(y, name)])

    def convolution(x: Any, name: str) -> Any:
        y = normal(x, name)
        gate = keras.layers.Dense(width, activation="sigmoid", name=f"{name}_gate")(y)
        y = keras.layers.Multiply(name=f"{name}_glu")([keras.layers.Dense(width, name=f"{name}_value")(y), gate])
        # its gradient is deterministic on a GPU with cuDNN 7.6.3 or later, as TensorFlow itself says
        y = keras.layers.DepthwiseConv1D(KERNEL, padding="same", use_bias=False, name=name)(y)
        y = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_batch_normal")(y)
        y = keras.layers.Dense(width, name=f"{name}_project")(keras.layers.Activation("silu", name=f"{name}_silu")(y))
        return keras.layers.Add(name=f"{name}_add")([x, dropped(y, name)])

    x = dropped(x, "project")
    for block in range(1, blocks + 1):
        x = forward(x, f"first_{block}")
        x = attention(x, f"attention_{block}")
        x = convolution(x, f"depthwise_{block}")
        x = forward(x, f"second_{block}")
        x = normal(x, f"block_{block}")
    return x
