"""MLflow, Prefect and the data report in the browser, on loopback, until Ctrl-C."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from components import SlipwayError, params
from components.reports import page
from components.tracking import connection, runs
from flows.machinery import logs, models, server, workspace
from flows.machinery.process import Children, Running, guarded

REPORT = Path("build/validation/report.html")
MISTAKES = "mistakes"
PORTS = {"mlflow": 5000, "prefect": 4200, "report": 8010}  # the next free one, where one is taken
HEALTH = {"mlflow": "/health", "prefect": "/api/health", "report": "/"}
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight idle processes, for language models
START_SECONDS = 120.0
LAST_LINES = 15


def main() -> int:
    """Serve all three and say where; return 0 when Ctrl-C or SIGTERM ends it.

    What the environment says is served elsewhere (MLFLOW_TRACKING_URI, PREFECT_API_URL) is named, not
    started. Raises SlipwayError, with its last lines, where one of the servers ends by itself.
    """
    if served := server.served():
        print(f"already running:\n{_lines(served)}")
        return 0
    others = server.shared()
    ports = {}
    for name, port in PORTS.items():
        if name not in others:
            ports[name] = server.free_port(port)
            if ports[name] != port:
                print(f"{name}: port {port} is taken, using {ports[name]}", flush=True)
    addresses = {name: others.get(name) or f"http://127.0.0.1:{ports[name]}" for name in PORTS}
    try:
        with report(ports["report"]), Children() as children:
            make_store(ports)
            _serve(children, commands(ports), addresses)
    except (KeyboardInterrupt, SystemExit):
        print("ended", flush=True)
    finally:
        server.UI_FILE.unlink(missing_ok=True)
    return 0


def commands(ports: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the command of each server that has a port here, for as long as this process lives."""
    mlflow = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(ports.get("mlflow")), "--workers", "1"]
    commands = {
        "mlflow": guarded("-m", *mlflow),
        "prefect": server.command(ports.get("prefect", 0)),
    }
    return {name: command for name, command in commands.items() if name in ports}


def make_store(ports: Mapping[str, int]) -> None:
    """Make MLflow's database where its server is to serve one of ours that is not there: killed, it would leave half.

    In a process of its own, for MLflow is large and this one stays.
    """
    if "mlflow" in ports and connection.uri() == connection.default() and not Path(connection.FILE).exists():
        code = "from components.tracking import connection; connection.client()"
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)  # the server says what is wrong


def _serve(children: Children, commands: Mapping[str, list[str]], addresses: Mapping[str, str]) -> None:
    """Start the servers, say where they are once all answer, and stay until one ends."""
    last = {name: deque[str](maxlen=LAST_LINES) for name in commands}
    environment = ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": runs.uri()}  # everybody on this machine sees the commands
    running = {name: children.start(command, environment) for name, command in commands.items()}
    for name, process in running.items():
        threading.Thread(target=_follow, args=(children, name, process, last[name]), daemon=True).start()
    waiting, until = set(commands), time.monotonic() + START_SECONDS
    while all(process.poll() is None for process in running.values()):
        if waiting:
            waiting = {name for name in waiting if not server.answers(f"{addresses[name]}{HEALTH[name]}")}
            if not waiting:
                server.announce(addresses, server.shared())
                print(f"{_lines(addresses)}\nlogs: {logs.FOLDER}/\nCtrl-C stops them.", flush=True)
                threading.Thread(target=_bury, args=(addresses["prefect"],), daemon=True).start()
            elif time.monotonic() > until:
                raise SlipwayError(f"no response within {START_SECONDS:.0f} s from {', '.join(waiting)}")
        time.sleep(0.2)
    name = next(name for name, process in running.items() if process.poll() is not None)
    time.sleep(0.5)  # for its last lines
    code = running[name].returncode
    how = f"killed by signal {-code}" if code < 0 else f"with code {code}"
    raise SlipwayError("\n".join((f"{name} stopped unexpectedly, {how}; its last lines:", *last[name])))


def _bury(address: str) -> None:
    """Mark runs that died as such; what Prefect's server has against it is told by the next run."""
    os.environ.setdefault("PREFECT_API_URL", f"{address}/api")
    from flows.machinery import runs as flow_runs

    with contextlib.suppress(Exception):
        flow_runs.bury()


def _follow(children: Children, name: str, process: Running, last: deque[str]) -> None:
    tell = logs.teller(name)

    def line(text: str) -> None:
        last.append(text)
        tell(text, quiet=children.ended)  # what it says while it is stopped concerns nobody

    children.follow(process, line)


def _lines(addresses: Mapping[str, str]) -> str:
    width = max(map(len, addresses))
    shown = {**addresses, "mlflow": connection.page(addresses["mlflow"], "experiments")}
    if "report" in shown:
        shown["mistakes"], width = f"{shown['report']}/{MISTAKES}", max(width, len(MISTAKES))
    lines = [f"{name.ljust(width)}  {address}" for name, address in shown.items()]
    return "\n".join([*lines, f"export PREFECT_API_URL={addresses['prefect']}/api  # for other terminals"])


@contextmanager
def report(port: int) -> Iterator[None]:
    """Serve the data report and the page of the model's mistakes, and nothing else, in a thread."""
    with ThreadingHTTPServer(("127.0.0.1", port), _Report) as report:
        threading.Thread(target=report.serve_forever, daemon=True).start()
        yield
        report.shutdown()


class _Report(BaseHTTPRequestHandler):
    """Answers `/` with the report of the root's last validation, `/mistakes` with what its model gets wrong.

    `/NAME` and `/NAME/mistakes` are those of another model.
    """

    def do_GET(self) -> None:
        """Send the page; say what to do where there is none."""
        name, wanted = self.path.split("?")[0].strip("/"), "report"
        if name == MISTAKES or name.endswith(f"/{MISTAKES}"):
            name, wanted = name.removesuffix(MISTAKES).rstrip("/"), MISTAKES
        name = "" if name == "report.html" else name
        if name and not (models.PATTERN.fullmatch(name) and (workspace.WORKSPACES / name).is_dir()):
            self.send_error(404)
            return
        place = workspace.WORKSPACES / name if name else Path()
        how = f"slipway run {name}" if name else "make run"
        try:
            text, status, kind = _page(place, wanted), 200, "html"
        except FileNotFoundError:
            text, status, kind = (
                f"Nothing has been {'measured' if wanted == MISTAKES else 'validated'} here: {how}",
                404,
                "plain",
            )
        except SlipwayError as error:  # settings that cannot be read
            text, status, kind = str(error), 500, "plain"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline' data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""


def _page(place: Path, wanted: str) -> str:
    """Return a page of what lies in a folder; FileNotFoundError where it was not made."""
    if wanted != MISTAKES:
        return (place / REPORT).read_text(encoding="utf-8")
    if not (place / "build/evaluation/metrics.json").exists():
        raise FileNotFoundError("nothing was measured")
    return page.html(params.load(place / "params.yaml"), place / "build")
