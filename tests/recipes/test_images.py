"""The recipe of images: decoding, hostile files, models and their export."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from components.recipes import Input
from components.recipes.images import example as images
from components.recipes.images import networks
from components.serving import onnx_model
from components.targets import multi_label, single_label
from components.training import export
from tests import fabricate


def picture(size: tuple[int, int], mode: str, kind: str = "png", **options: Any) -> bytes:
    return saved(Image.new(mode, size), kind, **options)


def saved(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Coarse noise: it outlives JPEG and resizing."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A grey PNG whose header claims a size, whatever its pixels are."""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + b"".join(chunks)
    )


def bomb(width: int, height: int) -> bytes:
    """A whole PNG of a hundred bytes that claims a size."""
    return png(width, height, chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b""))


def wrong_crc() -> bytes:
    content = bytearray(picture((6, 6), "L"))
    content[29] ^= 0xFF  # of the header
    return bytes(content)


def floats(value: float) -> bytes:
    return saved(Image.fromarray(np.full((6, 6), value, np.float32)), "tiff")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.png", picture((6, 6), "L"))
    return buffer.getvalue()


def text_bomb() -> bytes:
    """A PNG whose comment is 100 MB of zeros, compressed to 100 KB."""
    packed = zlib.compress(bytes(100 * 2**20))
    return png(
        6, 6, chunk(b"zTXt", b"Comment\0\0" + packed), chunk(b"IDAT", zlib.compress(bytes(42))), chunk(b"IEND", b"")
    )


def endless_tiff() -> bytes:
    """A TIFF whose directory names itself as the next page."""
    content = bytearray(picture((6, 6), "L", "tiff"))
    (start,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[start : start + 2])
    content[start + 2 + 12 * entries : start + 6 + 12 * entries] = struct.pack("<I", start)
    return bytes(content)


# a name, how the file is made, and what the error says
REFUSED: dict[str, tuple[Callable[[], bytes | None], str]] = {
    "missing": (lambda: None, "the image is empty"),
    "empty": (lambda: b"", "the image is empty"),
    "text": (lambda: b"no image", "not in a known format"),
    "svg": (lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not in a known format"),
    "zip called png": (zipped, "not in a known format"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) run", "not in a known format"),
    "signature only": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(50), "not in a known format"),
    "header cut off": (lambda: b"GIF89a", "not in a known format"),
    "wrong CRC of the header": (wrong_crc, "not in a known format.*or its header is damaged"),
    "png cut off": (lambda: saved(noise((60, 60)))[:-500], "cannot be decoded"),
    "jpeg cut off": (lambda: saved(noise((60, 60)), "jpeg")[:-300], "cannot be decoded: image file is truncated"),
    "no pixels": (lambda: png(6, 6, chunk(b"IEND", b"")), "cannot be decoded"),
    "damaged pixels": (lambda: png(6, 6, chunk(b"IDAT", b"\xff" * 40), chunk(b"IEND", b"")), "cannot be decoded"),
    "decompression bomb": (lambda: bomb(60_000, 60_000), "60000 x 60000 pixels, more than max_pixels"),
    "one very long line": (lambda: bomb(2**31 - 1, 1), "2147483647 x 1 pixels, more than"),
    "no width": (lambda: bomb(0, 6), "the image cannot be decoded"),
    "text bomb": (text_bomb, "cannot be decoded"),
    "float": (lambda: floats(0.5), "32 bits per pixel"),
    "NaN": (lambda: floats(float("nan")), "32 bits per pixel"),
    "infinite": (lambda: floats(float("inf")), "32 bits per pixel"),
    "32-bit integers": (lambda: saved(Image.fromarray(np.full((6, 6), 70_000, np.int32)), "tiff"), "32 bits per pixel"),
}
TAKEN: dict[str, Callable[[], bytes]] = {
    "one pixel": lambda: picture((1, 1), "L"),
    "a long line": lambda: picture((30_000, 1), "L"),
    "bilevel": lambda: picture((9, 9), "1"),
    "16 bits": lambda: picture((9, 9), "I;16"),
    "CMYK JPEG": lambda: picture((9, 9), "CMYK", "jpeg"),
    "palette with transparency": lambda: picture((9, 9), "P", transparency=0),
    "moving GIF": lambda: saved(noise((9, 9)), "gif", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 3),
    "moving WebP": lambda: saved(noise((9, 9)), "webp", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 3),
    "pages that never end": endless_tiff,
    "bytes after the end": lambda: picture((9, 9), "L") + b"<script>" * 1000,
    "lossless JPEG 2000": lambda: picture((9, 9), "RGB", "jpeg2000"),
    "AVIF": lambda: picture((9, 9), "RGB", "avif"),
}


