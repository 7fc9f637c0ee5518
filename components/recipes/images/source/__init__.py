"""Images: class folders, or a list of files and their labels; scikit-learn's digits and MNIST's files."""

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from components import SlipwayError
from components.data import csv_reader, dataset
from components.files import printable
from components.recipes import split_by as splitting
from components.recipes.images.source.known import digits, mnist, mnist_arguments
from components.recipes.source import BATCH_ROWS, NAMES, SPLIT_FOLDERS, Command, Source, slug, tell

MAX_SIDE = 224  # pixels: of the longer side of a model's input, unless params.yaml says otherwise
Fields = dict[str, str]  # what the list, or the pattern of the names, tells of an image besides
Found = tuple[Path, str | list[str], str | None, Fields]  # an image, its label or labels, its split


def images(
    folder: Path,
    labels: Path | None = None,
    encoding: str = "utf-8",
    pattern: str | None = None,
    split_by: str | None = None,
) -> Source:
    """Read class folders, FOLDER/LABEL/*.png, or with an official split FOLDER/{train,validation,test}/LABEL/*.

    With `labels` any number of labels per image: a CSV with the columns file (relative to the folder), labels
    (between semicolons; none is fine) and, where there is an official one, split. It must list every image there is.
    `split_by` names a further column of it, or a field of `pattern`, which the file names must match.
    """
    if not folder.is_dir():
        raise SlipwayError(f"{folder}: no such folder")
    skipped: Counter[str] = Counter()
    found = _in_classes(folder, skipped) if labels is None else _listed(folder, labels, encoding, skipped)
    if pattern is not None:
        found = _matched(folder, found, splitting.Pattern(pattern), skipped)
    fields = [more for *_, more in found]
    by = splitting.parse(split_by, fields[0], labels or f"--pattern {pattern or ''}".strip(), taken=["image"])
    groups = splitting.alike_fields(fields) if by is None and not any(split for _, _, split, _ in found) else []
    settings = described(((path, path) for path, *_ in found), folder)
    several = labels is not None
    names = {name for _, label, *_ in found for name in (label if several else [label])}
    if several and len(names) < 2:
        raise SlipwayError(f"{labels}: {len(names) or 'no'} label in the whole file; a dataset needs at least two")
    settings |= {"labels": sorted(names), "several": several}
    kind = pa.list_(pa.string()) if several else pa.string()

    def tables() -> Iterator[pa.Table]:
        for at in range(0, len(found), BATCH_ROWS // 10):
            part = found[at : at + BATCH_ROWS // 10]
            columns = {
                "image": pa.array([path.read_bytes() for path, *_ in part], pa.binary()),
                "label": pa.array([label for _, label, *_ in part], kind),
                "split": pa.array([split for _, _, split, _ in part], pa.string()),
            }
            if by is not None:
                columns[by.column] = by.read(pa.array([more[by.column] for *_, more in part], pa.string()), folder)
            names = json.dumps([printable(path.relative_to(folder).as_posix()) for path, *_ in part])
            yield pa.table(columns, metadata={NAMES: names})

    # an MLP that was chosen for small images would be huge on photographs
    source = Source(slug(folder.resolve().name), "images", settings, tables(), skipped, network={"model": "cnn"})
    source.split_by, source.groups = by, groups
    return source


def _matched(folder: Path, found: list[Found], pattern: splitting.Pattern, skipped: Counter[str]) -> list[Found]:
    """Add the fields of the names; those that do not match are left out, and counted."""
    matched = []
    for path, label, split, more in found:
        fields = pattern.read(PurePosixPath(path.relative_to(folder).as_posix()))
        if fields is None:
            skipped["name does not match the pattern"] += 1
        else:
            matched.append((path, label, split, more | fields))
    if not matched:
        raise SlipwayError(f"{folder}: --pattern: none of the {len(found)} file names matches, such as {found[0][0]}")
    return matched


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
        (path, printable(label.name), split, {}) for label, split in classes for path in files_in(label, skipped)
    ]
    if not found:
        raise SlipwayError(f"{folder}: no image files in its {len(classes)} class folders")
    return found


def _listed(folder: Path, labels: Path, encoding: str, skipped: Counter[str]) -> list[Found]:
    """Find the images that a CSV lists, in its order, and their labels."""
    content = _read_list(labels, encoding)
    there = {path.relative_to(folder).as_posix(): path for path in files_in(folder, skipped, but=[labels])}
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
        more = {key: text for key, text in row.items() if key not in ("file", "labels", "split")}
        found.append((there[name], held, split and SPLIT_FOLDERS[split.lower()], more))
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


def files_in(folder: Path, skipped: Counter[str], but: Collection[Path] = ()) -> list[Path]:
    """List the image files below a folder, in order; what else there is, but for the files `but`, is counted."""
    from PIL import Image

    extensions = Image.registered_extensions()
    known = {path.resolve() for path in but}
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or (known and path.resolve() in known):
            continue
        if dataset.is_junk(path.relative_to(folder)):
            continue
        if not path.is_file():
            skipped[f"not a file: {path}{' (a link to nothing)' if path.is_symlink() else ''}"] += 1
        elif path.suffix.lower() in extensions and not path.name.startswith("."):
            found.append(path)
        else:
            skipped[f"not an image file ({path.suffix or path.name})"] += 1
    return found


def _folders(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in found if not dataset.is_junk(path.name))


@dataclass(frozen=True)
class Header:
    """What a file says of its image: its size as stored, how it is to be turned (EXIF), and that it has no colours."""

    stored: tuple[int, int]  # width and height
    orientation: int  # of the tag 274 (CIPA DC-008): from 5 on, width and height change places
    grey: bool

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of the image as a viewer shows it."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def header(file: Path | BytesIO) -> Header | None:
    """Read the header of an image; None where it cannot be opened."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            orientation = int(image.getexif().get(274, 1))
            orientation = orientation if 1 <= orientation <= 8 else 1  # as viewers take it
            # of a TIFF, Pillow gives the size as shown
            size = image.size[::-1] if image.format == "TIFF" and orientation >= 5 else image.size
            return Header(size, orientation, image.mode in ("1", "L", "LA", "I", "F", "I;16"))
    except Exception:  # noqa: BLE001 - validate sets such a file aside, with a reason
        return None


def described(found: Iterable[tuple[object, Path | BytesIO]], where: object) -> dict[str, Any]:
    """Choose the model's image by the headers of files, each behind what it is called, as `sized` does."""
    return sized(((name, header(file)) for name, file in found), where)


def sized(found: Iterable[tuple[object, Header | None]], where: object, most: int = MAX_SIDE) -> dict[str, Any]:
    """Choose the model's image: the most frequent size, or the middle one where sizes differ; grey if all are.

    At most `most` pixels a side, by default 224, as models of photographs commonly have; larger ones are made smaller.
    Files that cannot be opened are told, for the dataset does not keep that. Raises SlipwayError where none can.
    """
    unreadable = []
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for name, about in found:
        if about is None:
            unreadable.append(f"{name}: cannot be opened as an image; validate will set it aside")
        else:
            sizes[about.shown] += 1
            grey = grey and about.grey
    if not sizes:
        raise SlipwayError(f"{where}: none of the {len(unreadable)} image files can be read")
    tell(unreadable, "files that cannot be opened")
    (width, height), count = sizes.most_common(1)[0]
    if count <= sizes.total() / 2:
        width, height = (sorted(size[side] for size in sizes.elements())[sizes.total() // 2] for side in (0, 1))
    factor = min(1, most / max(width, height))
    width, height = (max(1, round(side * factor)) for side in (width, height))
    return {"height": height, "width": width, "channels": 1 if grey else 3}


def _folder(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with one folder of images per label")
    text = "CSV for multi-label images, with the columns file and labels (A;B), and split if there is an official one"
    parser.add_argument("--labels", type=Path, metavar="FILE.csv", help=text)
    list_arguments(parser)


def list_arguments(parser: ArgumentParser) -> None:
    """Add the options on the names of images, and on a CSV that lists them."""
    splitting.pattern_argument(parser, "{patient}_{index}")
    splitting.argument(parser)
    parser.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="text encoding of the CSV, such as cp1252 (default: utf-8)"
    )


SOURCES = {
    "digits": Command("the starter: 1,797 handwritten digits from scikit-learn, 8 x 8 pixels", digits),
    "mnist": Command(
        "MNIST: 70,000 handwritten digits from the four original files, 28 x 28 pixels",
        mnist,
        mnist_arguments,
    ),
    "images": Command(
        "images in class folders: FOLDER/LABEL/*.png or FOLDER/{train,validation,test}/LABEL/*.png; or with --labels",
        images,
        _folder,
    ),
}
