"""What servers say: all of it in .prefect/logs/NAME.log, warnings and errors on the terminal too."""

import logging
import re
import sys
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

from components.tracking import connection

FOLDER = Path(".prefect/logs")
MAX_BYTES = 10_000_000  # of a file; three older ones are kept
# A level after nothing but a time and marks: "20:53:05.1 | ERROR | ...", "2026/11/27 20:53:05 WARNING ...", "INFO: ..."
LEVEL_PATTERN = re.compile(r"[\d\s:./,+TZ|\[\]-]*(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
# A worker's sign of life that a busy database did not take, or a look for it: the next one comes in seconds.
UNIMPORTANT = re.compile("Worker channel heartbeat persistence failed|monitor_worker_health")


def path(name: str) -> Path:
    """Return the file that holds all that a server says."""
    return FOLDER / f"{name}.log"


def handler(name: str) -> RotatingFileHandler:
    """Open the log file of a server for appending; it never grows beyond MAX_BYTES."""
    file = connection.root() / path(name)  # of the project, also in a workspace
    file.parent.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(file, maxBytes=MAX_BYTES, backupCount=3, encoding="utf-8")


def loud() -> Callable[[str], bool]:
    """Return what tells, of one line of output after the other, whether a person should see it.

    True for a line of WARNING and above, and for what ended a traceback; the lines between are in the file.
    """
    traceback = unimportant = False

    def decide(line: str) -> bool:
        nonlocal traceback, unimportant
        if found := LEVEL_PATTERN.match(line):
            traceback, unimportant = False, bool(UNIMPORTANT.search(line))
            return not unimportant and found[1] in ("WARNING", "ERROR", "CRITICAL")
        if unimportant:
            return False
        if "Traceback (most recent call last)" in line:
            traceback = True
        elif traceback and line.strip() and not line[0].isspace() and not line.startswith(("|", "+")):
            traceback = False  # the exception itself; what follows may be another one, raised while handling it
            return True
        return False

    return decide


class Tell(Protocol):
    """Takes a server's lines as they come."""

    def __call__(self, line: str, *, quiet: bool = False) -> None:
        """Keep a line, and print it if it is loud and not to be quiet."""


def teller(name: str) -> Tell:
    """Return what keeps all that a server says in its log and prints the loud lines."""
    file = handler(name)
    shown = loud()

    def tell(line: str, *, quiet: bool = False) -> None:
        file.emit(logging.LogRecord(name, logging.INFO, "", 0, line, None, None))
        if shown(line) and not quiet:
            print(f"{name}: {line.strip()}  (more in {path(name)})", file=sys.stderr, flush=True)

    return tell