def table(*data: bytes | None) -> pa.Table:
    return pa.table({"image": pa.array(data, pa.binary())})


def encoded(data: bytes, **section: Any) -> np.ndarray:
    params = images.Params.model_validate({"height": 5, "width": 7, "channels": 3, **section})
    found: np.ndarray = images.encode(table(data), params, {})["image"][0]
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_picture_is_a_fact_and_an_error_that_says_why(name: str) -> None:
    make, expected = REFUSED[name]
    found = images.facts(table(make()), images.Params()).to_pylist()[0]
    assert found["decodable"] is False
    with pytest.raises(ValueError, match=expected) as caught:
        images.encode(table(make()), images.Params(), {})
    assert "0x" not in str(caught.value)  # no address in memory


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_odd_picture_is_taken_all_the_same(name: str, channels: int) -> None:
    data = TAKEN[name]()
    assert images.facts(table(data), images.Params())["decodable"].to_pylist() == [True]
    assert encoded(data, channels=channels).shape == (5, 7, channels)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"\xff\xd8\xff", b"P5 "])
)
def test_any_bytes_are_facts_and_an_array_or_a_value_error(data: bytes, start: bytes) -> None:
    params = images.Params(max_pixels=10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images.facts(table(start + data), params)
        try:
            assert images.encode(table(start + data), params, {})["image"].shape == (1, 28, 28, 1)
        except ValueError as error:
            assert "image" in str(error)


def test_serving_answers_all_but_the_hostile_pictures(tmp_path: Path) -> None:
    fabricate.project(tmp_path)
    model = onnx_model.load(tmp_path / "build" / "model")
    hostile = [make() for make, _ in REFUSED.values()]
    odd = [make() for make in TAKEN.values()]
    answers = onnx_model.predict(model, table(*hostile, *odd)).to_pylist()
    assert all(row["error"] and row["label"] is None for row in answers[: len(hostile)])
    assert all(row["error"] is None and row["label"] in ("left", "right") for row in answers[len(hostile) :])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_mode_and_size_become_arrays(mode: str, channels: int) -> None:
    kind = "tiff" if mode in ("CMYK", "PA", "YCbCr") else "png"
    for size in ((7, 5), (31, 17)):
        found = encoded(picture(size, mode, kind), channels=channels)
        assert found.shape == (5, 7, channels)
        assert found.dtype == np.uint8


def test_pixels_are_kept_where_nothing_has_to_be_converted() -> None:
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert np.array_equal(encoded(saved(Image.fromarray(pixels)), channels=1)[:, :, 0], pixels)


def test_sixteen_bits_keep_their_upper_eight() -> None:
    pixels = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800
    expected = (pixels >> 8).astype(np.uint8)
    for kind in ("png", "tiff"):
        assert np.array_equal(encoded(saved(Image.fromarray(pixels), kind), channels=1)[:, :, 0], expected)
    pgm = b"P5 7 5 65535 " + pixels.astype(">u2").tobytes()
    assert np.abs(encoded(pgm, channels=1)[:, :, 0].astype(int) - expected).max() <= 1


def test_what_is_transparent_is_white_whatever_colour_it_hides() -> None:
    hidden = np.zeros((5, 7, 4), np.uint8)
    hidden[:, :3] = (255, 0, 0, 255)  # red and opaque on the left; green and transparent on the right
    hidden[:, 3:] = (0, 255, 0, 0)
    found = encoded(saved(Image.fromarray(hidden)))
    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[0, 6].tolist() == [255, 255, 255]
    assert encoded(saved(Image.fromarray(hidden)), channels=1)[0, 6].tolist() == [255]
    assert encoded(picture((7, 5), "P", transparency=0))[0, 0].tolist() == [255, 255, 255]
    grey = saved(Image.fromarray(np.zeros((5, 7), np.uint8)), transparency=0)
    assert encoded(grey, channels=1)[0, 0].tolist() == [255]


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_a_picture_is_turned_as_its_camera_says(kind: str) -> None:
    upright = noise((7, 5))
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned by 90 degrees, clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    options = {"lossless": True} if kind == "webp" else {"quality": 100, "subsampling": 0} if kind == "jpeg" else {}
    data = saved(lying, kind, exif=exif, **options)
    tolerance = 3 if kind == "jpeg" else 0
    assert np.abs(encoded(data).astype(int) - np.asarray(upright)).max() <= tolerance
    found = images.facts(table(data), images.Params()).to_pylist()[0]
    assert (found["width"], found["height"]) == (7, 5)


def test_of_a_moving_picture_the_first_frame_is_taken_and_the_frames_are_counted() -> None:
    first, second = Image.new("RGB", (7, 5), "red"), Image.new("RGB", (7, 5), "blue")
    for kind, options in (("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("tiff", {})):
        data = saved(first, kind, save_all=True, append_images=[second], **options)
        assert encoded(data)[0, 0].tolist() == [255, 0, 0]
        assert images.facts(table(data), images.Params())["frames"].to_pylist() == [2]
    camera = saved(first, "mpo", save_all=True, append_images=[second])  # a JPEG with previews
    assert images.facts(table(camera), images.Params()).to_pylist()[0]["frames"] == 1


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_a_resized_picture_fills_or_keeps_its_aspect(resize: str) -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 10:30] = 255  # the middle is white, a quarter on either side black
    found = encoded(saved(Image.fromarray(wide)), height=8, width=8, resize=resize)[:, :, 0]
    if resize == "stretch":
        assert found[:, 3:5].min() == 255
        assert found[:, 0].max() == 0
    elif resize == "crop":  # the middle square of 10 x 10 is all white
        assert found.min() == 255
    else:  # two rows of eight, black above and below
        assert found[:3].max() == found[5:].max() == 0
        assert found[3:5, 3:5].min() == 255


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(["stretch", "pad", "crop"]),
)
def test_any_size_becomes_any_other(width: int, height: int, to_width: int, to_height: int, resize: str) -> None:
    data = saved(Image.new("L", (width, height), 200))
    found = encoded(data, channels=1, height=to_height, width=to_width, resize=resize)
    assert found.shape == (to_height, to_width, 1)
    assert found.max() == 200
    assert resize == "pad" or found.min() == 200


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    large = noise((1600, 1200))
    exact = np.asarray(large.resize((56, 40), Image.Resampling.BILINEAR)).astype(int)
    found = encoded(saved(large, "jpeg", quality=95), height=40, width=56)
    assert np.abs(found - exact).mean() < 1.5


def test_facts_of_a_picture() -> None:
    half = np.zeros((5, 8), np.uint8)
    half[:, 4:] = 200
    first, second, third = images.facts(
        table(saved(Image.fromarray(half)), None, bomb(60_000, 60_000)), images.Params()
    ).to_pylist()
    assert first == {
        "width": 8,
        "height": 5,
        "pixels": 40,
        "mode": "L",
        "format": "PNG",
        "frames": 1,
        "decodable": True,
        "brightness": 100.0,
        "contrast": 100.0,
    }
    assert second == dict.fromkeys(first) | {"decodable": False}
    assert (third["pixels"], third["decodable"]) == (3_600_000_000, False)


@pytest.mark.e2e
def test_standardised_pixels_have_the_statistics_of_the_training_split_in_the_model() -> None:
    import keras

    random = np.random.default_rng(4)
    pixels = random.integers(0, 256, (40, 5, 7, 3)).astype(np.uint8)
    pixels[..., 1] //= 4
    pixels[..., 2] = 9  # a constant channel does no harm
    data = table(*[saved(Image.fromarray(item)) for item in pixels])
    params = images.Params(height=5, width=7, channels=3, scale="standardise")
    state = images.fit([data.slice(0, 13), data.slice(13)], params)
    flat = pixels.reshape(-1, 3).astype(np.float64)
    assert state["mean"] == pytest.approx(flat.mean(axis=0))
    assert state["deviation"] == pytest.approx([*flat.std(axis=0)[:2], 1.0])
    model = networks.build(networks.Network(model="mlp", hidden=[2]), params, state, 0.0)
    scaled = fabricate.outputs(keras.Model(model.inputs, model.get_layer("scale").output), [pixels]).reshape(-1, 3)
    assert scaled.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-3)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 0], abs=1e-3)
    assert images.fit([data], images.Params()) == {}


