"""What DVC keeps of a folder: what it does not, no command of ours removes."""

import os
from collections.abc import Iterator
from pathlib import Path

from components import SlipwayError

SHOWN = 3  # files that an error names


def removable(folder: Path) -> None:
    """Raise SlipwayError, which names them, where a folder holds files whose content DVC's cache does not have.

    For a folder whose place something new is to take. One that is not there, or empty, may go.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SlipwayError(f"{folder} is {'a link' if folder.is_symlink() else 'a file'}, where a folder is to be made")
    if found := sorted(_lost(folder)):
        names = ", ".join(str(path.relative_to(folder)) for path in found[:SHOWN])
        more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
        raise SlipwayError(
            f"{folder}: holds files that DVC does not keep ({names}{more}), and they would be gone; "
            "move them away, or choose another folder"
        )


def _lost(folder: Path) -> Iterator[Path]:
    """List the files of a folder, its folders included, that are not in DVC's cache by their content."""
    files = [
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *(name for name in folders if Path(place, name).is_symlink()))
    ]
    if not files:
        return
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc_data.hashfile.hash import hash_file

    try:
        repo = Repo()
    except NotDvcRepoError:
        yield from files
        return
    with repo:
        cache = repo.cache.local
        for path in files:
            # not a file: a link that leads to a folder or nowhere, or a socket
            if not path.is_file() or not cache.exists(hash_file(str(path), cache.fs, "md5", state=repo.state)[1].value):
                yield path
