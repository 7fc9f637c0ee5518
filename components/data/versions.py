"""The versions of a folder that DVC keeps: what it does not keep, no command of ours removes."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError, listed, surroundings
from components.data import dataset

FILES_NAMED = 3  # files that an error names
STARTER = "c044a8d60440561993aab2f40b9d1627.dir"  # digest of the dataset that comes with the project


def removable(folder: Path, called: Path | None = None) -> None:
    """Raise SlipwayError, which names them, where a folder holds files whose content DVC's cache does not have.

    For a folder whose place something new is to take. One that is not there, or empty, may go. `called` is its name in
    messages.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SlipwayError(
            f"{folder} is {'a link' if folder.is_symlink() else 'a file'}, but a folder must go there; move it away"
        )
    if found := sorted(_lost(folder)):
        names = listed((str(path.relative_to(folder)) for path in found), FILES_NAMED)
        raise SlipwayError(
            f"{called or folder}: contains files that DVC does not keep ({names}) and that would be lost; move "
            "them away, or choose another folder (if they are earlier results of the stage, `dvc commit` keeps them)"
        )


def _lost(folder: Path) -> Iterator[Path]:
    """List the files of a folder, its folders included, that are not in DVC's cache by their content; no junk."""
    files = [
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *(name for name in folders if Path(place, name).is_symlink()))
        if not dataset.is_junk(Path(place, name).relative_to(folder))
    ]
    if not files:
        return
    from dvc.exceptions import NotDvcRepoError
    from dvc_data.hashfile.hash import hash_file

    try:
        repo = _repo()
    except NotDvcRepoError:
        yield from files
        return
    with repo:
        cache = repo.cache.local
        for path in files:
            # not a file: a link that leads to a folder or nowhere, or a socket
            if not path.is_file() or not cache.exists(hash_file(str(path), cache.fs, "md5", state=repo.state)[1].value):
                yield path


def versionable(data: Path) -> None:
    """Raise SlipwayError where DVC could make no version of a folder."""
    if data.is_symlink():
        raise SlipwayError(
            f"{data} is a link, and DVC cannot version what a link points to: move the folder here; to store the data "
            "on another disk, move DVC's cache with `dvc cache dir`"
        )


def replaceable(data: Path) -> None:
    """Raise SlipwayError unless DVC holds all that the folder has, and data.dvc says so: nothing of it may be lost."""
    removable(data)
    if not any(path.is_file() and not dataset.is_junk(path.relative_to(data)) for path in data.rglob("*")):
        return
    pointer = data.with_name(data.name + ".dvc")
    try:
        known = pointer.exists() and not _repo().status(targets=[str(pointer)])
    except Exception:  # noqa: BLE001 - whatever DVC cannot say, it does not keep
        known = False
    if not known:
        raise SlipwayError(f"{data}: differs from {pointer}; run `dvc add {data}` first, or move the folder away")


def _listing(store: Any, digest: str) -> dict[str, str]:
    """Return what a version of a folder in a store, such as DVC's cache, holds: path in it -> digest of the file."""
    entries = json.loads(Path(store.oid_to_path(digest)).read_bytes())
    return {str(entry["relpath"]): str(entry["md5"]) for entry in entries}


