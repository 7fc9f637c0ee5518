import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.files import read_json
from flows.machinery import server
from tests import fabricate
from tests.flowing import DONE, GIT, ROOT, command, flows, repository, started, status, until
from tests.receivers import hook

pytestmark = pytest.mark.e2e  # each starts whole flow runs

STAGES: dict[str, dict[str, Any]] = {
    "first": {"cmd": "cat data/* params.yaml > first", "deps": ["data"], "params": ["x"], "outs": ["first"]},
    "second": {
        "cmd": "mkdir -p build; echo '{\"n\": 1}' > build/m.json; cp first second",
        "deps": ["first"],
        "outs": ["second"],
        "metrics": [{"build/m.json": {"cache": False}}],
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/params.yaml").write_text("x: 1\n")
    return repository(tmp_path / "repo", STAGES, data="1")


def finished(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=120)
    assert process.returncode in DONE, out
    return str(out)


def table(out: str) -> dict[str, str]:
    """Return the states in a summary."""
    rows = [line.split() for line in out.partition("task ")[2].splitlines()[1:]]
    return {row[0]: row[1] for row in rows[: [*rows, []].index([])] if row[0] != "error:"}


def test_a_run_a_second_one_and_what_they_leave(path: Path, prefect_server: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    bare = {"HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1", "EMAIL": ""}
    before = [command(path, "git", *words.split()) for words in ("rev-parse HEAD", "diff --cached", "branch -a")]
    first = flows(path, "retrain", PREFECT_API_URL=prefect_server, **bare)
    out = finished(first)
    assert first.returncode == 3  # registered, and not promoted
    assert table(out) == {"data.dvc": "unchanged", "first": "ran", "second": "ran", "register": "ran"}
    assert "not promoted: accuracy is below the gate" in out and "champion (version 2)" in out
    assert "NOT PASSED" in out and "slipway ui" in out

    # The experiment: a commit on the checkout's own, that touches neither branch nor index.
    (experiment,) = command(path, "git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    head = before[0]
    name = experiment.rpartition("/")[2]
    assert experiment == f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    assert before == [
        command(path, "git", *words.split()) for words in ("rev-parse HEAD", "diff --cached", "branch -a")
    ]
    assert command(path, "git", "rev-parse", f"{experiment}^") == head
    assert "md5" in command(path, "git", "show", f"{experiment}:dvc.lock")
    assert json.loads(command(path, "git", "show", f"{experiment}:build/m.json")) == {"n": 1}
    shown = json.loads(command(path, "dvc", "exp", "show", "--json"))
    ((found,),) = ([e["revs"][0] for e in row["experiments"]] for row in shown if row["experiments"])
    assert found["name"] == name and found["data"]["metrics"]["build/m.json"]["data"] == {"n": 1}
    assert f"registered as {name}" in out

    again = flows(path, "retrain", PREFECT_API_URL=prefect_server, **bare)
    out = finished(again)
    assert again.returncode == 0
    assert set(table(out).values()) == {"unchanged"}
    assert "nothing changed: no stage ran, no new version" in out
    assert len(command(path, "git", "for-each-ref", "refs/exps").splitlines()) == 1

    as_a_worker_would = "from flows.retrain import retrain; retrain()"  # which always reports to Prefect
    finished(started(path, [sys.executable, "-c", as_a_worker_would], PREFECT_API_URL=prefect_server, **bare))

    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        (artifact, *_) = client.request("POST", "/artifacts/filter", json={"sort": "CREATED_DESC"}).json()
        assert artifact["key"] == "retrain" and "| second | unchanged |" in artifact["data"]
        ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}  # other tests have left scheduled ones
        asked = ended | {"sort": "START_TIME_DESC", "limit": 2}  # `again` found nothing to do without Prefect
        runs = client.request("POST", "/flow_runs/filter", json=asked).json()
    told = [(run["name"], run["state"]["type"], run["state"]["message"]) for run in runs]
    assert told == [
        (
            "digits v3 unchanged, accuracy 0.97",
            "COMPLETED",
            "digits version 3 unchanged, accuracy 0.97: nothing has changed; refused: accuracy is below the gate",
        ),
        (
            "digits v3 refused, accuracy 0.97",
            "COMPLETED",
            "digits version 3 refused, accuracy 0.97: accuracy is below the gate",
        ),
    ]


def test_another_parameter_is_another_experiment_which_can_be_applied(path: Path, prefect_server: str) -> None:
    finished(flows(path, "retrain", PREFECT_API_URL=prefect_server))
    (path / "params.yaml").write_text("x: 2\n")
    out = finished(flows(path, "retrain", PREFECT_API_URL=prefect_server))
    assert table(out)["first"] == "ran"
    first, second = command(path, "git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split()
    other = next(n for n in (first, second) if "x: 1" in command(path, "git", "show", f"{_ref(path, n)}:params.yaml"))
    somebody = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command(path, "dvc", "exp", "apply", "-q", other, env=somebody)  # DVC stashes, and git wants to know who
    assert (path / "params.yaml").read_text() == "x: 1\n"
    assert (path / "first").read_text() == "1x: 1\n"


def _ref(path: Path, name: str) -> str:
    return command(path, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}")


def test_new_data_is_versioned_and_to_be_committed(path: Path, prefect_server: str) -> None:
    (path / "data/b.txt").write_text("2")
    out = finished(flows(path, "retrain", PREFECT_API_URL=prefect_server))
    assert table(out)["data.dvc"] == "versioned"
    assert "`git add data.dvc` and commit" in out


def test_a_mistake_in_the_settings_is_told_before_anything_starts(path: Path, tmp_path: Path) -> None:
    (path / "params.yaml").write_text("x: 1\nname: m\nrecipe: images\ntrain: {epoch: 3}\n")
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "prefect")}
    run = flows(path, "retrain", **nowhere)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "error: params.yaml: " in out and "unknown key" in out
    assert not (path / "first").exists() and "Prefect" not in out


def test_a_failing_stage_ends_the_run_with_its_message(tmp_path: Path, prefect_server: str) -> None:
    cmd = "echo 'error: data/x.parquet: no column label' >&2; exit 1"
    path = repository(
        tmp_path, {"a": {"cmd": cmd, "outs": ["a"]}, "b": {"cmd": "cp a b", "deps": ["a"], "outs": ["b"]}}
    )
    (path / "params.yaml").write_text("name: digits\n")
    with hook() as chat:
        process = flows(path, "retrain", PREFECT_API_URL=prefect_server, SLIPWAY_WEBHOOK=chat.address)
        out, _ = process.communicate()
    assert process.returncode == 1
    assert out.endswith("error: a: error: data/x.parquet: no column label\n")
    (told,) = chat.got
    assert told["text"].startswith("✗ digits: failed: a: error: data/x.parquet: no column label\n")
    assert told["details"]["run"] and "/flow-run/" in told["details"]["page"]
    assert table(out) == {"a": "failed", "b": "not"}
    assert float(re.findall(r"a +failed +(\S+)", out)[0]) > 0  # the seconds until it failed
    assert "Traceback" not in out


def test_a_second_run_waits_and_says_for_whom(tmp_path: Path, prefect_server: str) -> None:
    cmd = "echo started; while [ ! -e go ]; do sleep 0.05; done; echo 1 > a"
    path = repository(tmp_path, {"a": {"cmd": cmd, "outs": ["a"]}})
    first = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    until(first, "a: started")
    second = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    assert f"process {first.pid}, since 20" in until(second, "another run")
    (path / "go").touch()
    assert table(finished(first))["a"] == "ran"
    assert table(finished(second))["a"] == "unchanged"


def test_a_server_that_is_down_is_said_in_seconds(path: Path) -> None:
    started = time.monotonic()
    url = f"http://127.0.0.1:{server.free_port()}/api"
    process = flows(path, "retrain", PREFECT_API_URL=url)
    out, _ = process.communicate()
    assert process.returncode == 1
    assert time.monotonic() - started < 150  # seconds, on a machine that does nothing else
    assert f"Prefect's server at {url} does not respond" in out and "unset PREFECT_API_URL" in out
    assert "Traceback" not in out


def test_no_repository_no_schedule_no_commit(tmp_path: Path, prefect_server: str) -> None:
    process = flows(tmp_path, "retrain", PREFECT_API_URL=prefect_server)
    out, _ = process.communicate()
    assert process.returncode == 1 and "is not a DVC repository" in out

    process = flows(tmp_path, "retrain", "--cron", "whenever", PREFECT_API_URL=prefect_server)
    out, _ = process.communicate()
    assert (
        process.returncode == 1
        and out
        == 'error: "whenever" is not a valid cron expression; "0 3 * * *", for example, is every night at 03:00\n'
    )

    new = tmp_path / "new"
    repository(new, {"a": {"cmd": "echo 1 > a", "outs": ["a"]}})
    command(new, "git", "update-ref", "-d", "HEAD")
    process = flows(new, "retrain", PREFECT_API_URL=prefect_server)
    out, _ = process.communicate()
    assert process.returncode == 1 and "this repository has no commit yet" in out.splitlines()[-1]


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give an environment that names no server: a home with no profile."""
    (tmp_path / "home").mkdir()
    yield {"HOME": str(tmp_path / "home")}


def test_with_a_temporary_server(path: Path, temporary: dict[str, str]) -> None:
    out = finished(flows(path, "retrain", **temporary))
    assert table(out)["second"] == "ran"
    assert "rror" not in out
    assert not (Path(temporary["HOME"]) / ".prefect").exists()
    with sqlite3.connect(path / ".prefect/prefect.db") as database:
        assert database.execute("select name, state_type from task_run order by name").fetchall() == [
            (name, "COMPLETED") for name in ("data.dvc", "first", "register", "second")
        ]
        logs = [message for (message,) in database.execute("select message from log")]
    assert any(message.startswith("registered as") for message in logs)


def test_a_server_lost_half_way_loses_no_stage(path: Path, tmp_path: Path) -> None:
    (path / "dvc.yaml").write_text(
        "stages:\n  a: {cmd: echo 1 > a, outs: [a]}\n"
        "  b: {cmd: 'echo started; while [ ! -e go ]; do sleep 0.05; done; cp a b', deps: [a], outs: [b]}\n"
    )
    port = server.free_port()
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")}
    own = subprocess.Popen(server.command(port, "--no-ui"), env=environment, stdout=subprocess.DEVNULL)
    try:
        while not server.answers(f"http://127.0.0.1:{port}/api/health"):
            time.sleep(0.2)
        process = flows(path, "retrain", PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
        until(process, "b: started")
    finally:
        own.kill()
        own.wait()
    (path / "go").touch()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1, out
    assert "Prefect's server" in out.splitlines()[-1] and "Traceback" not in out
    assert (path / "b").read_text() == "1\n"
    assert status(path) == {}


def test_a_recipe_that_git_does_not_know_is_told_and_in_the_experiment(path: Path, prefect_server: str) -> None:
    """All that a stage's command imports, wherever it lies; what git ignores and what nothing imports stays out."""
    package = path / "components/mine"
    for name, text in {
        "components/stage.py": "import os\nfrom components.mine import points\nprint(points.here)\n",
        "components/mine/__init__.py": "",
        "components/mine/points/__init__.py": "from .source import here\n",
        "components/mine/points/source.py": "import helpers\nfrom lib.deep import where\nhere = where\n",
        "components/mine/points/notes.txt": "as it was measured",
        "helpers.py": "",
        "lib/__init__.py": "",
        "lib/deep.py": "where = 'here'\n",
        "unrelated.py": "print('a scratch file')\n",
        "expectations/[points].yaml": "x: 1\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    (package / "points/__pycache__").mkdir()
    (package / "points/__pycache__/source.pyc").write_bytes(b"")
    cmd = "PYTHONPATH= python -m components.stage > out"
    deps = ["expectations/[points].yaml", "components/mine/points"]
    (path / "dvc.yaml").write_text(json.dumps({"stages": {"new": {"cmd": cmd, "deps": deps, "outs": ["out"]}}}))
    command(path, "git", "add", "lib/deep.py")  # in the index, and in no commit yet
    out = finished(flows(path, "retrain", PREFECT_API_URL=prefect_server))
    new = "components/mine/, components/stage.py, expectations/[points].yaml, helpers.py, lib/__init__.py"
    assert f"note: git does not know {new}: the experiment" in out
    assert "git add components/mine/ components/stage.py 'expectations/[points].yaml' helpers.py" in out
    (experiment,) = command(path, "git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    command(path, "git", "worktree", "add", "-q", "--detach", "elsewhere", experiment)
    assert command(path / "elsewhere", "python", "-m", "components.stage", env={"PYTHONPATH": ""}) == "here"
    held = command(path, "git", "ls-tree", "-r", "--name-only", experiment).splitlines()
    assert "components/mine/points/notes.txt" in held and "unrelated.py" not in held
    assert not [name for name in held if "pyc" in name]
    command(path, "git", "add", "components", "expectations", "helpers.py", "lib")
    assert "git does not know" not in finished(flows(path, "retrain", PREFECT_API_URL=prefect_server))


def test_nothing_is_decided_in_a_run_whose_server_never_answers(tmp_path: Path, temporary: dict[str, str]) -> None:
    """What registers the model is at work before Prefect is, and must not end with a champion of which nobody hears."""
    path = tmp_path / "project"
    path.mkdir()
    fabricate.project(path)
    fabricate.store(path)
    (path / "prefect.toml").write_text((ROOT / "prefect.toml").read_text())
    (path / ".gitignore").write_text(".prefect/\n/.dvc/tmp\n/mlflow.db\n/mlartifacts\n")
    command(path, "git", "init", "-q")
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "start", env=GIT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        process = flows(path, "run", **temporary | {"PREFECT_API_URL": url})
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "does not respond" in out, out
    assert not (path / "build/register.json").exists()
    out = finished(flows(path, "run", **temporary))
    assert "version 1 (new): challenger, champion, reference; promoted" in out
    found = read_json(path / "build/register.json")
    assert found["changed"] and found["new_champion"]
    with sqlite3.connect(path / "mlflow.db") as database:  # the run of Prefect's that decided is on record
        entries = [value for (value,) in database.execute("SELECT value FROM registered_model_tags")]
    with sqlite3.connect(path / ".prefect/prefect.db") as database:
        ((flow_run,),) = database.execute("SELECT id FROM flow_run")
    assert any(flow_run in str(entry) for entry in entries), entries
