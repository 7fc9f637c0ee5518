"""What Prefect's server holds for `slipway up`: the work pool, deployments of `retrain`, `clean`, `reproduce`.

A deployment names no path of this machine: where a run works and by which command it starts is the pool's, which
`slipway up` writes anew each time.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError
from components.files import read_json, write_json
from components.masking import mask
from components.tracking import connection
from flows.machinery import logs, models, server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.flows import Flow

POOL = "slipway"
RETRAIN = "retrain"  # the deployment of the root's model; that of another one is retrain-NAME
CLEAN = "clean"
OTHERS = (CLEAN, "reproduce")  # of no model; each has the name of its flow
AGAIN = "again"  # tag of a run that replaces one that crashed
RESUMING = "Resuming"  # Prefect's name of a run's state that was suspended and goes on
MISSED = "missed; a later run makes up for it"  # why the others of several overdue runs were cancelled
MADE_UP = "made-up"  # tag of a run that crashed, and that a later one by hand has made up for
UNDER_WAY = ("RUNNING", "PENDING", "CANCELLING")
BEGUN = {"state": {"type": {"any_": [*UNDER_WAY, "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"]}}}
ENCOUNTERED = r"^Flow run encountered an exception: (TaskError: |SlipwayError: )?"
NOTED = Path(".prefect/schedules.json")  # the schedules as they were last, as lines
GRACE = timedelta(seconds=120)  # after which a run that is due must have started, or another one must be under way
Say = Callable[[str], None]


def name(model: str) -> str:
    """Return the name of a model's deployment; "" is the root's model."""
    return f"{RETRAIN}-{model}" if model else RETRAIN


def model_of(deployment: str) -> str:
    """Return the model of a deployment's name; of another deployment, such as `clean`, its own name."""
    return "" if deployment == RETRAIN else deployment.removeprefix(f"{RETRAIN}-")


def of(run: "FlowRun") -> str:
    """Return the name of the deployment that a run of a retraining or of `clean` is of, by whomever it was started."""
    return CLEAN if "dry_run" in run.parameters else name(str(run.parameters.get("model") or ""))


def said(run: "FlowRun") -> str:
    """Return the first line of what a run's state says, without Prefect's words around an error of ours."""
    message = (run.state.message or "") if run.state else ""
    return re.sub(ENCOUNTERED, "", next(iter(message.strip().splitlines()), ""))


def is_interrupted(run: "FlowRun") -> bool:
    """Return whether Ctrl-C or `slipway down` ended a run, which Prefect calls crashed."""
    return run.state is not None and run.state.is_crashed() and "interrupt signal" in said(run)


def spoken(deployment: str) -> str:
    """Return how a deployment is called in messages: by its model, where it has one."""
    return model_of(deployment) or models.root_name() or "the model of this folder"


def template(root: Path) -> dict[str, Any]:
    """Return the pool's job template: Prefect's own, with this folder and our command as the defaults."""
    from prefect.workers.process import ProcessWorker

    found = ProcessWorker.get_default_base_job_template()
    properties = found["variables"]["properties"]
    properties["working_dir"]["default"] = str(root)
    properties["command"]["default"] = shlex.join([sys.executable, "-m", "flows.machinery.engine"])
    return found


def prepare(client: "SyncPrefectClient", root: Path, say: Say = print) -> None:
    """Make the work pool, or bring it up to date, and what OTHERS names of the deployments of prefect.yaml.

    A pause that somebody set stays, and so does a deployment that is there: its schedule may have been changed.
    Raises SlipwayError where the pool of a shared server is another project's: its runs would start here.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        found = client.read_work_pool(POOL)
        there = found.base_job_template["variables"]["properties"]["working_dir"].get("default")
        if not server.ours() and there not in (None, str(root)):
            raise SlipwayError(
                f"Prefect's server has a work pool {POOL} of another project, {there}, whose runs would start here: "
                "unset PREFECT_API_URL for a server of this project's own; if that project is gone, delete the pool"
            )
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template(root)))
    else:
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template(root)))
    try:
        entries = _others(root)
    except SlipwayError as error:  # it keeps no model from being retrained
        say(f"warning: {error}; its deployments {' and '.join(OTHERS)} are not made")
        return
    for entry in entries:
        try:
            client.read_deployment_by_name(f"{entry.name}/{entry.name}")
        except ObjectNotFound:
            _deploy(client, entry)


def others(root: Path) -> list[str]:
    """Return the names of the deployments in prefect.yaml that are not of one model."""
    return [entry.name for entry in _others(root)]


class _Cron(BaseModel):
    cron: str
    timezone: str = "UTC"


class _Entry(BaseModel):
    """What is read of a deployment in prefect.yaml."""

    name: str
    entrypoint: str
    description: str = ""
    parameters: dict[str, Any] = {}
    schedules: list[_Cron] = []


def _others(root: Path) -> list[_Entry]:
    """Read the deployments that are ours to make; what else a team adds to prefect.yaml is its own to deploy."""
    where = root / "prefect.yaml"
    try:
        entries = (YAML(typ="safe").load(where) or {}).get("deployments") or []
        return [_Entry.model_validate(entry) for entry in entries if entry.get("name") in OTHERS]
    except FileNotFoundError:
        return []
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SlipwayError(f"{where}: {'.'.join(map(str, wrong['loc']))} of a deployment: {wrong['msg']}") from None
    except (OSError, YAMLError, AttributeError) as error:
        raise SlipwayError(f"{where}: not a prefect.yaml: {' '.join(str(error).split())}") from None


def _deploy(client: "SyncPrefectClient", entry: _Entry) -> None:
    """Create a deployment as prefect.yaml has it, but for the folder, which is the pool's."""
    from prefect.flows import Flow, load_flow_from_entrypoint

    entrypoint = entry.entrypoint.replace(".py:", ".").replace("/", ".")
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
    schedules = [_schedule(each.cron, each.timezone) for each in entry.schedules]
    _create(client, flow, entry.name, entrypoint, entry.parameters, schedules, entry.description)


