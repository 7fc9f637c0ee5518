"""COCO: boxes of many images in a JSON file (https://cocodataset.org/#format-data)."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components import SlipwayError, listed
from components.recipes.detection.source.annotations import (
    AROUND,
    Box,
    Images,
    Listed,
    around,
    must_be_there,
    split_of_file,
)

BEGINNING = 2**20  # bytes of a file that tell what it is
KEYS = ("images", "annotations", "categories")


def find(files: Iterable[Path]) -> list[Path]:
    """Return the files of this format among others; of COCO's own folder those of boxes, instances_*.json."""
    found = [path for path in files if path.suffix.lower() == ".json" and _is(path)]
    return [path for path in found if path.name.startswith("instances_")] or found


def _is(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(BEGINNING)
    return b'"images"' in start or b'"annotations"' in start


def read(files: list[Path], images: Images, told: Counter[str]) -> list[Listed]:
    """Read the images that the files list, with their boxes; an image without annotations has none.

    Edges are in pixels, left and top from 0; a box without `bbox` is the one around its polygons. Raises SlipwayError
    for what is not of this format, naming file and entry, for an image that is not there or is listed twice, and for an
    annotation of an unknown category.
    """
    found: list[Listed] = []
    seen: dict[Path, str] = {}
    unused: Counter[str] = Counter()
    for file in files:
        content = _content(file)
        names = _categories(file, content)
        split = split_of_file(file, images.folder)
        mine: dict[Any, Listed] = {}
        ids: set[Any] = set()
        lost = []
        for where, image in _entries(file, content, "images"):
            name, key = _of(image, "file_name", str, where), _of(image, "id", (int, str), where)
            if key in ids:
                raise SlipwayError(f"{where}: its id {key!r} is that of an image before it; give each its own")
            ids.add(key)
            path = images.named(name, file, told, split)
            if path is None:
                lost.append(name)
                continue
            if path in seen:
                raise SlipwayError(
                    f"{where}: {images.shown(path)} is already listed, as {seen[path]}: list each image once, or "
                    "choose one file with --boxes"
                )
            seen[path] = where
            mine[key] = Listed(path, [], _size(image), split)
        must_be_there(lost, len(lost) + len(mine), file, images.folder)
        _boxes(file, content, names, mine, told)
        unused.update(
            dict.fromkeys({*names.values()} - {box.label for image in mine.values() for box in image.boxes}, 1)
        )
        found += mine.values()
    used = {box.label for image in found for box in image.boxes}
    if rest := sorted({*unused} - used):
        print(f"categories without a box are no labels: {listed(rest)}")
    return found


def _boxes(
    file: Path, content: dict[str, Any], names: dict[Any, str], images: dict[Any, Listed], told: Counter[str]
) -> None:
    """Give images their boxes."""
    ids: Counter[Any] = Counter()
    for where, entry in _entries(file, content, "annotations"):
        ids[str(entry.get("id", where))] += 1
        image = images.get(_of(entry, "image_id", (int, str), where))
        category = _of(entry, "category_id", (int, str), where)
        if category not in names:
            raise SlipwayError(
                f"{where}: category_id {category!r} is none of the file's categories ({listed(map(str, names))}); "
                "add it there, or change it"
            )
        if image is None:
            told["annotations are of images that their file does not list, and left out"] += 1
        elif entry.get("iscrowd"):
            told["annotations are of crowds (iscrowd), regions with many things, and left out"] += 1
        else:
            image.boxes.append(Box(names[category], *_edges(entry, where, told)))
    told["annotations have the id of another one: each is a box"] += sum(count - 1 for count in ids.values())


def _edges(entry: dict[str, Any], where: str, told: Counter[str]) -> tuple[float, float, float, float]:
    box, parts = entry.get("bbox"), entry.get("segmentation")
    if box:
        if not _numbers(box) or len(box) != 4:
            raise SlipwayError(f"{where}: bbox is {str(box)[:80]}, expected four numbers: left, top, width and height")
        left, top, width, height = map(float, box)
        return left, top, left + width, top + height
    if isinstance(parts, list) and parts and _numbers(parts):
        parts = [parts]  # one polygon, without the list around it
    if isinstance(parts, list) and parts and all(_numbers(part) and len(part) >= 6 for part in parts):
        told[f"{AROUND}bbox"] += 1
        across, down = ([float(value) for part in parts for value in part[at::2]] for at in (0, 1))
        return around(across, down)
    raise SlipwayError(f"{where}: no bbox, and no polygon in `segmentation`; give the box: [left, top, width, height]")


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise SlipwayError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # ValueError: also what is not UTF-8
        raise SlipwayError(f"{file}: not a complete JSON file ({error}); export or download it again") from None
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in KEYS):
        has = f"it has {listed(content) or 'nothing'}" if isinstance(content, dict) else "it is a list"
        raise SlipwayError(f"{file}: not in COCO's format, which has the lists {listed(KEYS)}; {has}")
    return content


def _categories(file: Path, content: dict[str, Any]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for where, entry in _entries(file, content, "categories"):
        key, name = _of(entry, "id", (int, str), where), _of(entry, "name", str, where).strip()
        if names.get(key, name) != name:
            raise SlipwayError(f"{where}: its id {key!r} is also that of {names[key]!r}; give each category its own")
        names[key] = name
    if several := sorted(name for name, count in Counter(names.values()).items() if count > 1):
        print(f"{file}: categories of the same name are one label: {listed(several)}")
    return names


def _entries(file: Path, content: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a list, each with what it is called in a message."""
    for number, entry in enumerate(content[key]):
        where = f"{file}: {key}[{number}]"
        if not isinstance(entry, dict):
            raise SlipwayError(f"{where} is {str(entry)[:80]}, expected an object")
        yield where, entry


def _of(entry: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        raise SlipwayError(f"{where}: {key} is {str(value)[:80] if key in entry else 'missing'}")
    return value


def _size(image: dict[str, Any]) -> tuple[float, float] | None:
    size: Any = image.get("width"), image.get("height")
    return (float(size[0]), float(size[1])) if _numbers(size) and min(size) > 0 else None


def _numbers(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
