"""The run as Prefect knows it: whose it is, whether it was cancelled there, and what became of those that died."""

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from components import temporary
from flows.machinery import notify, server, state
from flows.machinery.process import Children

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

FLOW = "retrain"  # of which people are told
FLOWS = (FLOW, "reproduce", "clean")
LOOK_SECONDS = 2.0
STARTER = "SLIPWAY_STARTER"  # the process that starts flow runs, in their environment
UNCLAIMED_SECONDS = 30.0  # a run claims itself at once: one that has not was killed before
STARTING_SECONDS = 600.0  # that a process which a worker has started may take until then
LEFT_SECONDS = 8.0  # that Prefect's runner has to end a run that was cancelled
LAST_SECONDS = 20.0  # that a run has to end when what started it has ended
CRASHED = "its process ended without a word: it was killed, or the machine was stopped"


def claim() -> None:
    """Note on the flow run of this context that this process is it; `bury` then knows when it is dead.

    A run that Prefect's runner started ends with that: nobody else would see to it.
    """
    from prefect.runtime import flow_run

    with server.client() as client:
        client.update_flow_run(flow_run.id, infrastructure_pid=temporary.owner())
    if served():
        end_with_parent()


def rename(name: str) -> None:
    """Give the flow run of this context the name that lists of runs show; where that fails, say so."""
    from prefect.runtime import flow_run

    try:
        with server.client() as client:
            client.update_flow_run(flow_run.id, name=name)
    except Exception as error:  # noqa: BLE001 - all is done: no run may fail for its name
        print(f"Prefect does not show the run as {name!r}: {type(error).__name__}: {error}", flush=True)


def served() -> bool:
    """Return whether Prefect's runner or worker started this process, as they do for a schedule."""
    return "PREFECT__FLOW_RUN_ID" in os.environ


@functools.cache  # a second SIGTERM would disturb what the first one started
def end_with_parent() -> None:
    """End this process soon after the one that started it: as SIGTERM does, and on `slipway down` as Ctrl-C."""
    threading.Thread(target=_end_with, args=(_parent(),), daemon=True).start()


def _parent() -> int:
    """Return the process that started this one; it may have died before this one could look."""
    own = os.getppid()
    starter = int(os.environ.get(STARTER, own))
    try:
        dead = psutil.Process(starter).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        dead = True
    return starter if dead else own


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    by_hand = state.is_ending() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGINT if by_hand else signal.SIGTERM)
    time.sleep(LAST_SECONDS)
    os._exit(1)


def bury() -> None:
    """Mark the runs whose processes are dead as crashed, and those of them that were to be cancelled as cancelled."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    own = server.ours()
    under_way = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    with server.client() as client:
        for flow in FLOWS:
            for run in client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
                flow_run_filter=FlowRunFilter.model_validate(under_way),
            ):
                if _dead(run, own=own):
                    _bury(client, run, tell=flow == FLOW)


def _dead(run: "FlowRun", *, own: bool) -> bool:
    """Return whether a run's process has ended; `own`: the server is this checkout's."""
    changed = run.state.timestamp if run.state else run.created  # a scheduled run is made long before it starts
    age = time.time() - (changed.timestamp() if changed else time.time())
    process = run.infrastructure_pid or ""
    if process and not process.isdigit():
        # what is known of another machine's process is only its age; on a shared server it may well live
        return temporary.is_dead(process, time.time() - age if own else None)
    starting = process.isdigit() and psutil.pid_exists(int(process)) and age < STARTING_SECONDS  # a worker noted it
    return own and age > UNCLAIMED_SECONDS and not starting


def _bury(client: "SyncPrefectClient", run: "FlowRun", *, tell: bool) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.states import Cancelled, Crashed

    cancelled = run.state is not None and run.state.is_cancelling()
    end = Cancelled if cancelled else Crashed
    for task in client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run.id]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}),
    ):
        client.set_task_run_state(task.id, end(message=CRASHED), force=True)
    client.set_flow_run_state(run.id, end(message=CRASHED), force=True)
    if tell and not cancelled:
        notify.buried(str((run.parameters or {}).get("model", "")), str(run.id), run.name, CRASHED)


@contextmanager
def cancellable(children: Children) -> Iterator[threading.Event]:
    """Look now and then whether the run of this context is cancelled in Prefect; then end the children.

    Yields what is set when it was. A run that Prefect's runner or worker started is first left to that: it sees to it
    within seconds, but not any more once the server has been away for half a minute.
    """
    from prefect.runtime import flow_run

    cancelled, over, own = threading.Event(), threading.Event(), flow_run.id

    def look() -> None:
        seen: float | None = None
        with server.client() as client:
            while not over.wait(LOOK_SECONDS):
                with suppress(Exception):  # a server that is away is found by Prefect itself
                    state = client.read_flow_run(own).state
                    if state is not None and (state.is_cancelling() or state.is_cancelled()):
                        seen = seen or time.monotonic()
                        if served() and time.monotonic() - seen < LEFT_SECONDS:
                            continue
                        cancelled.set()
                        children.end()
                        return

    threading.Thread(target=look, daemon=True).start()
    try:
        yield cancelled
    finally:
        over.set()
