"""Networks of the recipe detection: one stage, no anchors; Keras, for training only.

What is found where is a map for each class with a peak in the middle of each box (CenterNet: Zhou and others 2019,
arXiv:1904.07850), and in each place stand the distances to the edges of the box that it lies in (TTFNet: Liu and others
2020, arXiv:1909.00700; FCOS: Tian and others 2019, arXiv:1904.01355). The map is the last one of a top-down path (FPN:
Lin and others 2017, arXiv:1612.03144).
"""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from components.recipes import State
from components.recipes.detection.example import Params
from components.recipes.images.networks import Units, convolution, dropped, norm_relu, residual, scaled

if TYPE_CHECKING:
    import keras

PRIOR = 0.1  # probability of anything in a place before the training (Lin and others 2017, arXiv:1708.02002)
REACH = 1 / 8  # of the image's side: a distance before the training is ln 2 of it
sample: dict[str, Any] = {"filters": [16, 32], "blocks": 1, "stride": 2, "neck": 16}


class Network(BaseModel):
    """The section `network` of params.yaml for the recipe detection."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: Literal["cnn", "resnet"] = "cnn"
    # of each block, each halves the image; null: as the size asks for
    filters: Annotated[list[Units], Field(min_length=1)] | None = None
    blocks: Units = 2  # cnn: convolutions of each block; resnet: residual units
    # pixels of a place's side: two things in one place are found as one; null: 8, or what the blocks reach
    stride: Literal[2, 4, 8, 16, 32] | None = None
    neck: Units = 64  # filters of the top-down path and of what follows


def check(network: Network, params: Params) -> None:
    """Raise ValueError where the blocks do not reach the stride, or the image is too small for them."""
    blocks, shortest = len(filters_of(network, params)), min(params.height, params.width)
    if stride_of(network, params) > 2**blocks:
        raise ValueError(
            f"stride: {blocks} blocks halve the image {blocks} times, which makes strides of 2 to {2**blocks}"
        )
    if shortest < 2**blocks:
        raise ValueError(
            f"filters: {blocks} blocks halve an image of {params.width} x {params.height} until nothing is left: use "
            "fewer blocks or enlarge detection.height and detection.width"
        )


def filters_of(network: Network, params: Params) -> list[int]:
    """Of each block; by default 16, doubled up to 128, until the image is halved to less than 8 pixels, at most 5."""
    if network.filters is not None:
        return network.filters
    blocks = max(1, min(5, int(math.log2(min(params.height, params.width))) - 2))
    return [min(16 * 2**block, 128) for block in range(blocks)]


def stride_of(network: Network, params: Params) -> int:
    """Pixels of a place's side: by default 8, or what the blocks reach."""
    return network.stride or min(8, 2 ** len(filters_of(network, params)))


def build(network: Network, params: Params, state: State, dropout: float) -> "keras.Model":
    """Build the detector: maps `(n, rows, columns, names + 4)`, see components/serving/suppression.py."""
    import keras

    image, x = scaled(params, state)
    body = {"cnn": _cnn, "resnet": _resnet}[network.model]
    maps = body(x, network, filters_of(network, params))
    x = dropped(_top_down(maps, network.neck, stride_of(network, params)), dropout, "dropout")
    rows, columns = x.shape[1:3]
    normal = keras.initializers.RandomNormal(stddev=0.01)

    y = norm_relu(convolution(x, network.neck, 3, "what"), "what")
    rare = keras.initializers.Constant(-math.log(1 / PRIOR - 1))
    names = len(params.labels)
    y = keras.layers.Conv2D(names, 1, kernel_initializer=normal, bias_initializer=rare, dtype="float32", name="logits")(
        y
    )
    y = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(y)

    z = norm_relu(convolution(x, network.neck, 3, "where"), "where")
    z = keras.layers.Conv2D(4, 1, kernel_initializer=normal, dtype="float32", name="distances")(z)
    z = keras.layers.Activation("softplus", dtype="float32", name="positive")(z)
    signs = (np.array([-1, -1, 1, 1]) * REACH).tolist()  # an edge is the place's middle less or more a distance
    z = keras.layers.Rescaling(signs, _middles(rows, columns).tolist(), dtype="float32", name="edges")(z)
    maps = keras.layers.Concatenate(dtype="float32", name="maps")([y, z])
    return keras.Model({"image": image}, maps, name="detection")


def _middles(rows: int, columns: int) -> np.ndarray:
    """Return the middles of all places as shares of the image's sides, twice: `(rows, columns, 4)`."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    return np.stack([x, y, x, y], axis=-1)


def _cnn(x: Any, network: Network, every: list[int]) -> list[Any]:
    """Blocks of 3 x 3 convolutions (VGG; Simonyan and Zisserman 2015) with batch norm; the map of each block.

    The first convolution has a stride of 2: at the image's own size memory, not arithmetic, takes the time.
    """
    import keras

    maps = []
    for number, filters in enumerate(every, 1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool_{number}")(x)
        for part in range(1, network.blocks + 1):
            name = f"block_{number}_{part}"
            x = norm_relu(convolution(x, filters, 3, name, 2 if number == part == 1 else 1), name)
        maps.append(x)
    return maps


def _resnet(x: Any, network: Network, every: list[int]) -> list[Any]:
    """ResNet v2 as that of the recipe images, behind a convolution with a stride of 2; the map of each stage."""
    x = convolution(x, every[0], 3, "stem", 2)
    maps = [norm_relu(x, "stem_last")]
    for stage, filters in enumerate(every[1:], 2):
        for block in range(1, network.blocks + 1):
            x = residual(x, filters, 2 if block == 1 else 1, f"stage_{stage}_{block}", bottleneck=False)
        maps.append(norm_relu(x, f"stage_{stage}_last"))
    return maps


def _top_down(maps: list[Any], neck: int, stride: int) -> Any:
    """From the coarsest map to that of `stride`: each enlarged, and added to a finer one."""
    import keras

    x = None
    for number in range(len(maps), int(math.log2(stride)) - 1, -1):
        y, name = maps[number - 1], f"lateral_{number}"
        y = convolution(y, neck, 1, name)
        y = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(y)
        if x is not None:
            x = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"up_{number}")(x)
            rest = [(0, have - want) for have, want in zip(x.shape[1:3], y.shape[1:3], strict=True)]
            if rest != [(0, 0), (0, 0)]:  # a side was odd
                x = keras.layers.Cropping2D(rest, name=f"crop_{number}")(x)
            y = keras.layers.Add(name=f"add_{number}")([x, y])
        x = keras.layers.ReLU(name=f"{name}_relu")(y)
    return norm_relu(convolution(x, neck, 3, "neck"), "neck")
