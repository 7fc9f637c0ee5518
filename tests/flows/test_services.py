import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import up
from flows.machinery import deployments, logs, runs, server, services, state
from flows.machinery.process import Children
from flows.machinery.services import Service
from tests.flowing import gone


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(services, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(services, "LEFT_SECONDS", 0.2)
    monkeypatch.setattr(services, "LOOK_SECONDS", 0.05)


@contextmanager
def kept(service: Service, said: list[str]) -> Iterator[threading.Thread]:
    over = threading.Event()
    with Children() as children:
        arguments = (service, children, over, said.append, lambda: None)
        thread = threading.Thread(target=services.keep, args=arguments, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            over.set()
            children.end()
            thread.join(10)


def serving(port: int) -> Service:
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Service("web", words, health=f"http://127.0.0.1:{port}/", port=port)


def until(true: Callable[[], object], service: Service | None = None, said: list[str] | None = None) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, said
        if service:
            services.look(service, lambda _: None)
        time.sleep(0.02)


@pytest.mark.e2e  # a server takes a while to start and to end
def test_one_that_is_killed_is_started_again() -> None:
    said: list[str] = []
    service = serving(server.free_port())
    with kept(service, said):
        until(service.well, service, said)
        assert service.process is not None
        first = service.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: service.process is not None and service.process.pid != first)
        until(service.well, service, said)
    assert said[0].startswith("web was killed by signal 9; it is started again in")


def test_after_many_deaths_one_is_given_up_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MANY", 3)
    said: list[str] = []
    service = Service("dies", [sys.executable, "-S", "-c", "raise SystemExit(7)"])
    with kept(service, said) as thread:
        thread.join(60)
        assert not thread.is_alive()
    assert service.given_up and not service.alive()
    assert len(said) == 3 and said[2].startswith("ERROR: dies ended with code 7: 3 deaths in a row")


@pytest.mark.e2e
def test_another_program_that_answers_at_its_port_is_not_taken_for_it() -> None:
    """As two `slipway up` in two projects at the same moment, which find the same port free."""
    port = server.free_port()
    other = serving(port)
    with kept(other, []):
        until(other.well, other)
        service = serving(port)
        service.command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
        with Children() as children:
            service.process = children.start(service.command)
            services.look(service, lambda _: None)
            assert server.answers(service.health) and not service.well()
        late = serving(port)
        with kept(late, []) as thread:
            thread.join(60)
        assert late.taken and late.process is None


def test_nothing_is_prepared_at_the_server_of_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours has died, and another project's answers at its port: its work pool would start our code."""
    monkeypatch.setattr(server, "answers", lambda *_: True)
    monkeypatch.setattr(deployments, "prepare", lambda *_: pytest.fail("the pool of another project was changed"))
    said: list[str] = []
    assert not up._Prepared("http://127.0.0.1:1", Service("prefect", []), said.append)()
    assert said == []


def test_the_status_of_a_crash_says_where_to_look() -> None:
    from prefect.states import Completed, Crashed

    from flows import up

    def cause(state: object) -> str:
        return up._cause(SimpleNamespace(state=state))

    assert cause(Completed(message="All states completed.")) == "All states completed."
    assert cause(Crashed()) == f"{runs.CRASHED}; what it said last: {logs.path('runs')}"
    by_hand: object = Crashed(message="Execution was aborted by an interrupt signal.")
    assert cause(by_hand).startswith("interrupted, as by Ctrl-C")
    assert cause(Crashed(message="ended with -9.\nmore")).startswith("ended with -9; what it said last: ")


def test_what_outlives_a_server_that_was_killed_with_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's server has a process of its own for its pages: it would hold the port for ever."""
    monkeypatch.chdir(tmp_path)
    words = ["sh", "-c", "sleep 600 & echo $!; wait"]
    with subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, text=True) as leader:
        left = int(leader.stdout.readline()) if leader.stdout else 0
        leader.kill()
        leader.wait()
    state.write({"owner": "1-1-0000", "services": {"mlflow": leader.pid}, "ports": {}})
    assert not gone(left, 0)
    up._outlived()
    assert gone(left, 5)