def deploy(
    client: "SyncPrefectClient",
    retrain: "Flow[Any, Any]",
    model: str,
    cron: str,
    time_zone: str = "UTC",
    *,
    force: bool = False,
) -> None:
    """Create or replace a model's deployment of the flow `retrain`, with this schedule and no other."""
    parameters = {"model": model, "revision": "HEAD", "force": force}
    text = "Retrain on the committed state of the repository."
    _create(client, retrain, name(model), "flows.retrain.retrain", parameters, [_schedule(cron, time_zone)], text)


def _schedule(cron: str, time_zone: str) -> "DeploymentScheduleCreate":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    return DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=time_zone), active=True)


def _create(
    client: "SyncPrefectClient",
    flow: "Flow[Any, Any]",
    deployment: str,
    entrypoint: str,
    parameters: dict[str, Any],
    schedules: "list[DeploymentScheduleCreate]",
    description: str,
) -> None:
    """Create or replace a deployment of our pool. One run of it at a time: a second one waits for the first."""
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.utilities.callables import parameter_schema

    client.create_deployment(  # in one step: what was scheduled is replaced, or stays
        flow_id=client.create_flow(flow),
        name=deployment,
        entrypoint=entrypoint,
        work_pool_name=POOL,
        parameters=parameters,
        parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
        schedules=schedules,
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        pull_steps=[],
        paused=False,
        description=description,
    )


def every(client: "SyncPrefectClient") -> list["DeploymentResponse"]:
    """Return the deployments of our pool, by name."""
    from prefect.client.schemas.filters import WorkPoolFilter

    of_pool = WorkPoolFilter.model_validate({"name": {"any_": [POOL]}})
    return sorted(client.read_deployments(work_pool_filter=of_pool, limit=200), key=lambda each: each.name)


def schedules(client: "SyncPrefectClient", deployment: str | None = None) -> list["DeploymentResponse"]:
    """Return the deployments that have schedules: all of them, or the one of that name."""
    return [each for each in every(client) if each.schedules and deployment in (None, each.name)]


def told(schedule: Any) -> str:
    """Return when a schedule runs, as text."""
    return f"{getattr(schedule, 'cron', '') or schedule} ({getattr(schedule, 'timezone', None) or 'UTC'})"


def note(client: "SyncPrefectClient") -> None:
    """Write down the schedules, a line for each, for `noted`: without its server, Prefect cannot be asked."""
    lines = [f"{spoken(one.name)}: {told(each.schedule)}" for one in schedules(client) for each in one.schedules]
    if lines != noted():
        write_json(connection.root() / NOTED, lines)


def noted() -> list[str]:
    """Return a line for each schedule that there was when Prefect's server was last asked."""
    try:
        return list(read_json(connection.root() / NOTED))
    except (OSError, ValueError):
        return []


def reschedule(client: "SyncPrefectClient", deployment: str, cron: str, time_zone: str) -> None:
    """Give a deployment of `others` this schedule and no other."""
    found = client.read_deployment_by_name(f"{deployment}/{deployment}")
    client.create_deployment_schedules(found.id, [_schedule(cron, time_zone)])
    for before in found.schedules:
        client.delete_deployment_schedule(found.id, before.id)
    client.resume_deployment(found.id)


