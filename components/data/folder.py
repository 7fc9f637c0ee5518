"""Changes to the folder of a dataset: one at a time, all of it or nothing, and nothing of the user's goes."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, count
from pathlib import Path

from components import SlipwayError, locks
from components.data import dataset, versions
from components.files import beside, replacing, sweep, sync

WAITING = "another ingest is working beside this dataset ({holder}); waiting until it ends"


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Let one ingest at a time work beside a dataset; others wait."""
    with locks.alone(locks.place(data.resolve().parent, "ingest"), WAITING):
        sweep(data.resolve().parent)  # what killed ones left
        yield


def must_lie_outside(data: Path, sources: Iterable[object]) -> None:
    """Raise SlipwayError for a file to be read that lies in the folder of the dataset."""
    for path in (source for source in sources if isinstance(source, Path)):
        if path.resolve().is_relative_to(data.resolve()):
            raise SlipwayError(
                f"{path} lies in {data}/, which holds the dataset alone; move it elsewhere and ingest it from there"
            )


def free(data: Path, name: str) -> str:
    """Return a name that no file of a dataset has: this one, or with a number, as of a file that is ingested again."""
    taken = {re.sub(r"(-\d{5})?\.parquet$", "", path.name) for path in data.glob("*.parquet")}
    return next(each for each in chain([name], (f"{name}-{number}" for number in count(2))) if each not in taken)


@contextmanager
def replaced(data: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of the dataset; what that one held, DVC has to keep."""
    with replacing(data, partial(_leaves, data)) as aside:
        yield aside
        versions.replaceable(data)  # somebody may have put a file there meanwhile


def _leaves(data: Path, old: Path, new: Path) -> None:
    versions.taken_over(old, data, new)


@contextmanager
def added(data: Path) -> Iterator[Path]:
    """Yield a folder; move the files that are written there into the dataset: all of them or none."""
    with beside(data.resolve()) as aside:
        aside.mkdir()
        yield aside
        sync(aside)
        pieces = sorted(aside.iterdir())
        moved: list[Path] = []
        try:
            moved.extend(_moved(piece, data / piece.name) for piece in pieces)
        except BaseException:
            for path in moved:
                path.unlink()
            raise


@contextmanager
def grown(data: Path) -> Iterator[Path]:
    """Yield a folder; the dataset and the files that are written there take the place of the dataset in one step.

    So a process that is killed leaves the old one or the new one, which `added` does not promise where it adds several
    files. Nothing written: nothing changes.
    """
    with beside(data.resolve()) as aside:
        aside.mkdir()
        yield aside
        pieces = sorted(aside.iterdir())
        if not pieces:
            return
        with replacing(data, _come_along) as whole:
            whole.mkdir()
            for path in data.iterdir():
                if not dataset.is_junk(path.name):
                    _linked(path, whole / path.name)
            for piece in pieces:
                if (whole / piece.name).exists():
                    raise SlipwayError(f"{data / piece.name} already exists with other examples; choose another --name")
                piece.rename(whole / piece.name)


def _come_along(old: Path, new: Path) -> None:
    """Move what somebody has put into the old folder meanwhile, and junk, into the new one."""
    for path in old.iterdir():
        if not os.path.lexists(new / path.name):
            path.rename(new / path.name)


def _linked(path: Path, place: Path) -> None:
    """Give a file a second name; copy it where the file system knows no hard links."""
    if path.is_symlink():  # DVC's, into its cache
        place.symlink_to(path.readlink())
        return
    try:
        os.link(path, place)
    except OSError:
        shutil.copy2(path, place)


def _moved(piece: Path, place: Path) -> Path:
    """Move a file to a place where there is none; SlipwayError where there is one, were it made just now."""
    try:
        os.link(piece, place)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not place.exists():
            return piece.rename(place)
    else:
        return place
    raise SlipwayError(f"{place} already exists with other examples; choose another --name, or use --replace")
