"""Images, one label each or several: the encoded bytes of a file, any size, grey or in colours."""

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from components.recipes import Arrays, Input, Labels, State
from components.targets import Target, multi_label, single_label

if TYPE_CHECKING:
    from PIL import Image

requirements = ("pillow",)
FACTS = {
    "width": pa.int64(),
    "height": pa.int64(),
    "pixels": pa.int64(),
    "mode": pa.string(),
    "format": pa.string(),
    "frames": pa.int64(),
    "decodable": pa.bool_(),
    "brightness": pa.float64(),
    "contrast": pa.float64(),
}
Side = Annotated[int, Field(ge=1, le=8192)]
# What is read; the most frequent first, since each is asked in turn. Left out are formats for which Pillow starts
# another program (EPS, WMF) or has no decoder of its own (BUFR, GRIB, HDF5, MPEG), and icons and sprites.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI", "TGA", "PCX", "SGI")


class Settings(BaseModel):
    """All of the section but what is predicted: what the recipe multimodal has of it, too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    height: Side = 28
    width: Side = 28
    channels: Literal[1, 3] = 1  # grey or RGB
    resize: Literal["stretch", "pad", "crop"] = "stretch"  # pad with black, or crop the middle: both keep the aspect
    scale: Literal["unit", "standardise"] = "unit"  # to 0..1, or by each channel's mean and deviation in training
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000  # larger images are not even decoded


class Params(Settings):
    """The section `images` of params.yaml."""

    labels: Labels = [str(digit) for digit in range(10)]
    several: bool = False  # an image may have any number of the labels


def columns(params: Settings) -> pa.Schema:  # noqa: ARG001
    """One column: the file's bytes."""
    return pa.schema({"image": pa.binary()})


def target(params: Params) -> Target:
    """One of the labels, or any of them."""
    labels = tuple(params.labels)
    return multi_label.Target(labels) if params.several else single_label.Target(labels)


def facts(table: pa.Table, params: Settings) -> pa.Table:
    """What the file says of the image, if all of it can be read, and how bright its pixels are.

    width, height (as it is shown), pixels, mode (Pillow's), format, frames (more than one: it moves, or has pages),
    decodable, brightness and contrast (mean and standard deviation of the grey levels 0..255). Null where unknown.
    """
    rows = [_facts(data, params) for data in table["image"].to_pylist()]
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in FACTS.items()})


def _facts(data: bytes | None, params: Settings) -> dict[str, Any]:
    known: dict[str, Any] = {"decodable": False}
    try:
        with _open(data) as image:
            known |= {"width": image.width, "height": image.height, "pixels": image.width * image.height}
            known |= {"mode": image.mode, "format": "JPEG" if image.format == "MPO" else image.format}
            if known["pixels"] > params.max_pixels:
                return known
            image.load()
            upright = _upright(image)
            known |= {"width": upright.width, "height": upright.height}
            levels, counts = np.arange(256), np.array(_plain(upright, "L").histogram())
            mean = float(levels @ counts) / known["pixels"]
            deviation = math.sqrt(float((levels - mean) ** 2 @ counts) / known["pixels"])
            # a camera's MPO holds previews of the one image; asked last, since it may read on in the file
            known["frames"] = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            known |= {"brightness": round(mean, 3), "contrast": round(deviation, 3), "decodable": True}
    except Exception:  # noqa: BLE001, S110 - Pillow's plugins raise anything on a hostile file
        pass
    return known


def _open(data: bytes | None) -> "Image.Image":
    """Open an image and read its header; pixels are decoded later."""
    from PIL import Image

    if not data:
        raise ValueError("the image is empty")
    Image.MAX_IMAGE_PIXELS = None  # our own limit, max_pixels, is checked before anything is decoded
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _upright(image: "Image.Image") -> "Image.Image":
    """Turn an image as its EXIF orientation says (CIPA DC-008, tag 274); a camera lying on its side sets it."""
    # Pillow's own test costs as much as decoding a digit: ask only where something can be found
    if image.format == "TIFF" or not image.info.keys().isdisjoint(("exif", "Raw profile type exif", "xmp")):
        from PIL import ImageOps

        ImageOps.exif_transpose(image, in_place=True)
    return image


