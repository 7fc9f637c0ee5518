"""Files in which git left the marks of a conflict: told in a sentence, before a parser stumbles over them."""

from itertools import chain
from pathlib import Path

from components import SlipwayError

MARKS = (b"<<<<<<< ", b"||||||| ", b">>>>>>> ")
FILES = ("params.yaml", "dvc.yaml", "dvc.lock", "*.dvc", "expectations/*.yaml", ".dvc/config")
ADVICE = {
    ".lock": "take one side, `git checkout --ours {path}`, then `dvc repro` brings it up to date",
    ".dvc": "take the side whose data you want, `git checkout --ours {path}` or --theirs, then `dvc checkout {path}`; "
    "to have the data of both, ingest again what the other side added",
}


def must_be_solved(folder: Path = Path()) -> None:
    """Raise SlipwayError, which says what to do, where a file that commands read has marks of a conflict."""
    for path in chain.from_iterable(sorted(folder.glob(pattern)) for pattern in FILES):
        if path.is_file():
            check(path, path.relative_to(folder))


def check(path: Path, called: Path | None = None) -> None:
    """Raise SlipwayError where one file has marks of a conflict."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.startswith(MARKS):
            name = called or path
            advice = ADVICE.get(path.suffix, "keep what you want of both sides, and delete the lines with marks")
            raise SlipwayError(
                f"{name}, line {number}: marks of a merge that is not finished ({line[:8].decode().strip()}): "
                f"{advice.format(path=name)}"
            )
