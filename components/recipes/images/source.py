"""Images: scikit-learn's digits, MNIST's files, class folders."""

import gzip
import hashlib
import io
import urllib.error
import urllib.request
import zlib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError
from components.data import csv_reader, dataset
from components.files import folder_or_text
from components.recipes.source import BATCH_ROWS, SPLIT_FOLDERS, Command, Source, slug, tell

MAX_SIDE = 224  # pixels: of the longer side of a model's input, unless params.yaml says otherwise
Found = tuple[Path, str | list[str], str | None]  # an image, its label or labels, its split

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


def images(folder: Path, labels: Path | None = None, encoding: str = "utf-8") -> Source:
    """Read class folders, FOLDER/LABEL/*.png, or with an official split FOLDER/{train,validation,test}/LABEL/*.

    With `labels` any number of labels per image: a CSV with the columns file (relative to the folder), labels
    (between semicolons; none is fine) and, where there is an official one, split. It must list every image there is.
    """
    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such folder")
    skipped: Counter[str] = Counter()
    found = _in_classes(folder, skipped) if labels is None else _listed(folder, labels, encoding, skipped)
    settings = _describe(folder, [path for path, _, _ in found])
    several = labels is not None
    names = {name for _, label, _ in found for name in (label if several else [label])}
    if several and len(names) < 2:
        raise SlipwayError(f"{labels}: {len(names) or 'no'} label in the whole file; a dataset needs at least two")
    settings |= {"labels": sorted(names), "several": several}
    kind = pa.list_(pa.string()) if several else pa.string()

    def tables() -> Iterator[pa.Table]:
        for at in range(0, len(found), BATCH_ROWS // 10):
            part = found[at : at + BATCH_ROWS // 10]
            columns = {
                "image": pa.array([path.read_bytes() for path, _, _ in part], pa.binary()),
                "label": pa.array([label for _, label, _ in part], kind),
                "split": pa.array([split for _, _, split in part], pa.string()),
            }
            yield pa.table(columns)

    # an MLP that was chosen for small images would be huge on photographs
    return Source(slug(folder.resolve().name), "images", settings, tables(), skipped, network={"model": "cnn"})


def _in_classes(folder: Path, skipped: Counter[str]) -> list[Found]:
    """Find the images of class folders."""
    tops = _folders(folder)
    official = {top.name: SPLIT_FOLDERS[top.name.lower()] for top in tops if top.name.lower() in SPLIT_FOLDERS}
    if official and len(official) < len(tops):
        other = next(top.name for top in tops if top.name not in official)
        raise SlipwayError(f"{folder}: {next(iter(official))}/ is a split but {other}/ is not; do not mix the two")
    classes: list[tuple[Path, str | None]] = [(label, None) for label in tops]
    if official:
        classes = [(label, official[top.name]) for top in tops for label in _folders(top)]
    if not classes:
        raise SlipwayError(
            f"{folder}: no class folders; expected {folder}/LABEL/*.png, or a list of labels: --labels FILE.csv"
        )
    above = [folder, *(tops if official else [])]
    loose = [
        path
        for top in above
        for path in sorted(top.iterdir())
        if path.is_file() and path.name[0] != "." and not dataset.is_junk(path.name)
    ]
    if loose:
        some = ", ".join(path.relative_to(folder).as_posix() for path in loose[:3])
        skipped[f"not in a class folder: {some}{', ...' if len(loose) > 3 else ''}"] = len(loose)
    found: list[Found] = [
        (path, label.name, split) for label, split in classes for path in _pictures_in(label, skipped)
    ]
    if not found:
        raise SlipwayError(f"{folder}: no image files in its {len(classes)} class folders")
    return found


def _listed(folder: Path, labels: Path, encoding: str, skipped: Counter[str]) -> list[Found]:
    """Find the images that a CSV lists, in its order, and their labels."""
    content = _read_list(labels, encoding)
    there = {path.relative_to(folder).as_posix(): path for path in _pictures_in(folder, skipped, but=labels)}
    found: list[Found] = []
    seen: dict[str, int] = {}
    for number, row in content:
        name = PurePosixPath(row["file"].strip().replace("\\", "/")).as_posix()
        where = f"{labels}, line {number}"
        if name in seen:
            raise SlipwayError(f"{where}: {name} is already listed in line {seen[name]}; write one line per image")
        seen[name] = number
        if name not in there:
            known = (folder / name).is_file()
            what = "is not an image file" if known else f"is not in {folder}"
            raise SlipwayError(f"{where}: {name} {what}; the column `file` must contain paths relative to that folder")
        split = (row.get("split") or "").strip() or None
        if split is not None and split.lower() not in SPLIT_FOLDERS:
            raise SlipwayError(
                f"{where}: split {split!r} is not one of {', '.join(dict.fromkeys(SPLIT_FOLDERS.values()))}"
            )
        held = sorted({label for label in map(str.strip, row["labels"].split(";")) if label})
        found.append((there[name], held, split and SPLIT_FOLDERS[split.lower()]))
    if unlisted := [name for name in there if name not in seen]:
        raise SlipwayError(
            f"{labels}: {len(unlisted)} of the {len(there)} images in {folder} are not listed, such as "
            f"{', '.join(unlisted[:3])}; list each of them (labels may be empty), or move them away"
        )
    return found


def _read_list(labels: Path, encoding: str) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV with the columns file and labels, each with its line."""
    rows = csv_reader.rows(labels, csv_reader.reading({"delimiter": ",", "encoding": encoding}))
    names = [name.lower() for name in next(rows, (0, []))[1]]
    for name in ("file", "labels"):
        if name not in names:
            raise SlipwayError(
                f"{labels}: no column {name!r} (there are: {', '.join(names) or 'none'}); the first line is "
                "file,labels or file,labels,split, with semicolons between labels"
            )
    content = [(line, dict(zip(names, row, strict=True))) for line, row in rows]
    if not content:
        raise SlipwayError(f"{labels}: lists no images")
    return content


def _pictures_in(folder: Path, skipped: Counter[str], but: Path | None = None) -> list[Path]:
    """List the image files below a folder, in order; what else there is is counted."""
    from PIL import Image

    extensions = Image.registered_extensions()
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or (but is not None and path.resolve() == but.resolve()):
            continue
        if dataset.is_junk(path.relative_to(folder)):
            continue
        if path.suffix.lower() in extensions and not path.name.startswith("."):
            found.append(path)
        else:
            skipped[f"not an image file ({path.suffix or path.name})"] += 1
    return found


def _folders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if not dataset.is_junk(path.name))


def _describe(folder: Path, found: list[Path]) -> dict[str, Any]:
    """Choose the model's image: the most frequent size, or the middle one where sizes differ; grey if all are.

    At most 224 pixels a side, as models of photographs commonly have; larger ones are made smaller. Tells the paths of
    files that cannot be opened, which the dataset does not keep.
    """
    from PIL import Image

    unreadable = []
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for path in found:
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(274, 1) >= 5  # lies on its side
                sizes[image.size[::-1] if turned else image.size] += 1
                grey = grey and image.mode in ("1", "L", "LA", "I", "F", "I;16")
        except Exception:  # noqa: BLE001 - validate sets such a file aside, with a reason
            unreadable.append(f"{path}: cannot be opened as an image; validate will set it aside")
    if not sizes:
        raise SlipwayError(f"{folder}: none of the {len(found)} image files can be read")
    tell(unreadable, "files that cannot be opened")
    (width, height), count = sizes.most_common(1)[0]
    if count <= sizes.total() / 2:
        width, height = (sorted(size[side] for size in sizes.elements())[sizes.total() // 2] for side in (0, 1))
    factor = min(1, MAX_SIDE / max(width, height))
    width, height = (max(1, round(side * factor)) for side in (width, height))
    return {"height": height, "width": width, "channels": 1 if grey else 3}


def _mnist_arguments(parser: ArgumentParser) -> None:
    text = "folder or URL of the files (default: %(default)s)"
    parser.add_argument(
        "--from", dest="origin", type=folder_or_text, default=MNIST_ADDRESS, metavar="DIR_OR_URL", help=text
    )


def _folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with one folder of images per label")
    text = "CSV for multi-label images, with the columns file and labels (A;B), and split if there is an official one"
    parser.add_argument("--labels", type=Path, metavar="FILE.csv", help=text)
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="text encoding of the CSV, such as cp1252 (default: utf-8)"
    )


SOURCES = {
    "digits": Command("the starter: 1,797 handwritten digits from scikit-learn, 8 x 8 pixels", digits),
    "mnist": Command(
        "MNIST: 70,000 handwritten digits from the four original files, 28 x 28 pixels", mnist, _mnist_arguments
    ),
    "images": Command(
        "images in class folders: FOLDER/LABEL/*.png or FOLDER/{train,validation,test}/LABEL/*.png; or with --labels",
        images,
        _folder,
    ),
}