def _plain(image: "Image.Image", mode: Literal["L", "RGB"]) -> "Image.Image":
    """Convert any mode: of 16 bits the upper 8 are kept, transparent parts are laid over white, as a page shows them.

    Raises ValueError for 32-bit numbers: nothing says which of them is black and which is white.
    """
    if image.mode == mode and "transparency" not in image.info:
        return image
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow would cut off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise ValueError(f"the image has 32 bits per pixel (mode {image.mode}): save it with 8 or 16")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert(mode)


def fit(tables: Iterable[pa.Table], params: Settings) -> State:
    """Mean and deviation of each channel's pixels (0..255) where they are asked for, in one pass."""
    if params.scale == "unit":
        return {}
    count = 0
    total, squares = np.zeros(params.channels), np.zeros(params.channels)  # sums of bytes: exact in float64
    for table in tables:
        for data in table["image"].to_pylist():
            pixels = _pixels(data, params).reshape(-1, params.channels).astype(np.float64)
            count += len(pixels)
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
    mean = total / max(count, 1)
    deviation = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return {"mean": mean.tolist(), "deviation": np.where(deviation > 0, deviation, 1.0).tolist()}


def encode(table: pa.Table, params: Settings, state: State) -> Arrays:  # noqa: ARG001
    """Pixels `(n, height, width, channels)` uint8; other sizes are resized, other modes converted.

    Of a moving image or one of several pages the first is taken. Raises ValueError for an image that is empty,
    of no format that is read, damaged, larger than max_pixels, or of 32 bits a pixel.
    """
    data = table["image"].to_pylist()
    pixels = np.empty((len(data), params.height, params.width, params.channels), np.uint8)
    for row, item in enumerate(data):
        pixels[row] = _pixels(item, params)
    return {"image": pixels}


def _pixels(data: bytes | None, params: Settings) -> np.ndarray:
    """Decode one image: `(height, width, channels)` uint8."""
    mode: Literal["L", "RGB"] = "L" if params.channels == 1 else "RGB"
    try:
        image = _open(data)
        width, height = image.size
        if width * height > params.max_pixels:
            raise ValueError(f"the image has {width} x {height} pixels, more than max_pixels ({params.max_pixels})")
        if image.format == "JPEG":  # decode a large one at half, a quarter, an eighth: twice what is needed is left
            longest = 2 * max(params.height, params.width)
            image.draft(mode, (longest, longest))
        image.load()
        picture = _plain(_upright(image), mode)
        if picture.size != (params.width, params.height):
            picture = _resize(picture, params)
        pixels = np.asarray(picture)
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise anything on a hostile file
        raise ValueError(_complaint(error)) from None
    return pixels if params.channels == 3 else pixels[:, :, None]


def _complaint(error: Exception) -> str:
    """Say what is wrong with an image."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own message names an address in memory
        return f"the image cannot be decoded: not in a known format ({', '.join(FORMATS)}), or its header is damaged"
    text = str(error) or type(error).__name__
    return text if text.startswith("the image ") else f"the image cannot be decoded: {text}"


def _resize(picture: "Image.Image", params: Settings) -> "Image.Image":
    from PIL import Image

    size, (width, height) = (params.width, params.height), picture.size
    box: tuple[float, float, float, float] | None = None
    inner = size
    if params.resize == "pad":
        factor = min(size[0] / width, size[1] / height)
        inner = (max(1, round(width * factor)), max(1, round(height * factor)))
    elif params.resize == "crop":
        factor = max(size[0] / width, size[1] / height)
        left, top = (width - size[0] / factor) / 2, (height - size[1] / factor) / 2
        box = (max(left, 0), max(top, 0), min(width - left, width), min(height - top, height))
    # the filter looks at every pixel that is made smaller; a gap of 3 is hardly told from none (Pillow's manual)
    resized = picture.resize(inner, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
    if inner == size:
        return resized
    whole = Image.new(picture.mode, size)
    whole.paste(resized, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return whole


def inputs(params: Settings, state: State) -> dict[str, Input]:  # noqa: ARG001
    """One image."""
    return {"image": Input("image")}


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Noisy 6 x 6 images in PNG: a bright left half is `left`, a bright right half `right`."""
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
    return {"height": 6, "width": 6, "labels": labels}, pa.table({"image": images, "label": [labels[i] for i in side]})
