"""A version that waits for an approval, in Prefect: the flow run is suspended, and goes on with the answer.

A suspended run has no process, no lock and no slot. The registry has the truth: the commands decide without Prefect,
and end the run; and what is decided, or over, is found by the next run.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from httpx import HTTPStatusError
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, keyset_from_base_key
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from components.tracking import connection, moving, record, shown
from flows.machinery import notify, runs

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

ASKED = "slipway-approval"  # a flow run's input: what it waits for
PAUSE = "approval"
NOT_FOUND = 404
SPARE_SECONDS = 3600  # Prefect fails the run so much after the registry's own time is over


class Approval(RunInput):
    """What Prefect's page asks for."""

    decision: Literal["approve", "refuse"]
    comment: str = ""


def wait(registered: Mapping[str, Any], evidence: str) -> None:
    """Suspend this flow run where its version waits for an approval and a worker started it.

    Returns where it does not wait, or runs at a terminal, without a deployment. Also ends the suspended runs whose
    versions wait no more. `evidence` is Markdown: an artifact, and above the form in Prefect's page.
    """
    if "waiting" not in registered:
        return
    name, version = registered["name"], registered["version"]
    with get_client(sync_client=True) as client:
        there = _suspended(client, name)
        why = "this version waits no more: see `slipway history`"
        over = {number: why for _, number in there if number not in registered["waiting"]}
        close(name, over)
        if registered["decision"] != "waiting" or not deployment.id or version in {number for _, number in there}:
            return
        key = f"approval-{''.join(c if c.isalnum() else '-' for c in name.lower())}"
        create_markdown_artifact(evidence, key=key, description=f"{name} version {version} waits for an approval")
        asked = json.dumps({"name": name, "version": version})
        client.create_flow_run_input(UUID(flow_run.id), ASKED, asked)
    until = datetime.fromisoformat(registered["waits_until"])
    seconds = max(0, int((until - datetime.now(UTC)).total_seconds())) + SPARE_SECONDS
    suspend_flow_run(wait_for_input=Approval.with_initial_data(description=evidence), timeout=seconds, key=PAUSE)


def answered() -> "tuple[State[Any], dict[str, Any]] | None":
    """Carry out the answer that this flow run was resumed with; None where it does not come from an approval.

    Returns how the run ends, and what became of the version, with the keys of build/register.json. Raises SlipwayError
    where it cannot be done, such as when the champion changed meanwhile.
    """
    if not deployment.id:
        return None
    own = UUID(flow_run.id)
    with get_client(sync_client=True) as client:
        asked = _read(client, own, ASKED)
        answer = _read(client, own, keyset_from_base_key(f"suspended-{PAUSE}")["response"])
        if not asked or not answer:
            return None
        client.delete_flow_run_input(own, ASKED)  # run again, it retrains
    name, version, given = asked["name"], asked["version"], Approval(**answer)
    connection.check()
    with connection.plainly(f"decide about {name} version {version}"):
        known = done = moving.decided(moving.look(name), version)
        if done is None:
            decide = moving.approve if given.decision == "approve" else moving.refuse
            done = decide(name, version, why=given.comment, who="somebody in Prefect's page")
    text = record.told(name, done)
    print(text, flush=True)
    promoted = done.kind in record.MOVES
    runs.rename(str(flow_run.name).replace(shown.WAITING, shown.PROMOTED if promoted else shown.REFUSED))
    became = {"version": version, "decision": "promoted" if promoted else "kept", "promoted": promoted}
    if known is None:  # else whoever decided has told people
        became |= {"new_champion": promoted, "refused": not promoted, "reason": notify.decision(done)}
    return Completed(name="Approved" if promoted else "Refused", message=text), became


def close(name: str, decided: Mapping[str, str]) -> list[str]:
    """End the suspended runs of a model whose versions are decided about (version -> what became of it).

    Returns the names of these runs.
    """
    ended = []
    with get_client(sync_client=True) as client:
        for run, version in _suspended(client, name) if decided else []:
            if version in decided:
                client.set_flow_run_state(run.id, Completed(name="Decided", message=decided[version]), force=True)
                client.update_flow_run(run.id, name=run.name.replace(shown.WAITING, "decided"))
                ended.append(run.name)
    return ended


def over(client: "SyncPrefectClient") -> dict[str, list[str]]:
    """Return the versions of each model that flow runs wait for, though the time for an approval is over."""
    found: dict[str, list[str]] = {}
    for run, name, version in _waiting(client):
        until = run.state.state_details.pause_timeout if run.state else None
        if until and datetime.now(UTC) > until - timedelta(seconds=SPARE_SECONDS - 5):
            found.setdefault(name, []).append(version)
    return found


def _suspended(client: "SyncPrefectClient", name: str) -> "list[tuple[FlowRun, str]]":
    """Return the flow runs that wait for an approval of a model, and the version that each waits for."""
    return [(run, version) for run, model, version in _waiting(client) if model == name]


def _waiting(client: "SyncPrefectClient") -> "list[tuple[FlowRun, str, str]]":
    """Return the flow runs that wait for an approval, with the model and the version that each waits for."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    found = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [runs.FLOW]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}}),
    )
    return [(run, *what) for run in found if (what := asked(client, run))]


def asked(client: "SyncPrefectClient", run: "FlowRun") -> tuple[str, str] | None:
    """Return the model and the version that a flow run waits for an approval of; None where it does not."""
    what = _read(client, run.id, ASKED)
    return (what["name"], what["version"]) if what else None


def _read(client: "SyncPrefectClient", run: UUID, key: str) -> dict[str, Any]:
    """Return an input of a flow run; empty where there is none."""
    try:
        found = json.loads(client.read_flow_run_input(run, key))
    except HTTPStatusError as error:
        if error.response.status_code != NOT_FOUND:
            raise
        return {}
    return dict(found)