MODELS: list[Any] = [  # settings, and the parameters that the literature or a hand count gives
    pytest.param({"model": "mlp"}, {}, 784 * 512 + 512 + 5130, marks=pytest.mark.e2e),
    pytest.param({"model": "cnn"}, {}, 73_114, marks=pytest.mark.e2e),
    pytest.param(
        {"model": "cnn", "filters": [3, 5]},
        {"height": 9, "width": 6},
        27 + 81 + 135 + 225 + 4 * 2 * (3 + 5) + 60,
        marks=pytest.mark.e2e,
    ),
    # ResNet-20 of He and others 2016: 0.27 million
    pytest.param({"model": "resnet"}, {}, 273_370, marks=pytest.mark.e2e),
    pytest.param(
        {"model": "vit"},
        {"height": 30, "width": 45, "channels": 3, "several": True, "scale": "standardise"},
        796_426 + (48 + 96) * 128,  # the layers and the head, the patches' weights, the positions
        marks=pytest.mark.e2e,
    ),
]


@pytest.mark.parametrize(("chosen", "section", "parameters"), MODELS)
def test_a_model_is_exported_faithfully_with_names_and_loads_again(
    chosen: dict[str, Any], section: dict[str, Any], parameters: int, tmp_path: Path
) -> None:
    import keras
    import onnxruntime

    params, network = images.Params.model_validate(section), networks.Network.model_validate(chosen)
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    scale = {"mean": [100.0] * params.channels, "deviation": [50.0] * params.channels}
    model = networks.build(network, params, scale, 0.1)
    assert model.count_params() == parameters
    random = np.random.default_rng(1)
    x = {"image": random.integers(0, 256, (16, params.height, params.width, params.channels)).astype(np.uint8)}
    y = random.integers(0, 2, (16, 10) if params.several else 16).astype(np.int32)
    loss = "binary_crossentropy" if params.several else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.01), loss)
    model.fit(x, y, epochs=2, batch_size=8, verbose=0)  # so that a batch norm's averages are not those of the start
    expected = fabricate.outputs(model, x)
    export._export(model, tmp_path / "model.onnx", "probabilities")
    (found,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, x)
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-4  # the images do matter
    model.save(tmp_path / "model.keras")
    assert np.allclose(fabricate.outputs(keras.models.load_model(tmp_path / "model.keras"), x), expected, atol=1e-6)
    again = networks.build(network, params, scale, 0.1)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]  # none is numbered on
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert dropouts
    quiet = networks.build(network, params, scale, 0.0)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in quiet.layers)


