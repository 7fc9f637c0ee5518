"""Networks of the recipe images: Keras, for training only; what is served is their export."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from components.recipes import State
from components.recipes.images.example import Params, Settings, Side, target
from components.recipes.networks import head

if TYPE_CHECKING:
    import keras

Units = Annotated[int, Field(ge=1)]
# Width, layers, heads and the factor of the MLP. `mini` is about ViT-Lite-6 (Hassani and others 2021) at half its
# width, tiny and small are those of DeiT (Touvron and others 2021), base is ViT-B (Dosovitskiy and others 2021).
VITS = {"mini": (128, 6, 4, 2), "tiny": (192, 12, 3, 4), "small": (384, 12, 6, 4), "base": (768, 12, 12, 4)}
# Filters of the stem, blocks of each stage, if a block has a bottleneck: ResNet-20 for CIFAR, and table 1 of He and
# others 2016a (arXiv 1512.03385).
RESNETS = {20: (16, (3, 3, 3), False), 18: (64, (2, 2, 2, 2), False), 50: (64, (3, 4, 6, 3), True)}
read_by = {"hidden": ("mlp",), "filters": ("cnn",), "depth": ("resnet",), "model_size": ("vit",), "patch": ("vit",)}
sample: dict[str, Any] = {"model": "mlp", "hidden": [16]}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe images."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["mlp", "cnn", "resnet", "vit"] = "cnn"
    hidden: list[Units] = [512]  # mlp: units of each hidden layer
    filters: Annotated[list[Units], Field(min_length=1)] | None = (
        None  # cnn: of each block, the image halved between; null: as the size asks for
    )
    depth: Literal[20, 18, 50] = 20  # resnet: 20 for small images, 18 and 50 for photographs
    model_size: Literal["mini", "tiny", "small", "base"] = "mini"  # vit
    patch: Side | None = None  # vit: pixels of a patch's side; null: as the size asks for


def check(network: Network, params: Settings) -> None:
    """Raise ValueError where the image is too small for the network."""
    shortest, picture = min(params.height, params.width), f"an image of {params.width} x {params.height}"
    blocks = len(filters_of(network, params))
    if network.model == "cnn" and shortest < (need := 2 ** (blocks - 1)):
        raise ValueError(
            f"filters: {blocks} blocks halve {picture} until nothing is left; they need {need} pixels per side: use "
            "fewer blocks or enlarge images.height and images.width"
        )
    if network.model == "resnet" and shortest < (need := 4 if network.depth == 20 else 8):
        raise ValueError(
            f"depth: {picture} is too small for ResNet-{network.depth}, which needs {need} pixels per side: "
            "enlarge images.height and images.width"
        )
    if network.model == "vit" and patch_of(network, params) > shortest:
        raise ValueError(f"patch: {network.patch} is larger than {picture}; leave it out to get one that fits")


def filters_of(network: Network, params: Settings) -> list[int]:
    """Of the CNN's blocks; by default 16, doubled up to 256, until the image is halved to less than 8 pixels."""
    if network.filters is not None:
        return network.filters
    blocks = max(1, int(math.log2(min(params.height, params.width))) - 1)
    return [min(16 * 2**block, 256) for block in range(blocks)]


def patch_of(network: Network, params: Settings) -> int:
    """Pixels of a patch's side; by default a power of two up to 16 that cuts the shorter side into 7 or more."""
    if network.patch is not None:
        return network.patch
    power = int(math.log2(max(1, min(params.height, params.width) / 7)))
    return 1 << min(4, power)


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """Build the MLP, CNN, ResNet or ViT that `model` names; pixels are scaled in it, so that it takes bytes."""
    import keras

    given, x = features(network, params, state, dropout)
    return keras.Model(given, head(x, target(params), state), name="images")


def features(network: Network, params: Settings, state: State, dropout: float) -> tuple[dict[str, Any], Any]:
    """All of `build` but the last layers: its inputs, and `(n, features)`."""
    image, x = scaled(params, state)
    body = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "vit": _vit}[network.model]
    return {"image": image}, body(x, network, params, dropout)


def scaled(params: Settings, state: State) -> tuple[Any, Any]:
    """The input, bytes, and its pixels as the section `images` scales them."""
    import keras

    image = keras.Input((params.height, params.width, params.channels), dtype="uint8", name="image")
    if params.scale == "unit":
        return image, keras.layers.Rescaling(1 / 255, name="scale")(image)
    mean, deviation = np.array(state["mean"]), np.array(state["deviation"])
    return image, keras.layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist(), name="scale")(image)


