import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from components import SlipwayError, locks
from flows import doctor, schedule, up
from flows.machinery import deployments, logs, server, state, watch
from tests.flowing import GIT, ROOT, command, end, flows, repository, serving, started, until

STAGES: dict[str, dict[str, Any]] = {"first": {"cmd": "cat data/* > first", "deps": ["data"], "outs": ["first"]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", STAGES, data="1")


@pytest.mark.e2e
def test_missed_runs_become_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Six runs are overdue, as after an outage: the last one stays, the others are cancelled, and it is said once."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Paused, Running, Scheduled

    @flow(name="retrain")
    def nothing() -> None: ...

    with (
        serving(tmp_path / "prefect", server.free_port()) as url,
        temporary_settings({PREFECT_API_URL: url}),
        get_client(sync_client=True) as client,
    ):
        flow_id = client.create_flow(nothing)
        deployment = client.create_deployment(flow_id, schedule.NAME)
        now = datetime.now(UTC)
        for minutes in range(-6, 3):
            due: State[None] = Scheduled(scheduled_time=now + timedelta(minutes=minutes, seconds=-5))
            client.create_flow_run_from_deployment(deployment, state=due)
        approved = client.create_flow_run_from_deployment(deployment)
        begun: list[State[None]] = [Running(), Paused(timeout_seconds=600), Scheduled(scheduled_time=now)]
        for each in begun:
            client.set_flow_run_state(approved.id, each, force=True)
        schedule._join_missed(client)
        said = capfd.readouterr().err
        schedule._join_missed(client)
        found = sorted(client.read_flow_runs(), key=lambda run: run.expected_start_time or now)
    states = [run.state_type.value for run in found if run.state_type and run.id != approved.id]
    assert [run.state_type.value for run in found if run.state_type and run.id == approved.id] == ["SCHEDULED"]
    assert states == ["CANCELLED"] * 6 + ["SCHEDULED"] * 3
    assert "6 runs were missed since" in said
    assert "missed" not in capfd.readouterr().err


@pytest.mark.e2e
def test_a_run_comes_by_itself_when_it_is_due(path: Path, prefect_server: str) -> None:
    """Prefect's own scheduler makes the run, nobody else: waiting is all that this test does."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    began = datetime.now(UTC)
    process = started(path, ["slipway", "schedule", "* * * * *"], PREFECT_API_URL=prefect_server)
    said = until(process, "registered as")
    assert "the next run is due at" in said
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        made = [run for run in client.read_flow_runs() if run.auto_scheduled]
        made = [run for run in made if run.created and run.created > began]  # the server is that of other tests, too
        late = [run.start_time - run.expected_start_time for run in made if run.start_time and run.expected_start_time]
        assert late and max(late) < schedule.GRACE, said
        out = end(process, signal.SIGINT)
        assert process.returncode in (0, 130), out
        assert client.read_deployment_by_name("retrain/schedule").paused  # nothing is due that nobody would run
    assert (path / ".workspaces/root/first").read_text() == "1"  # what is committed, and not in the checkout
    assert not (path / "first").exists()
    assert "Traceback" not in said + out
    assert "prefect.runner" in (path / ".prefect/logs/schedule.log").read_text()


@pytest.mark.e2e
def test_a_server_that_schedules_nothing_is_an_error_after_a_minute(path: Path, tmp_path: Path) -> None:
    settings = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    assert timedelta(minutes=1) == schedule.GRACE
    code = "import sys; from datetime import timedelta; from flows import __main__, schedule; "
    code += "schedule.GRACE = timedelta(seconds=4); sys.exit(__main__.main(['retrain', '--cron', '0 3 * * *']))"
    with serving(tmp_path / "prefect", server.free_port(), **settings) as url:
        began = time.monotonic()
        process = started(path, [sys.executable, "-c", code], PREFECT_API_URL=url)
        out, _ = process.communicate(timeout=150)
    assert out.splitlines()[-1].startswith("error: nothing is scheduled")
    assert re.search(r"has no run for 20\d\d-\d\d-\d\d 03:00 UTC", out)
    assert time.monotonic() - began > 4
    assert "Traceback" not in out


@pytest.mark.e2e
def test_a_server_that_goes_away_is_told_and_waited_for(path: Path, tmp_path: Path) -> None:
    port = server.free_port()
    with serving(tmp_path / "prefect", port) as url:
        process = flows(path, "retrain", "--cron", "0 3 1 * *", PREFECT_API_URL=url, PREFECT_RUNNER_POLL_FREQUENCY="1")
        said = until(process, "the next run is due at")
    said += until(process, "does not respond: nothing runs until it does")
    with serving(tmp_path / "prefect", port):
        said += until(process, "responds again")
        time.sleep(3)  # it serves again
        assert process.poll() is None
        said += end(process, signal.SIGINT)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 0 31 2 *", "never comes"),
        ("* * * * * *", "is not a valid cron expression"),
        ("", "is not a valid cron expression"),
        ("H 3 * * *", "is no"),
    ],
)
@pytest.mark.e2e
def test_a_schedule_that_never_runs_is_refused(path: Path, prefect_server: str, cron: str, said: str) -> None:
    process = flows(path, "retrain", "--cron", cron, PREFECT_API_URL=prefect_server)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out.startswith(f'error: "{cron}" {said}') and out.count("\n") == 1


@pytest.mark.e2e
def test_where_no_server_is_there_a_schedule_brings_its_own_and_no_other(path: Path, tmp_path: Path) -> None:
    """As in a fresh clone: Prefect, asked without an address, would start one that outlives us."""
    process = flows(path, "schedule", "0 3 1 1 *", HOME=str(tmp_path))
    said = until(process, "the next run is due at")
    family = psutil.Process(process.pid).children(recursive=True)
    listening = {c.laddr.port for each in family for c in each.net_connections() if c.status == psutil.CONN_LISTEN}
    assert len(listening) == 1 and f"http://127.0.0.1:{listening.pop()}/api" in said
    assert "Traceback" not in end(process, signal.SIGINT)
    assert not psutil.wait_procs(family, timeout=20)[1]


@pytest.mark.e2e
def test_one_schedule_at_a_time_in_a_checkout(path: Path, prefect_server: str) -> None:
    """Two would be one deployment for Prefect, which the one that ends pauses."""
    first = flows(path, "retrain", "--cron", "0 3 1 * *", PREFECT_API_URL=prefect_server)
    until(first, "on the schedule")
    out, _ = flows(path, "retrain", "--cron", "* * * * *", PREFECT_API_URL=prefect_server).communicate(timeout=120)
    assert re.match(rf"error: a schedule is already running in this checkout \(process {first.pid}, since 20", out)
    end(first, signal.SIGINT)
    third = flows(path, "retrain", "--cron", "0 3 1 * *", PREFECT_API_URL=prefect_server)
    until(third, "on the schedule")
    end(third, signal.SIGINT)


def test_what_prefect_prints_is_logged_through_every_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    with schedule._logged():
        for number in range(100):
            print(f"Failed attempt {number}")
    assert logs.path(schedule.NAME).read_text().endswith("Failed attempt 99\n")
    assert len(list(logs.FOLDER.iterdir())) == 4


def test_a_schedule_refuses_what_is_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run would be one of other files than those that lie there; the message says what to type."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "params.yaml",
        "notes.txt",
        "components/a.py",
        "models/income/params.yaml",
        "models/sales/params.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("name: a\n")
    command(tmp_path, "git", "init", "-q")
    with pytest.raises(SlipwayError, match="no commit yet"):
        schedule.committed("")
    command(tmp_path, "git", "add", "-A")
    command(tmp_path, "git", "commit", "-qm", "start", env=GIT)
    schedule.committed("")
    (tmp_path / "notes.txt").write_text("changed")
    (tmp_path / "models/sales/params.yaml").write_text("name: b\n")
    schedule.committed("")
    schedule.committed("income")
    with pytest.raises(SlipwayError, match=r"models/sales/params.yaml\n.*git add models/sales && git commit"):
        schedule.committed("sales")
    (tmp_path / "params.yaml").write_text("name: b\n")
    schedule.committed("income")  # has its own
    (tmp_path / "components/new file.py").touch()
    for model in ("", "income"):
        with pytest.raises(SlipwayError, match=r"components/new file.py\n.*git add .*components && git commit"):
            schedule.committed(model)


def test_a_schedule_refuses_settings_that_no_run_could_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(schedule, "run", lambda *_: None)
    Path("params.yaml").write_text("name: digits\nrecipe: images\ntrain: {epocs: 3}\n")
    command(tmp_path, "git", "init", "-q")
    command(tmp_path, "git", "add", "-A")
    command(tmp_path, "git", "commit", "-qm", "start", env=GIT)
    with pytest.raises(SlipwayError, match=r"train\.epocs: unknown key; did you mean train\.epochs"):
        schedule.command("0 3 * * *", "", None, "UTC", force=False)


def test_without_up_nothing_is_listed_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for off in (None, ""):
        with pytest.raises(SlipwayError, match="`slipway up` does not run"):
            schedule.command(None, "", off, None, force=False)
    with locks.alone(tmp_path / schedule.LOCK, ""):
        said = rf"a schedule runs in the foreground \(process {os.getpid()}, since .*\); Ctrl-C there ends it"
        with pytest.raises(SlipwayError, match=f"none of the schedules that it keeps: {said}"):
            schedule.command(None, "", None, None, force=False)
        for tell in (up.status, up.down):
            tell()
            assert re.fullmatch(f"{said}\n", capsys.readouterr().out)
        assert re.fullmatch(said, doctor._schedules())
        with pytest.raises(SlipwayError, match="a schedule runs in the foreground"):
            up.up()
    assert not schedule.foreground()
    with pytest.raises(SlipwayError, match="whenever"):  # before what is to be committed is looked at
        schedule.command("whenever", "", None, "UTC", force=False)
    (tmp_path / "models/income").mkdir(parents=True)
    (tmp_path / "models/income/params.yaml").write_text("name: income\nrecipe: tabular\n")
    for words in (("income", "* * * * 9"), ("* * * * 9", "income")):  # the order of the words does not matter
        with pytest.raises(SlipwayError, match=r'"\* \* \* \* 9" is not a valid cron'):
            schedule.command(*words, None, "UTC", force=False)


@pytest.mark.e2e
def test_a_schedule_is_replaced_and_what_crashed_is_run_once_more(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Crashed, Failed

    from flows.retrain import retrain

    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        for _ in range(2):
            deployments.prepare(client, tmp_path)
        with pytest.raises(SlipwayError, match=f"work pool slipway of another project, {tmp_path}"):
            deployments.prepare(client, tmp_path / "another")
        for cron, zone in (("* * * * *", "UTC"), ("0 3 * * 1", "Europe/Berlin")):
            deployments.deploy(client, retrain, "", cron, zone)
        (deployment,) = deployments.schedules(client)
        (found,) = deployment.schedules
        assert getattr(found.schedule, "cron", "") == "0 3 * * 1"
        run = client.create_flow_run_from_deployment(deployment.id)
        client.set_flow_run_state(run.id, Crashed(), force=True)
        assert "crashed; it is run once more" in deployments.run_again(client, deployment)
        assert deployments.run_again(client, deployment) == ""
        (again,) = deployments.overdue(client, deployment.name)
        client.set_flow_run_state(again.id, Crashed(), force=True)
        assert deployments.run_again(client, deployment) == ""  # not a third time
        said: list[str] = []
        looks = watch.Watch(said.append)
        message = "Flow run encountered an exception: TaskError: the disk is full\nmore"
        broken = client.create_flow_run_from_deployment(deployment.id)
        client.set_flow_run_state(broken.id, Failed(message=message), force=True)
        for _ in range(2):
            looks.failed(client)
        assert len(said) == 1 and said[0].endswith(f": the run {broken.name} failed: the disk is full")
        monkeypatch.setattr(state, "running", lambda: {"since": "then"})
        monkeypatch.setattr(state, "use", lambda _: None)
        with pytest.raises(SlipwayError, match=f"the last run, {broken.name}, failed: the disk is full; "):
            doctor.CHECKS["schedules"]()
        assert deployments.unschedule(client, "retrain") and not deployments.unschedule(client, "retrain")
        client.delete_deployment(deployment.id)
        client.delete_work_pool(deployments.POOL)


@pytest.mark.e2e
def test_up_makes_the_deployments_of_prefect_yaml_and_leaves_what_was_changed(
    prefect_server: str, tmp_path: Path
) -> None:
    """`clean` runs every night, `reproduce` when somebody asks for it; what a team adds there is its own to deploy."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def cron() -> list[str]:
        found = client.read_deployment_by_name("clean/clean").schedules
        return [getattr(each.schedule, "cron", "") for each in found]

    own = "  - {name: retrain-people, entrypoint: flows/retrain.py:retrain, parameters: {}}\n"
    text = (ROOT / "prefect.yaml").read_text().replace("deployments:\n", f"deployments:\n{own}")
    (tmp_path / "prefect.yaml").write_text(text)
    assert deployments.others(tmp_path) == ["clean", "reproduce"]
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        deployments.prepare(client, ROOT)
        assert cron() == ["30 4 * * *"]
        again = client.read_deployment_by_name("reproduce/reproduce")
        assert not again.schedules and "model" in (again.parameter_openapi_schema or {})["properties"]
        assert [each.name for each in deployments.schedules(client)] == ["clean"]
        deployments.reschedule(client, "clean", "0 5 * * *", "Europe/Berlin")
        deployments.prepare(client, ROOT)
        assert cron() == ["0 5 * * *"]
        assert deployments.unschedule(client, "clean")
        deployments.prepare(client, ROOT)
        assert cron() == []
        client.delete_work_pool(deployments.POOL)
        said: list[str] = []
        for wrong, why in (
            ("deployments: [a, b", "not a prefect.yaml"),
            ("- clean", "not a prefect.yaml"),
            ("deployments: [{name: clean, entrypoint: a.py:b, schedules: [{interval: 60}]}]", "schedules.0.cron"),
        ):
            (tmp_path / "prefect.yaml").write_text(wrong)
            deployments.prepare(client, tmp_path, said.append)
            assert why in said.pop() and cron() == [] and not said
            with pytest.raises(SlipwayError, match=r"prefect\.yaml"):
                deployments.others(tmp_path)
        client.delete_work_pool(deployments.POOL)
        for name in ("clean", "reproduce"):
            client.delete_deployment(client.read_deployment_by_name(f"{name}/{name}").id)


@pytest.fixture
def deployed(prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A client of a real server, and a deployment that runs each night and that no worker looks after."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.retrain import retrain

    monkeypatch.setattr(state, "running", lambda: {"since": "then"})
    monkeypatch.setattr(state, "use", lambda _: None)
    monkeypatch.setattr(doctor, "_failed", list)  # of other tests' runs
    place = repository(tmp_path / "repo", STAGES, data="1")
    (place / "models/churn").mkdir(parents=True)
    (place / "models/churn/params.yaml").write_text("name: churn\n")
    command(place, "git", "add", "-A")
    command(place, "git", "commit", "-qm", "churn", env=GIT)
    monkeypatch.chdir(place)
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        deployments.prepare(client, tmp_path)
        deployments.deploy(client, retrain, "churn", "0 3 * * *")
        try:
            yield client, client.read_deployment_by_name("retrain/retrain-churn")
        finally:
            for run in client.read_flow_runs():
                if run.parameters.get("model") in ("churn", "another"):
                    client.delete_flow_run(run.id)
            for each in deployments.every(client):
                client.delete_deployment(each.id)
            client.delete_work_pool(deployments.POOL)


@pytest.mark.e2e
def test_a_paused_pool_and_an_overdue_run_are_said(deployed: tuple[Any, Any], prefect_server: str) -> None:
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.client.schemas.objects import State
    from prefect.states import Completed, Scheduled

    client, deployment = deployed
    assert "WRONG" not in schedule.listed(client) and doctor._schedules().startswith("`slipway up` runs")
    client.update_work_pool(deployments.POOL, WorkPoolUpdate(is_paused=True))
    resumed = f"`PREFECT_API_URL={prefect_server} prefect work-pool resume slipway`"
    stopped = f"no run starts, for the work pool slipway is paused: resume it in Prefect, or {resumed}"
    assert f"\n  WRONG: {stopped}" in schedule.listed(client)
    with pytest.raises(SlipwayError, match=re.escape(stopped)):
        doctor._schedules()

    now, looks = datetime.now(UTC), watch.Watch(print)
    first = now - timedelta(minutes=20)
    for due in (first, now - timedelta(minutes=10)):  # the later one makes up for both
        late: State[None] = Scheduled(scheduled_time=due)
        client.create_flow_run_from_deployment(deployment.id, state=late)
        deployments.join_missed(client, deployment.name)
        watched = looks._not_started(client, deployment, now if due == first else now + timedelta(minutes=3))
    assert f"the run that was due at {first:%Y-%m-%d %H:%M} UTC has not started: the work pool" in watched
    said = f"churn: a run is overdue since {first:%Y-%m-%d %H:%M} UTC"
    assert schedule.listed(client).endswith(f"\n  WRONG: {said}")
    client.update_work_pool(deployments.POOL, WorkPoolUpdate(is_paused=False))
    assert f"\n  WRONG: {said}: no worker took it: see " in schedule.listed(client)
    with pytest.raises(SlipwayError, match=f"{said}: no worker took it"):
        doctor._schedules()

    busy = client.create_flow_run_from_deployment(deployment.id)  # one that had to wait for another is not late yet
    client.set_flow_run_state(busy.id, Completed(), force=True)
    assert "WRONG" not in schedule.listed(client)


@pytest.mark.e2e
def test_what_a_run_by_hand_has_made_up_for_is_not_run_again(deployed: tuple[Any, Any]) -> None:
    from prefect.client.schemas.objects import State
    from prefect.states import Completed, Crashed, Failed, Running

    from flows.retrain import retrain

    def by_hand(**parameters: Any) -> Any:
        given = {"model": "churn", "revision": "", "force": False} | parameters
        return client.create_flow_run(retrain, parameters=given)

    client, deployment = deployed
    crashed = client.create_flow_run_from_deployment(deployment.id, parameters={"model": "churn", "revision": "HEAD"})
    died: list[State[None]] = [Running(), Crashed()]
    worked: list[State[None]] = [Running(), Completed()]
    for each in died:
        client.set_flow_run_state(crashed.id, each, force=True)
    hand, other = by_hand(), by_hand(model="another")
    for each in worked:
        client.set_flow_run_state(other.id, each, force=True)
    client.set_flow_run_state(hand.id, Running(), force=True)
    assert deployments.run_again(client, deployment) == ""  # it may do it
    client.set_flow_run_state(hand.id, Completed(), force=True)
    said = deployments.run_again(client, deployment)
    assert said.endswith(f"crashed; it is not run again, for the run {hand.name}, by hand, has succeeded since")
    assert deployments.run_again(client, deployment) == ""  # said once
    assert not deployments.overdue(client, deployment.name)

    client.update_flow_run(crashed.id, tags=[])
    client.set_flow_run_state(hand.id, Failed(), force=True)
    assert "crashed; it is run once more" in deployments.run_again(client, deployment)
    (again,) = deployments.overdue(client, deployment.name)
    client.delete_flow_run(again.id)


@pytest.mark.e2e
def test_the_schedule_of_a_model_that_is_gone_is_said_and_can_be_removed(
    deployed: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client, _ = deployed
    command(Path(), "git", "mv", "models/churn", "models/left")
    assert "WRONG" not in schedule.listed(client)  # what is committed has it
    command(Path(), "git", "commit", "-qm", "another name", env=GIT)
    said = "churn: no such model is committed, so its runs fail: `slipway schedule --off churn` ends them"
    assert f"\n  WRONG: {said}" in schedule.listed(client)
    assert schedule.command(None, "", "churn", None, force=False) == 0
    assert "churn: the schedule is removed" in capsys.readouterr().out and "churn" not in schedule.listed(client)
    with pytest.raises(SlipwayError, match="no model 'churn'"):
        schedule.command(None, "", "churn", None, force=False)


@pytest.mark.e2e
def test_the_last_run_is_the_one_that_ended_last(deployed: tuple[Any, Any]) -> None:
    """A worker starts a run some seconds before it is due: one that repeats it at once was due before it."""
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed, Failed, Running, Scheduled

    client, deployment = deployed
    soon: State[None] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(seconds=10))
    first = client.create_flow_run_from_deployment(deployment.id, state=soon)
    ends: list[tuple[Any, State[None]]] = [(first, Crashed())]
    ends.append((client.create_flow_run_from_deployment(deployment.id), Failed(message="why")))
    for run, last in ends:
        running: State[None] = Running()
        for each in (running, last):
            client.set_flow_run_state(run.id, each, force=True)
    assert "churn: failed" in up._last(client) and "churn: crashed" not in up._last(client)


def test_a_run_by_hand_may_name_the_roots_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("name: digits\n")

    def of(**parameters: Any) -> Any:
        return SimpleNamespace(parameters=parameters, start_time=datetime.now(UTC))

    hand = [
        of(model="digits", revision=""),
        of(model="", revision="HEAD"),
        of(model="", revision="an-older-one"),
        of(model="another", revision=""),
    ]
    client: Any = SimpleNamespace(read_flow_runs=lambda **_: hand)
    assert deployments._by_hand_since(client, of(model="", revision="HEAD")) == hand[:2]
    assert deployments._by_hand_since(client, of(model="", revision="HEAD", force=True)) == []
