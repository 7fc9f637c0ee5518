"""What a worker starts for a run: python -m flows.machinery.engine.

Prefect's own engine, with what it and the flow print in a log (the worker's pipe would break with the worker, and the
run with it), and with an eye on the worker: a run ends when that has ended, whatever it does at that moment.
"""

import logging
import os
import runpy
import sys
from typing import Any

from components import SlipwayError, masking, surroundings
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
    logging.setLogRecordFactory(_plain)
    sys.argv = ["prefect.engine"]
    try:
        runpy.run_module("prefect.engine", run_name="__main__")
    except KeyboardInterrupt:  # which Prefect has told
        sys.exit(130)


def _plain(*arguments: Any, **options: Any) -> logging.LogRecord:
    """Make a record of the log: what says all that is to be said needs no traceback, which hides it."""
    record = logging.LogRecord(*arguments, **options)
    if record.exc_info and isinstance(record.exc_info[1], SlipwayError | KeyboardInterrupt):
        record.exc_info = None
    return record


if __name__ == "__main__":
    main()
