"""Files written whole or not at all."""

import csv
import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components import temporary

RENAME_EXCHANGE, AT_FDCWD = 2, -100  # linux/fs.h, fcntl.h; RENAME_SWAP of macOS is 2 too


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


def printable(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that any file can hold: bytes that are not UTF-8 are written out, such as \xfc."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def replacing(path: Path, leaves: Callable[[Path, Path], None] | None = None) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or folder to; put it in the place of `path` if all went well.

    What `path` held before is kept until then, and for good where the block raises. All is on disk before it takes its
    place (fsync), and there is no moment without the old or the new: a process that is killed leaves one of them, and
    something hidden beside it that the next `replacing` or `sweep` removes. `leaves(old, new)` is called where a folder
    was replaced, before what it held is removed; where it raises, the old folder comes back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _settle(path.parent, path.name)
    with beside(path) as aside:
        yield aside
        sync(aside)
        if not path.is_dir() or path.is_symlink():
            aside.replace(path)
        elif not _exchanged(aside, path):
            _swapped(aside, path, leaves)
        elif leaves is not None:
            try:
                leaves(aside, path)
            except BaseException:
                _exchanged(aside, path)
                raise
        _sync_folder(path.parent)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield the path of a hidden file or folder beside `path`, to be made; removed on leaving, or by the next run."""
    aside = path.with_name(f".{path.name}.{temporary.owner()}.{secrets.token_hex(3)}.tmp")
    try:
        yield aside
    finally:
        temporary.remove(aside)


def sweep(*folders: Path) -> None:
    """Remove what killed processes left beside files of these folders; bring back what they were replacing."""
    for folder in folders:
        _settle(folder)


def _settle(folder: Path, name: str = "") -> None:
    """Do what a killed `replacing` had still to do in a folder, for all names or for one."""
    pattern = rf"\.({re.escape(name) or '.+'})\.({temporary.OWNER_PATTERN})\.[0-9a-f]{{6}}(\.old)?\.tmp"
    try:
        found = [(Path(entry.path), re.fullmatch(pattern, entry.name)) for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for path, match in found:
        with suppress(FileNotFoundError):  # another run does the same at this moment
            if not match or os.getuid() not in (0, path.lstat().st_uid):  # others' processes may be hidden from us
                continue
            if temporary.is_dead(match[2], temporary.last_touched(path)):
                place = path.with_name(match[1])
                if match[6] and not place.exists():
                    path.rename(place)
                else:
                    temporary.remove(path)


def _swapped(new: Path, old: Path, leaves: Callable[[Path, Path], None] | None) -> None:
    """Put one folder in the place of another by two renames; killed between them, `_settle` undoes the first."""
    kept = new.with_suffix(".old.tmp")
    old.rename(kept)
    try:
        if leaves is not None:
            leaves(kept, new)
        new.replace(old)
    finally:
        if not old.exists():
            kept.rename(old)
        temporary.remove(kept)


def _exchanged(new: Path, old: Path) -> bool:
    """Exchange two folders at once, where the system and its file system can: renameat2(2), renamex_np(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(new), os.fsencode(old)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, RENAME_EXCHANGE)
        else:
            failed = libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    except AttributeError:
        return False
    if failed and (number := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        raise OSError(number, os.strerror(number), str(old))
    return not failed


def sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, written to the disk."""
    for place, _, names in os.walk(path):
        for name in names:
            _sync_one(Path(place, name))
        _sync_folder(Path(place))
    if path.is_file():
        _sync_one(path)


def _sync_one(path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # a file system that cannot
            raise
    finally:
        os.close(place)


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
