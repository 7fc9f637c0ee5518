"""Images with boxes: COCO's JSON, Pascal VOC's XML, YOLO's text files or a CSV."""

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from math import isfinite
from pathlib import Path, PurePosixPath

import pyarrow as pa

from components import SlipwayError, listed
from components.data import archive, dataset
from components.recipes import split_by as splitting
from components.recipes.detection.example import Params
from components.recipes.detection.source import coco, shares, table, voc, yolo
from components.recipes.detection.source.annotations import NAMED, Images, Listed
from components.recipes.images import source as images_source
from components.recipes.source import BATCH_ROWS, NAMES, Command, Source, official, slug, tell
from components.targets.boxes import BOX, MOST

# Pixels of the longer side of a model's input, unless params.yaml says otherwise: more than of a class, for a small
# thing must still be some pixels wide; memory and time grow with the square.
MAX_SIDE = 320
PIXELS = "multiply them by the image's width and height, for pixels are expected"
FORMATS = {"COCO": coco.find, "Pascal VOC": voc.find, "YOLO": yolo.find, "CSV": table.find}
ENDINGS = {".json": "COCO", ".xml": "Pascal VOC", ".csv": "CSV"} | dict.fromkeys(yolo.YAMLS, "YOLO")
EXPECTED = (
    "COCO's .json, Pascal VOC's .xml, YOLO's .txt with a data.yaml or classes.txt, or a .csv with the columns "
    f"{table.EXPECTED}"
)


