"""What `slipway up` runs in this project: a file that names its process, its servers' addresses and ports."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from components import temporary
from components.files import write_json
from components.tracking import connection
from flows.machinery import server

FILE = Path(".prefect/up.json")
# Variables for what `slipway up` starts, NAME=VALUE a line: secrets, addresses. After a reboot none is set.
ENVIRONMENT = Path(".prefect/environment")


def read() -> dict[str, Any]:
    """Return what was written last; the ports stay when nothing runs any more."""
    try:
        found = json.loads((connection.root() / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(content: dict[str, Any]) -> None:
    """Replace what is written."""
    FILE.parent.mkdir(exist_ok=True)
    write_json(FILE, content)


def running() -> dict[str, Any]:
    """Return what is written where the process that wrote it lives; empty after its end, a kill -9 or a reboot."""
    found = read()
    owner = str(found.get("owner", ""))
    return found if owner and not temporary.is_dead(owner, touched=0.0) else {}  # of another machine: none of ours


def is_ending() -> bool:
    """Return whether `slipway up` is being ended, by `slipway down` or a signal."""
    return bool(running().get("ending"))


def pid(content: dict[str, Any]) -> int:
    """Return the process id of `slipway up`."""
    return int(str(content["owner"]).partition("-")[0])


def terminate(content: dict[str, Any]) -> None:
    """Ask `slipway up` to end."""
    os.kill(pid(content), signal.SIGTERM)


def load_environment() -> None:
    """Set the variables of the environment file that are not set."""
    try:
        lines = ENVIRONMENT.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not key.startswith("#"):
            os.environ.setdefault(key.strip(), value.strip().strip("\"'"))


def use(content: dict[str, Any]) -> None:
    """Let Prefect's client of this process use the server of `slipway up`."""
    load_environment()
    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "5"  # a server that is started again, or busy
    server.use(content["addresses"]["prefect"] if "prefect" in content["ports"] else "")
