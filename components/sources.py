"""Where datasets come from: each source yields tables of examples and the settings that describe them.

A table holds the recipe's columns, label and, where the source has an official one, split.
"""

import gzip
import hashlib
import io
import re
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from components import SlipwayError, table

LARGEST_SIDE = 8192  # pixels: of a model's input
BATCH = 2000  # examples in memory at a time

MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# SHA-256 of the uncompressed files of LeCun, Cortes and Burges: gzip's wrapping differs between mirrors.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass
class Source:
    """What an ingest reads: examples, table by table, and what params.yaml has to say of them."""

    name: str
    recipe: str
    settings: dict[str, Any]  # of the recipe's section
    tables: Iterator[pa.Table]
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> count; filled while reading


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


def breast_cancer() -> Source:
    """Make scikit-learn's breast cancer table (Wolberg, Street and Mangasarian 1995): 569 rows, 30 numbers."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    names = [slug(name, "_") for name in raw.feature_names]
    columns = {name: raw.data[:, index] for index, name in enumerate(names)}
    columns["label"] = pa.array([str(raw.target_names[index]) for index in raw.target])
    settings = {"numeric": names, "categorical": [], "labels": sorted(str(name) for name in raw.target_names)}
    return Source("breast-cancer", "tabular", settings, iter([pa.table(columns)]))


def tabular(file: Path, label: str, drop: list[str], missing: list[str]) -> Source:
    """Read a CSV or Parquet file: numbers become numeric columns, text and booleans categorical ones."""
    raw = read_table(file, missing)
    for name in (*drop, label):
        if name not in raw.column_names:
            raise SlipwayError(f"{file}: no column {name!r} (there are: {', '.join(raw.column_names)})")
    raw = raw.drop_columns(drop)
    numeric, categorical, columns = [], [], {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        if name == label:
            columns["label"] = column.cast(pa.string())
        elif name == "split":
            columns["split"] = column.cast(pa.string())
        elif name in table.RESERVED:
            raise SlipwayError(
                f"{file}: a column may not be called {name!r}; leave it out (--drop {name}) or rename it"
            )
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numeric.append(name)
            try:
                columns[name] = column.cast(pa.float64())
            except pa.ArrowInvalid as error:
                raise SlipwayError(f"{file}: column {name}: {error}; leave it out: --drop {name}") from None
        elif pa.types.is_string(column.type) or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
            categorical.append(name)
            columns[name] = column.cast(pa.string())
        else:
            raise SlipwayError(f"{file}: column {name} is {column.type}, neither number nor text; --drop {name}")
    labels = sorted(pc.unique(columns["label"]).drop_null().to_pylist())
    if len(labels) < 2 or len(labels) > max(50, len(raw) // 10):
        raise SlipwayError(
            f"{file}: column {label} has {len(labels)} different values; a label needs 2 or more classes"
        )
    settings = {"numeric": numeric, "categorical": categorical, "labels": labels}
    return Source(slug(file.stem), "tabular", settings, iter([pa.table(columns)]))


def read_table(file: Path, missing: list[str]) -> pa.Table:
    """Read a CSV with a header, or Parquet: numbers as numbers, all else as the text that it is."""
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        convert = pyarrow.csv.ConvertOptions(
            null_values=["", "NA", "NaN", "nan", "null", *missing],
            strings_can_be_null=True,
            true_values=[],
            false_values=[],
        )
        return pyarrow.csv.read_csv(file, convert_options=convert)
    except FileNotFoundError:
        raise SlipwayError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SlipwayError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def slug(name: str, joint: str = "-") -> str:
    """Make a name that files, experiments and columns can have."""
    return re.sub(r"[^a-z0-9]+", joint, name.lower()).strip(joint) or "dataset"


SOURCES: dict[str, Callable[..., Source]] = {
    "digits": digits,
    "breast-cancer": breast_cancer,
    "mnist": mnist,
    "images": images,
    "table": tabular,
}
