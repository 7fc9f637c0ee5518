"""What a DVC that was killed leaves: put right before the next one works in the checkout."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import files

if TYPE_CHECKING:
    from dvc.repo import Repo

ASIDE = re.compile(r"\.[\w-]{22}\.tmp")  # what DVC is writing to its cache: dvc_objects.fs.utils.tmp_fname
ABANDONED_SECONDS = 3600.0  # that such a file was not written to: the DVC that made it was killed
CLOCK_SECONDS = 2.0  # by which the start of a process and the time of a file may differ


def repair(repo: "Repo") -> None:
    """Put right what killed DVCs left; the caller holds the checkout's lock."""
    room = Path(repo.tmp_dir)
    _sweep_cache(Path(repo.cache.local.path))
    _keep_whole(room)
    _free(repo, room / "rwlock")


def _sweep_cache(cache: Path) -> None:
    """Remove what was left half written in the cache: nothing else ever would."""
    for place, _, names in os.walk(cache):
        for path in (Path(place, name) for name in names if ASIDE.fullmatch(name)):
            with suppress(OSError):  # of another user, or just finished
                if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


def _free(repo: "Repo", path: Path) -> None:
    """Take out of DVC's list of files in use what belongs to processes that have ended; begin it anew where it is cut.

    DVC writes the list in place, and from a list that was cut short it never recovers. It asks only whether there is a
    process of that id: after a restart of the machine there often is, another one.
    """
    from dvc.lock import LockError, make_lock

    if not path.exists():
        return
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with suppress(LockError), make_lock(str(path.with_name("rwlock.lock")), repo.tmp_dir, hardlink_lock=hardlink):
        try:
            held = json.loads(path.read_bytes())
            ended = [entry for entry in _entries(held) if _ended(entry["pid"], path.stat().st_mtime)]
        except (ValueError, TypeError, KeyError, AttributeError):
            path.unlink()
            print(
                f"{path}, DVC's list of files in use, was cut short by a DVC that was killed; it is removed", flush=True
            )
            return
        if ended:
            write = {name: entry for name, entry in held.get("write", {}).items() if entry not in ended}
            read = {name: [one for one in found if one not in ended] for name, found in held.get("read", {}).items()}
            files.write_json(path, {"write": write, "read": {name: found for name, found in read.items() if found}})


def _entries(held: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from held.get("write", {}).values()
    for found in held.get("read", {}).values():
        yield from found


def _ended(pid: int, written: float) -> bool:
    """Return whether the process that had an id when the list was last written has ended."""
    import psutil

    try:
        return bool(psutil.Process(pid).create_time() > written + CLOCK_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _keep_whole(room: Path) -> None:
    """Keep a copy of what DVC writes in place; use it where a DVC that was killed left a file cut short.

    Stages that are then missing in dvc.lock come back from DVC's cache, without being run.
    """
    for path in (Path("dvc.lock"), Path("data.dvc")):
        copy = room / f"slipway-{path.name}"
        content = path.read_bytes() if path.exists() else b"\n"
        if not content.endswith(b"\n") and copy.exists():
            with files.replacing(path) as aside:
                aside.write_bytes(copy.read_bytes())
            print(f"{path} was cut short by a DVC that was killed; its last whole version is restored", flush=True)
        elif path.exists() and content.endswith(b"\n") and (not copy.exists() or copy.read_bytes() != content):
            with files.replacing(copy) as aside:
                aside.write_bytes(content)
