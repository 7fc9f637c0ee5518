"""A CSV of boxes, one in each row."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from components import SlipwayError, listed
from components.data import csv_reader
from components.files import printable
from components.recipes.detection.source.annotations import (
    Box,
    Images,
    Listed,
    must_be_there,
    split_of_file,
)
from components.recipes.source import SPLIT_FOLDERS

FILE, LABEL = ("file", "filename"), ("label", "class")  # what the columns may be called
CORNERS = (("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"))
SIDES = ("x", "y", "width", "height")
EXPECTED = "file, label and left,top,right,bottom or xmin,ymin,xmax,ymax or x,y,width,height"


def find(files: Iterable[Path], *, partly: bool = False) -> list[Path]:
    """Return the files of this format among others, by the names in their first line; `partly`: without a label too."""
    return [path for path in files if path.suffix.lower() == ".csv" and _is(path, partly=partly)]


def _is(path: Path, *, partly: bool) -> bool:
    with path.open("rb") as file:
        line = file.readline(2**16)
    names = set(re.findall(r"\w+", line.decode("latin-1").lower()))  # those that are asked for are ASCII
    return bool(names & {*FILE} and (partly or names & {*LABEL})) and any(
        names >= {*edges} for edges in (*CORNERS, SIDES)
    )


def read(
    files: list[Path], images: Images, told: Counter[str], encoding: str = "utf-8", group: str | None = None
) -> list[Listed]:
    """Read the images that the files list, with their boxes; a row of neither label nor edges is one without boxes.

    Edges are in pixels of the image as it is shown. `group` is the column that must be the same in all rows of an
    image, as the split must be. Raises SlipwayError, naming the line, for what cannot be read, and for an image that is
    not there.
    """
    found: dict[Path, Listed] = {}
    first: dict[Path, tuple[Path, int, bool]] = {}  # where an image is listed first, and whether with a box
    for file in files:
        lost: dict[str, None] = {}
        own = split_of_file(file, images.folder)
        rows = csv_reader.rows(file, csv_reader.reading({"delimiter": ",", "encoding": encoding}))
        names = [name.lower() for name in next(rows, (0, []))[1]]
        columns = _columns(file, names)
        there: dict[str, Path | None] = {}
        for line, row in rows:
            where, values = f"{file}, line {line}", dict(zip(names, row, strict=True))
            name = values[columns[0]].strip()
            if not name:
                raise SlipwayError(f"{where}: {columns[0]} is empty; name the image, by its path in {images.folder}")
            if name not in there:
                there[name] = images.named(name, file, told, own)
            path = there[name]
            if path is None:
                lost[name] = None
                continue
            box = _box(where, values, columns)
            split = _split(where, values) if "split" in names else own
            more = {key: text for key, text in values.items() if key not in (*columns, "split")}
            if path not in found:
                found[path] = Listed(path, [], None, split, more)
                first[path] = file, line, box is not None
            else:
                _must_agree(where, images.shown(path), first[path], (file, box is not None), columns[0])
                before = found[path]
                if split != before.split or (group and more.get(group) != before.fields.get(group)):
                    what = "split" if split != before.split else group
                    raise SlipwayError(f"{where}: {what} is not that of line {first[path][1]}, of the same image")
            if box:
                found[path].boxes.append(box)
        must_be_there([*lost], len(lost) + len(found), file, images.folder)
    if not found:
        raise SlipwayError(f"{listed(map(str, files))}: lists no images")
    return [*found.values()]


def _columns(file: Path, names: list[str]) -> tuple[str, ...]:
    """Return the names of the columns: of the file, the label and the edges."""
    edges = [each for each in (*CORNERS, SIDES) if {*each} <= {*names}]
    own = [next((name for name in each if name in names), None) for each in (FILE, LABEL)]
    if not edges or None in own:
        raise SlipwayError(f"{file}: expected the columns {EXPECTED} (there are: {listed(names) or 'none'})")
    if len(edges) > 1:
        raise SlipwayError(f"{file}: has the edges twice, as {' and as '.join(map(','.join, edges))}; leave one out")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SlipwayError(f"{file}: two columns are called {twice[0]!r}; rename one")
    return (*(str(name) for name in own), *edges[0])


def _box(where: str, values: dict[str, str], columns: tuple[str, ...]) -> Box | None:
    label, *texts = (values[name].strip() for name in columns[1:])
    if not label and not any(texts):
        return None
    if not label or not all(texts):
        lacking = next(name for name in columns[1:] if not values[name].strip())
        raise SlipwayError(f"{where}: {lacking} is empty; a row has a label and four edges, or none of them")
    edges = []
    for name, text in zip(columns[2:], texts, strict=True):
        try:
            edges.append(float(text))
        except ValueError:
            raise SlipwayError(f"{where}: {name} is {printable(text)[:80]!r}, not a number") from None
    left, top, right, bottom = edges
    return Box(label, left, top, *((left + right, top + bottom) if columns[2:] == SIDES else (right, bottom)))


def _split(where: str, values: dict[str, str]) -> str | None:
    text = values["split"].strip()
    if text and text.lower() not in SPLIT_FOLDERS:
        raise SlipwayError(f"{where}: split {text!r} is not one of {', '.join(dict.fromkeys(SPLIT_FOLDERS.values()))}")
    return SPLIT_FOLDERS[text.lower()] if text else None


def _must_agree(where: str, name: str, first: tuple[Path, int, bool], here: tuple[Path, bool], column: str) -> None:
    file, line, boxed = first
    if file != here[0]:
        raise SlipwayError(f"{where}: {name} is already listed in {file}, line {line}; list each image in one file")
    if not (boxed and here[1]):
        raise SlipwayError(
            f"{where}: {name} is listed in line {line} too, and one of the two says that it has no boxes; "
            f"leave out the row that has only its {column}"
        )
