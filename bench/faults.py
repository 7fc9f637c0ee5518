"""What kills leave: python -m bench.faults [--what run] [--kills 50] [--chain 1].

Of whole runs, at random moments: below. With --what update, register, promote or rollback, that command alone is
killed right before each of its writes, for every one of them (bench/writes.py; minutes): then the dataset must have the
old rows or the new ones, no alias lead nowhere, and the next command bring all to its end: `dvc status` clean, nothing
twice, nothing left behind, the record right.

In a temporary clone of the last commit, with a short training, each round changes the settings so that the stages have
work, starts a run, and kills it (SIGKILL) at a random moment: the run itself (the rest must end by itself), all of its
processes at once (as the kernel does, or a power cut), or any one of them. Then a run must end well. With --chain N, N
runs in a row are killed before one is let finish, which costs less time per kill and kills recoveries, too.

`make run` also sets up the environment; here it is this one. Told is what was
  lost      data, settings, versions or experiments that were there before, a run that did not end well
  doubled   two versions or logged models of one digest, two MLflow runs of one training
  running   processes that live 20 seconds after the kill
  shown     runs that Prefect or MLflow still shows as running after the next run
  disk      temporary files, checkpoints, locks and artefacts that belong to nothing
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from flows.machinery import aftermath

ROOT = Path(__file__).parent.parent
KINDS = ("lost", "doubled", "running", "shown", "disk")
HOW = {"the run": 0.6, "all of it": 0.2, "any one process": 0.2}  # what is killed, and how often
END_SECONDS, RUN_SECONDS = 20.0, 900.0  # that what a killed run started has to end, and a run to finish
COMMAND = [sys.executable, "-m", "flows", "run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = ("run", "update", "register", "promote", "rollback")
    parser.add_argument("--what", choices=what, default="run", help="what is killed (default: %(default)s)")
    parser.add_argument("--writes", type=int, nargs="+", default=[], metavar="N", help="these writes (default: all)")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="number of kills (default: %(default)s)")
    parser.add_argument("--chain", type=int, default=1, metavar="N", help="kills before a run may finish (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and victims (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of the training (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the clone, in the temporary folder")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "faults.json")
    options = parser.parse_args()
    room = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
    if options.what != "run":
        sys.exit(each_write(options.what, room, options.writes))
    report: dict[str, Any] = {"kills": 0, "completed": 0, "found": {kind: [] for kind in KINDS}, "moments": []}
    try:
        faults(room, options, report)
    finally:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
        tell(report, options.out)
        if not options.keep:
            shutil.rmtree(room, ignore_errors=True)


def each_write(what: str, room: Path, steps: list[int]) -> int:
    """Kill a command right before each of its writes, and tell what that leaves; return 1 where that is something."""
    from bench import writes

    try:
        kills, found = writes.sweep(writes.SCENARIOS[what], room / "writes", steps)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    print(f"{what}: {kills} kills, each followed by the next one; found: {len(found)}")
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


def tell(report: dict[str, Any], out: Path) -> None:
    victims = collections.Counter(moment["victim"] for moment in report["moments"])
    of = ", ".join(f"{count} of {name}" for name, count in victims.items())
    print(f"\n{report['kills']} kills ({of}), each followed by a run; {report['completed']} runs were let finish")
    for kind in KINDS:
        print(f"{kind:<8} {len(report['found'][kind])}")
        for line in report["found"][kind]:
            print(f"         {line}")
    print(out)


def faults(room: Path, options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Make the clone, measure how long a run takes, then kill and check."""
    draw = random.Random(options.seed)  # noqa: S311
    clone = made(room, options.epochs)
    started = time.monotonic()
    finish(room)
    seconds = time.monotonic() - started
    print(f"a whole run takes {seconds:.0f} s", flush=True)
    number = 0
    while report["kills"] < options.kills:
        number += 1
        settle(clone, number)
        before = state(clone)
        for _ in range(min(options.chain, options.kills - report["kills"])):
            victim = draw.choices(list(HOW), list(HOW.values()))[0]
            moment = draw.uniform(0, seconds)
            began = time.monotonic()
            killed = kill(room, moment, victim, draw)
            if killed.startswith("exit code"):
                note(report, "lost", number, f"a run after a kill did not end well: {killed[-600:]}")
            if not killed or killed.startswith("exit code"):
                seconds = time.monotonic() - began  # it was faster: the machine is less busy now
                break
            seconds *= 1.2 if moment > 0.9 * seconds else 1.0  # and the other way round
            report["kills"] += 1
            report["moments"].append({"round": number, "seconds": round(moment, 2), "victim": victim, "at": killed})
            for line in still_running(room):
                note(report, "running", number, line)
        started = time.monotonic()
        said = finish(room, fails=True)
        report["completed"] += 1
        if said:
            note(report, "lost", number, f"the next run did not end well: {said[-600:]}")
            if finish(room, fails=True):
                note(report, "lost", number, "nor did the one after it")
        for kind, line in checked(room, clone, before):
            note(report, kind, number, line)
        last = report["moments"][-1]["at"] if report["moments"] else ""
        print(f"{report['kills']} kills; last: {last}; next run: {time.monotonic() - started:.0f} s", flush=True)


