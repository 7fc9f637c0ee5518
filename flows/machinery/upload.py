"""An experiment of DVC's, and the data that it names, to the remotes: python flows/machinery/upload.py NAME REMOTE.

First its data and outputs go to DVC's default remote, then its commit to a git remote: whoever finds an experiment in
git finds all that it names, whenever this is killed. A process of its own, so that it can be ended. It imports DVC and
nothing of ours; `error: ...` as its last line says what did not go, and why.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

PAUSES = (2.0, 8.0)  # seconds before the second and the third try
NAMED = 3  # objects that an error names
LOOKING = 8  # objects at a time whose size a remote is asked for


def main(name: str, git_remote: str) -> int:
    """Push one experiment; return 0, or 1 where something of it did not go."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    ref = _git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").partition("\n")[0]
    if not ref:
        print(f"error: there is no experiment {name}")
        return 1
    repo = Repo()
    remote = f"DVC remote {repo.config['core']['remote']}"
    pushes: tuple[tuple[str, Callable[[], None]], ...] = (
        (remote, lambda: _objects(repo, ref)),
        (f"git remote {git_remote}", lambda: _commit(git_remote, ref)),
    )
    for where, push in pushes:
        for pause in (*PAUSES, 0.0):
            try:
                push()
                break
            except KeyboardInterrupt:
                return 130
            except Exception as error:  # noqa: BLE001 - a remote's libraries raise anything
                if not pause:
                    print(f"error: {where}: {_why(error)}", flush=True)
                    return 1
                print(f"{where}: {_why(error)}; trying again in {pause:.0f} s", flush=True)
                time.sleep(pause)
    return 0


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _why(error: BaseException) -> str:
    """Say in a line what went wrong, by what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _git(*words: str) -> str:
    command = ["git", "-c", "core.hooksPath=/dev/null", *words]  # a hook is for what people do
    quiet = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # nobody could answer
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=quiet)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("fatal:", "error:", " !"))]
        raise OSError((lines or done.stderr.splitlines() or [f"exit code {done.returncode}"])[0])
    return done.stdout.strip()


def _commit(remote: str, ref: str) -> None:
    _git("push", "--quiet", "--force", remote, f"{ref}:{ref}")  # --force: the same name stands for the same state


def _objects(repo: "Repo", ref: str) -> None:
    """Bring all data and outputs that an experiment names to the remote, each folder's list after its files.

    `dvc push` takes what has an object's name for the object, and a folder whose list is there for complete. But a
    push that was killed, or a disk that was full, may have left half of an object; and where two folders share a file
    that failed, DVC uploads the list of the second. So every object is looked at: it has to be as large as that of the
    cache.
    """
    for _ in repo.brancher(revs=[ref], workspace=False):
        used = repo.index.used_objs(push=True)
        break
    for other, found in used.items():
        odb = other or repo.cloud.get_remote_odb(command="push")
        digests = {digest for info in found for digest in _members(repo, str(info.value))}
        try:
            _bring(repo, odb, digests)
        except Exception:
            odb.fs.fs.clear_instance_cache()  # fsspec would give the next try the connection that broke
            raise


def _bring(repo: "Repo", odb: "HashFileDB", digests: set[str]) -> None:
    """Upload what a remote lacks, and look again."""
    lacking = _lacking(repo, odb, digests)
    if gone := [digest for digest in lacking if not Path(repo.cache.local.oid_to_path(digest)).exists()]:
        raise FileNotFoundError(f"{_named(gone)}: neither there nor in DVC's cache")
    lists = [digest for digest in lacking if digest.endswith(".dir")]
    for part in ([digest for digest in lacking if digest not in lists], lists):
        paths = [repo.cache.local.oid_to_path(digest) for digest in part]
        odb.add(paths, repo.cache.local.fs, part, check_exists=False)
    if lacking := _lacking(repo, odb, set(lacking)):
        raise OSError(f"{_named(lacking)}: not there as a whole after the upload")


def _members(repo: "Repo", digest: str) -> Iterator[str]:
    yield digest
    path = Path(repo.cache.local.oid_to_path(digest))
    if digest.endswith(".dir") and path.exists():
        yield from (str(entry["md5"]) for entry in json.loads(path.read_bytes()))


def _lacking(repo: "Repo", odb: "HashFileDB", digests: set[str]) -> list[str]:
    """List the objects that a remote has not, or not whole; half ones are removed there."""

    def lacks(digest: str) -> bool:
        here, there = Path(repo.cache.local.oid_to_path(digest)), odb.oid_to_path(digest)
        try:
            size = odb.fs.info(there)["size"]
        except FileNotFoundError:
            return True
        if not here.exists() or size == here.stat().st_size:
            return False
        odb.fs.remove(there)
        return True

    asked = sorted(digests)
    with ThreadPoolExecutor(LOOKING) as pool:
        return [digest for digest, lacking in zip(asked, pool.map(lacks, asked), strict=True) if lacking]


def _named(digests: list[str]) -> str:
    more = f" and {len(digests) - NAMED} more" if len(digests) > NAMED else ""
    return f"{', '.join(digests[:NAMED])}{more}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)  # what is half uploaded to a folder is then removed
    sys.exit(main(*sys.argv[1:]))