def whole(data: Path) -> None:
    """Raise SlipwayError where files of the version that data.dvc lists are missing: what is added would go on without.

    As by `rm data/FILE`, or by a `git pull` of a colleague's data.dvc without its `dvc pull`. Tells which have other
    content than it lists.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc_data.hashfile.hash import hash_file

    pointer, digest = data.with_name(data.name + ".dvc"), recorded(data)
    if not digest:
        return
    on_purpose = f"`dvc add {data}` records that this is on purpose"
    try:
        with _repo() as repo:
            wanted = {data / name: md5 for name, md5 in _listing(repo.cache.local, digest).items()}
            there = {path: md5 for path, md5 in wanted.items() if path.is_file()}
            system, known = repo.cache.local.fs, repo.state
            changed = [path for path in there if hash_file(str(path), system, "md5", known)[1].value != there[path]]
    except NotDvcRepoError:
        return
    except FileNotFoundError:
        if current(data):
            return
        raise SlipwayError(
            f"{surroundings.shown(data)} differs from {pointer}, whose version is not in DVC's cache: `dvc pull "
            f"{pointer}` there brings it, {on_purpose}"
        ) from None
    except (OSError, ValueError):  # a file: no dataset of ours
        return
    if gone := [str(path.relative_to(data)) for path in wanted if not path.exists()]:
        raise SlipwayError(
            f"{surroundings.shown(data)}: {listed(gone, FILES_NAMED)}: missing, though listed in {pointer}; "
            f"`dvc checkout {pointer}` there brings it back, {on_purpose}"
        )
    for path in changed:
        print(f"{path}: changed since {pointer} was written; the new version has it as it is, the old one as it was")


def must_be_here(data: Path) -> None:
    """Raise SlipwayError where data.dvc lists a dataset and none lies there: a new one would take its place unseen.

    The starter's does not count: everybody's first ingest in a fresh clone replaces it.
    """
    pointer, digest = data.with_name(data.name + ".dvc"), recorded(data)
    if digest and digest != STARTER:
        raise SlipwayError(
            f"{surroundings.shown(data)}: {pointer} lists a dataset that is not here; `dvc pull {pointer}` brings it, "
            "to add to it; --replace starts a new one"
        )


def taken_over(old: Path, data: Path, new: Path) -> None:
    """Let a dataset go that `new` replaced: `old` is where it is now, `data` what it was called; junk moves along.

    Raises SlipwayError as `removable` does: somebody may have put a file there at the last moment.
    """
    removable(old, data)
    for path in sorted(old.iterdir()):
        if dataset.is_junk(path.name):
            path.rename(new / path.name)


def recorded(data: Path) -> str:
    """Return the digest that data.dvc holds; empty where there is none."""
    try:
        (out,) = YAML(typ="safe").load(data.with_name(data.name + ".dvc"))["outs"]
        return str(out["md5"])
    except (OSError, YAMLError, KeyError, TypeError, ValueError):
        return ""


def kept(digest: str) -> list[Path]:
    """Return the Parquet files of a version of a folder in DVC's cache; none where it is not there as a whole."""
    from dvc.exceptions import NotDvcRepoError

    try:
        with _repo() as repo:
            return _files(repo.cache.local, digest)
    except (NotDvcRepoError, OSError, ValueError, KeyError, TypeError):
        return []


def _files(store: Any, digest: str) -> list[Path]:
    """Return the files of a version of a folder in a store on this machine, [] where some are missing.

    Raises OSError where its listing is.
    """
    found = [Path(store.oid_to_path(md5)) for md5 in _listing(store, digest).values()]
    return found if all(path.exists() for path in found) else []


def _remote_of(digest: str) -> str:
    """Return which of DVC's remotes that are folders of this machine has a version as a whole; "" where none does."""
    from dvc.exceptions import DvcException

    try:
        with _repo() as repo:
            here = [name for name, settings in repo.config["remote"].items() if "://" not in settings["url"]]
            for name in here:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    if _files(repo.cloud.get_remote_odb(name), digest):
                        return str(name)
    except (DvcException, OSError, KeyError):
        pass
    return ""


def record(data: Path, to_commit: str = "", also: Iterable[Path] = ()) -> None:
    """Make a version of a dataset; where DVC cannot, say why and how to do it later.

    Says what to commit: data.dvc, params.yaml and `also`; of a model's folder, `to_commit`, all.
    """
    from dvc.exceptions import DvcException

    try:
        _repo().add(str(data))
    except (DvcException, OSError) as error:
        print(f"not versioned yet; `dvc add {data}` failed: {error}")
    else:
        in_workspace = not to_commit and surroundings.root() != Path.cwd()  # a run's, which nobody commits
        files = to_commit or " ".join([f"{data}.dvc", "params.yaml", *map(str, also)])
        how = f"to keep it: git add {files} && git commit"
        kept_by = "the experiment of this run keeps it" if in_workspace else how
        print(f"versioned: {pointed(data, to_commit)}; {kept_by}")


def tell_replaced(data: Path, before: str, to_commit: str = "") -> None:
    """Say which version of a dataset another one has replaced, and how to get it back; `before`: its digest."""
    if not before or before == recorded(data):
        return
    pointer = pointed(data, to_commit)
    pull = "" if to_commit else f", and `dvc pull {pointer}`"
    if kept(before):
        where = f"which DVC keeps: restore the old {pointer}"
    elif remote := _remote_of(before):
        where = f"which DVC's remote {remote} keeps: restore the old {pointer}{pull}"
    else:
        where = f"which was never pulled here: restore the {pointer} of git's history{pull} where a remote has it"
    print(f"it replaces version {before} of {data}, {where} to get it back")


