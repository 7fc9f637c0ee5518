"""Make a registered version again, from nothing but the registry, git and DVC, and compare what comes out.

All stages run in a workspace of the version's commit, with its packages and its data, and nothing is taken from a cache
but the data. The verdict becomes a tag of the version.
"""

import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Failed

from components import SlipwayError, surroundings, temporary
from components.files import read_json
from components.reports import difference
from components.tracking import borrowed, origin, provenance
from components.tracking.origin import Origin
from flows.machinery import git, models, packages, runs, stages, verdict
from flows.machinery import origin as sources
from flows.machinery.origin import Objects, Source
from flows.machinery.process import Children, guarded
from flows.machinery.stages import TaskError
from flows.machinery.verdict import Place

if TYPE_CHECKING:
    from dvc.repo import Repo

WORKSPACES = Path(".workspaces")
PREFIX = "reproduce."  # of a workspace's name, no model's: then the version, and the process that works there


@flow(name="reproduce")
def reproduce(model: str = "", keep: bool = False) -> dict[str, Any] | State[dict[str, Any]]:
    """Make the version of a registered model again in a workspace, and compare.

    `model` is NAME for its champion, NAME@ALIAS or NAME/VERSION; "" the champion of the root's model.
    The workspace is removed at the end unless `keep`. Returns the verdict, which the version has as a tag; for Prefect
    a run that comes to another verdict than those in verdict.GOOD has failed. Raises SlipwayError where the version
    cannot be made again because something was never kept or is gone, TaskError where a stage fails.
    """
    runs.claim()
    runs.bury()
    started = time.monotonic()
    made = origin.find(model or models.root_name())
    with _workspace(made, keep=keep) as place, Children() as children, runs.cancellable(children) as cancelled:
        found = sources.source(made)
        print(f"{made.name} version {made.version}: {found.words}", flush=True)
        _check_out(found, place.checkout)
        try:
            said = _made_again(children, made, found, place)
        except TaskError:
            if cancelled.is_set():
                return Cancelled(message="cancelled in Prefect")
            raise
    said["seconds"] = round(time.monotonic() - started, 1)
    origin.add(made, said)
    lines = verdict.told(made, said)
    print("\n" + "\n".join(lines), flush=True)
    create_markdown_artifact("  \n".join(lines), key="reproduce", description=f"{made.uri} made again")
    if said["verdict"] not in verdict.GOOD:
        return Failed(message=lines[0], data=said)
    return said


@contextmanager
def _workspace(made: Origin, *, keep: bool) -> Iterator[Place]:
    """Yield a new workspace, which is removed at the end, or by the next run where this one is killed."""
    sweep()
    name = f"{PREFIX}{re.sub(r'[^A-Za-z0-9_.-]', '_', made.name)}-{made.version}"
    place = Place((WORKSPACES / f"{name}.{temporary.owner()}").resolve())
    place.root.mkdir(parents=True)
    target = (WORKSPACES / name).resolve()
    try:
        yield place
        if keep:
            _keep(place, target)
    except SlipwayError:
        if keep and place.checkout.exists():
            _keep(place, target)
        raise
    finally:
        _remove(place.root)


def _keep(place: Place, target: Path) -> None:
    _remove(target)
    target.mkdir(parents=True)
    git.run("worktree", "move", str(place.checkout), str(target / "checkout"), must=True)
    if place.before.exists():
        place.before.rename(target / "before")
    how = f"git worktree remove --force {shlex.quote(str(target / 'checkout'))} && rm -r {shlex.quote(str(target))}"
    print(f"kept: {target}; `{how}` removes it", flush=True)


def sweep() -> None:
    """Remove the workspaces of reproductions whose process was killed."""
    for root in WORKSPACES.glob(f"{PREFIX}*"):
        owner = re.search(rf"\.({temporary.OWNER_PATTERN})$", root.name)
        if owner and temporary.is_dead(owner[1], root.lstat().st_mtime):
            _remove(root.resolve())


