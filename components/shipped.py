"""The code that ships with a model: a package of its own name, which imports nothing of any checkout.

Two models in one process would otherwise both import `components`, and the code of the first answer for both.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from components import SlipwayError

PACKAGE = Path(__file__).parent
PREFIX = "slipway_model_"  # then 32 hex digits, see `write`
LOADER = "serving.onnx_model"  # the module of the package that MLflow imports


def files(recipe: str) -> list[Path]:
    """Return the files of components/ that serving this recipe imports, and nothing else of it."""
    return _closure([PACKAGE.joinpath(*LOADER.split(".")).with_suffix(".py"), _example(recipe)])


def code(recipe: str) -> list[Path]:
    """Return the files of components/ that a recipe's examples and networks are made of.

    All of them are dependencies of `train`: components/__init__.py, errors and words, shapes nothing of a model.
    """
    found = _closure([_example(recipe), PACKAGE / "recipes" / recipe / "networks.py"])
    return [path for path in found if path != PACKAGE / "__init__.py"]


def stage(name: str, recipe: str) -> list[Path]:
    """Return the files of components/ that a stage and a recipe's examples are made of."""
    return _closure([PACKAGE / "stages" / f"{name}.py", _example(recipe)])


def _example(recipe: str) -> Path:
    return PACKAGE / "recipes" / recipe / "example" / "__init__.py"


def write(folder: Path, recipe: str, model_digest: str) -> str:
    """Write the package that serves a model into `folder`; return its name, made of the digest of code and model.

    Raises SlipwayError for a file that is not UTF-8.
    """
    try:
        sources = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8-sig") for path in files(recipe)}
    except UnicodeDecodeError as error:
        raise SlipwayError(f"the code of recipe {recipe} is not UTF-8 ({error}): save it as UTF-8") from None
    content = hashlib.sha256(model_digest.encode())
    for path, source in sources.items():
        content.update(f"\n{path.as_posix()} {hashlib.sha256(source.encode()).hexdigest()}".encode())
    name = f"{PREFIX}{content.hexdigest()[:32]}"
    for path, source in sources.items():
        copy = folder / name / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(renamed(source, name).encode())
    return name


def renamed(source: str, name: str) -> str:
    """Return Python source that imports the package `name` wherever it imported `components`; all else is kept."""
    content = source.encode()  # the parser counts bytes of UTF-8
    for start, end, text in sorted(_edits(content, name), reverse=True):
        content = content[:start] + text.encode() + content[end:]
    return content.decode()


def _edits(content: bytes, name: str) -> Iterator[tuple[int, int, str]]:
    """Find what is to be replaced: from, to, by what."""
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _ours(node.module):
            word = re.compile(rb"from(\s|\\\r?\n)+").match(content, starts[node.lineno - 1] + node.col_offset)
            assert word is not None  # noqa: S101 - for the type checker: the statement begins with it
            yield word.end(), word.end() + len(PACKAGE.name), name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if _ours(alias.name):
                    start = starts[alias.lineno - 1] + alias.col_offset
                    yield start, start + len(PACKAGE.name), name
                if _ours(alias.name) and alias.asname is None:  # it binds the name of the package
                    end = starts[(alias.end_lineno or alias.lineno) - 1] + (alias.end_col_offset or 0)
                    yield end, end, f", {name} as {PACKAGE.name}"


def _ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] == PACKAGE.name


def _closure(waiting: list[Path]) -> list[Path]:
    """Return these files of components/, those of it that they import, and the packages that they stand in."""
    found: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.append(path)
        waiting += [parent / "__init__.py" for parent in path.parents if parent.is_relative_to(PACKAGE)]
        waiting += _imported(path, path.read_bytes())
    return sorted(found)


@functools.cache  # parsing takes most of it, and several stages ask in one process
def _imported(path: Path, content: bytes) -> list[Path]:
    """Return where the modules of components/ are that a file with this content imports, if they are modules at all."""
    here = path.relative_to(PACKAGE.parent).parent.parts
    found = []
    for node in ast.walk(ast.parse(content)):
        names = []
        if isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for parts in (name.split(".") for name in names if _ours(name)):
            place = PACKAGE.joinpath(*parts[1:])
            found += [place / "__init__.py", place.with_suffix(".py")]
    return found