def dropped(x: Any, rate: float, name: str) -> Any:
    """Leave out some of the features while it is trained."""
    import keras

    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _mlp(x: Any, network: Network, params: Settings, dropout: float) -> Any:  # noqa: ARG001
    """Dense hidden layers with ReLU."""
    import keras

    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(network.hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
        x = dropped(x, dropout, f"dropout_{number}")
    return x


def convolution(x: Any, filters: int, side: int, name: str, stride: int = 1) -> Any:
    """A convolution without bias, since a batch norm follows; weights after He and others 2015 (arXiv 1502.01852)."""
    import keras

    return keras.layers.Conv2D(
        filters, side, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def norm_relu(x: Any, name: str) -> Any:
    """A batch norm and a ReLU."""
    import keras

    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _cnn(x: Any, network: Network, params: Settings, dropout: float) -> Any:
    """Blocks of two 3 x 3 convolutions (VGG; Simonyan and Zisserman 2015) with batch norm, then the average."""
    import keras

    for number, filters in enumerate(filters_of(network, params), 1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{number}")(x)
            x = dropped(x, dropout, f"dropout_{number}")
        for part in (1, 2):
            name = f"block_{number}_{part}"
            x = norm_relu(convolution(x, filters, 3, name), name)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return dropped(x, dropout, "dropout")


def _resnet(x: Any, network: Network, params: Settings, dropout: float) -> Any:
    """ResNet v2, full pre-activation (He and others 2016, arXiv 1603.05027); a small image has the stem of CIFAR."""
    import keras

    filters, stages, bottleneck = RESNETS[network.depth]
    if min(params.height, params.width) < 64 or network.depth == 20:
        x = convolution(x, filters, 3, "stem")
    else:
        x = convolution(x, filters, 7, "stem", 2)
        x = keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)
    for stage, blocks in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            x = residual(x, filters * 2 ** (stage - 1), stride, f"stage_{stage}_{block}", bottleneck=bottleneck)
    x = norm_relu(x, "last")
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return dropped(x, dropout, "dropout")


def residual(x: Any, filters: int, stride: int, name: str, *, bottleneck: bool) -> Any:
    """One unit: norm, ReLU and convolution, two or three times, added to the input or a projection of it."""
    import keras

    out = 4 * filters if bottleneck else filters
    y = norm_relu(x, f"{name}_1")
    if stride > 1 or x.shape[-1] != out:
        x = convolution(y, out, 1, f"{name}_shortcut", stride)
    if bottleneck:
        y = norm_relu(convolution(y, filters, 1, f"{name}_1"), f"{name}_2")
        y = norm_relu(convolution(y, filters, 3, f"{name}_2", stride), f"{name}_3")
        y = convolution(y, out, 1, f"{name}_3")
    else:
        y = norm_relu(convolution(y, filters, 3, f"{name}_1", stride), f"{name}_2")
        y = convolution(y, filters, 3, f"{name}_2")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _vit(x: Any, network: Network, params: Settings, dropout: float) -> Any:
    """A Vision Transformer, pre-norm (Dosovitskiy and others 2021, arXiv 2010.11929).

    The average of all tokens is classified instead of a token of its own (their appendix D.3; Beyer and others 2022).
    """
    import keras

    side = patch_of(network, params)
    width, layers, heads, factor = VITS[network.model_size]
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
    x = dropped(x, dropout, "embedding_dropout")
    for number in range(1, layers + 1):
        name = f"layer_{number}"
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_1")(x)
        y = keras.layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")(y, y)
        y = dropped(y, dropout, f"{name}_dropout_1")
        x = keras.layers.Add(name=f"{name}_add_1")([x, y])
        y = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_2")(x)
        y = keras.layers.Dense(factor * width, activation="gelu", name=f"{name}_dense_1")(y)
        y = dropped(y, dropout, f"{name}_dropout_2")
        y = keras.layers.Dense(width, name=f"{name}_dense_2")(y)
        y = dropped(y, dropout, f"{name}_dropout_3")
        x = keras.layers.Add(name=f"{name}_add_2")([x, y])
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x)
    return keras.layers.GlobalAveragePooling1D(name="average")(x)
