"""What a kill between any two writes leaves, of commands that change data or the registry: see bench.faults --what.

A command is killed (SIGKILL) right before its n-th write, for each n from 1 on, until it comes to its end: before a
file or folder gets its name, another one or none, before a copy, and before a commit of MLflow's database. Each time it
begins from the same state, in a child that is forked once all is imported. Then the next command must bring all to its
end.
"""

import contextlib
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from components import files, params
from components.data import versions
from components.files import read_json
from components.serving import onnx_model
from components.stages import register, update
from components.tracking import connection, isolated, moving, record, runs
from tests import fabricate
from tests.flowing import GIT, command

NAME = "sides"  # as in fabricate.PARAMS
SOURCE = "\nsource: {kind: files, path: inbox, ingest: table --label y, settle: 0}\n"
RENAMES = ("replace", "rename", "link", "symlink", "unlink")  # of os


@dataclass(frozen=True)
class Scenario:
    """A command: what is there before, the command itself, the next one, and what is wrong after each."""

    prepare: Callable[[], None]
    work: Callable[[], object]
    after: Callable[[], object]
    killed: Callable[[], Iterable[str]]
    done: Callable[[], Iterable[str]]


def arm(number: int) -> None:
    """Kill this process right before its n-th write from now on."""
    from sqlalchemy import Engine, event

    left = number

    def write(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            write()
            return real(*arguments, **options)

        return call

    for owner, names in ((os, RENAMES), (shutil, ("copyfile",)), (files, ("_exchanged",))):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    event.listen(Engine, "commit", write)


def forked(place: Path, work: Callable[[], object], said: Path, kill_at: int = 0) -> int:
    """Do some work in a folder, in a child; return its exit code, negative where a signal ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with said.open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                os.chdir(place)
                if kill_at:
                    arm(kill_at)
                work()
                code = 0
            except BaseException:  # noqa: BLE001 - a child of ours never goes on as its parent
                traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep(scenario: Scenario, room: Path, steps: Iterable[int] = ()) -> tuple[int, list[str]]:
    """Kill a command at each write, or at some of them; return how many kills there were, and what was found."""
    saved, place, said = room / "saved", room / "place", room / "said"
    place.mkdir(parents=True)
    if forked(place, scenario.prepare, said):
        raise RuntimeError(said.read_text())
    place.rename(saved)
    kills, found = 0, []
    for number in steps or count(1):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(saved, place, symlinks=True)
        code = forked(place, scenario.work, said, kill_at=number)
        kills += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            found.append(f"write {number}: it failed by itself: {said.read_text()[-600:]}")
        told = [("right after the kill", scenario.killed)] if code else []
        for when, look in [*told, ("the next one", scenario.after), ("then", scenario.done)]:

            def tell(look: Callable[[], Any] = look) -> None:
                lines = look()
                if isinstance(lines, Iterator):
                    print(*(f"FOUND {line}" for line in lines), sep="\n")

            failed = forked(place, tell, said)
            text = said.read_text()
            found += [f"write {number}, {when}: {line[6:]}" for line in text.splitlines() if line.startswith("FOUND ")]
            if failed:
                found.append(f"write {number}, {when}: {text[-600:]}")
        print(f"write {number}: {len(found)} found", flush=True)
        if code == 0:
            break
    return kills, found


def _begin() -> None:
    from dvc.repo import Repo

    command(Path(), "git", "init", "-q")
    Repo.init().close()


def _arrive(name: str, start: int) -> None:
    lines = [f"{n}.5,{'yes' if n % 2 else 'no'}" for n in range(start, start + 6)]
    Path("inbox").mkdir(exist_ok=True)
    Path("inbox", name).write_text("\n".join(["x,y", *lines, ""]))


def _with_data() -> None:
    _begin()
    Path("params.yaml").write_text(f"name: sales\nrecipe: images\nimages: {{height: 8, width: 8}}\n{SOURCE}")
    _arrive("a.csv", 0)
    update.run()
    command(Path(), "git", "add", "-A")
    command(Path(), "git", "commit", "-qm", "data", env=GIT)
    _arrive("b.csv", 6)


def _data() -> Iterator[str]:
    """Yield what is wrong with the dataset: it has the old rows or the new ones, each once."""
    import pyarrow.parquet as pq

    ids = [value for path in Path("data").glob("*.parquet") for value in pq.read_table(path)["id"].to_pylist()]
    if len(ids) not in (6, 12) or len(set(ids)) != len(ids):
        yield f"{len(ids)} rows, {len(set(ids))} of them different"
    if not versions.recorded(Path("data")):
        yield "data.dvc is no whole file"


def _data_complete() -> Iterator[str]:
    from dvc.repo import Repo

    yield from _data()
    if len(list(Path("data").glob("*.parquet"))) != 2:
        yield "the new rows are not there"
    with Repo() as repo:
        if status := repo.status():
            yield f"dvc status: {status}"
    yield from (f"left behind: {path}" for path in Path().rglob(".*.tmp") if ".dvc/cache" not in path.as_posix())


def _asked(uri: str, given: Path, **_: object) -> Any:
    """Ask a registered model in this process: one of its own takes seconds, and writes nothing."""
    import pyarrow.parquet as pq
    from mlflow.artifacts import download_artifacts

    folder = Path(uri) if Path(uri).is_dir() else Path(download_artifacts(uri, tracking_uri=runs.uri()))
    examples = pq.read_table(given)
    if examples.column_names == ["file"]:
        examples = examples.rename_columns(["image"])
    return onnx_model.predict(onnx_model.load(next(folder.rglob("model.onnx")).parent), examples)


def _register() -> None:
    isolated.predict = _asked
    register.run(params.load(), Path("build"), Path("data"), Path("build/register.json"))


def _with_champion() -> None:
    fabricate.project(Path(), 0.8)
    fabricate.store(Path())
    _register()
    fabricate.project(Path(), 0.0)


def _with_two_champions() -> None:
    _with_champion()
    _register()


def _aliases() -> dict[str, str]:
    """Return the version of each alias; MLflow has it as a number or as text, as the store is."""
    return {name: str(number) for name, number in connection.client().get_registered_model(NAME).aliases.items()}


def _registry() -> Iterator[str]:
    """Yield what is wrong with the registry: aliases lead to versions, and nothing is there twice."""
    client = connection.client()
    there = list(client.search_model_versions(f"name = '{NAME}'"))
    numbers = {str(version.version) for version in there}
    for alias, number in _aliases().items():
        if number not in numbers:
            yield f"the alias {alias} leads to version {number}, which is not there"
    digests = [version.tags.get("slipway.model") for version in there]
    if len(set(digests)) != len(digests):
        yield f"{len(digests)} versions of {len(set(digests))} models"
    if "1" not in numbers:
        yield "version 1 is lost"


def _registered() -> Iterator[str]:
    yield from _registry()
    client = connection.client()
    found = _aliases()
    if found != {"challenger": "2", "champion": "2", "reference": "2"}:
        yield f"aliases: {found}"
    experiment = connection.experiment(NAME)
    counts = len(client.search_runs([experiment])), len(client.search_logged_models([experiment]))
    if counts != (2, 2):
        yield f"runs and logged models: {counts}"
    if left := [model.name for model in client.search_registered_models() if model.name != NAME]:
        yield f"left in the registry: {left}"
    yield from _record([("promoted", "1"), ("promoted", "2")])
    _register()
    if read_json(Path("build/register.json"))["changed"]:
        yield "one more register changes something"


def _record(expected: list[tuple[str, str]]) -> Iterator[str]:
    entries = record.read(NAME).entries
    moves = [(entry.kind, entry.version) for entry in entries if entry.state == "done"]
    if moves != expected:
        yield f"on record: {moves}"
    if begun := [entry for entry in entries if entry.state == "begun"]:
        yield f"never completed: {begun}"


def _move(how: str) -> None:
    isolated.predict = _asked
    if moving.look(NAME).champion == "2":
        _ = moving.rollback(NAME, why="bench") if how == "rollback" else moving.promote(NAME, "1", why="bench")


def _moved(kind: str) -> Iterator[str]:
    yield from _registry()
    yield from _record([("promoted", "1"), ("promoted", "2"), (kind, "1")])
    found = _aliases()
    if found["champion"] != "1":
        yield f"aliases: {found}"
    if left := [model.name for model in connection.client().search_registered_models() if model.name != NAME]:
        yield f"left in the registry: {left}"


SCENARIOS = {
    "update": Scenario(_with_data, update.run, update.run, _data, _data_complete),
    "register": Scenario(_with_champion, _register, _register, _registry, _registered),
    "promote": Scenario(
        _with_two_champions, lambda: _move("promote"), lambda: _move("promote"), _registry, lambda: _moved("by hand")
    ),
    "rollback": Scenario(
        _with_two_champions,
        lambda: _move("rollback"),
        lambda: _move("rollback"),
        _registry,
        lambda: _moved("rolled back"),
    ),
}
