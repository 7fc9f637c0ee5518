"""The scheduled run: data -> stages -> DVC experiment -> registry."""

from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from components.files import read_json
from flows.machinery import (
    approval,
    checkout,
    experiment,
    notify,
    push,
    register,
    runs,
    server,
    stages,
    summary,
    update,
    workspace,
)
from flows.machinery.stages import Outcome, TaskError


@flow(name="retrain")
def retrain(model: str = "", revision: str = "", force: bool = False) -> list[Outcome] | State[list[Outcome]]:
    """Bring data and stages up to date, save the result as a DVC experiment, register the model.

    `model` is the name of one in models/ or examples/, "" the root's. That works in the checkout of the current folder
    as it lies, all others in their workspace; with a `revision`, such as HEAD, each works in its workspace, on the
    files of that commit. A second run of a model waits for the first. With `force` every stage runs, changed or not.
    Returns what became of each task; in Prefect the run is then called by its version, the decision and the score.
    Raises TaskError, with what they said, where some failed; for Prefect, a run that was cancelled there ends as
    cancelled. A run that a worker started is suspended where its version waits for an approval; when it goes on, it
    only carries out the answer.
    """
    runs.claim()
    with notify.watching(model) as watched:
        if (answer := approval.answered()) is not None:
            state, watched.registered = answer
            return state
    with (
        notify.watching(model) as watched,
        workspace.entered(model, revision),
        checkout.opened() as work,
        runs.cancellable(work.children) as cancelled,
    ):
        workspace.must_have_data(model)
        runs.bury()
        work.flow_run = str(flow_run.id)
        register.look(work)
        if told := experiment.told(work.repo):
            print(told, flush=True)
        outcomes = update.run(work)
        if not any(outcome.error for outcome in outcomes):
            outcomes += stages.run(work, force=force, then=register.MODULES)
        registered: dict[str, Any] = {}
        if not cancelled.is_set() and not any(outcome.state in ("failed", "not run") for outcome in outcomes):
            changed = any(outcome.state != "unchanged" for outcome in outcomes)
            task = stages.submit("register", lambda: register.run(work, changed=changed))
            outcomes += stages.outcomes({"register": task})
            if not outcomes[-1].error:
                registered = read_json(register.OUT)
                outcomes[-1] = replace(outcomes[-1], code=register.code(registered))
                outcomes += push.run(work)
        runs.bury()  # those that were killed before they were known for dead: no sign of their process, and too young
        if cancelled.is_set():
            return Cancelled(message="cancelled in Prefect")
        parts = summary.blocks(outcomes, registered, server.shared() | server.served())
        evidence = summary.evidence(registered, parts)
        print(f"\n{summary.text(parts)}", flush=True)
        create_markdown_artifact(summary.markdown(parts), key="retrain", description="summary of this run")
        if errors := [outcome.error for outcome in outcomes if outcome.error]:
            raise TaskError("\n".join([*errors, *workspace.places()]))
        watched.registered = registered
        name, became = summary.headline(registered)
        runs.rename(name)
        watched.run_name = name
    approval.wait(registered, evidence)
    return Completed(message=became, data=outcomes)
