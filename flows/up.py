"""All that one machine needs for scheduled retraining, kept alive: `slipway up`, `slipway down`, `slipway status`."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from components import SlipwayError, locks, temporary
from components.tracking import runs as tracking
from flows import schedule, ui
from flows.machinery import cron, deployments, logs, runs, server, services, state
from flows.machinery.process import Children, guarded
from flows.machinery.services import Service

LOCK = Path(".prefect/up.lock")
STARTING = Path(".prefect/starting.lock")  # of one that looks what runs, and starts it
NAME = "up"  # of the log
START_SECONDS = services.STARTING_SECONDS
DOWN_SECONDS = 90.0
OUTLIVED_SECONDS = 15.0
RUN_SECONDS = 40.0  # that a retraining has to end
# Prefect's settings for what is started; what the user has set comes before them.
ENVIRONMENT = {
    "PREFECT_CLIENT_MAX_RETRIES": "12",  # a run outlives a server that is started again: two minutes
    # Runs that are made in advance, each time at once: a hundred of them, the default, hold SQLite's lock for long.
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "20",
    # A run's place in the queue stands in a file: with Prefect's default it dies with the server, and then the run.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
BUSY = "a run is in progress: it is ended as Ctrl-C would; the next `slipway up` runs it once more, and it resumes"
SCHEDULED = "a schedule runs in the foreground ({holder}): stop it with Ctrl-C; `slipway up` keeps schedules itself"
Say = Callable[[str], None]


def up(*, foreground: bool = False) -> int:
    """Start everything and return when all of it answers; say so where it runs already.

    In the foreground it stays until SIGTERM or Ctrl-C. Raises SlipwayError where something does not come up.
    """
    with locks.alone(STARTING, "another `slipway up` is starting ({holder}); waiting until all answer"):
        if found := state.running():
            print(f"already running (process {state.pid(found)}, since {found['since']})\n{_addresses(found)}")
            return 0
        _outlived()
        if server.served():
            raise SlipwayError(
                "`slipway ui` is running in this project: stop it with Ctrl-C first; `slipway up` serves all"
            )
        if not foreground:
            return _start()
    return _supervise(shown=True)


def _start() -> int:
    """Start the process behind `slipway up`, and wait until all answer."""
    if holder := locks.holder(schedule.LOCK):
        raise SlipwayError(SCHEDULED.format(holder=holder))
    logs.FOLDER.mkdir(parents=True, exist_ok=True)
    log = logs.path(NAME)
    start = log.stat().st_size if log.exists() else 0
    with log.open("a", encoding="utf-8") as end:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows", "up", "--supervise"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=end,  # what ends it unexpectedly
            start_new_session=True,
        )
    try:
        return _wait(process, start)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def _outlived() -> None:
    """Wait for what outlives a `slipway up` that was killed: it looks for it every half second, and ends.

    Where a server was killed with it, its own workers do not, and hold its port: these are ended.
    """
    before = state.read()
    if not before.get("owner"):
        return
    print("the last `slipway up` was killed, or the machine stopped: all is started again", flush=True)
    until = time.monotonic() + OUTLIVED_SECONDS
    while server.served() and time.monotonic() < until:
        time.sleep(0.2)
    groups = {pid for pid in before.get("services", {}).values() if not psutil.pid_exists(pid)}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # the group of a leader that is gone is no other's
            if os.getpgid(process.pid) in groups and Path(process.cwd()) == Path.cwd():
                process.kill()


def supervise() -> int:
    """Be the process behind `slipway up`."""
    return _supervise(shown=False)


def _wait(process: "subprocess.Popen[bytes]", position: int) -> int:
    """Show what the new process says until all answer."""
    until = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None
        position = _show(position)
        found = state.running()
        if found.get("ready") and state.pid(found) == process.pid:
            print(
                f"{_addresses(found)}\nlogs: {logs.FOLDER}/\n"
                "`slipway schedule` sets when to retrain, `slipway status` looks, `slipway down` ends it."
            )
            return 0
        if ended:
            raise SlipwayError(f"it did not start; see {logs.path(NAME)}")
        if time.monotonic() > until:
            waiting = ", ".join(found.get("waiting", [])) or "anything"
            raise SlipwayError(
                f"no response within {START_SECONDS:.0f} s from {waiting}; see {logs.FOLDER}/. It goes on trying: "
                "`slipway status` looks, `slipway down` ends it"
            )
        time.sleep(0.2)


def _show(position: int) -> int:
    """Print what was added to our log; return where it ends."""
    path = logs.path(NAME)
    if not path.exists() or path.stat().st_size <= position:
        return position
    with path.open(encoding="utf-8", errors="replace") as log:
        log.seek(position)
        for line in log:
            print(line.rstrip(), file=sys.stderr, flush=True)
        return log.tell()


def _addresses(found: dict[str, Any]) -> str:
    width = max(map(len, found["addresses"]))
    return "\n".join(f"{name.ljust(width)}  {address}" for name, address in found["addresses"].items())


def _teller(*, shown: bool) -> Say:
    """Return what writes a line, with the time, to our log, and where wanted to the terminal."""
    file = logs.handler(NAME)

    def say(text: str) -> None:
        line = f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}"
        file.emit(logging.LogRecord(NAME, logging.INFO, "", 0, line, None, None))
        if shown:
            print(line, flush=True)

    return say


def _supervise(*, shown: bool) -> int:
    """Start all, keep it alive until a signal, end all."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    state.load_environment()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    refusal = "`slipway up` is running in this project ({holder})"
    with locks.alone(LOCK, "", refusal), locks.alone(schedule.LOCK, "", SCHEDULED):
        say = _teller(shown=shown)
        try:
            shared = server.shared()
            while not over.is_set():  # once more where another program takes a port
                try:
                    _run(shared, over, say)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:  # of the report
                        raise
                    over.wait(services.LOOK_SECONDS)
        finally:
            server.UI_FILE.unlink(missing_ok=True)
            state.write({"ports": state.read().get("ports", {})})
        say("ended")
    return 0


