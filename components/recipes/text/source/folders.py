"""Texts from folders: class folders of text files, class files of lines."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from components import SlipwayError
from components.data import csv_reader, dataset
from components.files import printable
from components.recipes.source import SPLIT_FOLDERS
from components.recipes.split_by import Pattern
from components.recipes.text.source.tables import Row, must_decode


def class_folders(
    folder: Path, encoding: str, skipped: Counter[str], pattern: Pattern | None, column: str | None
) -> Callable[[], Iterator[Row]]:
    """Read FOLDER/LABEL/*.txt, or FOLDER/{train,validation,test}/LABEL/*.txt: a file an example.

    A file whose name does not match the pattern is left out, and counted; `column` is the field that is kept.
    """
    tops = _below(folder, Path.is_dir)
    official = [top for top in tops if top.name.lower() in SPLIT_FOLDERS]
    if official and len(official) < len(tops):
        other = next(top.name for top in tops if top not in official)
        raise SlipwayError(f"{folder}: {official[0].name}/ is a split but {other}/ is not; do not mix the two")
    found: list[tuple[Path, str, str | None, str | None]] = []
    for label, split in (
        [(label, SPLIT_FOLDERS[top.name.lower()]) for top in tops for label in _below(top, Path.is_dir)]
        if official
        else [(label, None) for label in tops]
    ):
        for path in sorted(label.rglob("*")):
            if path.is_file() and not path.name.startswith(".") and not dataset.is_junk(path.relative_to(label)):
                if path.suffix.lower() not in (".txt", ".text"):
                    skipped[f"not a text file ({path.suffix or path.name})"] += 1
                    continue
                fields = pattern.read(PurePosixPath(path.relative_to(folder).as_posix())) if pattern else {}
                if fields is None:
                    skipped["name does not match the pattern"] += 1
                    continue
                found.append((path, printable(label.name), split, fields[column] if column else None))
    if loose := len(_below(folder, Path.is_file)):
        skipped["not in a class folder"] = loose
    if not found:
        raise SlipwayError(
            f"{folder}: no text files in class folders; expected {folder}/LABEL/*.txt, or with --lines one file per "
            "class, with one example per line"
        )

    def rows() -> Iterator[Row]:
        for path, label, split, group in found:
            must_decode(path, encoding)
            yield path.read_text(csv_reader.without_mark(encoding)).strip(), label, split, group

    return rows


def class_files(folder: Path, encoding: str, skipped: Counter[str]) -> Callable[[], Iterator[Row]]:
    """Read FOLDER/LABEL.txt, or NAME.LABEL of one NAME: a line per example, stripped; no empty ones."""
    files = _below(folder, Path.is_file)
    stems = Counter(path.stem for path in files if path.suffix not in (".txt", ""))
    found = []
    for path in files:
        if path.suffix == ".txt":
            found.append((path, printable(path.stem)))
        elif stems[path.stem] > 1:
            found.append((path, printable(path.suffix[1:])))
        else:
            skipped[f"not a class file ({path.name})"] += 1
    if not found:
        raise SlipwayError(f"{folder}: no class files; expected one file per class, LABEL.txt or NAME.LABEL")

    def rows() -> Iterator[Row]:
        for path, label in found:
            must_decode(path, encoding)
            with path.open(encoding=csv_reader.without_mark(encoding)) as file:
                yield from ((line.strip(), label, None, None) for line in file if line.strip())

    return rows


def _below(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    found = (path for path in folder.iterdir() if kind(path) and not path.name.startswith("."))
    return sorted(path for path in found if not dataset.is_junk(path.name))
