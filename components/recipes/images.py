"""Pictures, one label each: the encoded bytes of any format that Pillow reads."""

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from components.recipes import Arrays, Input, State, Target, head

if TYPE_CHECKING:
    import keras

requirements = ("pillow",)
Size = Annotated[int, Field(ge=1, le=8192)]


class Params(BaseModel):
    """The section `images` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    height: Size = 28
    width: Size = 28
    channels: Literal[1, 3] = 1  # grey or RGB
    labels: Annotated[list[str], Field(min_length=2)] = [str(digit) for digit in range(10)]
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000  # larger pictures are not even decoded
    hidden: list[Annotated[int, Field(ge=1)]] = [512]  # units of the MLP's hidden layers


def columns(params: Params) -> pa.Schema:  # noqa: ARG001
    """One column: the file's bytes."""
    return pa.schema({"image": pa.binary()})


def target(params: Params) -> Target:
    """One of the labels."""
    return Target("label", tuple(params.labels))


def facts(table: pa.Table, params: Params) -> pa.Table:
    """Width, height, pixels, mode and format from the header; decodable, if all of it can be read."""
    rows = [_facts(data, params) for data in table["image"].to_pylist()]
    types = {
        "width": pa.int64(),
        "height": pa.int64(),
        "pixels": pa.int64(),
        "mode": pa.string(),
        "format": pa.string(),
        "decodable": pa.bool_(),
    }
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def _facts(data: bytes | None, params: Params) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(("width", "height", "pixels", "mode", "format")) | {"decodable": False}
    try:
        with _open(data) as image:
            known |= {"width": image.width, "height": image.height, "pixels": image.width * image.height}
            known |= {"mode": image.mode, "format": image.format}
            if known["pixels"] <= params.max_pixels:
                image.load()
                known["decodable"] = True
    except ValueError:
        pass
    except Exception:  # noqa: BLE001, S110 - Pillow's plugins raise anything on a hostile file
        pass
    return known


def _open(data: bytes | None) -> Any:
    from PIL import Image

    if not data:
        raise ValueError("the image is empty")
    Image.MAX_IMAGE_PIXELS = None  # our own limit, max_pixels, is checked before anything is decoded
    return Image.open(io.BytesIO(data))


def fit(tables: Iterable[pa.Table], params: Params) -> State:  # noqa: ARG001
    """Nothing to fit: the model scales bytes to 0..1 itself."""
    return {}


def encode(table: pa.Table, params: Params, state: State) -> Arrays:  # noqa: ARG001
    """Pixels `(n, height, width, channels)` uint8; other sizes are resized, other modes converted."""
    data = table["image"].to_pylist()
    pixels = np.empty((len(data), params.height, params.width, params.channels), np.uint8)
    for row, item in enumerate(data):
        pixels[row] = _pixels(item, params)
    return {"image": pixels}


def _pixels(data: bytes | None, params: Params) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with _open(data) as image:
            if image.width * image.height > params.max_pixels:
                raise ValueError(f"the image has {image.width} x {image.height} pixels, over {params.max_pixels}")
            if image.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # noqa: PLW2901
            picture = image.convert("L" if params.channels == 1 else "RGB")
            if picture.size != (params.width, params.height):
                picture = picture.resize((params.width, params.height), Image.Resampling.BILINEAR)
            return np.asarray(picture).reshape(params.height, params.width, params.channels)
    except UnidentifiedImageError:  # its own message names an address in memory
        raise ValueError("the image cannot be decoded: no format that is known") from None
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise anything on a hostile file
        raise ValueError(f"the image cannot be decoded: {error}") from None


def inputs(params: Params, state: State) -> dict[str, Input]:  # noqa: ARG001
    """One picture."""
    return {"image": Input("image")}


def build(params: Params, state: State, dropout: float) -> "keras.Model":
    """An MLP: pixels scaled to 0..1, dense hidden layers with ReLU, softmax."""
    import keras

    image = keras.Input((params.height, params.width, params.channels), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(params.hidden, 1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x
    answer = head(x, target(params), state)
    return keras.Model({"image": image}, answer, name="images")


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Noisy 6 x 6 pictures in PNG: a bright left half is `left`, a bright right half `right`."""
    from PIL import Image

    random = np.random.default_rng(seed)
    side = random.integers(0, 2, rows)
    pixels = random.integers(0, 120, (rows, 6, 6)).astype(np.uint8)
    images = []
    for picture, right in zip(pixels, side, strict=True):
        picture[:, 3 * right : 3 * right + 3] += 120
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        images.append(buffer.getvalue())
    labels = ["left", "right"]
    section = {"height": 6, "width": 6, "labels": labels, "hidden": [16]}
    return section, pa.table({"image": images, "label": [labels[i] for i in side]})