def unschedule(client: "SyncPrefectClient", deployment: str) -> bool:
    """Remove a deployment's schedules, with the runs that were to come; return whether there was one."""
    found = schedules(client, deployment)
    for each in found:
        for schedule in each.schedules:
            client.delete_deployment_schedule(each.id, schedule.id)
    return bool(found)


def planned(client: "SyncPrefectClient", deployment: str, due: datetime) -> bool:
    """Return whether the server has a run of a deployment for a moment, in whatever state."""
    around = {"after_": due - timedelta(seconds=1), "before_": due + timedelta(seconds=1)}
    return bool(_runs(client, [deployment], {"expected_start_time": around}, limit=1))


def join_missed(client: "SyncPrefectClient", deployment: str) -> str:
    """Let one run make up for all that are overdue: after an outage, or a run that took longer than the schedule.

    Returns what is to be said about it, if anything.
    """
    from prefect.states import Cancelled

    late = overdue(client, deployment)
    for run in late[1:]:
        client.set_flow_run_state(run.id, Cancelled(message=MISSED), force=True)
    if first := late[1:] and late[-1].expected_start_time:
        count = f"{len(late) - 1} runs were" if len(late) > 2 else "a run was"
        return f"{count} missed since {first:%Y-%m-%d %H:%M} UTC; the run that is due next makes up for them"
    return ""


def overdue(client: "SyncPrefectClient", deployment: str) -> list["FlowRun"]:
    """Return the runs of a deployment that are due and have not started, the latest first.

    One that goes on with the answer to an approval is none: no other run makes up for it.
    """
    due: dict[str, Any] = {"state": {"type": {"any_": ["SCHEDULED"]}}, "start_time": {"is_null_": True}}
    late = _runs(client, [deployment], due | {"expected_start_time": {"before_": datetime.now(UTC)}})
    return [run for run in late if not (run.state and run.state.name == RESUMING)]


def run_again(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> str:
    """Run once more what crashed: its process was killed, or the machine stopped. Returns what is to be said.

    Not where another run is due or under way, which resumes from where that one was, nor where one by hand has done it
    meanwhile, nor where the one that crashed was itself the second attempt: what kills each run is not tried for ever.
    """
    joined = [run for run in _runs(client, [deployment.name], BEGUN, limit=20) if not _joined(run)]
    if not joined or not joined[0].state or not joined[0].state.is_crashed() or {AGAIN, MADE_UP} & {*joined[0].tags}:
        return ""
    if overdue(client, deployment.name):
        return ""
    last = joined[0]
    when = f"{last.expected_start_time:%Y-%m-%d %H:%M} UTC" if last.expected_start_time else "before"
    later = _by_hand_since(client, last)
    if any(run.state and run.state.is_running() for run in later):
        return ""  # how it ends says what is to be done
    if done := next((run for run in later if run.state and run.state.is_completed()), None):
        client.update_flow_run(last.id, tags=[*last.tags, MADE_UP])  # told once
        return f"the run of {when} crashed; it is not run again, for the run {done.name}, by hand, has succeeded since"
    made = client.create_flow_run_from_deployment(
        deployment.id, parameters=last.parameters, tags=[AGAIN], idempotency_key=f"{AGAIN}-{last.id}"
    )
    if made.state and not made.state.is_scheduled():  # it was made before, and has come to its end
        return ""
    return f"the run of {when} crashed; it is run once more, and resumes"


def _by_hand_since(client: "SyncPrefectClient", last: "FlowRun") -> list["FlowRun"]:
    """Return the runs by hand, of no deployment, that began after a run and do at least what it was to do."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    since = last.start_time or last.expected_start_time or last.created
    found = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [RETRAIN, CLEAN]}}),
        flow_run_filter=FlowRunFilter.model_validate(
            BEGUN | {"deployment_id": {"is_null_": True}, "start_time": {"after_": since}}
        ),
    )
    model = spoken(of(last))  # the root's may have been named
    return [run for run in found if _does_as_much(run.parameters, last.parameters) and spoken(of(run)) == model]


def _does_as_much(given: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return (
        given.get("revision") in ("", None, wanted.get("revision"))
        and bool(given.get("force")) >= bool(wanted.get("force"))
        and bool(given.get("dry_run")) == bool(wanted.get("dry_run"))
    )


def _joined(run: "FlowRun") -> bool:
    return run.state is not None and run.state.is_cancelled() and run.state.message == MISSED


def under_way(client: "SyncPrefectClient", deployment: str) -> bool:
    """Return whether a run of a deployment has started and not ended."""
    return bool(_runs(client, [deployment], {"state": {"type": {"any_": list(UNDER_WAY)}}}, limit=1))


def last_runs(client: "SyncPrefectClient") -> dict[str, list["FlowRun"]]:
    """Return the runs of each model's retraining, and of `clean`, that have not ended, and the last that has.

    By deployment, the newest first; by whomever they were started.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    begun = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
    found: dict[str, list[FlowRun]] = {}
    for run in client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [RETRAIN]}}),
        flow_run_filter=FlowRunFilter.model_validate(begun),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=200,
    ):
        if not _joined(run):
            found.setdefault(of(run), []).append(run)
    for each in found.values():  # one that ended last may have been due first: what crashes is run again at once
        ended = [run for run in each if run.state and run.state.is_final()]
        last = max(ended, key=lambda run: run.end_time or run.created or datetime.min.replace(tzinfo=UTC), default=None)
        each[:] = [run for run in each if run is last or run not in ended]
    for deployment in every(client):
        if deployment.name == CLEAN and (newest := _runs(client, [CLEAN], begun, limit=1)):
            found[CLEAN] = newest
    return {deployment: own for deployment, own in found.items() if own}