@pytest.mark.parametrize(
    ("chosen", "parameters", "least"),
    [
        ({"model": "resnet", "depth": 18}, 11_184_970, "stage_4_2_add"),
        ({"model": "resnet", "depth": 50}, 23_543_370, "stage_4_3_add"),
        ({"model": "vit", "model_size": "tiny"}, 5_526_346, "layer_12_add_2"),
        ({"model": "vit", "model_size": "base"}, 85_806_346, "layer_12_add_2"),
    ],
)
@pytest.mark.e2e
def test_a_large_model_has_the_size_that_its_paper_gives(chosen: dict[str, Any], parameters: int, least: str) -> None:
    params = images.Params(height=224, width=224, channels=3)
    model = networks.build(networks.Network.model_validate(chosen), params, {}, 0.0)
    assert model.get_layer(least).output.shape[0] is None
    assert model.count_params() == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize(
    ("chosen", "section", "expected"),
    [
        (
            {"model": "cnn", "filters": [8] * 5},
            {"height": 9, "width": 20},
            "^filters: 5 blocks halve an image of 20 x 9 until nothing is left; they need 16 pixels per side",
        ),
        ({"model": "resnet", "depth": 18}, {"height": 7}, "^depth: an image of 28 x 7 is too small for ResNet-18"),
        ({"model": "resnet"}, {"height": 3}, "^depth: .* ResNet-20, which needs 4 pixels per side"),
        ({"model": "vit", "patch": 32}, {}, "^patch: 32 is larger than an image of 28 x 28"),
    ],
)
def test_a_model_that_does_not_fit_the_picture_is_refused(
    chosen: dict[str, Any], section: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        networks.check(networks.Network.model_validate(chosen), images.Params.model_validate(section))


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        networks.Network(model="cnn", filters=[])
    with pytest.raises(ValidationError, match="Input should be 20, 18 or 50"):
        networks.Network.model_validate({"depth": 34})
    with pytest.raises(ValidationError, match=r"labels\n.*named twice: a"):
        images.Params(labels=["a", "b", "a"])


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["mlp", "cnn", "vit"]))
def test_the_defaults_fit_a_picture_of_any_size(height: int, width: int, model: str) -> None:
    params, network = images.Params(height=height, width=width), networks.Network.model_validate({"model": model})
    networks.check(network, params)
    assert networks.patch_of(network, params) <= min(height, width)
    assert min(height, width) / 2 ** (len(networks.filters_of(network, params)) - 1) >= 1


def test_target_and_inputs_follow_the_settings() -> None:
    assert images.target(images.Params(labels=["a", "b"])) == single_label.Target(("a", "b"))
    assert images.target(images.Params(labels=["a", "b"], several=True)) == multi_label.Target(("a", "b"))
    assert images.inputs(images.Params(), {}) == {"image": Input("image")}
