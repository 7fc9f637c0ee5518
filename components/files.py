"""Files written whole or not at all."""

import ast
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def file_or_text(text: str) -> str:
    """Return the full path of a file that is there, or another text as it is: the type of such an argument."""
    return _full(text, Path.is_file)


def folder_or_text(text: str) -> str:
    """Return the full path of a folder that is there, or another text as it is: the type of such an argument."""
    return _full(text, Path.is_dir)


def _full(text: str, there: Callable[[Path], bool]) -> str:
    path = Path(text).absolute()
    with suppress(OSError):  # the text is too long for a path
        return str(path) if there(path) else text
    return text


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder to; rename it to `path` if all went well.

    What `path` held before is kept until then, and for good where the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, old = (path.with_name(f".{path.name}.{os.getpid()}.{part}.tmp") for part in ("new", "old"))
    _remove(aside)
    _remove(old)
    try:
        yield aside
        if path.is_dir() and not path.is_symlink():
            path.rename(old)
        aside.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # interrupted between the two
        _remove(old)
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that reads well and compares well: indented, keys as given, a newline at the end."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
    """Write rows as CSV with a header; a key that a row lacks is empty."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(*paths: Path) -> str:
    """Hash the content of files, in the order given: 64 hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_digest(folder: Path) -> str:
    """Return the digest of the model in a folder such as build/model: 64 hex digits."""
    return sha256(folder / "model.onnx", folder / "model.json")


def shipped(recipe: str) -> list[Path]:
    """Return the files of components/ that serving this recipe imports, and nothing else of it."""
    return _closure([PACKAGE / "serving" / "onnx_model.py", PACKAGE / "recipes" / recipe / "example" / "__init__.py"])


def code(recipe: str) -> list[Path]:
    """Return the files of components/ that a recipe's examples and networks are made of."""
    folder = PACKAGE / "recipes" / recipe
    return _closure([folder / "example" / "__init__.py", folder / "networks.py"])


def _closure(waiting: list[Path]) -> list[Path]:
    """Return these files of components/, those of it that they import, and the packages that they stand in."""
    found: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.append(path)
        waiting += [parent / "__init__.py" for parent in path.parents if parent.is_relative_to(PACKAGE)]
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for parts in (name.split(".") for name in names):
                if parts[0] == PACKAGE.name:
                    place = PACKAGE.joinpath(*parts[1:])
                    waiting += [place / "__init__.py", place.with_suffix(".py")]
    return sorted(found)
