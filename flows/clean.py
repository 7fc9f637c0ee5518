"""Remove what no registered version needs and the policy in params.yaml does not keep: disk and databases stay bounded.

Nothing here runs beside a retraining of this project: it takes the locks of the checkout, of every workspace and of the
registry first. What a registered version needs is never touched, nor what somebody made by hand.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.runtime import deployment, flow_run

from components import SlipwayError, locks, params, reuse, temporary
from components.masking import mask
from components.params import Clean
from components.tracking import cleaning, connection, registry
from flows.machinery import cache, checkout, git, logs, models, notify, runs, server, workspace

if TYPE_CHECKING:
    from dvc.repo import Repo

CHECKPOINTS = Path("build/checkpoints")
DAY = 86_400.0
FREE_SHARE = 0.2  # of a database: below it, the room is left to what comes
PAGE = 200  # flow runs that Prefect lists at once
LOG_SECONDS = 10.0  # that Prefect has to remove the lines of the runs that were deleted


@dataclass(frozen=True)
class Kind:
    """A kind of thing that is not needed: how many, the bytes that they take, and how they are removed."""

    name: str
    count: int
    size: int
    remove: Callable[[], object] = lambda: None


@flow(name="clean")
def clean(dry_run: bool = False) -> dict[str, tuple[int, int]]:
    """Remove what is not needed, or with `dry_run` only list it; return, for each kind, how many and their bytes.

    Waits for the runs that are under way, but not to list. Raises SlipwayError where the registry or git cannot tell
    what is needed.
    """
    try:
        return _clean(dry_run=dry_run)
    except Exception as error:
        if deployment.id is not None:  # nobody sits at a terminal
            notify.tell("failed", models.root_name(), f"`clean` failed: {mask(str(error))}", run=str(flow_run.id))
        raise


def _clean(*, dry_run: bool) -> dict[str, tuple[int, int]]:
    if connection.root() != Path.cwd():
        raise SlipwayError(f"{Path.cwd()} is a workspace: run this in {connection.root()} instead")
    runs.claim()
    policy = params.section("clean", Clean)
    connection.check()
    with _looking() if dry_run else _alone() as repo:
        runs.bury()
        with connection.plainly("list what is needed"):
            kinds = list(_kinds(repo, policy))
        if dry_run:
            kinds += _rooms(give_back=False)
        print(text(kinds, policy, dry_run=dry_run), flush=True)
        if not dry_run:
            with connection.plainly("remove what is not needed"):
                for kind in kinds:
                    kind.remove()
            for room in _rooms(give_back=True):  # now: most of it is of what was just removed
                kinds.append(room)
                if room.count:
                    print(f"{room.name}: {_bytes(room.size)} given back", flush=True)
            print(f"removed: {_bytes(sum(kind.size for kind in kinds))} freed", flush=True)
    return {kind.name: (kind.count, kind.size) for kind in kinds}


@contextlib.contextmanager
def _alone() -> Iterator["Repo"]:
    with checkout.opened() as work, _workspaces(), registry.alone(), _dvc(work.repo):
        yield work.repo


@contextlib.contextmanager
def _looking() -> Iterator["Repo"]:
    from dvc.repo import Repo

    with Repo() as repo:
        yield repo


def text(kinds: Iterable[Kind], policy: Clean, *, dry_run: bool) -> str:
    """Return the table of what is or would be removed."""
    rows = [(kind.name, f"{kind.count:,}", _bytes(kind.size)) for kind in kinds]
    rows.append(("all", "", _bytes(sum(kind.size for kind in kinds))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"not needed by any registered version, beyond the last {policy.keep_runs} runs of each model, and older than "
        f"{policy.keep_days:g} days:"
    ]
    lines += [f"  {name:<{widths[0]}}  {count:>{widths[1]}}  {size:>{widths[2]}}" for name, count, size in rows]
    if cleaning.behind_server():
        lines.append("MLflow's server keeps deleted runs in its bin: `mlflow gc`, on its machine, empties that")
    if dry_run:
        lines.append("nothing was removed, because of --dry-run")
    return "\n".join(lines)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _kinds(repo: "Repo", policy: Clean) -> Iterator[Kind]:
    """Find all that is not needed; a generator, so that what is found first is known to what comes later."""
    seconds = policy.keep_days * DAY
    names = [name for name in (models.root_name(), *models.names(), *models.examples()) if name]
    versions = [] if policy.keep_versions is None else cleaning.passed_over(names, policy.keep_versions, seconds)
    if policy.keep_versions is not None:
        yield Kind("registered versions", len(versions), 0, lambda: cleaning.remove_versions(versions))
    needed = cleaning.needed(versions)
    spent = cleaning.spent(names, policy.keep_runs, seconds, versions)
    yield Kind("MLflow runs", len(spent.runs), spent.size, lambda: cleaning.remove(spent))
    gone = _gone()
    yield _files("workspaces of models that are gone", gone, _remove_workspace)
    old = cache.old_experiments(needed.experiments, policy.keep_runs, seconds)
    yield Kind("DVC experiments of runs", len(old), 0, lambda: cache.remove_experiments(old))
    if cache.is_own(repo):
        dropped, without = {each.ref for each in old}, {path.resolve() for path in gone}
        kept = cache.needed(repo, dropped, without, needed.commits, needed.data, seconds)
        objects = cache.unneeded(repo, kept, min(cache.GRACE_SECONDS, seconds))
        size = sum(path.lstat().st_size for path in objects)
        yield Kind("objects in DVC's cache", len(objects), size, lambda: cache.remove(repo, objects))
    else:
        print(f"DVC's cache is outside of this project ({repo.cache.local.path}), and may be others' too: left alone")
    places = [Path(), *(path for path in _places() if path not in gone)]
    found = [path for place in places for path in (place / CHECKPOINTS).glob("*")]
    yield _files("checkpoints of trainings", _older(found, max(seconds, DAY)))
    yield _files("stages' results of single files", _older(reuse.entries(Path(reuse.FOLDER)), max(seconds, DAY)))
    yield from _flow_runs(policy.keep_runs, seconds)
    yield _files("logs", _older(logs.FOLDER.glob("*.log*"), max(seconds, DAY)))
    yield _files("temporary files", list(temporary.leftovers()))


def _files(name: str, found: list[Path], remove: Callable[[Path], object] = temporary.remove) -> Kind:
    return Kind(name, len(found), sum(map(_size, found)), lambda: [remove(path) for path in found])


def _older(found: Iterable[Path], seconds: float) -> list[Path]:
    return [path for path in found if time.time() - temporary.last_touched(path) > seconds]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _places() -> list[Path]:
    """List the workspaces of models; those of reproductions are seen to by these."""
    found = [path for path in workspace.WORKSPACES.glob("*") if path.is_dir() and models.PATTERN.fullmatch(path.name)]
    return sorted(path for path in found if path.name != "files")


def _gone() -> list[Path]:
    """List the workspaces of models that are no longer here."""
    known = {models.ROOT, *models.names(), *models.examples()}
    return [path for path in _places() if path.name not in known]


def _remove_workspace(path: Path) -> None:
    git.run("worktree", "remove", "--force", "--force", str(path))
    temporary.remove(path)  # where git does not know it
    git.run("worktree", "prune")
    path.with_suffix(".lock").unlink(missing_ok=True)


@contextlib.contextmanager
def _workspaces() -> Iterator[None]:
    """Hold every workspace; wait for the run in each."""
    with contextlib.ExitStack() as held:
        for place in _places():
            lock = place.with_suffix(".lock")
            held.enter_context(locks.alone(lock, workspace.WAITING.format(model=place.name)))
        yield


@contextlib.contextmanager
def _dvc(repo: "Repo") -> Iterator[None]:
    """Hold DVC's lock; wait for a DVC that somebody started by hand."""
    from dvc.lock import LockError

    told = False
    while True:
        try:
            repo.lock.lock()
            break
        except LockError as error:
            if not told:
                print(f"waiting: {' '.join(str(error).split())}", flush=True)
            told = True
            time.sleep(1)
    try:
        yield
    finally:
        repo.lock.unlock()


