"""Pictures: scikit-learn's digits, MNIST's files, class folders."""

import gzip
import hashlib
import io
import urllib.error
import urllib.request
import zlib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.sources import BATCH, Command, Source, slug

LARGEST_SIDE = 8192  # pixels: of a model's input

MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
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
    settings = {"height": 8, "width": 8, "channels": 1, "labels": [str(digit) for digit in range(10)]}
    return Source("digits", "images", settings, _pictures(pixels, raw.target, None))


def mnist(origin: str) -> Source:
    """Read the four MNIST files from a folder or an address; the official test set stays the test split."""
    arrays = {name: _idx(origin, name) for name in MNIST_SHA256}
    settings = {"height": 28, "width": 28, "channels": 1, "labels": [str(digit) for digit in range(10)]}

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
            raise SlipwayError(f"{where}: {error}; give a folder that holds the files: --from FOLDER") from None
    else:
        found = next((path for path in (Path(where), Path(origin, name)) if path.is_file()), None)
        if found is None:
            raise SlipwayError(f"{where}: no such file (nor {name}, unzipped)")
        where, content = str(found), found.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SlipwayError(f"{where}: damaged: {error}; fetch it again") from None
    if hashlib.sha256(content).hexdigest() != MNIST_SHA256[name]:
        raise SlipwayError(f"{where}: not the original MNIST file (its SHA-256 differs); fetch it again")
    return np.frombuffer(content, np.uint8)


def _pictures(pixels: np.ndarray, labels: np.ndarray, split: str | None) -> Iterator[pa.Table]:
    for at in range(0, len(pixels), BATCH):
        images = [_png(picture) for picture in pixels[at : at + BATCH]]
        columns = {"image": pa.array(images, pa.binary()), "label": [str(n) for n in labels[at : at + BATCH]]}
        yield pa.table(columns).append_column("split", pa.array([split] * len(images), pa.string()))


def _png(picture: np.ndarray) -> bytes:
    """PNG without compression: the same bytes whatever zlib; Parquet's zstd compresses better over many."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=0)
    return buffer.getvalue()


def images(folder: Path) -> Source:
    """Read class folders, FOLDER/LABEL/*.png, or with an official split FOLDER/{train,validation,test}/LABEL/*."""
    from PIL import Image

    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such folder")
    known = {
        "train": "train",
        "validation": "validation",
        "valid": "validation",
        "val": "validation",
        "test": "test",
    }
    tops = _folders(folder)
    official = {top.name: known[top.name.lower()] for top in tops if top.name.lower() in known}
    if official and len(official) < len(tops):
        other = next(top.name for top in tops if top.name not in official)
        raise SlipwayError(
            f"{folder}: {next(iter(official))}/ is a split and {other}/ is none; have one kind only there"
        )
    if official:
        classes: list[tuple[Path, str | None]] = [
            (label, official[top.name]) for top in tops for label in _folders(top)
        ]
    else:
        classes = [(label, None) for label in tops]
    if not classes:
        raise SlipwayError(f"{folder}: no class folders; expected {folder}/LABEL/*.png")
    skipped: Counter[str] = Counter()
    if loose := sum(path.is_file() and not path.name.startswith(".") for path in folder.iterdir()):
        skipped["not in a class folder"] = loose
    extensions = Image.registered_extensions()
    found: list[tuple[Path, str, str | None]] = []
    for label, split in classes:
        for path in sorted(label.rglob("*")):
            if path.is_dir():
                continue
            if path.suffix.lower() in extensions and not path.name.startswith("."):
                found.append((path, label.name, split))
            else:
                skipped[f"not an image file ({path.suffix or path.name})"] += 1
    if not found:
        raise SlipwayError(f"{folder}: no image files in its {len(classes)} class folders")
    settings = _describe(found)
    settings["labels"] = sorted({label for _, label, _ in found})

    def tables() -> Iterator[pa.Table]:
        for at in range(0, len(found), BATCH // 10):
            part = found[at : at + BATCH // 10]
            columns = {
                "image": pa.array([path.read_bytes() for path, _, _ in part], pa.binary()),
                "label": pa.array([label for _, label, _ in part], pa.string()),
                "split": pa.array([split for _, _, split in part], pa.string()),
            }
            yield pa.table(columns)

    return Source(slug(folder.resolve().name), "images", settings, tables(), skipped)


def _folders(folder: Path) -> list[Path]:
    hidden = (".", "__MACOSX")  # what a Mac leaves in every archive
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(hidden))


def _describe(found: list[tuple[Path, str, str | None]]) -> dict[str, Any]:
    """Find the commonest size of the pictures, and if any of them has colours."""
    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path, _, _ in found:
        try:
            with Image.open(path) as image:
                sizes[image.size] += 1
                grey = grey and image.mode in ("1", "L", "LA", "I", "F", "I;16")
        except Exception:  # noqa: BLE001, S112 - validate sets such a file aside, with a reason
            continue
    if not sizes:
        raise SlipwayError(f"{found[0][0].parent.parent}: none of the {len(found)} image files can be read")
    (width, height), _ = sizes.most_common(1)[0]
    if max(width, height) > LARGEST_SIDE:
        raise SlipwayError(f"{found[0][0].parent.parent}: most pictures are {width} x {height}; shrink them first")
    return {"height": height, "width": width, "channels": 1 if grey else 3}


def _mnist_arguments(parser: ArgumentParser) -> None:
    text = "folder or address of the files (%(default)s)"
    parser.add_argument("--from", dest="origin", default=MNIST, metavar="DIR_OR_URL", help=text)


def _folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER")


SOURCES = {
    "digits": Command("the starter: 1,797 handwritten digits of 8 x 8, from scikit-learn", digits),
    "mnist": Command("70,000 handwritten digits of 28 x 28, from the four original files", mnist, _mnist_arguments),
    "images": Command(
        "class folders: FOLDER/LABEL/*.png, or FOLDER/{train,validation,test}/LABEL/*.png", images, _folder
    ),
}
