"""A run that finds nothing to do, told without Prefect, whose import and server would take most of its seconds."""

import select
import subprocess
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from components import SlipwayError, params
from components.files import read_json
from components.stages import DECIDING
from flows.machinery import experiment, notify, push, register, server, stages, summary
from flows.machinery.checkout import Checkout
from flows.machinery.stages import Outcome

LIMIT_SECONDS = 60.0  # that what registers may take to find that it has nothing to do
END_SECONDS = 10.0  # from its first line to its end, on a busy machine


def run(work: Checkout, model: str) -> int | None:
    """Tell that there is nothing to do for a model, "" the root's; return the exit code, None where there is something.

    There is something, too, where experiments are pushed, a version waits for a person, or somebody is to be told that
    the model's retraining works again. What registers the model has to be at work already (register.start_early): it
    looks whether the registry is as it was.
    """
    if work.early is None or push.wanted(work.repo) or asked_anew():
        return None
    if notify.failing(model or params.name(Path("params.yaml"))):
        return None
    told = experiment.told(work.repo)
    out = work.early.stdout
    if isinstance(out, TextIOWrapper):
        spoken, *_ = select.select([out], [], [], LIMIT_SECONDS)
        if spoken and DECIDING.encode() in out.buffer.peek():  # the flow reads it
            return None
    with suppress(subprocess.TimeoutExpired):
        work.early.wait(END_SECONDS)  # what it says fits into its pipe
    registered: dict[str, Any] = read_json(register.OUT) if work.early.returncode == 0 else {}
    if registered.get("changed", True) or registered["decision"] == "waiting":
        return None
    work.children.follow(work.early, lambda line: print(f"register: {line}", flush=True))
    if told:
        print(told, flush=True)
    notify.timed_out()
    outcomes = [Outcome(stage.addressing, "unchanged") for stage, _ in stages.nodes(work.repo)]
    outcomes.append(Outcome("register", "unchanged"))
    parts = summary.blocks(outcomes, registered, server.shared() | server.served())
    print(f"\n{summary.text(parts)}", flush=True)
    return register.code(registered)


def asked_anew() -> bool:
    """Return whether params.yaml asks other things of a version than when the model was last registered.

    Then nobody has to wait until what registers the model has found it out, too.
    """
    try:
        before = read_json(register.OUT)
        return bool(before["settings"] != params.load(Path("params.yaml")).register_.model_dump(mode="json"))
    except (SlipwayError, OSError, ValueError, KeyError):  # never registered, or by a version before this one
        return False