def _remove(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    git.run("worktree", "remove", "--force", "--force", str(Place(root).checkout))  # git's note of it


def _check_out(found: Source, checkout: Path) -> None:
    """Make the git worktree of a version's commit, whose DVC has a cache of its own: nothing comes from ours."""
    from dvc.repo import Repo

    git.run("worktree", "add", "--force", "--detach", str(checkout), found.commit, must=True)
    for path, content in found.lays.items():
        (checkout / path).write_bytes(content)
    with Repo() as repo:
        locks = "[core]\n    hardlink_lock = true\n" if repo.config["core"].get("hardlink_lock") else ""
    (checkout / ".dvc" / "config.local").write_text(f"[cache]\n    dir = tmp/cache\n{locks}", encoding="utf-8")


def _made_again(children: Children, made: Origin, found: Source, place: Place) -> dict[str, Any]:
    """Bring packages and data, run the stages, compare; return the verdict."""
    from dvc.repo import Repo

    home = Path.cwd()
    with Repo() as ours:
        objects = Objects(ours)
        python = _packages(children, made, place)
        _data(objects, made, found, place.checkout)
        expected = found.lock()
        os.chdir(place.checkout)  # the stages' programs find their files, and their code, from there
        try:
            with Repo() as theirs:
                order = [stage.addressing for stage, _ in stages.nodes(theirs) if not stage.is_data_source]
                _unlike(theirs, expected, made, found)
                store = _store(objects, found, place, order)
                outcomes = _run(children, theirs, python | {"MLFLOW_TRACKING_URI": store, "MLFLOW_REGISTRY_URI": store})
        finally:
            os.chdir(home)
        if failed := [outcome for outcome in outcomes if outcome.state == "failed"]:
            raise TaskError("\n".join(outcome.error for outcome in failed))
        return verdict.compared(objects, made, found, place, order)


def _packages(children: Children, made: Origin, place: Place) -> dict[str, str]:
    """Return what of the environment makes stages run with the version's packages; they are installed if need be."""
    name = "gpu.txt" if made.run_tags.get("hardware.device") == "gpu" else "lock.txt"
    lock, python = place.checkout / "requirements" / name, provenance.versions(made.run_tags).get("python", "")
    if not lock.exists():
        print(f"packages: the version has no requirements/{name}; those of this environment are used", flush=True)
        return {}
    if not (unlike := packages.unlike(lock.read_text(encoding="utf-8"), python)):
        print("packages: this environment has those that the version locks", flush=True)
        return {}
    print(f"packages: installing the version's own; other ones here: {packages.named(unlike)}", flush=True)
    packages.install(children, place.checkout, lock, place.environment, python)
    path = os.pathsep.join([str(place.environment / "bin"), os.environ.get("PATH", "")])
    return {"PATH": path, "VIRTUAL_ENV": str(place.environment)}


def _data(objects: Objects, made: Origin, found: Source, checkout: Path) -> None:
    """Write the version's data, and all else that its .dvc files name, into its checkout, by digest."""
    from ruamel.yaml import YAML

    pointers = [YAML(typ="safe").load(path) or {} for path in sorted(checkout.glob("*.dvc")) if path.is_file()]
    wanted = {str(out["path"]): str(out.get("md5", "")) for pointer in pointers for out in pointer.get("outs", [])}
    if made.tag("data"):  # whatever data.dvc says: it may be another model's
        wanted["data"] = made.tag("data")
    for path, digest in wanted.items():
        if lost := objects.lay(digest, checkout / path):
            some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            why = f" ({'; '.join(objects.problems)})" if objects.problems else ""
            where = "neither in DVC's cache nor in its remotes"
            raise SlipwayError(f"{made.uri} cannot be reproduced: its data is {where}: {some}{why}")
    print(f"data: {wanted.get('data') or 'not versioned'}, as {found.words.split(',')[0]} has it", flush=True)


def _unlike(repo: "Repo", expected: Mapping[str, Any], made: Origin, found: Source) -> None:
    """Raise SlipwayError where code, settings or data that are checked out are not those that the version's lock names.

    So it is where uncommitted changes made the version and no experiment holds them.
    """
    from dvc.dependency import ParamsDependency

    made_here = {str(out) for out in repo.index.outs if not out.stage.is_data_source}
    wrong = []
    for stage, _ in stages.nodes(repo):
        locked = expected.get(stage.addressing)
        if stage.is_data_source:
            continue
        if locked is None:
            raise SlipwayError(
                f"{made.uri} cannot be reproduced: the dvc.lock of {found.words} has no stage {stage.addressing}"
            )
        if locked.get("cmd") != stage.cmd:
            wrong.append(f"the command of {stage.addressing}")
        digests = {dep["path"]: dep.get("md5") for dep in locked.get("deps", [])}
        for dep in stage.deps:
            if isinstance(dep, ParamsDependency):
                if any(state for state in dep.status().values()):
                    wrong.append(f"the settings of {stage.addressing} in {dep}")
            elif str(dep) not in made_here and (not dep.exists or dep.get_hash().value != digests.get(str(dep))):
                wrong.append(str(dep))
    if wrong:
        some = ", ".join(dict.fromkeys(wrong))
        raise SlipwayError(
            f"{made.uri} cannot be reproduced from {found.words}: it does not hold what the version was made with "
            f"({some}); the changes were never committed, and no experiment keeps them"
        )


def _store(objects: Objects, found: Source, place: Place, order: list[str]) -> str:
    """Make an MLflow store of the workspace's own, and lend it the registered model that the training starts from."""
    store = f"sqlite:///{place.root / 'mlflow.db'}"
    started = str((found.yaml("params.yaml").get("train") or {}).get("pretrained") or "")
    if started.startswith("models:/"):
        digests = difference.digests(found.lock(), order)
        folder = next((md5 for outs in digests.values() for path, md5 in outs.items() if path == "build/model"), "")
        listed = objects.listing(folder) or {}
        described = objects.path(listed.get("model.json", ""))
        pinned = (read_json(described).get("pretrained") or {}).get("from") if described else None
        if pinned is None:
            raise SlipwayError(
                f"the training starts from {started}; which version that was stands in the version's model.json, which "
                "neither DVC's cache nor its remotes have"
            )
        borrowed.lend(str(pinned), started, store, place.root / "mlartifacts")
    return store


def _run(children: Children, repo: "Repo", environment: Mapping[str, str]) -> list[stages.Outcome]:
    futures: dict[str, Any] = {}
    step = str(Path(stages.__file__).with_name("step.py"))

    def made(name: str) -> str:
        command = guarded(step, name, "--force", "--no-commit")
        stages.follow(name, children.start(command, {**environment, surroundings.REUSE: "0"}), children)
        return "ran"

    for stage, upstream in stages.nodes(repo):
        if not stage.is_data_source:
            name = stage.addressing
            before = [futures[other] for other in upstream if other in futures]
            futures[name] = stages.submit(name, partial(made, name), description=stage.desc, after=before)
    return stages.outcomes(futures)
