"""A version that waits for an approval, in Prefect."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from components.tracking import connection, record
from flows import up
from flows.machinery import deployments, notify, watch
from tests import fabricate
from tests.conftest import ROOT
from tests.flowing import GIT, command, end
from tests.receivers import hook

PARAMS = fabricate.PARAMS.replace("register:\n", "register:\n  promotion: approve\n")
SERVE = "from flows.retrain import retrain; retrain.serve(name='approval', limit=1, print_starting_message=False)"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are all up to date, in git: its flow only registers."""
    path = tmp_path / "project"
    path.mkdir()
    (path / ".gitignore").write_text("/mlflow.db*\n/mlartifacts\n/.prefect/\n/.dvc/tmp\n/.dvc/cache\n")
    fabricate.project(path, 0.8, text=PARAMS)
    (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    fabricate.store(path)
    command(path, "git", "init", "-q")
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "start", env=GIT)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def client(prefect_server: str) -> Iterator[Any]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def chat() -> Iterator[Any]:
    with hook() as found:
        yield found


def until(client: Any, run: UUID, *names: str) -> Any:
    """Wait until a flow run is in one of some states; return that."""
    for _ in range(1800):
        state = client.read_flow_run(run).state
        if state and state.name in names:
            return state
        assert state is None or state.name not in ("Failed", "Crashed"), state.message
        time.sleep(0.1)
    raise AssertionError(state)


def test_an_answer_is_no_missed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was due before all others, and no other run makes up for it."""
    from prefect.states import Scheduled

    answer, late = (SimpleNamespace(state=Scheduled(name=name)) for name in ("Resuming", "Late"))
    monkeypatch.setattr(deployments, "_runs", lambda *_, **__: [late, answer])
    assert deployments.overdue(None, "retrain") == [late]  # type: ignore[arg-type]


@pytest.mark.e2e
def test_a_run_is_suspended_and_goes_on_with_the_answer(
    path: Path, client: Any, prefect_server: str, chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"PREFECT_API_URL": prefect_server, "PYTHONPATH": str(ROOT)}
    environment[notify.WEBHOOK] = chat.address
    words = [sys.executable, "-c", SERVE]
    with (path.parent / "served.log").open("w") as log:
        served = subprocess.Popen(words, cwd=path, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        deployment = None
        while deployment is None:
            assert served.poll() is None, (path.parent / "served.log").read_text()
            try:
                deployment = client.read_deployment_by_name("retrain/approval").id
            except Exception:  # noqa: BLE001 - not there yet
                time.sleep(0.2)
        first = client.create_flow_run_from_deployment(deployment).id
        until(client, first, "Suspended")
        assert record.read("sides").holders == {"challenger": "1", "staging": "1"}
        of_ours = {"artifacts": {"key": {"any_": ["approval-sides"]}}}
        shown = client.request("POST", "/artifacts/filter", json=of_ours).json()
        assert "sides version 1 waits for an approval" in shown[0]["data"]
        assert "| accuracy |" in shown[0]["data"] and "## Cost" in shown[0]["data"]

        # neither the lock nor the slot is held: another run goes through, and waits for nothing
        again = client.create_flow_run_from_deployment(deployment).id
        until(client, again, "Completed")
        shown = up._last(client)
        assert ": completed, " in shown and ": suspended, " in shown
        assert ": version 1 waits: `slipway approve sides 1`" in shown

        # in Prefect's page; people are told
        answer = client.resume_flow_run(first, run_input={"decision": "approve", "comment": "looks right"})
        assert answer.status.value == "ACCEPT", answer
        assert "approved by somebody in Prefect's page" in str(until(client, first, "Approved").message)
        there = record.read("sides")
        assert there.holders == {"challenger": "1", "champion": "1", "reference": "1"}
        waiting, approved = there.entries
        assert (waiting.kind, waiting.run["prefect"]) == ("waiting", str(first))
        told = [sent["text"].splitlines()[0] for sent in chat.got]
        assert told[-1] == (
            "★ sides: promoted: version 1 is the champion: approved by somebody in Prefect's page: looks right"
        )
        assert (approved.kind, approved.why, approved.run["prefect"]) == ("approved", "looks right", str(first))

        # with the command; nothing is left waiting in Prefect
        fabricate.project(path, 0.0, text=PARAMS)
        (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        second = client.create_flow_run_from_deployment(deployment).id
        until(client, second, "Suspended")
        words = ["refuse", "sides", "2", "--why", "not today"]
        out = command(path, sys.executable, "-m", "flows", *words, env={**environment})
        assert chat.got[-1]["text"].startswith("✗ sides: refused: version 2 is refused by ")
        assert "sides version 2: refused: not today" in out and "is ended in Prefect" in out
        assert "refused: not today" in str(until(client, second, "Decided").message)
        assert record.read("sides").champion == "1"
        assert connection.client().get_model_version("sides", "2").aliases == ["challenger"]

        # nobody says a word: who is told of a refusal is told, and nothing is left waiting
        hours = PARAMS.replace("promotion: approve\n", "promotion: approve\n  approval_hours: 0.0001\n")
        fabricate.project(path, 0.02, text=hours)
        (path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        third = client.create_flow_run_from_deployment(deployment).id
        until(client, third, "Suspended")
        monkeypatch.setenv(notify.WEBHOOK, chat.address)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        said: list[str] = []
        looks = watch.Watch(said.append)
        for _ in range(200):
            looks.timed_out(client)
            if said:
                break
            time.sleep(0.1)
        assert said == ["sides version 3: nobody approved it in time: it is refused"]
        until(client, third, "Decided")
        assert chat.got[-1]["text"].startswith("✗ sides: refused: version 3 is refused: nobody approved it until 20")
        assert record.read("sides").entries[-1].kind == "timed out"
        assert not list((path / record.TIMED_OUT).iterdir())
    finally:
        end(served, 15) if served.poll() is None else None  # type: ignore[arg-type]
