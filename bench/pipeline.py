"""What the pipeline costs, beside the bare work: python -m bench.pipeline [--mnist FOLDER] [--runs N] [--epochs N].

Three measures, in a clone of the last commit that is made into examples/mnist: a fresh `dvc repro` against
bench/seed.py, which is what one would type instead (imports, load, fit); a no-op `dvc repro` against that of a pipeline
of as many empty stages; a no-op `retrain` against a running Prefect server, in seconds. A reference runs alternately
with ours on the same machine. Without --epochs each side trains as long as it does by itself, so a second table says
what was trained, and on how much. Medians; the JSON holds every run.
"""

import argparse
import csv
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

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = Path("examples") / "mnist"
REFERENCE_EPOCHS = 20  # what the reference trains without --epochs; ours are then the example's own
PYTHON = sys.executable
PORT = "4297"
SHARED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")  # a team's MLflow is none of a bench's business
TOLD = {  # of a side, in the table
    "model": "{}",
    "parameters": "{:,}",
    "epochs": "{}",
    "examples an epoch": "{:,}",
    "examples seen": "{:,}",
    "validation examples": "{:,}",
    "validation accuracy": "{:.4f}",
    "test examples": "{:,}",
    "test accuracy": "{:.4f}",
}


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        found = measure(Path(name), options.mnist, options.runs, options.epochs)
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "runs": options.runs, **found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{'measure':<28}{'ours, s':>10}{'reference, s':>14}{'ratio':>8}{'aim':>8}")
    for row in found["results"]:
        ours, reference = (statistics.median(row[side]) if row[side] else None for side in ("ours", "reference"))
        ratio = f"{ours / reference:.2f}" if ours and reference else "-"
        seconds = ["-" if median is None else f"{median:.2f}" for median in (ours, reference)]
        print(f"{row['name']:<28}{seconds[0]:>10}{seconds[1]:>14}{ratio:>8}{row['aim']:>8}")
    print("\n" + "\n".join(compared(found["trained"])))
    print(f"\nmedians of {options.runs} runs (no-ops: at least 5); all of them: {options.out}")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; paths are then absolute, for the commands run in other folders."""
    text = " ".join(__doc__.partition("\n\n")[2].split())
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=text)
    files = list(YAML(typ="safe").load(ROOT / EXAMPLE / "example.yaml")["files"])
    default, out = ROOT.parent / "shared" / "datasets" / "mnist", ROOT / "build" / "bench" / "pipeline.json"
    help_mnist = f"folder of the four MNIST files, {files[0]} and so on (default: %(default)s)"
    parser.add_argument("--mnist", type=Path, default=default, metavar="FOLDER", help=help_mnist)
    parser.add_argument(
        "--runs", type=count, default=3, metavar="N", help="runs of each measure (default: %(default)s)"
    )
    own = YAML(typ="safe").load(ROOT / EXAMPLE / "params.yaml")["train"]["epochs"]
    help_epochs = f"epochs for both sides (default: {own} for the example, {REFERENCE_EPOCHS} for the reference)"
    parser.add_argument("--epochs", type=count, metavar="N", help=help_epochs)
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.mnist, options.out = (path.expanduser().resolve() for path in (options.mnist, options.out))
    if not options.mnist.is_dir():
        sys.exit(f"error: {options.mnist}: no such folder; give the folder of the four MNIST files: --mnist FOLDER")
    for name in files:
        if not (options.mnist / name).is_file():
            sys.exit(f"error: {options.mnist}: no file {name}; give the folder of the four MNIST files: --mnist FOLDER")
    return options


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def compared(trained: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of the table that says what each side trained."""
    rows: list[tuple[str, ...]] = [("trained", "ours", "reference")]
    for key, form in TOLD.items():
        values = [trained[side].get(key) for side in ("ours", "reference")]
        rows.append((key, *("-" if value is None else form.format(value) for value in values)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def measure(room: Path, mnist: Path, runs: int, epochs: int | None) -> dict[str, Any]:
    """Measure in an empty folder: `results`, the seconds of every run, and `trained`, what each side did."""
    project, empty = room / "project", room / "empty"
    run(["git", "clone", "--quiet", str(ROOT), str(project)], room)
    settle(project, epochs)
    run(ingest(project, mnist), project)
    stages = empty_pipeline(empty, project)
    trained: dict[str, dict[str, Any]] = {}

    def fresh() -> None:
        for folder in ("build", ".dvc/cache/runs", "mlartifacts"):
            shutil.rmtree(project / folder, ignore_errors=True)
        for path in (project / "dvc.lock", project / "mlflow.db"):
            path.unlink(missing_ok=True)

    def reference() -> None:
        said = run([PYTHON, str(ROOT / "bench" / "seed.py"), str(mnist), str(epochs or REFERENCE_EPOCHS)], project)
        trained["reference"] = seen(json.loads(said.splitlines()[-1]))

    first = alternate(
        "fresh dvc repro on MNIST", "<= 1.5", runs, lambda: run(["dvc", "repro"], project), reference, fresh
    )
    trained["ours"] = seen(ours(project))
    second = alternate(
        f"no-op dvc repro, {stages} stages",
        "<= 1.2",
        max(5, runs),
        lambda: run(["dvc", "repro"], project),
        lambda: run(["dvc", "repro"], empty),
    )
    with server(room) as address:
        retrain = [PYTHON, "-m", "flows", "retrain"]
        run(retrain, project, PREFECT_API_URL=address)  # registers what `dvc repro` made
        seconds = [timed(lambda: run(retrain, project, PREFECT_API_URL=address)) for _ in range(max(5, runs))]
    third = {"name": "no-op retrain, with server", "aim": "<= 5 s", "ours": seconds, "reference": None}
    return {"example": EXAMPLE.name, "trained": trained, "results": [first, second, third]}


def settle(project: Path, epochs: int | None) -> None:
    """Put the example's settings and expectations in place of the checkout's own, which loses its dataset."""
    yaml = YAML()
    content = yaml.load(project / EXAMPLE / "params.yaml")
    shutil.copy(project / EXAMPLE / "expectations.yaml", project / "expectations" / f"{content['recipe']}.yaml")
    if epochs is not None:
        content["train"]["epochs"] = epochs
    yaml.dump(content, project / "params.yaml")
    for name in ("data.dvc", "dvc.lock"):
        (project / name).unlink(missing_ok=True)


def ingest(project: Path, mnist: Path) -> list[str]:
    """Return the command that makes the example's dataset, of the words of its example.yaml."""
    words = YAML(typ="safe").load(project / EXAMPLE / "example.yaml")["ingest"]
    filled = [word.replace("{files}", str(mnist)) for word in words]
    return [PYTHON, "-m", "components", "ingest", *filled, "--name", EXAMPLE.name, "--keep-params"]


def ours(project: Path) -> dict[str, Any]:
    """Read what `dvc repro` trained from the files that it wrote."""
    build = project / "build"
    rows = json.loads((build / "arrays" / "manifest.json").read_text())["rows"]
    with (build / "training" / "epochs.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    code = f"from bench import pipeline; pipeline.describe({str(build / 'model' / 'model.keras')!r})"
    model = json.loads(run([PYTHON, "-c", code], ROOT).splitlines()[-1])  # a process of its own: TensorFlow is large
    return {
        **model,
        "epochs": len(epochs),
        "examples an epoch": rows["train"],
        "validation examples": rows["validation"],
        "validation accuracy": float(epochs[-1]["val_accuracy"]),
        "test examples": rows["test"],
        "test accuracy": json.loads((build / "evaluation" / "metrics.json").read_text())["accuracy"],
    }


def describe(path: str) -> None:
    """Print the layers and the number of parameters of a saved model as JSON."""
    import keras

    model = keras.saving.load_model(path, compile=False)
    layers = []
    for layer in model.layers:
        settings = layer.get_config()
        told = [str(settings[key]) for key in ("filters", "units", "activation", "rate") if key in settings]
        if told or layer.weights:  # not the input, its scaling and its flattening
            layers.append(" ".join([type(layer).__name__, *told]))
    print(json.dumps({"model": ", ".join(layers), "parameters": model.count_params()}))


def seen(side: dict[str, Any]) -> dict[str, Any]:
    """Return what a side did, with the examples that it has seen, repeated ones each time."""
    return side | {"examples seen": side["epochs"] * side["examples an epoch"]}


def empty_pipeline(folder: Path, project: Path) -> int:
    """Make a pipeline of as many stages as the project's, a file to a file each, and run it."""
    stages = list(YAML(typ="safe").load(project / "dvc.yaml")["stages"])
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
    shutil.copy(project / ".dvc" / "config", folder / ".dvc" / "config")
    return len(stages)


def alternate(
    name: str,
    aim: str,
    runs: int,
    ours: Callable[[], object],
    reference: Callable[[], object],
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


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return round(time.perf_counter() - started, 3)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command in a folder and return what it printed; where it fails, end with that."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    own = {name: value for name, value in os.environ.items() if name not in SHARED}
    done = subprocess.run(
        command, cwd=folder, env=own | {"PATH": path} | environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):  # 3: registered, and not promoted
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


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
