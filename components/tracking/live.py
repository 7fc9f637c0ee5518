"""Live metrics of a training, sent to MLflow from a thread of its own."""

import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import temporary
from components.tracking.connection import cause

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

PAUSE_SECONDS = 1.0  # seconds between batches of metrics
RETRY_SECONDS = 5.0  # seconds after a failure


def grouped(name: str) -> str:
    """Return a training's metric with the group that MLflow draws together: val_loss is validation/loss."""
    if "/" in name:
        return name
    for prefix, group in (("val_", "validation"), ("step_", "train/steps")):
        if name.startswith(prefix):
            return f"{group}/{name.removeprefix(prefix)}"
    return f"train/{name}"


class Training:
    """A run that is under way: metrics go out from a thread of its own, and wait while MLflow is away."""

    def __init__(self, client: "MlflowClient", run: "Run", place: str) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor: Any = SystemMetricsMonitor  # untyped
        self.run_id: str = run.info.run_id
        self.model_digest = ""
        self.problem = ""
        self._client, self._place = client, place
        # A training that resumes repeats the steps since its checkpoint; those are there already.
        self._last = {
            key: max(metric.step for metric in self._client.get_metric_history(self.run_id, key))
            for key in run.data.metrics
        }
        self._waiting: deque[Metric] = deque()
        self._figures: deque[tuple[str, bytes]] = deque()
        self._monitor: Any = monitor(self.run_id, tracking_uri=client.tracking_uri)
        self._samples = 1 + max((s for k, s in self._last.items() if k.startswith("system/")), default=-1)
        self._started = self._sampled = time.monotonic()
        self._retry = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="tracking")
        self._thread.start()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Queue metrics of a step and return at once."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for key, value in ((grouped(name), value) for name, value in metrics.items()):
            if step > self._last.get(key, -1):
                self._waiting.append(Metric(key, float(value), now, step))

    def figure(self, name: str, content: bytes) -> None:
        """Queue a file for the run's artefacts, under `figures`, and return at once."""
        self._figures.append((name, content))

    def done(self, model_digest: str) -> None:
        """Name the model that came out, by its digest."""
        self.model_digest = model_digest

    def _work(self) -> None:
        self._monitor.collect_metrics()  # a thread's first reading of the processor's load is always 0
        self._forget()
        while not self._stop.wait(PAUSE_SECONDS):
            # often in a short training, seldom in a long one; at most once in 30 seconds
            if time.monotonic() - self._sampled >= min(2 + (self._sampled - self._started) / 100, 30):
                self._sample()
            if time.monotonic() >= self._retry:
                self._send()
        self._sample()

    def _sample(self) -> None:
        self._sampled = time.monotonic()
        self._monitor.collect_metrics()
        self.log({f"system/{k}": v for k, v in self._monitor.aggregate_metrics().items()}, self._samples)
        self._samples += 1
        self._forget()

    def _forget(self) -> None:
        for part in self._monitor.monitors:
            part.clear_metrics()

    def _send(self) -> bool:
        """Send what waits; False where MLflow does not take it now."""
        while self._waiting:
            batch = [self._waiting[at] for at in range(min(1000, len(self._waiting)))]
            try:
                self._client.log_batch(self.run_id, metrics=batch)
            except Exception as error:  # noqa: BLE001 - no trouble with MLflow may stop a training
                self.problem = cause(error)
                self._retry = time.monotonic() + RETRY_SECONDS
                return False
            for _ in batch:
                self._waiting.popleft()
        while self._figures:
            name, content = self._figures[0]
            try:
                with temporary.folder() as folder:
                    Path(folder, name).write_bytes(content)
                    self._client.log_artifact(self.run_id, str(Path(folder, name)), "figures")
            except Exception as error:  # noqa: BLE001 - as above
                self.problem = cause(error)
                self._retry = time.monotonic() + RETRY_SECONDS
                return False
            self._figures.popleft()
        return True

    def close(self, status: str, patience: float) -> None:
        """Send the rest and end the run; after `patience` seconds without success, warn and leave it."""
        until = time.monotonic() + patience
        self._stop.set()
        self._thread.join(patience)
        while not self._thread.is_alive():
            if self._send() and self._finish(status):
                return
            if time.monotonic() > until:
                break
            time.sleep(0.5)
        print(
            f"warning: lost the connection to MLflow at {self._place} ({self.problem}); the training is not affected, "
            "and `slipway run` will complete its MLflow run",
            file=sys.stderr,
        )

    def _finish(self, status: str) -> bool:
        try:
            if self.model_digest and status == "FINISHED":
                self._client.set_tag(self.run_id, "slipway.model", self.model_digest)
            self._client.set_terminated(self.run_id, status)
        except Exception as error:  # noqa: BLE001 - as in _send
            self.problem = cause(error)
            return False
        return True
