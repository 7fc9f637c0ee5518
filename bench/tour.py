"""Make the pictures of docs/tour.md: `make bench BENCH=tour`, or `python -m bench.tour FOLDER` for another place.

In a clone of its own: runs of the digits that come with the project, then the pages of `slipway ui`, photographed by
chromium (or google-chrome), which has to be on the PATH. Takes about five minutes.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1400, 1000  # of the window
SHOWN_WIDTH, COLORS = 1000, 128  # of a picture
MAX_BYTES = 80_000
START_SECONDS, PAGE_SECONDS, SETTLE_SECONDS = 120.0, 60.0, 4.0
# MLflow's assistant opens by itself in a browser that has never been there, and takes a quarter of the window.
QUIET = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
CHANGES = (  # of params.yaml, before the second and the third run: one model is refused, the other promoted
    {"model: cnn": "model: mlp", "epochs: 20": "epochs: 2", "[network, classical]": "[network]"},
    {"model: mlp": "model: cnn", "epochs: 2\n": "epochs: 40\n", "dropout: 0.2": "dropout: 0.4"},
)


@dataclass(frozen=True)
class Picture:
    """A page: its address, a text that it shows once it is there, how far it is scrolled, what is typed as a search."""

    name: str
    address: str
    text: str
    scroll: int = 0  # pixels
    search: str = ""


def main(folder: Path) -> int:
    """Make all pictures in a folder; return 0. The runs' last lines go to standard output, for the page's text."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"error: none of {', '.join(BROWSERS)} is on the PATH; install one of them", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        clone = Path(work, "digits")
        prepare(clone)
        with served(clone) as addresses, photographer(browser, Path(work, "browser")) as page:
            for picture in pictures(clone, addresses):
                content = small(page.taken(picture))
                (folder / f"{picture.name}.png").write_bytes(content)
                over = f", more than {MAX_BYTES:,}" if len(content) > MAX_BYTES else ""
                print(f"{folder / picture.name}.png: {len(content):,} bytes{over}", flush=True)
    return 0


def prepare(clone: Path) -> None:
    """Clone the project as it is committed, and make three runs of the digits."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    subprocess.run(["dvc", "pull", "-q", "data.dvc"], cwd=clone, check=True)
    settings = clone / "params.yaml"
    for change in ({}, *CHANGES):
        text = settings.read_text(encoding="utf-8")
        for before, after in change.items():
            text = text.replace(before, after)
        settings.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "slipway", "run"]
        done = subprocess.run(command, check=False, cwd=clone, capture_output=True, text=True)
        print(done.stdout[done.stdout.rfind("\ntask ") :], flush=True)
        if done.returncode not in (0, 3):  # 3: not promoted
            raise SystemExit(f"error: slipway run ended with {done.returncode}: {done.stderr}")


@contextmanager
def served(clone: Path) -> Iterator[dict[str, str]]:
    """Serve the pages as `slipway ui` does; yield their addresses."""
    command = [sys.executable, "-m", "slipway", "ui"]
    process = subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found: dict[str, str] = {}
        for line in process.stdout:
            if named := re.match(r"(mlflow|prefect|report) +(http\S+?)(/#\S*)?$", line.strip()):
                found[named[1]] = named[2]
            if line.startswith("Ctrl-C"):
                break
        if len(found) < 3:
            raise SystemExit("error: `slipway ui` did not start")
        yield found
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def pictures(clone: Path, addresses: dict[str, str]) -> list[Picture]:
    """List the pages: of the last run and its version, which is the champion."""
    registered = json.loads((clone / "build/register.json").read_text(encoding="utf-8"))
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{addresses['prefect']}/api/flow_runs/filter",
            json.dumps({"sort": "START_TIME_DESC"}).encode(),
            {"Content-Type": "application/json"},
        )
    ) as answer:
        flow_run = json.load(answer)[0]
    mlflow, mode = f"{addresses['mlflow']}/#", "?workflowType=machine_learning"
    run = f"{mlflow}/experiments/1/runs/{registered['run_id']}"
    runs = f"{mlflow}/experiments/1/runs{mode}"
    model = f"{mlflow}/models/{registered['name']}"
    return [
        Picture("runs", runs, "first run"),
        Picture("run", f"{run}{mode}", "decision"),
        Picture("curves", f"{runs}&compareRunsMode=CHART", "first run", search="(train|validation)/(loss|accuracy)"),
        Picture("versions", f"{model}{mode}", "Version 3", scroll=520),
        Picture("version", f"{model}/versions/{registered['version']}{mode}", "Result on the test split"),
        Picture("prefect", f"{addresses['prefect']}/runs", flow_run["name"], scroll=330),
        Picture("prefect-run", f"{addresses['prefect']}/runs/flow-run/{flow_run['id']}", "Beginning flow run"),
        Picture("data", addresses["report"], "Expectations"),
    ]


class Page:
    """A page of a browser that is driven by Chrome's DevTools protocol."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._number = connection, 0
        self._ask("Page.enable")
        self._ask("Page.addScriptToEvaluateOnNewDocument", source=QUIET)

    def _ask(self, method: str, **words: Any) -> dict[str, Any]:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": words}))
        while True:
            answer = json.loads(self._connection.recv(timeout=PAGE_SECONDS))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def _told(self, expression: str) -> Any:
        return self._ask("Runtime.evaluate", expression=expression).get("result", {}).get("value")

    def taken(self, picture: Picture) -> bytes:
        """Return a picture of a page as PNG, once it shows its text and has settled."""
        self._ask("Page.navigate", url="about:blank")  # two addresses of one page, else, are no navigation
        self._ask("Page.navigate", url=picture.address)
        until = time.monotonic() + PAGE_SECONDS
        while picture.text not in str(self._told("document.body.innerText")):
            if time.monotonic() > until:
                raise SystemExit(f"error: {picture.address} does not show {picture.text!r}")
            time.sleep(0.5)
        time.sleep(SETTLE_SECONDS)
        if picture.search:
            self._told("document.querySelector('input[placeholder*=\"metric charts\"]').focus()")
            self._ask("Input.insertText", text=picture.search)
            time.sleep(2 * SETTLE_SECONDS)
        if picture.scroll:  # the window, or the one part of the page that scrolls
            self._told(
                "[document.scrollingElement, ...document.querySelectorAll('*')]"
                ".filter(e => e.scrollHeight > e.clientHeight + 50 && e.clientHeight > 400)"
                f".forEach(e => e.scrollTop = {picture.scroll})"
            )
            time.sleep(2 * SETTLE_SECONDS)
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def photographer(browser: str, folder: Path) -> Iterator[Page]:
    """Start a browser without a window; yield its page."""
    from websockets.sync.client import connect

    options = ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", "--no-first-run")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    command = [browser, *options, *root, f"--user-data-dir={folder}", f"--window-size={WIDTH},{HEIGHT}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = folder / "DevToolsActivePort", time.monotonic() + START_SECONDS
        while not port.exists() or not port.read_text():
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"error: {browser} did not start")
            time.sleep(0.2)
        number = port.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json/list") as answer:
            targets: Sequence[dict[str, str]] = json.load(answer)
        address = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        with connect(address, max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def small(content: bytes) -> bytes:
    """Return a picture that is made SHOWN_WIDTH wide, with a palette of COLORS."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    size = (SHOWN_WIDTH, round(image.height * SHOWN_WIDTH / image.width))
    out = io.BytesIO()
    image = image.resize(size, Image.Resampling.LANCZOS)
    shown = image.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # keeps a chart's few colours
    shown.save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "tour"))
