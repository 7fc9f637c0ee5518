"""Archives: unpacked for as long as they are read."""

import shutil
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from components import SlipwayError, temporary
from components.data import dataset

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")


@contextmanager
def unpacked(path: Path, skipped: Counter[str]) -> Iterator[Path]:
    """Yield the folder of the files of a tar or zip archive, which goes when it is left; a folder is yielded as it is.

    Links, devices and paths that point outside are left out, and counted. Raises SlipwayError where it is neither a
    folder nor a whole archive.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise SlipwayError(f"{path}: no such file or folder")
    with temporary.folder() as folder:
        try:
            for text, packed in _members(path):
                name = PurePosixPath(text.replace("\\", "/"))
                if dataset.is_junk(name):
                    continue
                if packed is None:
                    skipped["a link or a device in the archive"] += 1
                elif name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
                    skipped["a path that points outside the archive"] += 1
                else:
                    place = folder / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with packed, place.open("wb") as file:
                        shutil.copyfileobj(packed, file)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
            raise SlipwayError(
                f"{path}: neither a folder nor a whole archive ({', '.join(ENDINGS)}): {error}; download it again"
            ) from None
        yield folder


def _members(path: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield the name and the content of all that is no folder; no content of what is no file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from ((each.filename, archive.open(each)) for each in archive.infolist() if not each.is_dir())
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.isdir():
                yield member.name, archive.extractfile(member) if member.isfile() else None


def stem(path: Path) -> str:
    """Return the name of a folder or an archive, without its ending."""
    name = path.resolve().name
    ending = next((each for each in ENDINGS if name.lower().endswith(each)), "")
    return name[: len(name) - len(ending)]
