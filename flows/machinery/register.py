"""The flow's last task: the state of the workspace as a DVC experiment, its model in the registry."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from components import SlipwayError
from components.files import read_json
from components.tracking import provenance
from flows.machinery import experiment, stages
from flows.machinery.checkout import Checkout
from flows.machinery.process import Running, guarded, tell

OUT = Path("build/register.json")
NOT_PROMOTED, WAITING = 3, 4  # exit codes of `slipway run`
MODULES = "components.stages.register,components.tracking.connection:load"  # that take seconds to import
COMMAND = ["-m", "components", "register", "--build", "build", "--data", "data", "--out", str(OUT)]


def run(work: Checkout, *, changed: bool) -> str:
    """Register the model of build/, the body of its task; `changed`: a stage has run. Returns what was done."""
    running = work.early
    if running is not None and changed:  # it looked at what was there before, and ends without a decision
        if running.stdin:
            running.stdin.close()
        work.children.follow(running, lambda _: None)
        running = None
    if running is None:
        running = start(work)  # asks DVC anew: what a person changed while the stages ran is not registered
    else:
        tell(running, work.flow_run)  # only now: until here the run could have ended without a word about a decision
    stages.follow("register", running, work.children)
    return "ran" if read_json(OUT)["changed"] else "unchanged"


def start(work: Checkout, *options: str, told: bool = False) -> Running:
    """Start to register the model, under the name of the workspace's experiment; `told`: it waits for `tell`."""
    name = work.experiment = experiment.save(work.repo)
    options = (*options, *(["--trust"] if work.trust else []), *(["--told"] if told else []))
    command = guarded(*COMMAND, "--began", str(work.began), *options)
    saved = {"DVC_EXP_NAME": name, provenance.SAVED: experiment.commit(work.repo, name)}
    return work.children.start(command, saved | {"SLIPWAY_FLOW_RUN": work.flow_run}, MODULES, told=told)


def look(work: Checkout) -> None:
    """Let a child note what was moved outside Slipway before this run; in the background, for it imports MLflow.

    `register` looks anew. Where it has begun already, or MLflow does not respond, this does nothing.
    """

    def follow() -> None:
        lines: list[str] = []
        with suppress(SlipwayError):  # the run is ending
            command = guarded("-m", "components", "settle", "--began", str(work.began))
            running = work.children.start(command, modules=MODULES)
            if work.children.follow(running, lines.append) == 0 and lines:
                print("\n".join(lines), flush=True)

    if work.early is None:
        threading.Thread(target=follow, daemon=True).start()


def start_early(work: Checkout) -> None:
    """Start to register at once where no stage has anything to do; it decides nothing before it is told to.

    It takes two seconds to import what it needs, and does so while this process imports Prefect. DVC has said here of
    every stage what the child would ask it for.
    """
    if all(stages.unchanged(work, stage) for stage, _ in stages.nodes(work.repo)):
        work.early = start(work, "--up-to-date", told=True)


def code(registered: Mapping[str, Any]) -> int:
    """Return the exit code that tells what became of a model, from build/register.json; 0 also if nothing changed."""
    if registered.get("decision") == "waiting":
        return WAITING
    return 0 if registered["promoted"] or not registered["changed"] else NOT_PROMOTED
