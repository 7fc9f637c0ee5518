"""`slipway up`: what it starts, what it survives; one started service for all that can share it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from flows.machinery import deployments, server, state
from tests.flowing import GIT, command, flows, gone, repository

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.e2e

# A training that lasts until there is a file `go` beside the repository.
WAITS: dict[str, dict[str, Any]] = {
    "first": {
        "cmd": "sleep 600 & echo $$ $! > $OUTSIDE/pids; while [ ! -e $OUTSIDE/go ]; do sleep 0.2; done; kill $!; "
        "cat data/* > first",
        "deps": ["data"],
        "outs": ["first"],
    }
}
NIGHTLY = "0 3 1 1 *"  # nothing comes by itself while a test runs


@dataclass
class Place:
    """A project whose `slipway up` runs."""

    path: Path
    outside: Path
    env: dict[str, str]

    def call(self, *words: str, code: int = 0) -> str:
        """Run a command; return what it says."""
        process = flows(self.path, *words, **self.env)
        out, _ = process.communicate(timeout=700)
        assert process.returncode == code, out
        return out

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.path / state.FILE).read_text()))

    def pid(self, name: str) -> int:
        return int(self.state()["services"][name])

    def said(self) -> str:
        return (self.path / ".prefect/logs/up.log").read_text()

    @contextmanager
    def client(self) -> "Iterator[SyncPrefectClient]":
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        url = f"{self.state()['addresses']['prefect']}/api"
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield client

    def runs(self) -> "list[FlowRun]":
        """Return the runs that are due or were, the oldest first."""
        from prefect.client.schemas.sorting import FlowRunSort

        with self.client() as client:
            found = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        return [run for run in found if run.expected_start_time and run.expected_start_time <= datetime.now(UTC)]

    def trigger(self, count: int = 1) -> None:
        """Start runs as somebody does in Prefect's page."""
        with self.client() as client:
            deployment = client.read_deployment_by_name("retrain/retrain")
            for _ in range(count):
                client.create_flow_run_from_deployment(deployment.id)

    def training(self) -> list[int]:
        """Wait until a training runs; return its processes."""
        pids = self.outside / "pids"
        until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "no training began", self)
        found = [int(pid) for pid in pids.read_text().split()]
        pids.unlink()
        return found

    def everything(self) -> list[psutil.Process]:
        """Return `slipway up` and all that it started."""
        first = psutil.Process(state.pid(self.state()))
        return [first, *first.children(recursive=True)]


def until(true: Callable[[], object], otherwise: str, place: Place | None = None, seconds: float = 300) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, otherwise + (f"\n{place.said()}" if place else "")
        time.sleep(0.2)