def _flow_runs(keep: int, seconds: float) -> Iterator[Kind]:
    """Find the flow runs of this project's own Prefect server, and the lines and artifacts that belong to them."""
    if not server.ours():
        print("Prefect's server is not this project's own: its flow runs are left to those who run it")
        return
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    over = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
    with get_client(sync_client=True) as client:
        found: list[Any] = []
        while page := client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(over),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
            offset=len(found),
        ):
            found += page
    seen: dict[tuple[Any, str], int] = {}
    old = []
    for run in found:
        key = (run.flow_id, str((run.parameters or {}).get("model", "")))
        seen[key] = seen.get(key, 0) + 1
        due = run.expected_start_time or run.start_time or run.created
        if seen[key] > keep and due is not None and time.time() - due.timestamp() > seconds:
            old.append(run.id)
    yield Kind("Prefect's flow runs", len(old), 0, lambda: _delete_flow_runs(old))


def _delete_flow_runs(ids: list[Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        for some in (ids[start : start + PAGE] for start in range(0, len(ids), PAGE)):
            of_them = {"artifacts": {"flow_run_id": {"any_": [str(each) for each in some]}}}
            for artifact in client.request("POST", "/artifacts/filter", json=of_them).json():
                with contextlib.suppress(ObjectNotFound):
                    client.delete_artifact(artifact["id"])
            for each in some:
                with contextlib.suppress(ObjectNotFound):
                    client.delete_flow_run(each)
        lines = LogFilter.model_validate({"flow_run_id": {"any_": ids[-PAGE:]}})
        until = time.monotonic() + LOG_SECONDS
        while client.read_logs(lines, limit=1) and time.monotonic() < until:  # removed behind our back
            time.sleep(0.1)


def _rooms(*, give_back: bool) -> Iterator[Kind]:
    """Find the room that is free within the databases of this project, where it is enough; give it back if asked to."""
    paths = {"mlflow.db": connection.root() / "mlflow.db", "Prefect's database": Path(".prefect/prefect.db")}
    if connection.uri() != connection.default():
        del paths["mlflow.db"]
    for name, path in paths.items():
        if not path.exists():
            continue
        size = _free(path)
        if size < FREE_SHARE * path.stat().st_size:
            size = 0
        elif give_back:
            size -= _vacuumed(path)
        yield Kind(f"room within {name}", int(size > 0), size)


def _free(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as database, contextlib.suppress(sqlite3.Error):
        (pages,), (size,) = (database.execute(f"pragma {word}").fetchone() for word in ("freelist_count", "page_size"))
        return int(pages * size)
    return 0


def _vacuumed(path: Path) -> int:
    """Give back what is free within a database; return what still is: one that is in use keeps it, for what comes."""
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as database, contextlib.suppress(sqlite3.Error):
        database.execute("vacuum")
    return _free(path)
