"""Where a model's run works: the checkout as it lies, or a workspace of its own.

A workspace is a git worktree in .workspaces/NAME with the model's files at its root, DVC's cache shared. So nothing of
the checkout is touched, what a stage has done once it never does again, and the workspace's DVC experiments are seen
from the checkout. It holds the checkout's files as they are now, or those of a revision.

data.dvc and dvc.lock go on there, when new data comes or a stage runs; which ones they began from is noted. They stay
until the model's own files say something new. Runs of a revision and runs of the checkout's files go on apart.
"""

import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from components import SlipwayError, conflicts, files, locks
from components.files import read_json, write_json
from components.tracking import connection
from flows.machinery import git, handmade, models
from flows.machinery.models import Model

WORKSPACES = Path(".workspaces")
POINTERS = ("data.dvc", "dvc.lock")  # what goes on in a workspace
BEGAN_FILE = Path(".dvc/tmp/slipway-began.json")  # in a workspace: what its pointers began from
KEPT = ".dvc/tmp/slipway-revision-{}"  # in a workspace: the pointers of runs of a revision, while others work there
REVISION, CHECKOUT = "revision", "checkout"  # kinds of runs
WAITING = "another run is using the workspace of {model} ({{holder}}); waiting until it ends"
PREPARING = "another workspace is being made ({holder}); waiting until it is"
FILES_NAMED = 5  # uncommitted files that a run names
_entered: list[Path] = []  # of this process


@contextmanager
def entered(model: str = "", revision: str = "", *, give_back: bool = True) -> Iterator[Path]:
    """Work where a run of a model works: the current folder within the block, which is the project's root before it.

    The root's model without a revision works in the checkout as it lies; all others in their workspace, one run at a
    time, with the files of that revision or, without one, the checkout's as they are now. What then became of a
    model's data.dvc and dvc.lock is copied to its folder, if `give_back`; a run of a revision changes nothing in the
    checkout. Inside a block, yields the same folder. Raises SlipwayError for an unknown model or revision.
    """
    home = Path.cwd()
    if _entered:
        yield _entered[0]
        return
    if connection.root() != home:
        if model or revision:
            raise SlipwayError(f"{home} is a workspace: run this in {connection.root()} instead")
        with _by_hand(home):
            yield home
        return
    found = models.find(model, revision)
    if not found.name and (name := models.root_name()) in models.names():
        raise SlipwayError(
            f"params.yaml: name is {name}, and so is {models.MODELS / name}: two models would be one in the registry; "
            "give one of them another name"
        )
    if not found.name and not revision:
        yield home
        return
    place = home / WORKSPACES / (found.name or models.ROOT)
    with _working(place, found.name or models.root_name(), partial(_prepare, found, place, revision)):
        try:
            yield place
        finally:
            os.chdir(home)
            if give_back and not revision and not found.example:
                _give_back(found, place)


@contextmanager
def _by_hand(place: Path) -> Iterator[None]:
    """Work in a workspace as it lies, which somebody has changed into; one of DVC's own has no other runs."""
    if place.parent.name != WORKSPACES.name:
        yield
        return
    with _alone(place, place.name):
        _entered.append(place)
        try:
            yield
        finally:
            _entered.clear()


@contextmanager
def fresh(name: str) -> Iterator[Path]:
    """Work in the workspace of a model that is to be made, with the checkout's files and no data; yields its folder.

    The caller makes the model's files of it. Raises SlipwayError for a name that it may not have.
    """
    if connection.root() != Path.cwd():
        raise SlipwayError(f"{Path.cwd()} is a workspace: run this in {connection.root()} instead")
    found, home = models.new(name), Path.cwd()
    place = home / WORKSPACES / name
    with _working(place, name, partial(_clean, place)):
        try:
            yield Path(os.path.relpath(home / found.folder, place))
        finally:
            os.chdir(home)
            if name not in models.names():
                git.run("worktree", "remove", "--force", str(place))