def _ports(shared: dict[str, str], say: Say) -> dict[str, int]:
    """Return the port of each of our own servers: that of the last time where it is free, else the next free one."""
    known, ports = state.read().get("ports", {}), {}
    for name, usual in ui.PORTS.items():
        if name in shared:
            continue
        wanted = known.get(name, usual)
        ports[name] = server.free_port(wanted)
        if ports[name] != wanted:
            say(f"{name}: port {wanted} is taken, using {ports[name]}")
    return ports


def _run(shared: dict[str, str], over: threading.Event, say: Say) -> None:
    ports = _ports(shared, say)
    addresses = {name: shared.get(name) or f"http://127.0.0.1:{ports[name]}" for name in ui.PORTS}
    if "prefect" in ports:
        server.use(addresses["prefect"])
    content: dict[str, Any] = {
        "owner": temporary.owner(),
        "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        "addresses": addresses,
        "ports": ports,
    }
    server.announce(addresses, shared)  # runs report to this server, and know it for ours
    with ui.report(ports["report"]), Children() as children:
        ui.make_store(ports)
        kept = _services(ports, addresses, say)
        lock = threading.Lock()

        def changed() -> None:
            pids = {each.name: each.process.pid for each in kept if each.process is not None}
            waiting = [each.name for each in kept if not each.well()]
            with lock:
                content.update(services=pids, waiting=waiting, given_up=[each.name for each in kept if each.given_up])
                state.write(content)

        say(f"starting {', '.join(each.name for each in kept)}")
        changed()
        ended = threading.Event()
        for each in kept:
            arguments = (each, children, ended, say, changed)
            threading.Thread(target=services.keep, args=arguments, daemon=True).start()
        threading.Thread(target=_stop, args=(over, ended), daemon=True).start()
        _stay(kept, ended, say, content, changed)
        content["ending"] = True  # for runs: nothing went wrong
        changed()
        _end(kept, say)


def _stop(over: threading.Event, ended: threading.Event) -> None:
    while not ended.is_set():
        if over.wait(services.LOOK_SECONDS):
            ended.set()


