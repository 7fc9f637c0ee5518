"""What the pipeline costs, beside the bare work: python -m bench.pipeline [--mnist FOLDER] [--runs N] [--epochs N].

Three ratios, each against a reference that runs alternately on the same machine: a fresh `dvc repro` on MNIST
against bench/seed.py (imports, load, fit), a no-op `dvc repro` against that of a pipeline of as many empty
stages, and a no-op `retrain` against a running Prefect server, in seconds. Medians; the JSON holds every run.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
PORT = "4297"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT.parent / "shared" / "datasets" / "mnist"
    parser.add_argument("--mnist", type=Path, default=default, help="folder of the four MNIST files")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "pipeline.json")
    options = parser.parse_args()
    if not options.mnist.is_dir():
        sys.exit(f"error: {options.mnist}: no such folder; give that of the four MNIST files: --mnist FOLDER")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        results = measure(Path(name), options.mnist, options.runs, options.epochs)
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "epochs": options.epochs, "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{'measure':<28}{'ours, s':>10}{'reference, s':>14}{'ratio':>8}{'aim':>8}")
    for row in results:
        ours, reference = statistics.median(row["ours"]), row["reference"] and statistics.median(row["reference"])
        ratio = f"{ours / reference:.2f}" if reference else "-"
        print(f"{row['name']:<28}{ours:>10.2f}{reference or 0:>14.2f}{ratio:>8}{row['aim']:>8}")
    print(f"\nmedians of {options.runs} runs; all of them: {options.out}")


def measure(room: Path, mnist: Path, runs: int, epochs: int) -> list[dict[str, Any]]:
    project, empty = room / "project", room / "empty"
    run(["git", "clone", "--quiet", str(ROOT), str(project)], room)
    ingest = [PYTHON, "-m", "components", "ingest", "mnist", "--from", str(mnist), "--replace"]
    run(["dvc", "pull", "--quiet", "data.dvc"], project)
    run(ingest, project)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 20", f"epochs: {epochs}"))
    stages = empty_pipeline(empty)

    def fresh() -> None:
        for folder in ("build", ".dvc/cache/runs", "mlartifacts"):
            shutil.rmtree(project / folder, ignore_errors=True)
        for path in (project / "dvc.lock", project / "mlflow.db"):
            path.unlink(missing_ok=True)

    seed = [PYTHON, str(ROOT / "bench" / "seed.py"), str(mnist), str(epochs)]
    results = [
        alternate(
            "fresh dvc repro on MNIST",
            "<= 1.5",
            runs,
            lambda: run(["dvc", "repro"], project),
            lambda: run(seed, project),
            fresh,
        ),
        alternate(
            f"no-op dvc repro, {stages} stages",
            "<= 1.2",
            max(5, runs),
            lambda: run(["dvc", "repro"], project),
            lambda: run(["dvc", "repro"], empty),
        ),
    ]
    with server(room) as address:
        retrain = [PYTHON, "-m", "flows", "retrain"]
        run(retrain, project, PREFECT_API_URL=address)  # registers what `dvc repro` made
        seconds = [timed(lambda: run(retrain, project, PREFECT_API_URL=address)) for _ in range(max(5, runs))]
    return [*results, {"name": "no-op retrain, with server", "aim": "<= 5 s", "ours": seconds, "reference": None}]


def empty_pipeline(folder: Path) -> int:
    """Make a pipeline of as many stages as ours, a file to a file each, and run it."""
    from ruamel.yaml import YAML

    stages = list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    folder.mkdir()
    (folder / "0").write_text("data")
    listed = {
        name: {"cmd": f"cp {number} {number + 1}", "deps": [f"{number}"], "outs": [f"{number + 1}"]}
        for number, name in enumerate(stages)
    }
    YAML().dump({"stages": listed}, folder / "dvc.yaml")
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "add", "--quiet", "0"],
        ["dvc", "repro"],
    ):
        run(command, folder)
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    return len(stages)


def alternate(
    name: str,
    aim: str,
    runs: int,
    ours: Callable[[], None],
    reference: Callable[[], None],
    before: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    times: dict[str, list[float]] = {"ours": [], "reference": []}
    for number in range(runs):
        before()
        times["reference"].append(timed(reference))
        times["ours"].append(timed(ours))
        print(
            f"{name}: run {number + 1} of {runs}: {times['ours'][-1]:.2f} s, reference {times['reference'][-1]:.2f} s",
            flush=True,
        )
    return {"name": name, "aim": aim, **times}


def timed(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return round(time.perf_counter() - started, 3)


def run(command: list[str], folder: Path, **environment: str) -> None:
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def server(room: Path) -> Iterator[str]:
    """Run a Prefect server of its own on loopback; yield its address."""
    environment = os.environ | {"PREFECT_HOME": str(room / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [PYTHON, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", PORT]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            sys.exit("error: the Prefect server did not start within a minute")
        yield f"http://127.0.0.1:{PORT}/api"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
