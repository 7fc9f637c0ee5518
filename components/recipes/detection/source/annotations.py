"""What annotations list, whatever their format: images, and the boxes in each."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from components import SlipwayError, listed
from components.files import printable
from components.recipes.source import SPLIT_FOLDERS

NAMED = 3  # files or images that a message names
AROUND = "boxes are those around a polygon, for there is no "  # told, and of what
SPLIT_NAME = re.compile(r"([a-z]+)[-_ ]?\d*")  # of a folder, such as train2017


class Box(NamedTuple):
    """A box as it is annotated, in pixels or in shares of the image's sides."""

    label: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass
class Listed:
    """An image that is annotated; it may have no boxes."""

    path: Path
    boxes: list[Box]
    size: tuple[float, float] | None = None  # width and height of the image, as its annotation says
    split: str | None = None
    fields: dict[str, str] = field(default_factory=dict)  # what the list, or the pattern of the names, tells besides


class Images:
    """The images of a folder, to be found by what annotations call them.

    Names are compared in one Unicode form (NFC), for a Mac writes an umlaut as two characters. `root` is the folder of
    annotations that lie elsewhere.
    """

    def __init__(self, folder: Path, paths: Iterable[Path], root: Path) -> None:
        self.folder, self.root = folder, root
        self.paths = {path.relative_to(folder).as_posix(): path for path in paths}
        self._whole = {_form(name): name for name in self.paths} | {name: name for name in self.paths}
        self._last: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        self._above: dict[Path, tuple[str, ...]] = {}  # folder of annotations -> its names
        for name in self.paths:
            path = PurePosixPath(_form(name))
            self._last.setdefault(path.name, []).append(name)
            self._stems.setdefault(path.stem, []).append(name)

    def shown(self, path: Path) -> str:
        """Return what an image is called in a message: its path in the folder."""
        return printable(path.relative_to(self.folder))

    def named(self, name: str, by: Path, told: Counter[str], split: str | None = None) -> Path | None:
        r"""Find the image of that name; None if there is none.

        That is its path in the folder, or in that of the annotation file `by`, or the end of its path, or its last part
        alone, which is told; with \ in place of / too. `split`, that of the file, chooses where there are several.
        Raises SlipwayError where that leaves several.
        """
        slashed = _form(PurePosixPath(name.replace("\\", "/")).as_posix())
        beside = "/".join([*self._folders(by), slashed])
        for whole in (name, _form(name), beside, slashed):
            if whole in self._whole:
                return self.paths[self._whole[whole]]
        of_name = self._last.get(PurePosixPath(slashed).name, [])
        found = [each for each in of_name if f"/{_form(each)}".endswith("/" + slashed.lstrip("/"))]
        if not found and of_name:
            found = of_name
            told["images are found by the last part of their name: the annotations have them in another folder"] += 1
        return self._one(found, by, name, split)

    def of(self, by: Path, *, strict: bool = False) -> Path | None:
        """Find the image of an annotation file that is called like it, but for the ending; None if there is none.

        It lies in the same folder, or in one that has another name in one place, as labels/train and images/train have,
        but of the same split; or else, unless `strict`, anywhere. Raises SlipwayError where there are several.
        """
        found = self._stems.get(_form(by.stem), [])
        return self._one(found, by, by.stem, strict=strict)

    def _one(
        self, found: list[str], by: Path, name: str, split: str | None = None, *, strict: bool = False
    ) -> Path | None:
        own = self._folders(by)
        apart = {each: _apart(own, PurePosixPath(each).parent.parts) for each in found}
        if strict:
            found = [each for each in found if apart[each] <= 1]
        for better in (
            [each for each in found if split and in_folders(PurePosixPath(each)) == split],
            [each for each in found if apart[each] == 0],
            [each for each in found if apart[each] == 1],
        ):
            found = better if better and len(found) > 1 else found
        if len(found) > 1:
            raise SlipwayError(
                f"{by}: {printable(name)} may be {listed(map(printable, found[:NAMED]))}; give them other names, or "
                "name the folder, too"
            )
        return self.paths[found[0]] if found else None

    def _folders(self, by: Path) -> tuple[str, ...]:
        """Return the folders that an annotation file lies in, from the folder of the images, or from its own root."""
        if by.parent not in self._above:
            pairs = [
                (path.parent, above)
                for base in (self.folder, self.root)
                for path, above in ((by, base), (by.resolve(), base.resolve()))
            ]
            inside = (path.relative_to(above).parts for path, above in pairs if path.is_relative_to(above))
            self._above[by.parent] = next(inside, ())
        return self._above[by.parent]


def _form(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _apart(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the places in which two folders have other names; 2 where one lies deeper or they are of two splits."""
    if len(one) != len(other):
        return 2
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if _form(a) != _form(b)]
    return 2 if any(split_of(a) and split_of(b) for a, b in pairs) else len(pairs)


def split_of(folder: str) -> str | None:
    """Return the split that a folder is named after, also with a year, as train2017 is."""
    found = SPLIT_NAME.fullmatch(folder.lower())
    return SPLIT_FOLDERS.get(found[1]) if found else None


def in_folders(path: PurePosixPath | Path) -> str | None:
    """Return the split that the nearest folder of a path is named after."""
    return next((split for name in reversed(path.parent.parts) if (split := split_of(name))), None)


def split_of_file(path: Path, folder: Path) -> str | None:
    """Return the split that a file of annotations is named after, or else a folder that it lies in, below `folder`."""
    words = {SPLIT_FOLDERS[word] for word in re.findall("[a-z]+", path.stem.lower()) if word in SPLIT_FOLDERS}
    if len(words) == 1:
        return words.pop()
    return in_folders(path.relative_to(folder)) if path.is_relative_to(folder) else None


def around(across: Sequence[float], down: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the edges of the box around a polygon's corners; NaN where a corner is."""
    return float(np.min(across)), float(np.min(down)), float(np.max(across)), float(np.max(down))


def must_be_there(lost: Sequence[str], total: int, where: object, folder: Path) -> None:
    """Raise SlipwayError where images that annotations list are not in the folder."""
    if lost:
        raise SlipwayError(
            f"{where}: {len(lost):,} of the {total:,} images that it lists are not in {folder}, such as "
            f"{listed(map(printable, lost[:NAMED]))}; add them, or take them out of the annotations (--boxes chooses "
            "which annotations are read)"
        )
