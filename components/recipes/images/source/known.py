"""Known images: scikit-learn's digits and MNIST's files."""

import gzip
import hashlib
import io
import urllib.error
import urllib.request
import zlib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.files import folder_or_text
from components.recipes.source import BATCH_ROWS, Source

MNIST_ADDRESS = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# SHA-256 of the uncompressed files of LeCun, Cortes and Burges: gzip's wrapping differs between mirrors.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def digits() -> Source:
    """Make scikit-learn's 1,797 handwritten digits of 8 x 8 (UCI; Alpaydin and Kaynak 1998): the starter."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    pixels = np.rint(raw.images * (255 / 16)).astype(np.uint8)  # 0..16 -> 0..255
    settings = {"height": 8, "width": 8, "channels": 1, "labels": [str(digit) for digit in range(10)], "several": False}
    return Source("digits", "images", settings, _pictures(pixels, raw.target, None))


def mnist(origin: str) -> Source:
    """Read the four MNIST files from a folder or an address; the official test set stays the test split."""
    arrays = {name: _idx(origin, name) for name in MNIST_SHA256}
    labels = [str(digit) for digit in range(10)]
    settings = {"height": 28, "width": 28, "channels": 1, "labels": labels, "several": False}

    def tables() -> Iterator[pa.Table]:
        for part, split in (("train", "train"), ("t10k", "test")):
            images = arrays[f"{part}-images-idx3-ubyte"][16:].reshape(-1, 28, 28)
            yield from _pictures(images, arrays[f"{part}-labels-idx1-ubyte"][8:], split)

    return Source("mnist", "images", settings, tables())


def _idx(origin: str, name: str) -> np.ndarray:
    """Read one file of the IDX format as bytes, gzipped or not, and check its content."""
    where = f"{origin.rstrip('/')}/{name}.gz"
    if "://" in origin:
        try:
            with urllib.request.urlopen(where, timeout=60) as answer:  # noqa: S310 - the user named the address
                content = answer.read()
        except (OSError, ValueError) as error:
            raise SlipwayError(f"{where}: {error}; give a folder that contains the files: --from FOLDER") from None
    else:
        found = next((path for path in (Path(where), Path(origin, name)) if path.is_file()), None)
        if found is None:
            raise SlipwayError(f"{where}: no such file (nor {name}, unzipped)")
        where, content = str(found), found.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SlipwayError(f"{where}: damaged: {error}; download it again") from None
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256[name]:
        raise SlipwayError(f"{where}: not the original MNIST file (its SHA-256 differs); download it again")
    return np.frombuffer(content, np.uint8)


def _pictures(pixels: np.ndarray, labels: np.ndarray, split: str | None) -> Iterator[pa.Table]:
    for at in range(0, len(pixels), BATCH_ROWS):
        images = [_png(picture) for picture in pixels[at : at + BATCH_ROWS]]
        columns = {"image": pa.array(images, pa.binary()), "label": [str(n) for n in labels[at : at + BATCH_ROWS]]}
        yield pa.table(columns).append_column("split", pa.array([split] * len(images), pa.string()))


def _png(picture: np.ndarray) -> bytes:
    """PNG without compression: the same bytes whatever zlib; Parquet's zstd compresses better over many."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=0)
    return buffer.getvalue()


def mnist_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `ingest mnist`."""
    text = "folder or URL of the files (default: %(default)s)"
    parser.add_argument(
        "--from", dest="origin", type=folder_or_text, default=MNIST_ADDRESS, metavar="DIR_OR_URL", help=text
    )
