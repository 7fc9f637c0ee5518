"""A stage's tracking in a process of its own, which imports MLflow and talks to it while the stage works.

MLflow's import takes as long as that of Keras, and its calls and threads would hold up the steps of a training. Where
MLflow is loaded already, as in a notebook, nothing is started. The process ends with the stage, however that ends.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from components import SlipwayError, temporary
from components.params import Params

PATIENCE_SECONDS = 10.0  # that a finished training waits for a lost server
END_SECONDS = 5.0  # that the process gets to end, when all is done


class Live(Protocol):
    """What a training tells of itself while it runs; nothing of it takes time or fails."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Queue metrics of a step."""

    def figure(self, name: str, content: bytes) -> None:
        """Queue a file for the run's artefacts, under `figures`."""

    def done(self, model_digest: str) -> None:
        """Name the model that came out, by its digest."""

    def close(self, status: str, patience: float) -> None:
        """Send the rest and end the run; after `patience` seconds without success, warn and leave it."""


LiveTraining = TypeVar("LiveTraining", bound=Live)


class Tracking(Protocol):
    """What a stage asks of MLflow."""

    def training(
        self, params: Params, key: str, manifest: dict[str, Any], device: dict[str, Any]
    ) -> AbstractContextManager[Live]:
        """Track a training: see runs.training."""

    def evaluated(self, params: Params, model_digest: str, build: Path, cost: dict[str, Any]) -> None:
        """Add an evaluation to the run that made the model: see runs.evaluated."""


@contextmanager
def opened(*, draws: bool = False) -> Iterator[Tracking]:
    """Yield what a stage tracks with. Whether MLflow answers is looked at now, and told when it is asked.

    `draws` says that figures will be drawn: then what draws them is loaded now, too.
    """
    if _loaded():
        from components.tracking import runs

        yield runs
        return
    ours, theirs = get_context("spawn").Pipe()
    # daemon: it ends with this process, which a stage that is interrupted must not wait for
    process = get_context("spawn").Process(target=_work, args=(theirs, draws), daemon=True, name="tracking")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the stage, which then says what to do
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    try:
        yield Apart(ours)
    finally:
        ours.close()
        process.join(END_SECONDS)
        process.kill()  # does nothing where it has ended
        process.join()


@contextmanager
def closed(live: LiveTraining) -> Iterator[LiveTraining]:
    """End the run of a training as the training ends."""
    try:
        yield live
    except KeyboardInterrupt:
        live.close("KILLED", 2)
        raise
    except BaseException:
        live.close("FAILED", 2)
        raise
    live.close("FINISHED", PATIENCE_SECONDS)


def _loaded() -> bool:
    return "mlflow" in sys.modules


def draw(tracking: Tracking, build: Path, evaluation: Path) -> None:
    """Let the other process draw the figures of an evaluation that is still being written; see figures.drawn.

    Where there is none this does nothing: no time could be won, and `evaluated` draws.
    """
    if isinstance(tracking, Apart):
        tracking.draw(build, evaluation)


class Apart:
    """Tracking by the other process; also the training that it tracks."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._lost = False

    @contextmanager
    def training(self, params: Params, key: str, manifest: dict[str, Any], device: dict[str, Any]) -> Iterator["Apart"]:
        """Track a training: see runs.training, whose errors this raises."""
        self._ask("training", params, key, manifest, device, temporary.owner())
        with closed(self):
            yield self

    def evaluated(self, params: Params, model_digest: str, build: Path, cost: dict[str, Any]) -> None:
        """Add an evaluation to the run that made the model: see runs.evaluated."""
        try:
            self._ask("evaluated", params, model_digest, build, cost)
        except SlipwayError as error:
            print(f"warning: {error}\n  `slipway run` will complete the MLflow run", file=sys.stderr)

    def draw(self, build: Path, evaluation: Path) -> None:
        """Let the figures of an evaluation be drawn and return at once."""
        self._tell("draw", build, evaluation)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Queue metrics of a step and return at once."""
        self._tell("log", metrics, step)

    def figure(self, name: str, content: bytes) -> None:
        """Queue a file for the run's artefacts, under `figures`, and return at once."""
        self._tell("figure", name, content)

    def done(self, model_digest: str) -> None:
        """Name the model that came out, by its digest."""
        self._tell("done", model_digest)

    def close(self, status: str, patience: float) -> None:
        """Send the rest and end the run; after `patience` seconds without success, warn and leave it."""
        with suppress(SlipwayError):
            self._ask("close", status, patience)
        if self._lost:
            print(
                "warning: the process that tracks this training in MLflow was killed; the training is not affected, "
                "and `slipway run` will complete its MLflow run",
                file=sys.stderr,
            )

    def _tell(self, *message: object) -> None:
        try:
            self._channel.send(message)
        except OSError:
            self._lost = True

    def _ask(self, *message: object) -> None:
        """Send a message and wait until it is done; raises what the other process did."""
        self._tell(*message)
        try:
            failed = self._channel.recv()
        except (EOFError, OSError):
            self._lost = True
            raise SlipwayError("the process that talks to MLflow was killed: is there enough memory?") from None
        if failed is not None:
            raise failed


def _work(channel: Connection, draws: bool) -> None:
    """Do what is asked, the body of the other process, until the stage is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends with the stage, which has something to say before
        signal.signal(number, signal.SIG_IGN)
    from components.tracking import runs

    with suppress(SlipwayError):  # said again when something is asked
        runs.check()
    if draws:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401

        from components.reports import figures, page  # noqa: F401
    tracked: Any = None
    room = ExitStack()
    drawn: Path | None = None

    def training(*given: Any) -> None:
        nonlocal tracked
        tracked = runs.begun(*given)

    def evaluated(params: Params, model_digest: str, build: Path, cost: dict[str, Any]) -> None:
        runs.evaluated(params, model_digest, build, cost, drawn)

    asked: dict[str, Callable[..., None]] = {"training": training, "evaluated": evaluated}
    while True:
        try:
            name, *given = channel.recv()
        except (EOFError, OSError):  # the stage has ended, or was killed
            break
        if name == "draw":
            with suppress(Exception):  # it is tried once more with `evaluated`, and told
                from components.reports import figures

                drawn = room.enter_context(figures.drawn(*given))
            continue
        if name in ("log", "figure", "done"):
            getattr(tracked, name)(*given)
            continue
        failed: Exception | None = None
        try:
            do = asked[name] if name in asked else tracked.close  # noqa: SIM401 - there may be none to close
            do(*given)
        except Exception as error:  # noqa: BLE001 - the stage raises it
            failed = error
        with suppress(OSError):
            channel.send(_sendable(failed))
    room.close()
    sys.stderr.flush()
    os._exit(0)  # at once: all is sent, and MLflow's threads have nothing to say


def _sendable(failed: Exception | None) -> Exception | None:
    """Return an error as the other process can raise it, with where it came from."""
    if failed is None or isinstance(failed, SlipwayError):
        return failed
    where = "".join(traceback.format_exception(failed))
    try:
        failed = pickle.loads(pickle.dumps(failed))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - errors of libraries need not be made for it
        failed = RuntimeError(f"{type(failed).__name__}: {failed}")
    failed.add_note(f"in the process that talks to MLflow:\n{where}")
    return failed
