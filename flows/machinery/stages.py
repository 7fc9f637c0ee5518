"""DVC's graph as Prefect tasks; dvc.yaml alone says which stages there are.

What is up to date is decided in this process (milliseconds a stage); what is not runs in a child
(step.py), whose lines reach the terminal and the log of the task as they come.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, surroundings
from flows.machinery.checkout import Checkout, First
from flows.machinery.process import Children, Running, guarded
from flows.machinery.step import CODES, killed

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage
    from prefect.futures import PrefectFuture

STATES = {code: state for state, code in CODES.items()}
LOGGED = "SLIPWAY_LOGGED"  # set where Prefect writes what a run logs to the file that its output goes to, too
MODULES = "dvc.repo,dvc.repo.reproduce"  # that step.py needs: prepared while the step before it is at work
LAST_LINES = 12  # of what a failing stage said, for the error of its task
_deciding = threading.Lock()  # DVC's repository is one thread's at a time


class TaskError(SlipwayError):
    """A child process failed; the message is what it said."""

    seconds = 0.0  # that its task took


@dataclass(frozen=True)
class Outcome:
    """What became of one task: ran, restored (from DVC's run cache), unchanged, pulled, versioned, ...

    ... failed or not run; `error` is the message of a failed one, `code` what `slipway run` is to end with after it,
    `note` what the summary says about it.
    """

    name: str
    state: str
    seconds: float = 0.0
    error: str = ""
    code: int = 0
    note: str = ""


def nodes(repo: "Repo") -> list[tuple["Stage", list[str]]]:
    """Return what `dvc repro` would visit, in its order: stages and data sources, each with its upstream.

    Raises SlipwayError where DVC cannot read its files, or params.yaml.
    """
    from dvc.exceptions import DvcException
    from dvc.repo.reproduce import get_active_graph, plan_repro

    try:
        graph = get_active_graph(repo.index.graph)
    except DvcException as error:
        raise SlipwayError(
            ": ".join(" ".join(str(each).split()) for each in (error, error.__cause__) if each)
        ) from None
    # not repo.stage.collect: it reads dvc.lock again, which the stage that began early may be writing, in place
    ours = [stage for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"]
    order = plan_repro(graph, ours)
    return [(stage, [upstream.addressing for upstream in graph.successors(stage)]) for stage in order]


def run(work: Checkout, *, force: bool = False, then: str = "") -> list[Outcome]:
    """Bring every node up to date, as tasks of the flow run that calls; side by side where the graph allows.

    What depends on a failed node is not run; the outcomes say so. `then` names the modules that are needed after the
    last one.
    """
    futures: dict[str, PrefectFuture[Outcome]] = {}
    todo = nodes(work.repo)
    for stage, upstream in todo:
        futures[stage.addressing] = submit(
            stage.addressing,
            partial(_bring, work, stage, force=force, then=then if stage is todo[-1][0] else MODULES),
            description=stage.desc,
            after=[futures[name] for name in upstream],
            seconds=work.first.seconds if work.first and work.first.name == stage.addressing else None,
        )
    return outcomes(futures)


def start_early(work: Checkout) -> None:
    """Start the first stage that has something to do before there is a flow run, whose server takes seconds to start.

    What it says waits in its pipe for the task of that name. Data is brought by the flow run.
    """
    first = next((stage for stage, _ in nodes(work.repo) if not unchanged(work, stage)), None)
    if first is not None and not first.is_data_source:
        work.first = First(first.addressing, _start(work, first))


def submit(
    name: str,
    body: Callable[[], str],
    description: str | None = None,
    after: Iterable["PrefectFuture[Outcome]"] = (),
    seconds: Callable[[], float] | None = None,
) -> "PrefectFuture[Outcome]":
    """Start a function, which returns its state, as a task of this flow run, once those before it have succeeded.

    `seconds` tells how long it took, where that is not the task's own time.
    """
    from prefect import Task
    from prefect.cache_policies import NO_CACHE

    def timed() -> Outcome:
        started = time.perf_counter()
        took = seconds or (lambda: time.perf_counter() - started)
        try:
            return Outcome(name, body(), took())
        except TaskError as error:
            error.seconds = took()
            raise

    task = Task(timed, name=name, task_run_name=name, description=description, cache_policy=NO_CACHE)
    return task.submit(wait_for=list(after), return_state=False)


def outcomes(futures: Mapping[str, "PrefectFuture[Outcome]"]) -> list[Outcome]:
    """Wait for tasks; return what became of each."""
    from prefect.futures import wait

    wait(list(futures.values()))
    found = []
    for name, future in futures.items():
        state = future.state
        if state.is_completed():
            found.append(future.result())
        elif state.name == "NotReady":  # one before it failed
            found.append(Outcome(name, "not run"))
        else:
            error = state.result(raise_on_failure=False)
            if not isinstance(error, SlipwayError):
                raise error if isinstance(error, BaseException) else TaskError(f"{name}: {state.message}")
            seconds = error.seconds if isinstance(error, TaskError) else 0.0
            found.append(Outcome(name, "failed", seconds, str(error)))
    return found


def follow(name: str, running: Running, children: Children) -> int:
    """Log and print a child's lines as they come; return its exit code.

    Raises TaskError, with the child's last words, for a code that is none of step.py's.
    """
    from prefect import get_run_logger

    logger = get_run_logger()
    last: deque[str] = deque(maxlen=LAST_LINES)

    def line(text: str) -> None:
        text = text.removeprefix(f"{name}: ")  # a command's own, which it has without a flow
        last.append(text)
        logger.info(text)
        if LOGGED not in os.environ:
            print(f"{name}: {text}" if text else "", flush=True)

    code = children.follow(running, line)
    if code < 0 and (told := killed(code)):
        line(told)
    if code not in STATES:
        raise TaskError(f"{name}: {_last_words(list(last)) or f'ended with exit code {code} and no output'}")
    return code


def _last_words(lines: list[str]) -> str:
    """Return a child's message: from its last line that begins with `error:`, else its last lines."""
    starts = [number for number, text in enumerate(lines) if text.startswith("error:")]
    return "\n".join(lines[starts[-1] :] if starts else lines[-5:]).strip()


def unchanged(work: Checkout, stage: "Stage") -> bool:
    """Ask DVC, as `dvc repro` does, whether there is nothing to do; no, if another process holds its locks."""
    from dvc.lock import LockError

    try:
        with _deciding, work.repo.lock:
            return not stage.changed()
    except LockError:
        return False  # the child waits, and says for whom


def _bring(work: Checkout, stage: "Stage", *, force: bool, then: str) -> str:
    """Bring one node up to date, the body of its task; return what was done."""
    if work.first and work.first.name == stage.addressing:
        running = work.first.running
    elif not force and unchanged(work, stage):
        return "unchanged"
    else:
        running = _start(work, stage, force=force)
    work.children.prepare(then)
    return STATES[follow(stage.addressing, running, work.children)]


def _start(work: Checkout, stage: "Stage", *, force: bool = False) -> Running:
    command = guarded(str(Path(__file__).with_name("step.py")), stage.addressing)
    anew = {surroundings.REUSE: "0"} if force else {}
    return work.children.start([*command, "--force"] if force else command, anew, MODULES)
