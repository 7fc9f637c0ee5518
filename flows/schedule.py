"""Retrain on a schedule, until Ctrl-C; a run that is not there when it is due is told, loudly."""

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from components import SlipwayError, locks
from components.data import times
from flows.machinery import logs, server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

NAME = "schedule"  # of the deployment and of the log
LOCK = Path(".prefect/schedule.lock")
GRACE = timedelta(seconds=60)  # after which a run that is due must be there, and the next one after the start
SCHEDULED_AHEAD = timedelta(days=90)  # Prefect makes runs for the next 100 days
CHECK_SECONDS = 5.0


def run(cron: str, force: bool, time_zone: str = "UTC", model: str = "") -> None:
    """Serve `retrain` on a schedule, such as "0 3 * * *", in a time zone, by the Prefect server of `server.api`.

    Runs that were missed, or came due during another one, are one run. A server that goes away is told, and waited for.
    Raises SlipwayError for a schedule that is none or never comes, for a time zone that does not exist, for a second
    schedule in the same checkout, and where the server has not scheduled the next run within a minute: it would never
    run.
    """
    LOCK.parent.mkdir(exist_ok=True)
    # two would be the same deployment for Prefect, and the one that ends would pause the other's
    with locks.alone(LOCK, "", "a schedule is already running in this checkout ({holder}): stop it first"):
        _run(cron, force, time_zone, model)


def _run(cron: str, force: bool, time_zone: str, model: str) -> None:
    _check(cron, time_zone)
    ready = server.api()
    from prefect.schedules import Cron
    from prefect.settings import get_current_settings

    from flows.retrain import retrain

    ready()
    url = get_current_settings().api.url
    if url is None:
        raise SlipwayError("a schedule needs a Prefect server: run `make ui`, or set PREFECT_API_URL")
    print(
        f"retrain runs on the schedule {cron} ({time_zone}) until Ctrl-C, using the Prefect server at {url}", flush=True
    )
    with _logged(), _watched(cron, time_zone) as failed:
        while True:
            try:
                _join_missed()
                retrain.serve(  # pauses the schedule when it ends
                    name=NAME,
                    schedule=Cron(cron, timezone=time_zone),
                    parameters={"model": model, "force": force},
                    limit=1,
                    print_starting_message=False,
                )
            except Exception:  # Prefect gives up after three polls in vain, whatever the reason was
                if server.answers(f"{url}/health"):
                    raise
                _wait_for(url)
                continue
            if failed:
                raise SlipwayError(failed[0])
            return


def _check(cron: str, time_zone: str) -> None:
    """Raise SlipwayError for a schedule that is none or never comes, and for a time zone that does not exist."""
    from prefect.client.schemas.schedules import CronSchedule

    if not isinstance(times.zone(time_zone), ZoneInfo) and time_zone != "UTC":
        raise SlipwayError(f"--time-zone {time_zone}: a schedule needs the name of a zone, such as Europe/Berlin")
    try:
        if not cron.startswith("@") and len(cron.split()) != 5:  # a sixth field would be seconds
            raise ValueError(cron)
        CronSchedule(cron=cron)
    except ValueError:
        raise SlipwayError(
            f'"{cron}" is not a valid cron expression; "0 3 * * *", for example, is every night at 03:00'
        ) from None
    try:
        _after(cron, time_zone, datetime.now(UTC))
    except ValueError:  # such as the 31st of February
        raise SlipwayError(f'"{cron}" never comes; "0 3 * * *", for example, is every night at 03:00') from None


def _wait_for(url: str) -> None:
    """Wait until a server that went away is back; a temporary one never is."""
    if server.temporary():
        raise SlipwayError(f"Prefect's temporary server stopped unexpectedly; see {logs.path('server')} for the reason")
    _say(f"Prefect's server at {url} does not respond: nothing runs until it does")
    while not server.answers(f"{url}/health"):
        time.sleep(CHECK_SECONDS)
    _say(f"Prefect's server at {url} responds again")


def _say(text: str) -> None:
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}", file=sys.__stderr__, flush=True)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Keep what Prefect's runner says in the log `schedule`; warnings and errors come to the terminal too."""
    from prefect.logging.configuration import setup_logging

    setup_logging()
    file, terminal = logs.handler(NAME), logging.StreamHandler(sys.__stderr__)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal.setLevel(logging.WARNING)
    terminal.format = lambda record: (  # type: ignore[method-assign] # a line: tracebacks are in the file
        f"{record.levelname} {record.name}: {record.getMessage()}  (more in {logs.path(NAME)})"
    )
    for handler in (file, terminal):
        logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(_Printed()):  # Prefect prints tracebacks of what it tries again
            yield
    finally:
        for handler in (file, terminal):
            logging.getLogger().removeHandler(handler)


class _Printed(io.StringIO):
    """What is printed, as lines of the log: its file's own stream is another one after each rotation."""

    def write(self, text: str) -> int:
        """Log a text that is more than the end of a line."""
        if text.strip():
            logging.getLogger("prefect.printed").info(text.rstrip())
        return len(text)


