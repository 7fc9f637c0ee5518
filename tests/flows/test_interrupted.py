"""A flow that is killed, or cancelled in Prefect: nothing of it lives on, and Prefect says what became of it."""

import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import temporary
from tests.flowing import DONE, end, flows, gone, repository, until
from tests.receivers import hook

pytestmark = pytest.mark.e2e  # each starts whole flow runs

WAITS: dict[str, dict[str, Any]] = {
    "a": {"cmd": "sleep 600 & echo $$ $! > pids; echo started; wait; echo 1 > a", "outs": ["a"]}
}
ENDS = "stages: {a: {cmd: echo 1 > a, outs: [a]}}"


def states(path: Path) -> list[tuple[str, str]]:
    """Return the flow runs' and the task runs' states, the oldest first."""
    with sqlite3.connect(path / ".prefect/prefect.db") as database:
        query = "select state_type from {} order by created"
        return [(kind, state) for kind in ("flow_run", "task_run") for (state,) in database.execute(query.format(kind))]


def test_killed_nothing_lives_on_and_the_next_run_says_that_it_crashed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    home = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    path = repository(tmp_path / "repo", WAITS)
    process = flows(path, "retrain", **home)
    until(process, "a: started")
    family = {child.pid: child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)}
    stage = [int(pid) for pid in (path / "pids").read_text().split()]
    assert any("prefect" in words for words in family.values()) and set(stage) <= set(family)
    both = [("flow_run", "RUNNING"), ("task_run", "RUNNING")]
    deadline = time.monotonic() + 60
    while states(path) != both:  # until the server has been told that the task runs
        assert time.monotonic() < deadline, states(path)
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not [words for pid, words in family.items() if not gone(pid, 20)]
    assert states(path) == both
    assert list((tmp_path / "tmp").glob("slipway-*"))

    (path / "dvc.yaml").write_text(ENDS)
    (path / "build").mkdir()
    (path / "build" / f".m.json.{process.pid}-1-{temporary.owner()[-4:]}.00ff00.tmp").touch()
    with hook() as chat:
        process = flows(path, "retrain", SLIPWAY_WEBHOOK=chat.address, **home)
        out, _ = process.communicate(timeout=120)
    assert process.returncode in DONE, out
    assert [told["event"] for told in chat.got] == ["failed", "recovered"]
    assert "its process ended without a word" in chat.got[0]["text"]
    assert "waiting" not in out  # for no lock of the dead
    assert states(path) == [
        ("flow_run", "CRASHED"), ("flow_run", "COMPLETED"),
        ("task_run", "CRASHED"), ("task_run", "COMPLETED"), ("task_run", "COMPLETED"),
    ]  # fmt: skip
    assert not list((path / "build").glob(".*.tmp"))
    assert not list((tmp_path / "tmp").iterdir())


def test_cancelled_in_prefect_a_run_at_a_terminal_ends_within_seconds(tmp_path: Path, prefect_server: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Cancelling

    path = repository(tmp_path, WAITS)
    process = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    try:
        until(process, "a: started")
        with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
            running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
            found = client.read_flow_runs(flow_run_filter=running)  # other tests leave runs on this server
            (run,) = [run for run in found if (run.infrastructure_pid or "").startswith(f"{process.pid}-")]
            client.set_flow_run_state(run.id, Cancelling())
            began = time.monotonic()
            out, _ = process.communicate(timeout=120)
            assert time.monotonic() - began < 60  # of a stage of ten minutes, on a machine that may be busy
            assert process.returncode == 130, out
            assert "cancelled in Prefect; finished stages are kept" in out.splitlines()[-1] and "Traceback" not in out
            assert client.read_flow_run(run.id).state_name == "Cancelled"
    finally:
        end(process, signal.SIGKILL)
    assert all(gone(int(pid)) for pid in (path / "pids").read_text().split())


def test_only_runs_of_dead_processes_of_this_machine_are_marked(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Cancelling, Running

    from flows import ui

    pid, start, place = temporary.owner().split("-")
    dead, elsewhere = f"{pid}-{int(start) - 1}-{place}", f"{pid}-1-{'0000' if place != '0000' else '1111'}"
    cases: dict[str, tuple[str, Any, str]] = {
        "dead": (dead, Running(), "Crashed"),
        "to be cancelled": (dead, Cancelling(), "Cancelled"),
        "alive": (temporary.owner(), Running(), "Running"),
        "elsewhere": (elsewhere, Running(), "Running"),
        "of another kind": (dead, Running(), "Running"),
    }
    retrain, other = (flow(name=name)(lambda: None) for name in ("retrain", "something"))
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)  # a shared one: other machines report to it, too
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        made = {}
        for name, (owner, state, _) in cases.items():
            made[name] = client.create_flow_run(other if name == "of another kind" else retrain, state=Running()).id
            client.update_flow_run(made[name], infrastructure_pid=owner)
            client.set_flow_run_state(made[name], state, force=True)
        ui._bury(prefect_server.removesuffix("/api"))
        found = {name: client.read_flow_run(run).state_name for name, run in made.items()}
        for run in made.values():
            client.delete_flow_run(run)
    assert found == {name: state for name, (_, _, state) in cases.items()}
