"""Networks of the recipe images: Keras, for training only; what is served is their export."""

from typing import TYPE_CHECKING, Any

import numpy as np

from components.recipes import State
from components.recipes.images.example import RESNETS, VITS, Params, filters_of, patch_of, target
from components.recipes.networks import head

if TYPE_CHECKING:
    import keras


def build(params: Params, state: State, dropout: float) -> "keras.Model":
    """Build the MLP, CNN, ResNet or ViT that `model` names; pixels are scaled in it, so that it takes bytes."""
    import keras

    image = keras.Input((params.height, params.width, params.channels), dtype="uint8", name="image")
    if params.scale == "unit":
        x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    else:
        mean, deviation = np.array(state["mean"]), np.array(state["deviation"])
        x = keras.layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist(), name="scale")(image)
    body = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "vit": _vit}[params.model]
    x = body(x, params, dropout)
    return keras.Model({"image": image}, head(x, target(params), state), name="images")


def _dropout(x: Any, rate: float, name: str) -> Any:
    import keras

    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _mlp(x: Any, params: Params, dropout: float) -> Any:
    """Dense hidden layers with ReLU."""
    import keras

    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(params.hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
        x = _dropout(x, dropout, f"dropout_{number}")
    return x


def _convolution(x: Any, filters: int, side: int, name: str, stride: int = 1) -> Any:
    """A convolution without bias, since a batch norm follows; weights after He and others 2015 (arXiv 1502.01852)."""
    import keras

    return keras.layers.Conv2D(
        filters, side, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def _norm_relu(x: Any, name: str) -> Any:
    import keras

    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _cnn(x: Any, params: Params, dropout: float) -> Any:
    """Blocks of two 3 x 3 convolutions (VGG; Simonyan and Zisserman 2015) with batch norm, then the average."""
    import keras

    for number, filters in enumerate(filters_of(params), 1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{number}")(x)
            x = _dropout(x, dropout, f"dropout_{number}")
        for part in (1, 2):
            name = f"block_{number}_{part}"
            x = _norm_relu(_convolution(x, filters, 3, name), name)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return _dropout(x, dropout, "dropout")


def _resnet(x: Any, params: Params, dropout: float) -> Any:
    """ResNet v2, full pre-activation (He and others 2016, arXiv 1603.05027); a small image has the stem of CIFAR."""
    import keras

    filters, stages, bottleneck = RESNETS[params.depth]
    if min(params.height, params.width) < 64 or params.depth == 20:
        x = _convolution(x, filters, 3, "stem")
    else:
        x = _convolution(x, filters, 7, "stem", 2)
        x = keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)
    for stage, blocks in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _residual(x, filters * 2 ** (stage - 1), stride, f"stage_{stage}_{block}", bottleneck=bottleneck)
    x = _norm_relu(x, "last")
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return _dropout(x, dropout, "dropout")


def _residual(x: Any, filters: int, stride: int, name: str, *, bottleneck: bool) -> Any:
    """One unit: norm, ReLU and convolution, two or three times, added to the input or a projection of it."""
    import keras

    out = 4 * filters if bottleneck else filters
    y = _norm_relu(x, f"{name}_1")
    if stride > 1 or x.shape[-1] != out:
        x = _convolution(y, out, 1, f"{name}_shortcut", stride)
    if bottleneck:
        y = _norm_relu(_convolution(y, filters, 1, f"{name}_1"), f"{name}_2")
        y = _norm_relu(_convolution(y, filters, 3, f"{name}_2", stride), f"{name}_3")
        y = _convolution(y, out, 1, f"{name}_3")
    else:
        y = _norm_relu(_convolution(y, filters, 3, f"{name}_1", stride), f"{name}_2")
        y = _convolution(y, filters, 3, f"{name}_2")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _vit(x: Any, params: Params, dropout: float) -> Any:
    """A Vision Transformer, pre-norm (Dosovitskiy and others 2021, arXiv 2010.11929).

    The average of all tokens is classified instead of a token of its own (their appendix D.3; Beyer and others 2022).
    """
    import keras

    side = patch_of(params)
    width, layers, heads, factor = VITS[params.size]
    rows, columns = -(-params.height // side), -(-params.width // side)
    rest = ((0, rows * side - params.height), (0, columns * side - params.width))
    if rest != ((0, 0), (0, 0)):
        x = keras.layers.ZeroPadding2D(rest, name="whole_patches")(x)
    x = keras.layers.Reshape((rows, side, columns, side, params.channels), name="cut")(x)
    x = keras.layers.Permute((1, 3, 2, 4, 5), name="patches")(x)
    x = keras.layers.Reshape((rows * columns, side * side * params.channels), name="flat_patches")(x)
    # the bias of a token is its learned position; the same sum as an embedding's, without a layer of our own
    normal = keras.initializers.RandomNormal(stddev=0.02)
    x = keras.layers.EinsumDense(
        "ntp,pd->ntd", (rows * columns, width), bias_axes="td", bias_initializer=normal, name="embedding"
    )(x)
    x = _dropout(x, dropout, "embedding_dropout")
    for number in range(1, layers + 1):
        name = f"layer_{number}"
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_1")(x)
        y = keras.layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")(y, y)
        y = _dropout(y, dropout, f"{name}_dropout_1")
        x = keras.layers.Add(name=f"{name}_add_1")([x, y])
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_2")(x)
        y = keras.layers.Dense(factor * width, activation="gelu", name=f"{name}_dense_1")(y)
        y = _dropout(y, dropout, f"{name}_dropout_2")
        y = keras.layers.Dense(width, name=f"{name}_dense_2")(y)
        y = _dropout(y, dropout, f"{name}_dropout_3")
        x = keras.layers.Add(name=f"{name}_add_2")([x, y])
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x)
    return keras.layers.GlobalAveragePooling1D(name="average")(x)