def note(report: dict[str, Any], kind: str, number: int, line: str) -> None:
    """Keep a finding, once: what is left behind is found again in every later round."""
    found = report["found"][kind]
    if not any(entry.split(": ", 1)[1] == line for entry in found):
        found.append(f"round {number}: {line}")
        print(f"FOUND {kind}: {found[-1]}", flush=True)


def made(room: Path, epochs: int) -> Path:
    """Clone the last commit; a short training of a small network."""
    clone = room / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("home", "tmp"):
        (room / name).mkdir()
    yaml = YAML()
    content = yaml.load(clone / "params.yaml")
    content["train"]["epochs"] = epochs
    content["network"] = {"model": "mlp", "hidden": [16]}
    content["evaluate"].update({"resamples": 200, "explain": 2})
    yaml.dump(content, clone / "params.yaml")
    return clone


def settle(clone: Path, number: int) -> None:
    """Change the settings so that all from preprocess on has work, in every fifth round from validate on."""
    yaml = YAML()
    content = yaml.load(clone / "params.yaml")
    content["seed"] = 1000 + number
    content["validate"]["max_bad_fraction"] = 0.01 + number // 5 / 1000
    yaml.dump(content, clone / "params.yaml")


def start(room: Path) -> "subprocess.Popen[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "DVC_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own |= {"HOME": str(room / "home"), "TMPDIR": str(room / "tmp"), "PATH": path}
    with (room / "said").open("w") as said:
        return subprocess.Popen(
            COMMAND, cwd=room / "project", env=own, stdout=said, stderr=said, text=True, start_new_session=True
        )


def finish(room: Path, *, fails: bool = False) -> str:
    """Let a run finish; return what it said where it did not end well, or end with that."""
    process = start(room)
    try:
        process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    said = (room / "said").read_text(errors="replace")
    if process.wait() in (0, 3):  # 3: not promoted
        return ""
    if not fails:
        sys.exit(f"error: the first run did not end well:\n{said}")
    return f"exit code {process.returncode}\n{said}"


def kill(room: Path, moment: float, victim: str, draw: random.Random) -> str:
    """Start a run and kill it at a moment; return what it was at, empty where it had ended before."""
    process = start(room)
    until = time.monotonic() + moment
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    if process.poll() is not None:
        return "" if process.returncode in (0, 3) else f"exit code {process.returncode}\n{(room / 'said').read_text()}"
    own = psutil.Process(process.pid)
    family = own.children(recursive=True)
    at = " + ".join(sorted({word for word in map(_called, family) if word})) or "start"
    targets = {"the run": [own], "all of it": [own, *family], "any one process": [draw.choice(family or [own])]}[victim]
    at = f"{at}; killed: {victim}" + (f", {_called(targets[0])}" if victim == "any one process" else "")
    for target in targets:
        with suppress(psutil.NoSuchProcess):
            target.kill()
    process.wait(RUN_SECONDS)
    return at


