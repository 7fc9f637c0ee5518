"""What `slipway up` looks after every few seconds: dead runs, overdue runs, schedules that did not run."""

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.machinery import cron, deployments, models, notify, runs
from flows.machinery.deployments import GRACE

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

CHECK_SECONDS = 5.0
LIMIT_SECONDS = 120.0  # that a command of ours may take
Say = Callable[[str], None]


def tidy(client: "SyncPrefectClient", say: Say) -> None:
    """Mark dead runs as crashed, join overdue ones, run again what crashed."""
    runs.bury()
    for deployment in deployments.every(client):
        for said in (deployments.join_missed(client, deployment.name), deployments.run_again(client, deployment)):
            if said:
                say(f"{deployments.spoken(deployment.name)}: {said}")


class Watch:
    """The watch of one `slipway up`; `told` has what was said of a deployment whose runs do not start."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.due: dict[str, tuple[object, datetime]] = {}  # the schedule, and when a run of it must be there next
        # since when a run that is due has been seen not to start, and when it was due
        self.late: dict[str, tuple[datetime, datetime]] = {}
        self.told: dict[str, str] = {}
        self.until = datetime.now(UTC)  # until when runs that failed were told
        self.over: set[tuple[str, str]] = set()  # models and versions whose time for an approval was found to be over

    def keep(self, over: threading.Event, ready: Callable[[], bool]) -> None:
        """Look until `over`, while Prefect's server is `ready`."""
        from prefect.client.orchestration import get_client

        away = ""
        while not over.wait(CHECK_SECONDS):
            if not ready():
                self.due.clear()
                continue
            try:
                with get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client:
                    tidy(client, self.say)
                    for deployment in deployments.every(client):
                        self.look(client, deployment)
                    self.failed(client)
                    self.timed_out(client)
                    deployments.note(client)
                away = ""
            except Exception as error:  # noqa: BLE001 - nothing may end the watch
                if ready() and away != type(error).__name__:
                    away = type(error).__name__
                    self.say(f"warning: the watch over the runs failed, and is tried again: {away}: {error}")

    def look(self, client: "SyncPrefectClient", deployment: "DeploymentResponse") -> None:
        """Tell once where a run that was due has not started, or where none was scheduled."""
        now = datetime.now(UTC)
        reason = self._not_started(client, deployment, now) or self._unscheduled(client, deployment, now)
        if reason and deployment.name not in self.told:
            self.say(f"ERROR: {deployments.spoken(deployment.name)}: {reason}")
            _notify(deployments.model_of(deployment.name), reason)
        if reason:
            self.told[deployment.name] = reason
        elif deployment.name in self.told and not deployments.overdue(client, deployment.name):
            del self.told[deployment.name]

    def failed(self, client: "SyncPrefectClient") -> None:
        """Tell once of each run that failed."""
        for run in deployments.failed(client, self.until):
            self.until = run.end_time or self.until
            model = deployments.spoken(deployments.of(run))
            self.say(f"{model}: the run {run.name} failed: {deployments.said(run)}")

    def timed_out(self, client: "SyncPrefectClient") -> None:
        """Let a command write down that nobody approved a version in time, which tells people; end its flow run."""
        from flows.machinery import approval

        ours = (models.root_name(), *models.names(), *models.examples())  # a shared server has others' runs, too
        for name, versions in approval.over(client).items():
            for version in versions:
                if name not in ours or (name, version) in self.over:
                    continue
                self.over.add((name, version))  # else the next run of the model finds it
                words = [sys.executable, "-m", "flows", "history", name]
                done = subprocess.run(
                    words, capture_output=True, text=True, errors="replace", timeout=LIMIT_SECONDS, check=False
                )
                if done.returncode:
                    self.say(f"warning: {name} version {version}: its wait cannot be ended: {done.stderr.strip()}")
                    continue
                approval.close(name, {version: "nobody approved it in time: it is refused"})
                self.say(f"{name} version {version}: nobody approved it in time: it is refused")

    def _unscheduled(self, client: "SyncPrefectClient", deployment: "DeploymentResponse", now: datetime) -> str:
        """Say that Prefect's scheduler made no run for a moment of a schedule, if it is so."""
        for schedule in deployment.schedules:
            expression, zone = getattr(schedule.schedule, "cron", ""), getattr(schedule.schedule, "timezone", None)
            if not expression:
                continue  # an interval or a rule, made in Prefect
            key = str(schedule.id)
            known, due = self.due.get(key, (None, now))
            if known != schedule.schedule:
                self.due[key] = (schedule.schedule, cron.after(expression, zone or "UTC", now))
            elif now - due > GRACE:
                self.due[key] = (known, cron.after(expression, zone or "UTC", max(due, now - GRACE)))
                if not deployments.planned(client, deployment.name, due):
                    why = (
                        "it was paused in Prefect"
                        if deployment.paused or not schedule.active
                        else "see .prefect/logs/prefect.log"
                    )
                    return f"no run was scheduled for {due:%Y-%m-%d %H:%M} UTC, and none ran: {why}"
        return ""

    def _not_started(self, client: "SyncPrefectClient", deployment: "DeploymentResponse", now: datetime) -> str:
        """Say that a run is due and does not start, if it is so."""
        late = deployments.overdue(client, deployment.name)
        if not late or deployments.under_way(client, deployment.name):
            self.late.pop(deployment.name, None)
            return ""
        since, due = self.late.setdefault(deployment.name, (now, late[-1].expected_start_time or now))
        if now - since < GRACE:
            return ""
        why = deployments.not_started(client, deployment)
        return f"the run that was due at {due:%Y-%m-%d %H:%M} UTC has not started: {why}"


def _notify(model: str, text: str) -> None:
    """Send a notification, by the settings of the model; by the root's, where it is none's."""
    known = model in (*models.names(), *models.examples())
    folder = models.find(model if known else "").folder
    notify.tell("missed", model or models.root_name(), text, settings_of=folder / "params.yaml")
