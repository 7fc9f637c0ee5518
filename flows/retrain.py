"""The scheduled run: data -> stages -> DVC experiment -> registry."""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from components.files import read_json
from flows import experiment, server, stages, summary
from flows.process import Children
from flows.stages import Outcome, TaskError

REGISTERED = Path("build/register.json")
REGISTER = ["-m", "components", "register", "--build", "build", "--data", "data", "--out", str(REGISTERED)]


@flow(name="retrain")
def retrain(force: bool = False) -> list[Outcome]:
    """Bring data and stages up to date, save the result as a DVC experiment, register the model.

    Works in the checkout of the current folder; a second run in it waits for the first. With `force` every
    stage runs, changed or not. Returns what became of each task. Raises TaskError, with what they said,
    where some failed.
    """
    import logging

    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    repo = Repo()
    with _alone(Path(repo.tmp_dir, "slipway.lock")), Children() as children:
        outcomes = stages.run(repo, children, force=force)
        registered: dict[str, Any] = {}
        if not any(outcome.state in ("failed", "not run") for outcome in outcomes):
            name = experiment.save(repo)
            outcomes += stages.outcomes({"register": stages.submit("register", _register(name, children))})
            registered = {} if outcomes[-1].error else read_json(REGISTERED)
    parts = summary.blocks(outcomes, registered, server.served())
    create_markdown_artifact(summary.markdown(parts), key="retrain", description="what this run did")
    print(f"\n{summary.text(parts)}", flush=True)
    if errors := [outcome.error for outcome in outcomes if outcome.error]:
        raise TaskError("\n".join(errors))
    return outcomes


def _register(experiment_name: str, children: Children) -> Callable[[], Outcome]:
    """Return the body of the task that registers the model of build/."""

    def body() -> Outcome:
        started = time.perf_counter()
        stages.child("register", [sys.executable, *REGISTER], children, {"DVC_EXP_NAME": experiment_name})
        state = "ran" if read_json(REGISTERED)["changed"] else "unchanged"
        return Outcome("register", state, time.perf_counter() - started)

    return body


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold this checkout's lock for the block; first wait for the run that holds it, and say which it is."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            message = f"another run works in this checkout ({holder}); this one waits until it has ended"
            get_run_logger().info(message)
            print(message, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


if __name__ == "__main__":
    from flows.__main__ import main

    sys.exit(main(["retrain", *sys.argv[1:]]))