def failed(client: "SyncPrefectClient", after: datetime) -> list["FlowRun"]:
    """Return the runs of retrainings and of `clean` that failed after a moment, the first to end first."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    ended = {"state": {"type": {"any_": ["FAILED"]}}, "end_time": {"after_": after + timedelta(microseconds=1)}}
    found = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [RETRAIN, CLEAN]}}),
        flow_run_filter=FlowRunFilter.model_validate(ended),
    )
    return sorted(found, key=lambda run: run.end_time or after)


def next_run(client: "SyncPrefectClient", deployment: str) -> datetime | None:
    """Return when the next run of a deployment is due, as far as the server knows yet."""
    coming = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"after_": datetime.now(UTC)}}
    times = [run.expected_start_time for run in _runs(client, [deployment], coming) if run.expected_start_time]
    return min(times, default=None)


def overdue_since(client: "SyncPrefectClient", deployment: str) -> datetime | None:
    """Return since when a run of a deployment is due that has not started; None where none is, or only just is.

    What was due before it, and was joined with it, counts; nothing is overdue while another run is under way.
    """
    late = overdue(client, deployment)
    if not late or under_way(client, deployment):
        return None
    begun = _runs(client, [deployment], BEGUN, limit=200)
    missed = list(takewhile(_joined, begun))
    first = min((run.expected_start_time for run in (*late, *missed) if run.expected_start_time), default=None)
    ended = begun[len(missed)].end_time if len(missed) < len(begun) else None  # until then it waited for that one
    return first if first and datetime.now(UTC) - max(first, ended or first) > GRACE else None


def not_started(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> str:
    """Say why a run that is due may not have started, as far as the server knows."""
    if deployment.paused:
        return "it is paused in Prefect: resume it there, or repeat `slipway schedule`"
    return paused(client) or f"no worker took it: see {logs.path('worker')} and `slipway status`"


def paused(client: "SyncPrefectClient") -> str:
    """Say that the work pool is paused, so that none of its runs starts, and how to resume it; empty where it is not.

    The command names the server: without that, Prefect's would ask another one.
    """
    from prefect.exceptions import ObjectNotFound

    try:
        if not client.read_work_pool(POOL).is_paused:
            return ""
    except ObjectNotFound:  # `slipway up` makes it
        return ""
    url = mask(str(client.api_url).rstrip("/"))
    return (
        f"the work pool {POOL} is paused: resume it in Prefect, or "
        f"`PREFECT_API_URL={url} prefect work-pool resume {POOL}`"
    )


def not_running(client: "SyncPrefectClient") -> list[str]:
    """Say what keeps runs from starting, or from their end: a paused work pool, a model that is gone, no worker."""
    stopped = paused(client)
    found = [f"no run starts, for {stopped}"] if stopped else []
    for deployment in every(client):
        if deployment.schedules and deployment.name not in OTHERS:
            found += _without_model(model_of(deployment.name))
        if since := overdue_since(client, deployment.name):
            why = "" if stopped and not deployment.paused else f": {not_started(client, deployment)}"
            found.append(f"{spoken(deployment.name)}: a run is overdue since {since:%Y-%m-%d %H:%M} UTC{why}")
    return found


def _without_model(model: str) -> list[str]:
    """Say that the committed state, of which schedules are, has no model of that name; nothing where it has."""
    try:
        models.find(model, "HEAD")
    except SlipwayError:
        return [f"{model}: no such model is committed, so its runs fail: `slipway schedule --off {model}` ends them"]
    return []


def _runs(
    client: "SyncPrefectClient", names: Iterable[str], which: dict[str, Any], limit: int | None = None
) -> list["FlowRun"]:
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"name": {"any_": list(names)}}),
        flow_run_filter=FlowRunFilter.model_validate(which),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=limit,
    )