def states(place: Place) -> list[str]:
    return [str(run.state_name) for run in place.runs()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("up")
    path = repository(base / "a repository (50%)", WAITS, data="1")
    (base / "home").mkdir()
    env = {"HOME": str(base / "home"), "OUTSIDE": str(base), "PREFECT_WORKER_QUERY_SECONDS": "2"}
    place = Place(path, base, env)
    out = place.call("up")
    assert "http://127.0.0.1:" in out and "logs: .prefect/logs/" in out
    yield place
    place.call("down")


def test_up_serves_on_loopback_and_says_so_once_more(place: Place) -> None:
    listening = [c for p in place.everything() for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3 and {c.laddr.ip for c in listening} == {"127.0.0.1"}
    assert {c.laddr.port for c in listening} == set(place.state()["ports"].values())  # and no server of Prefect's own
    before = place.state()
    assert place.call("up").startswith(f"already running (process {state.pid(before)}")
    assert place.call("ui").startswith("already running")
    assert "none; `slipway schedule" in place.call("status")
    assert place.state()["owner"] == before["owner"]


def test_a_run_comes_by_itself_and_others_wait_for_it(place: Place) -> None:
    """Prefect's scheduler makes it, the worker takes it; what comes due meanwhile is one run, after it."""
    out = place.call("schedule", "* * * * *", "--time-zone", "UTC")
    assert "retrained on the schedule * * * * * (UTC" in out and "the next run is due at" in out
    assert "* * * * * (UTC), next: 20" in place.call("schedule")
    training = place.training()
    (first,) = [run for run in place.runs() if run.state and run.state.is_running()]
    assert first.auto_scheduled and first.start_time and first.expected_start_time
    assert first.start_time - first.expected_start_time < timedelta(seconds=60)
    assert first.parameters == {"model": "", "revision": "HEAD", "force": False}

    assert "; it replaces * * * * * (UTC)" in place.call("schedule", NIGHTLY)  # and its run goes on
    with place.client() as client:
        assert len(deployments.schedules(client)) == 1
    place.trigger(3)
    until(lambda: states(place).count("Cancelled") == 2, "three that wait are not joined", place)
    assert "2 runs were missed since" in place.said()
    assert not gone(training[0], 0)
    (place.outside / "go").touch()
    until(lambda: states(place).count("Completed") == 2, "the two have not run", place)
    (place.outside / "go").unlink()
    assert sorted(states(place)) == ["Cancelled", "Cancelled", "Completed", "Completed"]
    done = [run for run in place.runs() if run.state and run.state.is_completed()]
    starts = sorted((run.start_time, run.end_time) for run in done if run.start_time and run.end_time)
    assert starts[0][1] <= starts[1][0]  # one after the other
    assert "completed" in place.call("status")
    log = (place.path / ".prefect/logs/runs.log").read_text()
    assert "| Task run 'first' - " in log and "\nfirst: " not in log  # each line once
    (place.path / "dvc.yaml").write_text((place.path / "dvc.yaml").read_text().replace("cat data/*", "cat  data/*"))
    command(place.path, "git", "commit", "-qam", "changed", env=GIT)  # so that the next run has something to train


def test_a_killed_worker_comes_back_and_the_run_is_run_once_more(place: Place) -> None:
    place.trigger()
    training = place.training()
    os.kill(place.pid("worker"), signal.SIGKILL)
    assert all(gone(pid, 60) for pid in training)
    again = place.training()
    crashed, running = place.runs()[-2:]
    assert (crashed.state_name, running.state_name) == ("Crashed", "Running")
    assert running.tags == [deployments.AGAIN]
    shown = place.call("status")
    assert ": running, " in shown and ": crashed, " in shown
    assert "worker was killed by signal 9; it is started again in 1 s" in place.said()
    assert "crashed; it is run once more" in place.said()
    assert not gone(again[0], 0)


def test_killed_servers_come_back_and_the_run_goes_on_and_can_be_cancelled(place: Place) -> None:
    from prefect.states import Cancelling

    (running,) = [run for run in place.runs() if run.state and run.state.is_running()]
    before = place.state()
    for name in ("prefect", "mlflow"):
        os.kill(place.pid(name), signal.SIGKILL)
    health = {"prefect": "/api/health", "mlflow": "/health"}
    until(lambda: place.state()["services"] != before["services"], "none is started again", place)
    addresses = [f"{before['addresses'][name]}{path}" for name, path in health.items()]
    until(lambda: all(map(server.answers, addresses)), "one of them is away", place)
    with place.client() as client:
        assert client.read_flow_run(running.id).state_name == "Running"
        began = time.monotonic()
        client.set_flow_run_state(running.id, Cancelling())
        until(lambda: client.read_flow_run(running.id).state_name == "Cancelled", "it is not cancelled", place)
        assert time.monotonic() - began < 60  # seconds, on a machine that does nothing else
    time.sleep(6)
    assert states(place)[-1] == "Cancelled"  # on purpose: it is not run again


def test_all_killed_in_a_run_the_next_up_runs_it_again(place: Place) -> None:
    place.trigger()
    place.training()
    family = place.everything()
    for process in family:
        with suppress(psutil.NoSuchProcess):  # some ask git or DVC something, and such a child has ended by now
            process.send_signal(signal.SIGKILL)
    assert all(gone(process.pid, 10) for process in family)
    shown = place.call("status", code=1)
    assert shown.startswith("nothing runs") and "scheduled, but not run until then\n  " in shown
    assert f": {NIGHTLY} (" in shown and f": {NIGHTLY} (" in place.call("schedule", code=1)
    assert place.call("down").startswith("nothing runs")
    with_ports = place.state()["ports"]
    both = [flows(place.path, "up", **place.env) for _ in range(2)]  # one of them waits for the other
    said = "".join(process.communicate(timeout=700)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert "was killed, or the machine stopped" in said and "already running (process" in said and "error" not in said
    assert place.state()["ports"] == with_ports
    place.training()
    crashed, running = place.runs()[-2:]
    assert (crashed.state_name, running.state_name, running.tags) == ("Crashed", "Running", [deployments.AGAIN])
    assert "0 3 1 1 *" in place.call("schedule")  # no schedule is lost

    assert "a run is in progress: it is ended as Ctrl-C would" in place.call("down")
    place.call("up")
    (ended,) = [run for run in place.runs() if run.id == running.id]
    assert deployments.is_interrupted(ended), ended.state  # nobody is told of a failure