def pointed(data: Path, to_commit: str = "") -> Path:
    """Return what data.dvc is called for a person: in a workspace, that of the model's folder `to_commit`."""
    return Path(to_commit, f"{data}.dvc") if to_commit else Path(f"{data}.dvc")


def current(data: Path) -> bool:
    """Tell whether data.dvc says what lies in a dataset; yes, too, where DVC cannot tell."""
    from dvc.exceptions import DvcException

    pointer = data.with_name(data.name + ".dvc")
    try:
        return not pointer.exists() or not _repo().status(targets=[str(pointer)])
    except (DvcException, OSError):
        return True


def fetched(data: Path) -> None:
    """Bring a dataset that data.dvc lists and that is not there, as `dvc pull` does; SlipwayError where that fails."""
    from dvc.exceptions import DvcException

    pointer = data.with_name(data.name + ".dvc")
    if data.exists() or not pointer.exists():
        return
    print(f"{data} is missing here: pulling it", flush=True)
    try:
        _repo().pull(targets=[str(pointer)])
    except (DvcException, OSError) as error:
        raise SlipwayError(
            f"{data}: neither DVC's cache nor its remote has what {pointer} lists ({' '.join(str(error).split())}): "
            "`dvc push` it where it was ingested"
        ) from None


def other_repository(address: str, revision: str | None) -> tuple[Any, str]:
    """Open another DVC repository as a file system, as `dvc import` does; return it with the commit that was found.

    Raises SlipwayError where it cannot be reached, or has no such revision.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        system = DVCFileSystem(url=address, rev=revision or "HEAD")  # without one, a folder is read as it lies
        return system, str(system.repo.get_rev() or "")
    except (DvcException, SCMError, OSError, ValueError) as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise SlipwayError(f"source.repo: {address}: cannot be read: {cause}") from None


def outdated(stage: str) -> str:
    """Tell what shows that a stage or one before it is not up to date, the first difference; empty if nothing does.

    Asks DVC for all that `dvc repro` looks at: data, code, settings, commands and outputs. Waits while another DVC
    works on these files. Raises SlipwayError where there is no DVC repository, or DVC cannot tell.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError

    told = ""
    while True:
        try:
            with _repo() as repo:
                found = repo.status(targets=[stage], with_deps=True)
                order = [known.addressing for known in repo.index.stages]  # as in dvc.yaml
                ordered = sorted(found, key=lambda name: (not name.endswith(".dvc"), order.index(name)))
                return next(_differences({name: found[name] for name in ordered}), "")
        except NotDvcRepoError:
            raise SlipwayError(f"{Path.cwd()} is not a DVC repository: run this in the project's root") from None
        except LockError as error:
            if not told:
                told = f"waiting: {' '.join(str(error).split())}"
                print(told, flush=True)
            time.sleep(1)
        except DvcException as error:
            raise SlipwayError(f"DVC cannot tell whether the stage {stage} is up to date: {error}") from None


def _differences(status: dict[str, list[Any]]) -> Iterator[str]:
    """Put what `dvc status` answers into words: outputs first, from which follows what is said of other stages."""
    entries = [(stage, entry) for stage, found in status.items() for entry in found]
    for stage, entry in entries:
        outs = entry.get("changed outs", {}) if isinstance(entry, dict) else {}
        for path, state in outs.items():
            pointer = stage.endswith(".dvc")
            if state == "deleted":
                yield f"{path} is missing{f'; `dvc pull {stage}` fetches it' if pointer else ''}"
            elif state == "not in cache":
                yield f"{path} is not in DVC's cache"
            else:
                yield f"{path} differs from what {stage if pointer else 'dvc.lock'} lists"
    for stage, entry in entries:
        if not isinstance(entry, dict):
            told = {"changed command": "the command of the stage {} has changed"}.get(entry, f"{{}}: {entry}")
            yield told.format(stage)
            continue
        for path, state in entry.get("changed deps", {}).items():
            for key in [f"{path}: {name}" for name in state] if isinstance(state, dict) else [path]:
                yield f"{key} {'is missing' if state == 'deleted' else f'has changed since the stage {stage} ran'}"


def _repo() -> Any:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    return Repo()