def detection(
    folder: Path,
    boxes: Path | None = None,
    encoding: str = "utf-8",
    pattern: str | None = None,
    split_by: str | None = None,
    known: Params | None = None,
) -> Source:
    """Read the images of a folder or an archive, and their boxes from a file or folder, by default from what is there.

    Edges become shares of the image as it is shown. `split_by` names a further column of a CSV, or a field of
    `pattern`, which the file names must match. `known` is the section of the dataset that is added to. Raises
    SlipwayError for boxes in none or in several formats, and as the readers of the formats do.
    """
    skipped, told = Counter[str](), Counter[str]()
    name, opened = archive.stem(folder), ExitStack()
    folder = opened.enter_context(archive.unpacked(folder, skipped))
    if boxes is not None and not boxes.exists() and (folder / boxes).exists():
        boxes = folder / boxes
    kind, files = _chosen(folder, boxes)
    paths = images_source.files_in(folder, skipped, but=files)
    if not paths:
        raise SlipwayError(f"{folder}: no image files in the folder")
    root = folder if boxes is None else boxes if boxes.is_dir() else boxes.parent
    images = Images(folder, paths, root)
    by = splitting.parse(split_by, taken=["image"])
    found = _read(kind, files, images, told, skipped, encoding, by.column if by else None)
    if kind != "YOLO":
        told[f"boxes, all there are, end within the first pixel: if these edges are shares, {PIXELS}"] += _shares(found)
    there = {image.path for image in found}
    skipped["image without annotation"] += sum(path not in there for path in paths)
    if pattern is not None:
        found = _matched(found, images, splitting.Pattern(pattern), skipped)
    fields = [image.fields for image in found]
    splitting.parse(split_by, fields[0], f"--pattern {pattern}" if pattern else boxes or folder)
    there_is, new = [image.split for image in found], known is None
    for image, split in zip(
        found, official(there_is, lambda at: images.shown(found[at].path), "images", new=new), strict=True
    ):
        image.split = split
    labels = sorted({box.label for image in found for box in image.boxes})
    if not labels:
        raise SlipwayError(f"{folder}: no box in any of the {len(found):,} annotated images")
    about = {image.path: images_source.header(image.path) for image in found}
    settings = images_source.sized(about.items(), folder, MAX_SIDE) | {"labels": labels}
    content = [shares.label(image, about[image.path], told, pixels=kind != "YOLO") for image in found]
    _tell(kind, files, folder, content, told, known.max_boxes if known else MOST)

    def tables() -> Iterator[pa.Table]:
        with opened:
            yield from parts()

    def parts() -> Iterator[pa.Table]:
        for at in range(0, len(found), BATCH_ROWS // 10):
            part = found[at : at + BATCH_ROWS // 10]
            columns = {
                "image": pa.array([image.path.read_bytes() for image in part], pa.binary()),
                "label": pa.array(content[at : at + len(part)], pa.list_(BOX)),
                "split": pa.array([image.split for image in part], pa.string()),
            }
            if by is not None:
                columns[by.column] = by.read(pa.array([each.fields[by.column] for each in part], pa.string()), folder)
            names = json.dumps([images.shown(image.path) for image in part])
            yield pa.table(columns, metadata={NAMES: names})

    source = Source(slug(name), "detection", settings, tables(), +skipped)
    source.split_by = by
    source.groups = [] if by or any(image.split for image in found) else splitting.alike_fields(fields)
    return source


def _chosen(folder: Path, boxes: Path | None) -> tuple[str, list[Path]]:
    """Return the format of the boxes, and the files that are read for them."""
    place = boxes or folder
    if place.is_file():
        kind = "YOLO" if place.name.lower() in yolo.LISTS else ENDINGS.get(place.suffix.lower(), "")
        if not kind:
            raise SlipwayError(f"--boxes {place}: expected {EXPECTED}; or a folder of these")
        beside = dict.fromkeys((*_files(place.parent), *_files(folder))) if kind == "YOLO" else ()
        return kind, [place, *(path for path in beside if path.suffix == yolo.TEXT and path != place)]
    if not place.is_dir():
        raise SlipwayError(f"--boxes {place}: no such file or folder")
    every = _files(place)
    found = {kind: files for kind, find in FORMATS.items() if (files := find(every))}
    if not found and (files := table.find(every, partly=True)):
        return "CSV", files  # its reader says what is lacking
    if not found:
        raise SlipwayError(f"{place}: no boxes found; expected {EXPECTED}; --boxes says where they are")
    if len(found) > 1:
        names = {kind: [path.relative_to(place).as_posix() for path in files] for kind, files in found.items()}
        said = " and of ".join(f"{kind} ({listed(each, NAMED)})" for kind, each in names.items())
        raise SlipwayError(f"boxes of {said}; choose with --boxes, such as --boxes {next(iter(names.values()))[0]}")
    return next(iter(found.items()))


def _files(folder: Path) -> list[Path]:
    every = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in every if not dataset.is_junk(path.relative_to(folder))]


def _read(
    kind: str,
    files: list[Path],
    images: Images,
    told: Counter[str],
    skipped: Counter[str],
    encoding: str,
    group: str | None,
) -> list[Listed]:
    if kind == "COCO":
        return coco.read(files, images, told)
    if kind == "Pascal VOC":
        return voc.read(files, images, told)
    if kind == "YOLO":
        return yolo.read(files, images, told, skipped)
    return table.read(files, images, told, encoding, group)


def _matched(found: list[Listed], images: Images, pattern: splitting.Pattern, skipped: Counter[str]) -> list[Listed]:
    """Add the fields of the names; those that do not match are left out, and counted."""
    matched = []
    for image in found:
        fields = pattern.read(PurePosixPath(image.path.relative_to(images.folder).as_posix()))
        if fields is None:
            skipped["name does not match the pattern"] += 1
        else:
            image.fields |= fields
            matched.append(image)
    if not matched:
        raise SlipwayError(
            f"{images.folder}: --pattern: none of the {len(found)} file names matches, such as "
            f"{images.shown(found[0].path)}"
        )
    return matched


def _shares(found: list[Listed]) -> int:
    """Count the boxes if all of them end within the first pixel, as they do where edges are shares; else none."""
    edges = [edge for image in found for box in image.boxes for edge in box[1:] if isfinite(edge)]
    alike = bool(edges) and max(edges) <= 1 and any(edge % 1 for edge in edges)
    return sum(len(image.boxes) for image in found) if alike else 0


def _tell(
    kind: str, files: list[Path], folder: Path, content: list[shares.Label], told: Counter[str], most: int
) -> None:
    """Say what was read, and what was done with it."""
    shown = [str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in files]
    where = listed(shown) if len(shown) <= NAMED else f"{len(shown):,} files such as {shown[0]}"
    count, bare = sum(map(len, content)), sum(not label for label in content)
    print(f"{kind}, {where}: {count:,} boxes in {len(content):,} images, {bare:,} of them without any")
    many = sum(len(label) > most for label in content)
    told[f"images have more than {most} boxes: validate sets them aside, or raise detection.max_boxes"] += many
    tell([f"{what} ({count:,})" for what, count in (+told).items()], "notes")


def _arguments(parser: ArgumentParser) -> None:
    text = "folder of the images, in any folders below it, or a .zip or .tar.gz of it"
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=text)
    text = "file or folder of the boxes: COCO's .json, VOC's Annotations, YOLO's data.yaml, a .csv (default: found)"
    parser.add_argument("--boxes", type=Path, metavar="PATH", help=text)
    images_source.list_arguments(parser)


SOURCES = {
    "detection": Command(
        "images with boxes: COCO's JSON, Pascal VOC's XML, YOLO's text files or a CSV",
        detection,
        _arguments,
        known="detection",
    )
}
