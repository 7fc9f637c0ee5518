"""Pascal VOC: boxes of an image in an XML file each (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/)."""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from components import SlipwayError, listed
from components.data import csv_reader
from components.files import printable
from components.recipes.detection.source.annotations import (
    AROUND,
    NAMED,
    Box,
    Images,
    Listed,
    around,
    in_folders,
    must_be_there,
)
from components.recipes.source import SPLIT_FOLDERS

LISTS = "ImageSets/Main/*.txt"
EDGES = ("xmin", "ymin", "xmax", "ymax")


def find(files: Iterable[Path]) -> list[Path]:
    """Return the files of this format among others, and those beside their folder that list its official split."""
    found = [path for path in files if path.suffix.lower() == ".xml" and b"<annotation" in path.read_bytes()]
    return found + [
        path for folder in sorted({path.parent.parent for path in found}) for path in sorted(folder.glob(LISTS))
    ]


def _is_list(path: Path) -> bool:
    return path.suffix == ".txt" and path.parent.parts[-2:] == ("ImageSets", "Main")


def read(files: list[Path], images: Images, told: Counter[str]) -> list[Listed]:
    """Read the images that have an XML file, with their boxes; an official split is that of ImageSets/Main.

    Edges are in pixels and stand as they are: VOC's own files begin to count at 1, those of most tools at 0, and none
    says so. Difficult boxes are boxes. Raises SlipwayError for what is not of this format, naming file and object, and
    for an image that is not there or has two files.
    """
    found: list[Listed] = []
    seen: dict[Path, Path] = {}
    lost = []
    annotations = [file for file in files if not _is_list(file)]
    for file in annotations:
        root = _root(file)
        named = (root.findtext("filename") or "").strip()
        path = images.of(file) or (images.named(named, file, told) if named else None)
        if path is None:
            lost.append(named or file.stem)
            continue
        if path in seen:
            raise SlipwayError(
                f"{file}: {images.shown(path)} has its boxes in {seen[path]} already; keep one of the two"
            )
        seen[path] = file
        other = named and PurePosixPath(named.replace("\\", "/")).stem not in (path.stem, file.stem)
        told["annotations name another image than the one that is called like them, which is taken"] += bool(other)
        boxes = [_box(each, f"{file}: object {number}", told) for number, each in enumerate(root.findall("object"), 1)]
        split = in_folders(path.relative_to(images.folder))
        found.append(Listed(path, boxes, _size(root, file), split))
    must_be_there(lost, len(annotations), "the annotations", images.folder)
    if lists := [file for file in files if _is_list(file) and file.stem.lower() in SPLIT_FOLDERS]:
        _official(lists, {file.stem: image for file, image in zip(seen.values(), found, strict=True)}, told)
    return found


def _official(lists: list[Path], images: dict[str, Listed], told: Counter[str]) -> None:
    """Give images the split of the list that has them; one that is in several, or in none, has none."""
    splits: dict[str, set[str]] = {}
    for file in lists:
        text = _text(file)
        for line in filter(None, map(str.strip, text.splitlines())):
            name = line if line in images else line.split()[0]  # in the list of a class a number follows
            splits.setdefault(PurePosixPath(name).stem if name not in images else name, set()).add(
                SPLIT_FOLDERS[file.stem.lower()]
            )
    several = sorted(name for name, found in splits.items() if len(found) > 1 and name in images)
    if several:
        print(f"images in several lists of ImageSets/Main: {listed(several, NAMED)}")
    told["names in the lists of ImageSets/Main have no annotation"] += len(splits.keys() - images.keys())
    for name, image in images.items():
        of = splits.get(name, set())
        image.split = next(iter(of)) if len(of) == 1 else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding=csv_reader.without_mark("utf-8"))
    except (OSError, UnicodeError) as error:
        raise SlipwayError(f"{file}: cannot be read as UTF-8 ({error}); save it again") from None


def _root(file: Path) -> Element:
    """Parse a file. A DOCTYPE is refused: entities could make gigabytes of a few lines, or name other files."""
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise SlipwayError(f"{file}: has a DOCTYPE, which is not read for it can blow up; remove it from the file")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
        root = builder.close()
    except (expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise SlipwayError(f"{file}: not a complete XML file ({error}); export or download it again") from None
    if root.tag != "annotation":
        raise SlipwayError(f"{file}: not in Pascal VOC's format: its root is <{root.tag}>, not <annotation>")
    return root


def _box(entry: Element, where: str, told: Counter[str]) -> Box:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise SlipwayError(f"{where}: no <name>; give its class")
    told["boxes are difficult to see (difficult); they are boxes like others"] += (
        entry.findtext("difficult") or ""
    ).strip() in ("1", "true", "True")
    box, polygon = entry.find("bndbox"), entry.find("polygon")
    if box is not None:
        return Box(name, *(_number(box.findtext(edge), edge, where) for edge in EDGES))
    if polygon is not None:
        across, down = (
            [_number(each.text, each.tag, where) for each in polygon.iter() if each.tag[0] == axis] for axis in "xy"
        )
        if len(across) >= 3 and len(across) == len(down):
            told[f"{AROUND}bndbox"] += 1
            return Box(name, *around(across, down))
    raise SlipwayError(f"{where} ({printable(name)}): no <bndbox>; give its {', '.join(EDGES)}")


def _number(text: str | None, tag: str, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        what = "missing" if text is None else f"{text.strip()!r}, not a number"
        raise SlipwayError(f"{where}: {tag} is {what}") from None


def _size(root: Element, file: Path) -> tuple[float, float] | None:
    size = root.find("size")
    if size is None:
        return None
    try:
        width, height = (float(size.findtext(side) or 0) for side in ("width", "height"))
    except ValueError:
        raise SlipwayError(f"{file}: size: width or height is not a number; correct it, or leave it out") from None
    return (width, height) if 0 < width < math.inf and 0 < height < math.inf else None
