"""YOLO's text files: a file of boxes beside each image (https://docs.ultralytics.com/datasets/detect/)."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components import SlipwayError, listed
from components.data import csv_reader
from components.files import printable
from components.recipes.detection.source.annotations import AROUND, Box, Images, Listed, around, in_folders
from components.recipes.source import SPLIT_FOLDERS

YAMLS = (".yaml", ".yml")
LISTS = ("classes.txt", "obj.names")  # of names, a line each
TEXT = ".txt"
EXPECTED = "the class, x, y, width and height, or the class and the corners of a polygon"


def find(files: Iterable[Path]) -> list[Path]:
    """Return the file of the names of the classes and the text files of boxes, if there is one of the names."""
    every = list(files)
    names = [path for path in every if path.suffix.lower() in YAMLS and b"names:" in path.read_bytes()]
    names = names or [path for path in every if path.name.lower() in LISTS]
    return names + [path for path in every if names and path.suffix.lower() == TEXT and path not in names]


def read(files: list[Path], images: Images, told: Counter[str], skipped: Counter[str]) -> list[Listed]:
    """Read the images and the text files that are called like them: `class x y width height` in each line.

    Numbers are shares of the image as it is shown, x and y of the box's middle; a line with more of them is a polygon.
    With a data.yaml an image without a text file has no boxes, as Ultralytics takes it; without, it is not annotated.
    Its train, val and test are the official split, or else folders of these names. Raises SlipwayError for a line that
    is no box, for an unknown class, and for what is not read.
    """
    texts = [file for file in files if file.suffix.lower() == TEXT and file.name.lower() not in LISTS]
    sources = [file for file in files if file not in set(texts)]
    names, layout = _names(sources), _yaml(sources[0]) if sources[0].suffix.lower() in YAMLS else None
    found: dict[Path, Listed] = {}
    of: dict[Path, Path] = {}
    for file in texts:
        path = images.of(file, strict=True)
        if path is None:
            skipped["a text file that is not called like an image"] += 1
            continue
        if path in of:
            raise SlipwayError(f"{file}: {images.shown(path)} has its boxes in {of[path]} already; keep one of the two")
        of[path] = file
        poses = bool(layout and layout.get("kpt_shape"))
        found[path] = Listed(path, list(_boxes(file, names, told, poses=poses)))
    if not found:
        raise SlipwayError(
            f"{images.folder}: no text file of boxes is called like an image, as labels/train/1.txt is for "
            "images/train/1.jpg"
        )
    if layout is not None:
        for path in images.paths.values():
            if path not in found:
                found[path] = Listed(path, [])
                told["images have no text file, and are taken as images without boxes"] += 1
    folders = _folders(sources[0], layout, images) if layout is not None else {}
    for path, image in found.items():
        of_yaml = {
            split for split, above in folders.items() if any(path.resolve().is_relative_to(folder) for folder in above)
        }
        image.split = in_folders(path.relative_to(images.folder)) if not folders else None
        image.split = of_yaml.pop() if len(of_yaml) == 1 else image.split
    return [found[path] for path in images.paths.values() if path in found]


def _boxes(file: Path, names: dict[int, str], told: Counter[str], *, poses: bool) -> Iterable[Box]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        where, words = f"{file}, line {number}", line.split()
        if not words:
            continue
        try:
            code, values = float(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            raise SlipwayError(f"{where}: {printable(line)[:80]!r} are not all numbers; expected {EXPECTED}") from None
        if code not in names:
            raise SlipwayError(f"{where}: class {words[0]} is none of {listed(map(str, names))}; add its name to them")
        label = names[int(code)]
        if poses:
            told["boxes have key points, which are not read"] += 1
            values = values[:4]
        if len(values) == 4:
            x, y, width, height = values
            yield Box(label, x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(values) >= 6 and len(values) % 2 == 0:
            told[f"{AROUND}box"] += 1
            yield Box(label, *around(values[::2], values[1::2]))
        else:
            more = "; the last may be a score of a prediction: take it out" if len(values) == 5 else ""
            raise SlipwayError(f"{where}: has {len(words)} numbers; expected {EXPECTED}{more}")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding=csv_reader.without_mark("utf-8"))
    except (OSError, UnicodeError) as error:
        raise SlipwayError(f"{file}: cannot be read as UTF-8 ({error}); save it again") from None


def _names(files: list[Path]) -> dict[int, str]:
    """Return the names of the classes by their numbers; SlipwayError where several files say something else."""
    found: dict[int, str] = {}
    for file in files:
        names: Any = _text(file).splitlines() if file.suffix.lower() not in YAMLS else _yaml(file).get("names")
        if isinstance(names, list):
            while names and not str(names[-1]).strip():
                names.pop()
            names = dict(enumerate(names))
        sound = (
            isinstance(names, dict)
            and names
            and all(
                isinstance(code, int) and isinstance(name, str | int | float) and str(name).strip()
                for code, name in names.items()
            )
        )
        if not sound:
            raise SlipwayError(f"{file}: expected a name for each class, such as `names: [cat, dog]`, or a line each")
        read = {code: str(name).strip() for code, name in names.items()}
        if found and read != found:
            raise SlipwayError(f"{files[0]} and {file} name other classes; choose one with --boxes")
        found = read
    return found


def _yaml(file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(_text(file))
    except YAMLError as error:
        raise SlipwayError(f"{file}: not valid YAML ({' '.join(str(error).split())[:200]})") from None
    return content if isinstance(content, dict) else {}


def _folders(file: Path, layout: dict[str, Any], images: Images) -> dict[str, list[Path]]:
    """Return the folders of each split of a data.yaml. Raises SlipwayError for a list of files."""
    found: dict[str, list[Path]] = {}
    for key in [key for key in layout if str(key).lower() in SPLIT_FOLDERS and layout[key]]:
        for text in layout[key] if isinstance(layout[key], list) else [layout[key]]:
            if str(text).lower().endswith(TEXT):
                raise SlipwayError(
                    f"{file}: {key}: {text} is a list of files, which is not read; put the images of each split into a "
                    "folder, or give a CSV with a column split"
                )
            # Roboflow writes ../train/images for a folder beside the file
            plain = str(text).replace("\\", "/")
            bases = [file.parent / str(layout.get("path") or "."), file.parent, images.folder]
            places = [base / each for base in bases for each in (plain, plain.lstrip("./"))]
            place = next((each.resolve() for each in places if each.is_dir()), None)
            if place is None:
                print(f"{file}: {key}: no folder {text}")
            else:
                found.setdefault(SPLIT_FOLDERS[str(key).lower()], []).append(place)
    return found