@contextlib.contextmanager
def _watched(cron: str, time_zone: str) -> Iterator[list[str]]:
    """Watch the schedule in a thread; the list that is yielded gets the reason where the thread ends the process."""
    failed: list[str] = []
    over = threading.Event()

    def end(reason: str) -> None:
        failed.append(reason)
        os.kill(os.getpid(), signal.SIGINT)  # what Prefect's runner waits for

    thread = threading.Thread(target=_watch, args=(cron, time_zone, over, end), daemon=True)
    thread.start()
    try:
        yield failed
    finally:
        over.set()


def _watch(cron: str, time_zone: str, over: threading.Event, end: Callable[[str], None]) -> None:
    """Say when the next run is; end where it is not scheduled after a minute, and tell each one that is missed."""
    from prefect.client.orchestration import get_client

    started = due = datetime.now(UTC)
    told: datetime | None = None  # the run that was announced
    while not over.wait(CHECK_SECONDS):
        now = datetime.now(UTC)
        if told is None:
            due = _after(
                cron, time_zone, now
            )  # what was due before the schedule was known to the server does not count
        try:
            with get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client:
                planned = _planned(client, due)
                _join_missed(client)
                paused = not planned and client.read_deployment_by_name(f"retrain/{NAME}").paused
        except Exception as error:  # noqa: BLE001 - a server that is away: `_wait_for` tells it
            logging.getLogger(__name__).info("cannot list the scheduled runs: %s", error)
            started = now
            continue
        if planned and told != due:
            _say(f"the next run is due at {_spelled(due, time_zone)}")
            told = due
        if not planned and told is None and now - started > GRACE and due - now < SCHEDULED_AHEAD:
            end(
                f"nothing is scheduled: one minute after the start, Prefect's server has no run for "
                f"{due:%Y-%m-%d %H:%M} UTC, so none would ever start; see the log of its scheduler "
                f"(in {logs.FOLDER}/ if the server belongs to this project)"
            )
            return
        if not planned and now - due > GRACE:
            why = f"see {logs.FOLDER}/"
            if paused:
                why = (
                    "it was paused in Prefect, in its UI or by another schedule of the same name: start this one again"
                )
            _say(f"ERROR: no run was scheduled for {due:%Y-%m-%d %H:%M} UTC, and none ran; {why}")
        if now - due > (timedelta(0) if planned else GRACE):
            due = _after(cron, time_zone, max(due, now - GRACE))


def _planned(client: "SyncPrefectClient", due: datetime) -> bool:
    """Return whether the server has a run for a moment, in whatever state."""
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter

    around = {"after_": due - timedelta(seconds=1), "before_": due + timedelta(seconds=1)}
    of_ours = DeploymentFilter.model_validate({"name": {"any_": [NAME]}})
    then = FlowRunFilter.model_validate({"expected_start_time": around})
    return bool(client.read_flow_runs(deployment_filter=of_ours, flow_run_filter=then, limit=1))


def _join_missed(client: "SyncPrefectClient | None" = None) -> None:
    """Let one run make up for all that are overdue: after an outage, or a run that took longer than the schedule."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Cancelled

    if client is None:
        with get_client(sync_client=True) as own:
            return _join_missed(own)
    of_ours = DeploymentFilter.model_validate({"name": {"any_": [NAME]}})
    overdue = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": datetime.now(UTC)}}
    late = client.read_flow_runs(
        deployment_filter=of_ours,
        flow_run_filter=FlowRunFilter.model_validate(overdue),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    for run in late[1:]:
        client.set_flow_run_state(run.id, Cancelled(message="missed; a later run makes up for it"), force=True)
    if first := late[1:] and late[-1].expected_start_time:
        count = f"{len(late) - 1} runs were" if len(late) > 2 else "a run was"
        _say(f"{count} missed since {first:%Y-%m-%d %H:%M} UTC; the run that is due next makes up for them")
    return None


def _spelled(moment: datetime, time_zone: str) -> str:
    """Spell a moment in UTC, and in the schedule's zone and the local one where these differ from it."""
    in_zone, local = moment.astimezone(times.zone(time_zone)), moment.astimezone()
    parts = [f"{moment:%Y-%m-%d %H:%M} UTC"]
    if time_zone != "UTC":
        parts.append(f"{in_zone:%Y-%m-%d %H:%M} {time_zone}")
    if local.utcoffset() not in (moment.utcoffset(), in_zone.utcoffset()):
        parts.append(f"{local:%Y-%m-%d %H:%M} local time")
    return parts[0] + (f" ({', '.join(parts[1:])})" if len(parts) > 1 else "")


def _after(cron: str, time_zone: str, moment: datetime) -> datetime:
    """Return the first moment of a schedule after another, in UTC, as Prefect's scheduler finds it."""
    from prefect.server.schemas.schedules import CronSchedule

    (found,) = asyncio.run(CronSchedule(cron=cron, timezone=time_zone).get_dates(1, moment + timedelta(seconds=1)))
    return datetime.fromtimestamp(found.timestamp(), UTC)