@contextmanager
def _working(place: Path, name: str, prepare: Callable[[], None]) -> Iterator[None]:
    """Prepare a workspace and work in it, alone."""
    home = Path.cwd()
    place.parent.mkdir(exist_ok=True)
    with _alone(place, name):
        with locks.alone(place.with_name(".lock"), PREPARING):  # git's worktrees are one list
            handmade.keep(place)
            prepare()
            handmade.note(place)
        _entered.append(place)
        try:
            os.chdir(place)
            with connection.announced():
                yield
        finally:
            _entered.clear()
            os.chdir(home)
            handmade.note(place)


def places() -> list[str]:
    """Say where the files are that an error names from within a model's workspace: those to change are elsewhere."""
    home, here = connection.root(), Path.cwd()
    folders = (each / here.name for each in (models.MODELS, models.EXAMPLES))
    folder = next((each for each in folders if (home / each / "params.yaml").exists()), None)
    if here.parent != home / WORKSPACES or folder is None:
        return []
    expectations = f"expectations/{models.setting(Path('params.yaml'), 'recipe')}.yaml"
    return [
        f"this was in {here.relative_to(home)}, whose params.yaml and {expectations} are those of {folder}: change "
        "them there"
    ]


def must_have_data(model: str) -> None:
    """Raise SlipwayError where the current folder, a model's workspace, has no dataset yet."""
    if model and not Path("data.dvc").exists():
        how = f"slipway example {model}" if model in models.examples() else f"slipway ingest --model {model} SOURCE ..."
        raise SlipwayError(f"the model {model} has no data yet: `{how}` brings them")


@contextmanager
def _alone(place: Path, name: str) -> Iterator[None]:
    with locks.alone(place.with_suffix(".lock"), WAITING.format(model=name)):
        yield


def _prepare(model: Model, place: Path, revision: str) -> None:
    """Bring a workspace to the state of the checkout or of a revision, the model's own files at its root."""
    commit = git.commit(revision or "HEAD")
    if not revision:
        for file in models.files(model.folder):
            conflicts.check(file)
        from components import params  # numpy and pyarrow: a command's help needs neither

        params.load(model.folder / "params.yaml")  # a mistake there stops us before anything
    _make(place, commit)
    own = _own(model, commit if revision else "")
    if revision:
        if new := git.uncommitted("components", "expectations", str(model.folder / "*")):
            more = f" and {len(new) - FILES_NAMED} more" if len(new) > FILES_NAMED else ""
            named = f"{', '.join(new[:FILES_NAMED])}{more}"
            print(f"the checkout has uncommitted changes in {named}: this run does not have them", flush=True)
        _restore(place, {*own, *POINTERS})
    else:
        _mirror(place, {*own, *POINTERS})
    for path, content in own.items():
        _write(place / path, content)
    if not model.example:
        _point(model, place, commit if revision else "")
    _share_dvc(place)
    if "MLFLOW_TRACKING_URI" not in os.environ and not Path("mlflow.db").exists():
        connection.check()  # makes the store: two that begin at the same time would both do it


def _clean(place: Path) -> None:
    """Make a workspace without data; what an earlier model of that name, or a killed `slipway new`, left goes."""
    _make(place, git.commit("HEAD"))
    if (place / "data.dvc").exists():
        _clear(place / "data")
    for path in (Path("data"), Path("build")):
        shutil.rmtree(place / path, ignore_errors=True)
    for path in (*map(Path, POINTERS), BEGAN_FILE, *(Path(KEPT.format(name)) for name in POINTERS)):
        (place / path).unlink(missing_ok=True)
    _mirror(place, set(POINTERS))
    _share_dvc(place)


