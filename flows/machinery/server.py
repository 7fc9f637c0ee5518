"""Which Prefect server a flow reports to: the configured one, that of `make ui`, or a temporary one."""

import atexit
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener
from uuid import UUID

from components import SlipwayError, locks
from components.files import write_json
from components.masking import address, mask
from components.tracking import connection
from flows.machinery import logs
from flows.machinery.process import Running, guarded

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# What `slipway ui` or `slipway up` serves, while it does: {"prefect": address, ..., "shared": those that others serve}.
UI_FILE = Path(".prefect/ui.json")
TEMPORARY = "SLIPWAY_TEMPORARY_SERVER"  # for what we start: the address of a server that has no pages, and ends with us
STARTUP_SECONDS = 180.0
STARTING = "another run is starting Prefect's temporary server ({holder}); waiting until it answers"
_temporary: list[Running] = []  # the server of this process


class LostError(SlipwayError):
    """The server was there, and then no longer."""


def command(port: int, *options: str) -> list[str]:
    """Return the command that starts Prefect's server on loopback, for as long as this process lives."""
    options = ("--host", "127.0.0.1", "--port", str(port), *options)
    return guarded("-m", "prefect", "server", "start", *options)


def free_port(port: int = 0) -> int:
    """Return the first free port from `port` up; any free one for 0."""
    for candidate in range(port, 65536) if port else (0,):
        with socket.socket() as test:
            test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just closed is free
            try:
                test.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(test.getsockname()[1])
    raise SlipwayError(f"no free port found from {port} upwards")


def answers(url: str, seconds: float = 2.0) -> bool:
    """Return whether a server answers this address with success."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=seconds) as response:  # loopback: no proxy
            return bool(response.status < 400)
    except (URLError, OSError, ValueError):
        return False


def announce(addresses: Mapping[str, str], shared: Mapping[str, str]) -> None:
    """Write down what is served from now on, and which of it by others, so that runs find it."""
    write_json(UI_FILE, {**addresses, "shared": " ".join(shared)})


def _announced() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((connection.root() / UI_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def served() -> dict[str, str]:
    """Return the addresses of `slipway ui` or `up` at this moment, those of others too; empty where it does not run."""
    addresses = _announced()
    addresses.pop("shared", None)
    return addresses if answers(f"{addresses.get('prefect')}/api/health") else {}


def shared() -> dict[str, str]:
    """Return the addresses of what others serve, without credentials: they are shown, and kept in a file."""
    found = {}
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        found["mlflow"] = address(os.environ["MLFLOW_TRACKING_URI"]).removesuffix("/")
    if (url := os.environ.get("PREFECT_API_URL")) and not temporary() and url != os.environ.get(TEMPORARY):
        found["prefect"] = address(url).removesuffix("/").removesuffix("/api")
    return found


def configured() -> bool:
    """Return whether the user has said which server to use: by environment, .env, prefect.toml or a profile.

    Looks where Prefect does (prefect.settings.sources), without its import of a second. A profile without an address,
    as anybody has who ever called `prefect profile`, says nothing: Prefect would start a server of its own for it.
    """
    name = "PREFECT_API_URL"
    if os.environ.get(name) or _read_toml(connection.root() / "prefect.toml").get("api", {}).get("url"):
        return True
    with contextlib.suppress(OSError):
        lines = (connection.root() / ".env").read_text(encoding="utf-8", errors="replace").splitlines()
        if any(re.match(rf"\s*(export\s+)?{name}\s*=\s*[^\s#]", line) for line in lines):
            return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    found = _read_toml(Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml"))
    profile = os.environ.get("PREFECT_PROFILE") or found.get("active", "")
    return bool(found.get("profiles", {}).get(profile, {}).get(name))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def use(url: str = "") -> None:
    """Let Prefect's client of this process use the server at an address; without one, that of the environment.

    Prefect reads its settings once, when it is imported, which may have been before.
    """
    if url:
        os.environ["PREFECT_API_URL"] = f"{url}/api"
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def api() -> Callable[[], None]:
    """Choose the server, start a temporary one if none is there; return what waits until it answers.

    Best called before Prefect is imported: both then start at the same time. The temporary server has the
    same database as that of `make ui`, and ends with this process, after Prefect has sent it the last lines;
    what it says is in the log `server`. What is returned raises SlipwayError where the server does not answer.
    """
    if configured():
        return _check
    if url := served().get("prefect"):
        use(url)
        return _check
    starting = contextlib.ExitStack()  # two that make one database at once fail
    starting.enter_context(locks.alone(locks.place(connection.root(), "server"), STARTING))
    port = free_port()
    process = subprocess.Popen(
        command(port, "--no-ui"),
        cwd=connection.root(),  # where its settings and its database are, also in a workspace
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C must not end it before the run has been reported as ended
    )
    _temporary.append(process)
    threading.Thread(target=_follow, args=(process, logs.teller("server")), daemon=True).start()
    atexit.register(stop)
    use(f"http://127.0.0.1:{port}")
    os.environ[TEMPORARY] = os.environ["PREFECT_API_URL"]
    health = f"http://127.0.0.1:{port}/api/health"
    waiting = threading.Thread(target=_started, args=(process, health, starting), daemon=True)
    waiting.start()

    def ready() -> None:
        waiting.join(STARTUP_SECONDS)
        if not answers(health):
            raise SlipwayError(f"Prefect's temporary server did not start; see {logs.path('server')} for the reason")

    return ready


def _started(process: Running, health: str, starting: contextlib.ExitStack) -> None:
    """Wait until a server answers or has ended, then let the next one start."""
    with starting:
        while process.poll() is None and not answers(health):
            time.sleep(0.05)


def _follow(process: Running, line: logs.Tell) -> None:
    for text in process.stdout or ():
        line(mask(text.rstrip()), quiet=process not in _temporary)  # it is being stopped


def temporary() -> bool:
    """Return whether this process has started a server of its own."""
    return bool(_temporary)


def ours() -> bool:
    """Return whether the server is this checkout's own, temporary or the UI's: no other machine reports to it."""
    if "prefect" in _announced().get("shared", "").split():
        return temporary()
    return temporary() or os.environ.get("PREFECT_API_URL", "").removesuffix("/api") == served().get("prefect")


def client() -> "SyncPrefectClient":
    """Return a client of Prefect's server."""
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def is_cancelled(run: str) -> bool:
    """Return whether a flow run was cancelled in Prefect; no, where its server does not say."""
    with contextlib.suppress(Exception), client() as asked:
        state = asked.read_flow_run(UUID(run)).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())
    return False


def stop() -> None:
    """End the temporary server, if there is one."""
    while _temporary:
        process = _temporary.pop()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check() -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        return  # a profile without an address: Prefect starts a temporary server itself
    with get_client(sync_client=True, httpx_settings={"timeout": 5.0}) as client:
        if error := client.api_healthcheck():
            raise SlipwayError(
                f"Prefect's server at {mask(url)} does not respond ({type(error).__name__}: {mask(str(error))}); "
                "start it, or unset PREFECT_API_URL to use this project's own server"
            )
