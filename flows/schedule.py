"""Retrain on a schedule: kept by `slipway up`, or here until Ctrl-C. A run that is missed is told, loudly."""

import contextlib
import io
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, locks
from components.tracking import connection
from flows.machinery import cron as crons
from flows.machinery import deployments, git, logs, models, runs, server, state

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

NAME = "schedule"  # of the deployment that is served in the foreground, and of the log
LOCK = Path(".prefect/schedule.lock")
GRACE = timedelta(seconds=60)  # after which a run that is due must be there, and the next one after the start
SCHEDULED_AHEAD = timedelta(days=90)  # Prefect makes runs for the next 100 days
CHECK_SECONDS = 5.0
# What a run depends on: a schedule runs what is committed. Of a model of its own, its folder in place of the first two.
ROOT_FILES = ("params.yaml", "data.dvc", "expectations")
SHARED_FILES = ("dvc.yaml", "components", "flows")


def command(cron: str | None, model: str, off: str | None, time_zone: str | None, *, force: bool) -> int:
    """Set, list (without `cron`) or remove (`off`: of a model) schedules; return the exit code.

    Where `slipway up` runs, its server keeps the schedule and this returns; else it stays until Ctrl-C.
    """
    from httpx import HTTPError

    try:
        return _command(cron, model, off, time_zone, force=force)
    except HTTPError as error:
        raise SlipwayError(
            f"Prefect's server did not do it ({type(error).__name__}: {str(error).splitlines()[0]}): try again; "
            f"`slipway status` says whether it runs, {logs.path('prefect')} what it says"
        ) from None


def _command(cron: str | None, model: str, off: str | None, time_zone: str | None, *, force: bool) -> int:
    up = state.running()
    if off is not None or cron is None:
        if not up:
            told = f": {one}" if (one := foreground()) else "".join(f"\n  {line}" for line in deployments.noted())
            raise SlipwayError(f"`slipway up` does not run, and with it none of the schedules that it keeps{told}")
        state.use(up)
        return _off(off) if off is not None else _list()
    if model and cron in models.names() and model not in models.names():  # in the order that other commands have
        cron, model = model, cron
    zone = time_zone or crons.here()
    crons.check(cron, zone)
    if up and _is_other(model):
        state.use(up)
        return _reschedule(model, cron, zone)
    model = models.find(model).name
    committed(model)
    _readable(models.find(model).folder / "params.yaml")
    if not up:
        run(cron, force, zone, model)
        return 0
    state.use(up)
    from prefect.client.orchestration import get_client

    from flows.retrain import retrain

    with get_client(sync_client=True) as client:
        deployments.prepare(client, Path.cwd())
        before = _replaced(client, deployments.name(model), cron, zone)
        deployments.deploy(client, retrain, model, cron, zone, force=force)
        deployments.note(client)
    due = crons.after(cron, zone, datetime.now(UTC))
    print(
        f"{deployments.spoken(deployments.name(model))}: retrained on the schedule {cron} ({_zone(zone)}), from what "
        f"is committed{before}\nthe next run is due at {crons.spelled(due, zone)}"
    )
    return 0


def _is_other(name: str) -> bool:
    """Return whether it is a deployment that is no model's, such as `clean`."""
    return name not in models.names() and name in deployments.others(Path.cwd())


def _reschedule(name: str, cron: str, zone: str) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployments.prepare(client, Path.cwd())
        before = _replaced(client, name, cron, zone)
        deployments.reschedule(client, name, cron, zone)
        deployments.note(client)
    due = crons.spelled(crons.after(cron, zone, datetime.now(UTC)), zone)
    print(f"{name}: runs on the schedule {cron} ({_zone(zone)}){before}\nthe next run is due at {due}")
    return 0


def _replaced(client: "SyncPrefectClient", deployment: str, cron: str, zone: str) -> str:
    """Return what is to be said of the schedule that a deployment has, and that another one is to replace."""
    found = [
        deployments.told(each.schedule) for one in deployments.schedules(client, deployment) for each in one.schedules
    ]
    return f"; it replaces {' and '.join(found)}" if found and found != [f"{cron} ({zone})"] else ""


def _zone(zone: str) -> str:
    try:
        return f"{zone}, the time zone of this machine" if zone == crons.here() else zone
    except SlipwayError:  # it has no name
        return zone


def committed(model: str) -> None:
    """Raise SlipwayError where a file that a run depends on is not as committed: it would run without the changes."""
    own = [str(models.find(model).folder)] if model else list(ROOT_FILES)
    git.commit("HEAD")
    words = ("status", "--porcelain", "-z", "--untracked-files=all", "--", *own, *SHARED_FILES)
    changed = [entry[3:] for entry in git.run(*words, must=True).split("\0") if entry[2:3] == " "]
    if changed:
        some = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        places = [place for place in (*own, *SHARED_FILES) if any(_lies(path, place) for path in changed)]
        raise SlipwayError(
            f"a schedule runs what is committed, and these are not: {some}\ncommit them first: "
            f"git add {shlex.join(places)} && git commit -m 'What the schedule runs'"
        )


