"""What a worker starts for a run: python -m flows.machinery.engine.

Prefect's own engine, with what it and the flow print in a log (the worker's pipe would break with the worker, and the
run with it), and with an eye on the worker: a run ends when that has ended, whatever it does at that moment.
"""

import os
import runpy
import sys

from components import masking, surroundings
from flows.machinery import logs, runs, stages

NAME = "runs"  # of the log


def main() -> None:
    """Run the flow run that the environment names."""
    runs.end_with_parent()
    surroundings.settle()
    masking.tracebacks()
    if logs.path(NAME).exists() and logs.path(NAME).stat().st_size > logs.MAX_BYTES:
        logs.handler(NAME).doRollover()
    logs.FOLDER.mkdir(parents=True, exist_ok=True)
    with logs.path(NAME).open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    os.environ[stages.LOGGED] = "1"
    sys.argv = ["prefect.engine"]
    runpy.run_module("prefect.engine", run_name="__main__")


if __name__ == "__main__":
    main()