def _make(place: Path, commit: str) -> None:
    """Make a worktree of a commit, or set one right that a killed run or a moved checkout left; files come later.

    What a folder holds stays in it, whatever git has forgotten of it.
    """
    aside = place.with_name(f".{place.name}.aside")
    if aside.exists():  # of a process that was killed below
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    if not _is_worktree(place):
        git.run("worktree", "repair", str(place))  # the checkout may have been moved
    if not _is_worktree(place):
        if place.exists():
            place.rename(aside)
        # twice --force: a folder that is missing, and the lock of a `worktree add` that was killed
        words = ("--force", "--force", "--detach", "--no-checkout")
        git.run("worktree", "add", *words, str(place), commit, must=True)
        if aside.exists():
            (place / ".git").replace(aside / ".git")
            shutil.rmtree(place)
            aside.rename(place)
    for name in ("index", "HEAD"):  # of a git that was killed: nobody else works here
        path = git.run("rev-parse", "--path-format=absolute", "--git-path", name, at=place)
        Path(f"{path}.lock").unlink(missing_ok=True)
    git.run("reset", "--quiet", commit, at=place, must=True)


def _is_worktree(place: Path) -> bool:
    return (place / ".git").is_file() and git.run("rev-parse", "--show-toplevel", at=place) == str(place.resolve())


def _restore(place: Path, own: set[str]) -> None:
    """Give a workspace the files of its commit, and no others that git could track; `own` stay as they are."""
    git.run("update-index", "-q", "--refresh", at=place)
    changed = git.run("diff-files", "--name-only", "-z", at=place).split("\0")
    wanted = "".join(f"{path}\0" for path in changed if path and path not in own)
    git.run("checkout-index", "--force", "-z", "--stdin", at=place, must=True, given=wanted)
    for path in git.run("ls-files", "-z", "--others", "--exclude-standard", at=place).split("\0"):
        if path and path not in own and not path.endswith("/"):
            (place / path).unlink(missing_ok=True)


def _mirror(place: Path, own: set[str]) -> None:
    """Copy what git tracks or could track here and is not the workspace's own; remove what is here no longer."""
    ours, theirs = git.listed(Path()), git.listed(place)
    for path in sorted(ours - own):
        _copy(Path(path), place / path)
    for path in sorted(theirs - ours - own):
        (place / path).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, mode included, unless it is there already: DVC hashes anew what was written anew."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _own(model: Model, commit: str) -> dict[str, bytes]:
    """Return the files of a model that take the places of the root's: path in the workspace -> content."""
    if not model.name:
        return {}
    settings, expectations = model.folder / "params.yaml", model.folder / "expectations.yaml"
    own = {path: _content(path, commit) for path in (settings, expectations)}
    for path, content in own.items():
        if content is None:
            raise SlipwayError(f"{path}: no such file{f' in {commit[:12]}' if commit else ''}")
    name, recipe = (models.setting(own[settings] or b"", key) for key in ("name", "recipe"))
    if name != model.name:
        raise SlipwayError(f"{settings}: name is {name!r}, but the folder is {model.folder}: they must be the same")
    return {"params.yaml": own[settings] or b"", f"expectations/{recipe}.yaml": own[expectations] or b""}


def _content(path: Path, commit: str) -> bytes | None:
    if commit:
        return git.content(commit, path)
    return path.read_bytes() if path.is_file() else None


def _write(path: Path, content: bytes | None) -> None:
    """Write a file whole, unless it is so already; None: there is none."""
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        with files.replacing(path) as aside:
            aside.write_bytes(content)


