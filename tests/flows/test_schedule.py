import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components import SlipwayError
from flows import schedule
from flows.machinery import logs, server
from tests.flowing import end, flows, repository, serving, started, until

STAGES: dict[str, dict[str, Any]] = {"first": {"cmd": "cat data/* > first", "deps": ["data"], "outs": ["first"]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", STAGES, data="1")


def test_the_next_moment_of_a_schedule() -> None:
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert schedule._after("* * * * *", "UTC", noon) == noon.replace(minute=1)  # not the moment itself
    assert schedule._after("0 3 * * 1", "UTC", noon) == datetime(2026, 11, 30, 3, tzinfo=UTC)
    assert schedule._after("0 14 * * *", "America/New_York", noon) == noon.replace(hour=19)
    assert schedule._after("0 14 * * *", "America/New_York", noon.replace(month=7)) == noon.replace(month=7, hour=18)


def test_a_moment_is_said_in_utc_and_where_it_differs_in_the_zone_and_here(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 28, 19, tzinfo=UTC)
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert schedule._spelled(moment, "UTC") == "2026-11-28 19:00 UTC (2026-11-28 14:00 local time)"
        assert schedule._spelled(moment, "America/New_York") == (
            "2026-11-28 19:00 UTC (2026-11-28 14:00 America/New_York)"
        )
        assert schedule._spelled(moment, "Asia/Tokyo").endswith(
            "(2026-11-29 04:00 Asia/Tokyo, 2026-11-28 14:00 local time)"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Berlinn", "+01:00", ""])
def test_a_schedule_in_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(SlipwayError, match=r"time.zone"):
        schedule._check("0 3 * * *", zone)


@pytest.mark.e2e
def test_missed_runs_become_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Six runs are overdue, as after an outage: the last one stays, the others are cancelled, and it is said once."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Scheduled

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
        schedule._join_missed()
        said = capfd.readouterr().err
        schedule._join_missed(client)
        found = sorted(client.read_flow_runs(), key=lambda run: run.expected_start_time or now)
    states = [run.state_type.value for run in found if run.state_type]
    assert states == ["CANCELLED"] * 6 + ["SCHEDULED"] * 3
    assert "6 runs were missed since" in said
    assert "missed" not in capfd.readouterr().err


@pytest.mark.e2e
def test_a_run_comes_by_itself_when_it_is_due(path: Path, prefect_server: str) -> None:
    """Prefect's own scheduler makes the run, nobody else: waiting is all that this test does."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    process = started(path, ["slipway", "schedule", "* * * * *"], PREFECT_API_URL=prefect_server)
    said = until(process, "registered as")
    assert "the next run is due at" in said
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        made = [run for run in client.read_flow_runs() if run.auto_scheduled]
        late = [run.start_time - run.expected_start_time for run in made if run.start_time and run.expected_start_time]
        assert late and max(late) < schedule.GRACE, said
        out = end(process, signal.SIGINT)
        assert process.returncode in (0, 130), out
        assert client.read_deployment_by_name("retrain/schedule").paused  # nothing is due that nobody would run
    assert (path / "first").read_text() == "1"
    assert "Traceback" not in said + out
    assert "prefect.runner" in (path / ".prefect/logs/schedule.log").read_text()


@pytest.mark.e2e
def test_a_server_that_schedules_nothing_is_an_error_after_a_minute(path: Path, tmp_path: Path) -> None:
    settings = {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    with serving(tmp_path / "prefect", server.free_port(), **settings) as url:
        started = time.monotonic()
        out, _ = flows(path, "retrain", "--cron", "0 3 * * *", PREFECT_API_URL=url).communicate(timeout=150)
    assert out.splitlines()[-1].startswith("error: nothing is scheduled")
    assert re.search(r"has no run for 20\d\d-\d\d-\d\d 03:00 UTC", out)
    assert time.monotonic() - started > 55
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
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.startswith(f'error: "{cron}" {said}') and out.count("\n") == 1


@pytest.mark.e2e
def test_one_schedule_at_a_time_in_a_checkout(path: Path, prefect_server: str) -> None:
    """Two would be one deployment for Prefect, which the one that ends pauses."""
    first = flows(path, "retrain", "--cron", "0 3 1 * *", PREFECT_API_URL=prefect_server)
    until(first, "on the schedule")
    out, _ = flows(path, "retrain", "--cron", "* * * * *", PREFECT_API_URL=prefect_server).communicate(timeout=60)
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