def _readable(settings: Path) -> None:
    """Raise SlipwayError for settings that each run would refuse: now, and not in the night."""
    if settings.exists():
        from components import params  # numpy and pyarrow: a command's help needs neither

        params.load(settings)


def _lies(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _off(name: str) -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = name if _is_other(name) else deployments.name(name)
        if not deployments.schedules(client, deployment) and not _is_other(name):  # else its model may be gone
            deployment = deployments.name(models.find(name).name)
        removed = deployments.unschedule(client, deployment)
        if not removed:
            raise SlipwayError(f"{deployments.spoken(deployment)} has no schedule\n{listed(client)}")
        deployments.note(client)
    print(f"{deployments.spoken(deployment)}: the schedule is removed; a run in progress goes on")
    return 0


def _list() -> int:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        print(listed(client))
    return 0


def listed(client: "SyncPrefectClient") -> str:
    """Return a line for each schedule: whose it is, when it runs, when next; and what keeps runs from starting."""
    lines = []
    for deployment in deployments.schedules(client):
        for each in deployment.schedules:
            zone = getattr(each.schedule, "timezone", None) or "UTC"
            due = deployments.next_run(client, deployment.name)
            if deployment.paused or not each.active:
                coming = "paused in Prefect"
            elif due is None and (expression := getattr(each.schedule, "cron", "")):
                coming = f"next: {crons.spelled(crons.after(expression, zone, datetime.now(UTC)), zone)}"
            else:
                coming = f"next: {crons.spelled(due, zone)}" if due else "no run is planned yet"
            lines.append(f"  {deployments.spoken(deployment.name)}: {deployments.told(each.schedule)}, {coming}")
    lines = lines or ['  none; `slipway schedule "0 3 * * 1"` makes one']
    return "\n".join([*lines, *(f"  WRONG: {told}" for told in deployments.not_running(client))])


def foreground() -> str:
    """Say that a schedule runs in the foreground of this project, if one does."""
    holder = "" if state.running() else locks.holder(connection.root() / LOCK)
    return f"a schedule runs in the foreground ({holder}); Ctrl-C there ends it" if holder else ""


def run(cron: str, force: bool, time_zone: str = "UTC", model: str = "") -> None:
    """Serve a model's `retrain` on a schedule, such as "0 3 * * *", in a time zone, by the server of `server.api`.

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
    crons.check(cron, time_zone)
    ready = server.api()
    from prefect.schedules import Cron
    from prefect.settings import get_current_settings

    from flows.retrain import retrain

    ready()
    url = get_current_settings().api.url
    if url is None:
        raise SlipwayError(
            "a schedule needs a Prefect server: `slipway up` starts one and keeps the schedule; for one in this "
            "terminal run `slipway ui` in another, or set PREFECT_API_URL"
        )
    print(
        f"{deployments.spoken(deployments.name(model))}: retrained on the schedule {cron} ({_zone(time_zone)}) until "
        f"Ctrl-C, using the Prefect server at {url}",
        flush=True,
    )
    os.environ[runs.STARTER] = str(os.getpid())
    with _logged(), _watched(cron, time_zone) as failed:
        while True:
            try:
                _join_missed()
                retrain.serve(  # pauses the schedule when it ends
                    name=NAME,
                    schedule=Cron(cron, timezone=time_zone),
                    parameters={"model": model, "revision": "HEAD", "force": force},
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
            due = crons.after(
                cron, time_zone, now
            )  # what was due before the schedule was known to the server does not count
        try:
            with get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client:
                planned = deployments.planned(client, NAME, due)
                _join_missed(client)
                paused = not planned and client.read_deployment_by_name(f"retrain/{NAME}").paused
        except Exception as error:  # noqa: BLE001 - a server that is away: `_wait_for` tells it
            logging.getLogger(__name__).info("cannot list the scheduled runs: %s", error)
            started = now
            continue
        if planned and told != due:
            _say(f"the next run is due at {crons.spelled(due, time_zone)}")
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
            due = crons.after(cron, time_zone, max(due, now - GRACE))


def _join_missed(client: "SyncPrefectClient | None" = None) -> None:
    from prefect.client.orchestration import get_client

    if client is None:
        with get_client(sync_client=True) as own:
            return _join_missed(own)
    if said := deployments.join_missed(client, NAME):
        _say(said)
    return None