def _services(ports: dict[str, int], addresses: dict[str, str], say: Say) -> list[Service]:
    """Return what is to be kept alive: the servers, then the worker, which waits for Prefect's."""
    kept = []
    environments = {"mlflow": ui.ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": tracking.uri()}}
    for name, command in ui.commands(ports).items():
        health = f"{addresses[name]}{ui.HEALTH[name]}"
        kept.append(Service(name, command, environments.get(name, {}), health, ports[name]))
    prepared = _Prepared(addresses["prefect"], next((each for each in kept if each.name == "prefect"), None), say)
    worker = ("prefect", "worker", "start", "--pool", deployments.POOL, "--type", "process", "--name", _worker_name())
    kept.append(Service("worker", guarded("-m", *worker), ready=prepared))
    return kept


def _worker_name() -> str:
    return f"{os.uname().nodename} {Path.cwd().name}".replace("/", "-").replace("%", "-")


class _Prepared:
    """Whether Prefect's server has what the worker needs; asked again after each death of the worker.

    What was missed while nothing ran is joined before a worker can take it.
    """

    def __init__(self, address: str, own: Service | None, say: Say) -> None:
        self.health, self.own, self.say, self.failed = f"{address}{ui.HEALTH['prefect']}", own, say, ""

    def __call__(self) -> bool:
        if not (self.own.well() if self.own else server.answers(self.health)):  # at our port another's may answer
            return False
        from prefect.client.orchestration import get_client

        from flows.machinery import watch

        try:
            with get_client(sync_client=True, httpx_settings={"timeout": 30.0}) as client:
                deployments.prepare(client, Path.cwd(), self.say)
                watch.tidy(client, self.say)
        except Exception as error:  # noqa: BLE001 - tried again
            if self.failed != str(error):
                self.failed = str(error)
                self.say(f"warning: Prefect's server does not take the work pool: {type(error).__name__}: {error}")
            return False
        return True


def _stay(
    kept: list[Service], over: threading.Event, say: Say, content: dict[str, Any], changed: Callable[[], None]
) -> None:
    """Look after the services and the runs until a signal."""
    from flows.machinery import watch

    prefect = next((each for each in kept if each.name == "prefect"), None)
    ready = prefect.well if prefect else (lambda: True)
    threading.Thread(target=watch.Watch(say).keep, args=(over, ready), daemon=True).start()
    before: list[bool] = []
    while not over.wait(services.LOOK_SECONDS):
        for each in kept:
            services.look(each, say)
            if each.taken:
                say(f"{each.name}: another program has taken port {each.port}: all is started anew at other ports")
                over.set()
        well = [each.well() for each in kept]
        if well != before:
            if all(well):
                say("all run again" if content.get("ready") else "all run")
            content["ready"] = content.get("ready") or all(well)
            changed()
        before = well


def _end(kept: list[Service], say: Say) -> None:
    """End the worker and what it runs, while the servers still hear of it."""
    say("ending")
    worker = kept[-1]
    if not worker.alive() or worker.process is None:
        return
    family = psutil.Process(worker.process.pid).children(recursive=True)
    if family:
        say(BUSY)
    worker.process.kill()  # it would wait for its runs; these look for it, and end
    _, alive = psutil.wait_procs(family, timeout=RUN_SECONDS)
    for process in alive:
        process.kill()


def down() -> int:
    """End what `up` started, and wait until it has ended."""
    found = state.running()
    if not found:
        print(schedule.foreground() or "nothing runs: `slipway up` has not been started here, or has ended")
        return 0
    print("ending ...", flush=True)
    if _busy(found):
        print(BUSY, flush=True)
    state.terminate(found)
    until = time.monotonic() + DOWN_SECONDS
    while not temporary.is_dead(str(found["owner"])):
        if time.monotonic() > until:
            raise SlipwayError(
                f"process {state.pid(found)} has not ended after {DOWN_SECONDS:.0f} s; see {logs.path(NAME)}"
            )
        time.sleep(0.1)
    print("ended")
    return 0


def _busy(found: dict[str, Any]) -> bool:
    try:
        return bool(psutil.Process(found["services"]["worker"]).children())
    except (KeyError, psutil.Error):
        return False


def status() -> int:
    """Print what runs, where, when the next runs are due, and how the last ones ended; return 1 where nothing runs."""
    found = state.running()
    if not found:
        print(schedule.foreground() or "nothing runs here; `slipway up` starts it")
        if noted := deployments.noted():
            print("\n".join(["\nscheduled, but not run until then", *(f"  {line}" for line in noted)]))
        return 1
    print(f"running (process {state.pid(found)}, since {found['since']})\n{_addresses(found)}")
    if lacking := found.get("waiting"):
        given_up = found.get("given_up", [])
        said = [f"{name} ({'given up' if name in given_up else 'being started'})" for name in lacking]
        print(f"not running: {', '.join(said)}; see {logs.path(NAME)}")
    state.use(found)
    if not server.answers(f"{found['addresses']['prefect']}{ui.HEALTH['prefect']}"):
        print("Prefect's server does not answer: no schedules and runs can be shown")
        return 0
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        print(f"\nschedules\n{schedule.listed(client)}\n\nlast runs\n{_last(client)}")
    return 0


def _last(client: Any) -> str:
    from flows.machinery import approval  # imports Prefect

    lines = []
    every = [(name, run) for name, own in sorted(deployments.last_runs(client).items()) for run in own]
    for deployment, run in every:
        began = run.expected_start_time or run.start_time  # as it was due, which is a moment after it may begin
        how = str(run.state.name).lower() if run.state else "unknown"
        when = cron.spelled(began, "UTC") if began else ""
        cause = _cause(run) if run.state and how != "running" else ""
        if run.state and run.state.is_paused() and (waits := approval.asked(client, run)):
            name, version = waits
            cause = f"version {version} waits: `slipway approve {name} {version}`, or `slipway refuse {name} {version}`"
        lines.append(f"  {deployments.spoken(deployment)}: {how}, {when}{cause and f': {cause}'}")
    return "\n".join(lines) or "  none yet"


def _cause(run: Any) -> str:
    """Return in a line why a run ended as it did; of a crash, of which Prefect may know nothing, where to look."""
    said = deployments.said(run)
    if deployments.is_interrupted(run):
        return "interrupted, as by Ctrl-C or `slipway down`; the next run resumes"
    if not run.state.is_crashed():
        return said
    return f"{said.rstrip('.') or runs.CRASHED}; what it said last: {logs.path('runs')}"