def _called(process: psutil.Process) -> str:
    """Name what a process of ours does: the stage, DVC's node, the server."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    found = re.search(r"components \w+|step\.py \S+|prefect server|worker\.py|uvicorn", words)
    return found[0] if found else ""


def still_running(room: Path) -> list[str]:
    """List processes of the room that do not end within END_SECONDS; they are killed then."""
    until = time.monotonic() + END_SECONDS
    while (found := list(_processes(room))) and time.monotonic() < until:
        time.sleep(0.2)
    lines = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline())[:200])
            process.kill()
    return lines


def _processes(room: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(room) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def git(clone: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=clone, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).rstrip()


def state(clone: Path) -> dict[str, Any]:
    """What must not be lost: the data's and the settings' bytes, the versions, the experiments."""
    return {
        "files": {path.name: path.read_bytes() for path in (*(clone / "data").iterdir(), clone / "params.yaml")},
        "versions": set(rows(clone / "mlflow.db", "select name, version, source from model_versions")),
        "refs": set(git(clone, "for-each-ref", "--format=%(refname)").split()),
    }


def checked(room: Path, clone: Path, before: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each finding after a run that was let finish: its kind and what it is."""
    now = state(clone)
    for name, content in before["files"].items():
        if now["files"].get(name) != content:
            yield "lost", f"{name} is another one"
    for part in ("versions", "refs"):
        for gone in before[part] - now[part]:
            yield "lost", f"{part}: {gone}"
    if problem := git(clone, "fsck", "--connectivity-only", "--no-dangling"):
        yield "lost", f"git: {problem[:300]}"
    for line in git(clone, "status", "--porcelain").splitlines():
        if line[3:] not in ("params.yaml", "dvc.lock"):
            yield "disk", f"git status: {line}"
    yield from _in_mlflow(clone / "mlflow.db")
    prefect = clone / ".prefect" / "prefect.db"
    for table in ("flow_run", "task_run"):
        query = f"select state_name, count(*) from {table} where state_type in ('RUNNING', 'PENDING', 'CANCELLING') "  # noqa: S608
        for name, count in rows(prefect, f"{query} and state_name != 'NotReady' group by 1"):  # after a failed one
            yield "shown", f"Prefect: {table} {name} {count}"
    yield from (("disk", line) for line in _left(room, clone))


DOUBLED = {  # in MLflow's store
    "versions of the model": "select value, count(*) from model_version_tags where key = 'slipway.model' group by 1",
    "MLflow runs of the training": "select t.value, count(*) from tags t join runs r using (run_uuid) "
    "where t.key = 'slipway.training' and r.lifecycle_stage = 'active' group by 1",
    "logged models of the digest": "select t.tag_value, count(*) from logged_model_tags t join logged_models m "
    "using (model_id) where t.tag_key = 'slipway.model' and m.lifecycle_stage = 'active' group by 1",
}


def _in_mlflow(store: Path) -> Iterator[tuple[str, str]]:
    for what, query in DOUBLED.items():
        yield from (("doubled", f"{count} {what} {key}") for key, count in rows(store, query) if count > 1)
    for run, kind in rows(store, "select run_uuid, status from runs where status in ('RUNNING', 'SCHEDULED')"):
        yield "shown", f"MLflow: run {run} {kind}"
    for (name,) in rows(store, "select name from registered_models where name like '%.lock'"):
        yield "disk", f"MLflow: {name}, by which machines take turns"


def _left(room: Path, clone: Path) -> Iterator[str]:
    yield from (f"temporary: {path.name}" for path in (room / "tmp").iterdir())
    for path in clone.rglob("*"):
        name = path.relative_to(clone).as_posix()
        if aftermath.ASIDE.fullmatch(path.name):  # an hour old, they are swept
            continue
        if name.endswith((".tmp", ".old")) or (name.startswith(".git/") and name.endswith(".lock")):
            yield name
    yield from (f"build/checkpoints/{path.name}" for path in (clone / "build").glob("checkpoints/*"))
    known = {Path(uri).parent.name for (uri,) in rows(clone / "mlflow.db", "select artifact_uri from runs")}
    query = "select artifact_location from logged_models where lifecycle_stage = 'active'"
    known |= {Path(uri).parent.name for (uri,) in rows(clone / "mlflow.db", query)}
    for path in [*(clone / "mlartifacts").glob("*/*"), *(clone / "mlartifacts").glob("*/models/*")]:
        if path.name != "models" and path.name not in known:
            yield f"artefacts of nothing: {path.relative_to(clone)}"


if __name__ == "__main__":
    main()