def _point(model: Model, place: Path, commit: str) -> None:
    """Lay a model's data.dvc and dvc.lock: what earlier runs went on to, while the model's own are as they were then.

    Runs of a revision and runs of the checkout's files go on apart, so that what somebody tries gets into no run of a
    schedule before it is committed, and takes nothing from one. The checkout's files begin from what the runs of a
    revision went on to, for somebody to commit it, while they are as these began.
    """
    kind, began = (REVISION if commit else CHECKOUT), _began(place)
    last = began.get("last", kind)
    if (last, kind) == (REVISION, CHECKOUT):
        for name in POINTERS:
            _write(place / KEPT.format(name), _content(place / name, ""))
        began.pop(CHECKOUT, None)
        write_json(place / BEGAN_FILE, began | {"last": kind})  # before anything is laid: we may be killed
    for name in POINTERS:
        theirs, ours = _content(model.folder / name, commit), _content(place / name, "")
        lines = {REVISION: ours if last == REVISION else _content(place / KEPT.format(name), "")}
        if kind == CHECKOUT:
            lines = {CHECKOUT: ours if last == CHECKOUT else None, **lines}
        began_alike = (line for line in lines if began.get(line, {}).get(name, "") == _digest(theirs))
        went_on = next((lines[line] for line in began_alike if lines[line] is not None), None)
        wanted = theirs if went_on is None else went_on
        if wanted != ours:
            if name == "data.dvc":
                if went_on is None and lines[kind] not in (None, theirs):
                    print(f"{model.folder / name} is another one than this workspace went on from: it is used now")
                _clear(place / "data")
            _write(place / name, wanted)
        if kind == CHECKOUT and name == "data.dvc" and wanted not in (theirs, lines[kind]):
            print(
                f"{model.folder / name}: runs of a revision have brought newer data: this goes on from them", flush=True
            )
        began.setdefault(kind, {})[name] = _digest(theirs)
    write_json(place / BEGAN_FILE, began | {"last": kind})


def _clear(data: Path) -> None:
    """Remove a dataset that another version is to replace; SlipwayError where DVC does not keep all of it."""
    if data.exists():
        from components.data import versions

        versions.removable(data)
        shutil.rmtree(data)


def _give_back(model: Model, place: Path) -> None:
    """Copy what became of a model's data.dvc and dvc.lock to its folder, as `dvc repro` changes them at the root.

    One that somebody has changed there in the meantime stays as it is, and is told.
    """
    began = _began(place)
    for name in POINTERS:
        theirs, ours = _content(model.folder / name, ""), _content(place / name, "")
        if ours is None or theirs == ours:
            continue
        if began[CHECKOUT][name] != _digest(theirs):
            print(f"{model.folder / name} was changed while this run worked: it stays as it is", flush=True)
            continue
        _write(model.folder / name, ours)
        began[CHECKOUT][name] = _digest(ours)
    write_json(place / BEGAN_FILE, began)


def _began(place: Path) -> dict[str, Any]:
    """Return what runs began from: `last`, the kind of the last one; of each kind, the digest of each pointer."""
    with suppress(OSError, ValueError):
        found = dict(read_json(place / BEGAN_FILE))
        return {kind: dict(found) for kind in (REVISION, CHECKOUT)} if "data.dvc" in found else found  # of 0.1
    return {}


def _digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _share_dvc(place: Path) -> None:
    """Give a workspace the checkout's own settings of DVC (.dvc/config.local), its cache and its remotes.

    A remote in a folder that git tracks, such as starter/, is in the workspace too, and stays that one.
    """
    from dvc.config import Config
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    home = Path.cwd()

    def located(path: str) -> str:  # the checkout may be moved: what lies in it is named from the workspace
        return RelPath(path) if Path(path).is_relative_to(home) else str(path)

    with Repo() as repo:
        local = repo.config.load_one("local")
        local["cache"]["dir"] = located(repo.cache.local_cache_dir)
        for name, remote in repo.config["remote"].items():
            url = str(remote.get("url", ""))
            if Path(url).is_absolute() and not (Path(url).is_relative_to(home) and git.run("ls-files", "--", url)):
                local["remote"].setdefault(name, {})["url"] = located(url)
    own = Config(str(place / ".dvc"), validate=False)
    if own.load_one("local") != local:
        with own.edit("local", validate=False) as content:
            content.clear()
            content.update(local)
