"""What the pipeline costs beside the script that one would type instead: python -m bench.pipeline [--small].

The script is bench/seed.py: imports, MNIST, one hidden layer, 20 epochs. Ours is a clone of the last commit with the
settings of examples/mnist: the same packages, every cache empty, the dataset there, each time with another seed.
MLflow's and Prefect's databases are there but in the first run.

- to quality: `dvc repro` with the example's settings; validated, baselines, trained, evaluated and explained, tracked.
  The test accuracy over all seeds stands beside the script's; and the seconds beside those of the same work typed by
  hand with the same libraries (bench/by_hand.py), which no pipeline of them can be far below.
- same recipe: the same with exactly the script's settings.
- flow: `slipway run`, with server, register, a champion to compare with, and promote. first run: the same in a new
  clone, where the databases are made, too.
- unchanged: once more, beside a pipeline of as many empty stages; `slipway run` without and with a Prefect server.
- threshold: `slipway run` after a gate's threshold was changed. network: `dvc repro` after the network was.
- new rows: 1 % more than ten times MNIST (bench/incremental.py, processor time).
- a stage: each on few examples, where its own work is next to nothing, beside a Python that imports its libraries.

A reference runs alternately with ours on the same machine. Medians; the JSON holds every run. --small is for trying
whether all of it works: the starter's digits for MNIST, two epochs, one run.
"""

import argparse
import copy
import csv
import gzip
import json
import math
import os
import platform
import shutil
import statistics
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = Path("examples") / "mnist"
PYTHON = sys.executable
PORT = "4297"
SHARED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL")  # a team's servers are none of a bench's
EPOCHS, SMALL_EPOCHS = 20, 2  # of the script
SAME: dict[str, Any] = {  # the script's settings
    "split.validation": 0.2,
    "train": {"epochs": EPOCHS, "batch_size": 128, "learning_rate": 0.001},
    "network": {"model": "mlp", "hidden": [512]},
}
SMALL: dict[str, Any] = {
    "train.epochs": SMALL_EPOCHS,
    "images.height": 8,
    "images.width": 8,
    "split.test": 0.2,
    "register.minimum.accuracy": 0.5,
}
REPRO, SLIPWAY = ["dvc", "repro"], [PYTHON, "-m", "slipway", "run"]
QUALITY, RECIPE, FLOW = "to quality, dvc repro", "same recipe, dvc repro", "to quality, slipway run"
HAND, FIRST = "to quality, and by hand", "first run, slipway run"
NOTHING, ALONE, SERVED = "unchanged, dvc repro", "unchanged, slipway run", "unchanged, with a server"
GATE, NETWORK, NEW = "threshold, slipway run", "network, dvc repro", "new rows"
AIMS = {
    QUALITY: "<= 0.6",
    HAND: "the floor",
    RECIPE: "<= 1.0",
    FLOW: "<= 1.0",
    FIRST: "<= 1.0",
    NOTHING: "<= 1.1",
    ALONE: "<= 2.5 s",
    SERVED: "<= 2.5 s",
    GATE: "<= 0.15",
    NETWORK: "train + evaluate",
    NEW: "<= 0.1",
}
# What a stage's libraries are: those that it has loaded when its work begins.
LIBRARIES = {
    "validate": "numpy, pandas, pyarrow.parquet, great_expectations, PIL.Image",
    "preprocess": "numpy, pyarrow.parquet, PIL.Image",
    "baseline": "numpy, pyarrow.parquet, onnxruntime, onnx, sklearn.linear_model, sklearn.ensemble",
    "train": "numpy, keras, tensorflow, tf2onnx, onnxruntime, mlflow",
    "evaluate": "numpy, pyarrow.parquet, onnxruntime, scipy.stats, mlflow",
}
FEW_ROWS = 200
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

Row = dict[str, Any]  # name, aim, ours and reference: seconds of every run, the latter None where there is none


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    machine = {"machine": platform.platform(), "processor": processor(), "cores": os.cpu_count()}
    found: dict[str, Any] = {"results": [], "stages": [], "trained": {}}
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            measure(found, Path(name), options.mnist, options.runs, small=options.small)
    finally:  # what was measured in half an hour is kept, whatever comes then
        report = {**machine, "small": options.small, "runs": options.runs, **found}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    print("\n" + "\n".join(told(found["results"])))
    print("\n" + "\n".join(told(found["stages"], "a stage, of its own", "libraries, s")))
    print("\n" + "\n".join(compared(found["trained"])))
    print(f"\n{machine['processor']}, {machine['cores']} cores; medians of {options.runs} runs (what takes seconds: at")
    print(f"least 5, unless --small); all of them: {options.out}")
    if options.plot:
        drawn(found["results"], options.plot)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; paths are then absolute, for the commands run in other folders."""
    lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__, formatter_class=lines)
    files = list(YAML(typ="safe").load(ROOT / EXAMPLE / "example.yaml")["files"])
    default, out = ROOT.parent / "shared" / "datasets" / "mnist", ROOT / "build" / "bench" / "pipeline.json"
    help_mnist = f"folder of the four MNIST files, {files[0]} and so on (default: %(default)s)"
    parser.add_argument("--mnist", type=Path, default=default, metavar="FOLDER", help=help_mnist)
    parser.add_argument(
        "--runs", type=count, metavar="N", help="runs of each measure, of other seeds (default: 5; small: 1)"
    )
    parser.add_argument("--small", action="store_true", help="digits instead of MNIST, for a moment")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios, e.g. docs/performance.png")
    options = parser.parse_args(arguments)
    options.runs = options.runs or (1 if options.small else 5)
    options.mnist, options.out = (path.expanduser().resolve() for path in (options.mnist, options.out))
    if not options.small:
        must_hold(options.mnist, files)
    return options


def must_hold(mnist: Path, names: Sequence[str]) -> None:
    """End with a line that says what is lacking where a folder does not hold MNIST's files."""
    hint = "give the folder of the four MNIST files: --mnist FOLDER"
    if not mnist.is_dir():
        sys.exit(f"error: {mnist}: no such folder; {hint}")
    for name in names:
        if not (mnist / name).is_file():
            sys.exit(f"error: {mnist}: no file {name}; {hint}")


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def processor() -> str:
    """Name the machine's processor, as /proc has it; else as Python does."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def told(rows: list[Row], title: str = "measure", other: str = "reference, s") -> list[str]:
    """Return the lines of a table of medians."""
    lines = [f"{title:<28}{'ours, s':>10}{other:>14}{'ratio':>8}{'difference':>12}  aim"]
    for row in rows:
        ours, reference = (statistics.median(row[side]) if row[side] else math.nan for side in ("ours", "reference"))
        cells = [f"{ours:.2f}", f"{reference:.2f}", f"{ours / reference:.2f}", f"{ours - reference:+.2f}"]
        cells = ["-" if "nan" in cell else cell for cell in cells]
        line = f"{row['name']:<28}{cells[0]:>10}{cells[1]:>14}{cells[2]:>8}{cells[3]:>12}  {row['aim']}"
        lines.append(line.rstrip())
    return lines


def compared(trained: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the lines of the table that says what each side trained: accuracies are means of all runs."""
    rows: list[tuple[str, ...]] = [("trained", *trained)]
    for key, form in TOLD.items():
        cells = []
        for runs in trained.values():
            values = [run[key] for run in runs if key in run]
            one = statistics.mean(values) if values and "accuracy" in key else values[-1] if values else None
            cells.append("-" if one is None else form.format(one))
        rows.append((key, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def drawn(rows: list[Row], path: Path) -> None:
    """Draw the ratios to the script's seconds."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    kept = [row for row in rows if row["ours"] and row["reference"]]
    ratios = [statistics.median(row["ours"]) / statistics.median(row["reference"]) for row in kept]
    figure, axis = pyplot.subplots(figsize=(8, 0.5 * len(kept) + 1))
    bars = axis.barh([row["name"] for row in kept], ratios, color="#4c78a8")
    axis.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3)
    axis.axvline(1, color="black", linewidth=1, linestyle=":")
    axis.set_xlabel("seconds of Slipway to those of its reference")
    axis.set_xlim(0, max([*ratios, 1]) * 1.12)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


@dataclass
class Bench:
    """What all measures share: the project, the folder of MNIST's files, settings that all have, and what was found."""

    project: Path
    mnist: Path
    epochs: int  # of the script
    own: dict[str, Any]
    rows: dict[str, Row]
    trained: dict[str, list[dict[str, Any]]]

    def ours(self, name: str, command: list[str], settings: dict[str, Any], **environment: str) -> str:
        """Measure a command with some settings; return what it said."""
        settle(self.project, self.own | settings)
        seconds, said = timed(command, self.project, **environment)
        self.rows[name]["ours"].append(seconds)
        tell(self.rows[name])
        return said


def measure(found: dict[str, Any], room: Path, mnist: Path, runs: int, *, small: bool) -> None:
    """Measure in an empty folder; add it to `results` and `stages`, the seconds of every run, and to `trained`."""
    project = room / "project"
    run(["git", "clone", "--quiet", str(ROOT), str(project)], room)
    epochs, own = (SMALL_EPOCHS, SMALL) if small else (EPOCHS, {})
    if small:
        mnist = digits(room / "digits")
        shutil.copy(project / "expectations" / "images.yaml", project / EXAMPLE / "expectations.yaml")  # the starter's
    rows: dict[str, Row] = {name: {"name": name, "aim": aim, "ours": [], "reference": []} for name, aim in AIMS.items()}
    bench = Bench(project, mnist, epochs, own, rows, {"to quality": [], "same recipe": [], "script": []})
    found["trained"], found["results"] = bench.trained, list(rows.values())
    settle(project, own)
    run(ingest(project, mnist, small=small), project)
    for seed in range(1, runs + 1):
        a_round(bench, seed)
        if not small:  # it has the settings of 28 x 28
            bench.rows[HAND]["ours"].append(bench.rows[QUALITY]["ours"][-1])
            bench.rows[HAND]["reference"].append(by_hand(room / "hand", project))
            tell(bench.rows[HAND])
    often = runs if small else max(5, runs)
    unchanged(bench, room, {"seed": runs}, often)
    changed(bench, {"seed": runs}, runs, often)
    if not small:  # else there are no ten times MNIST
        new, whole = incremental(room / "incremental", mnist)
        rows[NEW] |= {"ours": [new], "reference": [whole]}
    each_stage(found["stages"], bench, room, often)


def a_round(bench: Bench, seed: int) -> None:
    """Run the script and, from nothing, the pipeline: to quality, with the script's recipe, and as a flow."""
    seconds, about = script(bench, seed)
    bench.trained["script"].append(about)
    for name in (QUALITY, RECIPE, FLOW, FIRST, GATE):
        bench.rows[name]["reference"].append(seconds)
    print(f"script: {seconds:.2f} s", flush=True)
    same = SAME | {"train": SAME["train"] | {"epochs": bench.epochs}}
    for name, settings, trained in (
        (QUALITY, {}, "to quality"),
        (RECIPE, same, "same recipe"),
        (FIRST, {"seed": seed + 100}, ""),
        (FLOW, {}, ""),
    ):
        emptied(bench.project, stores=name == FIRST)
        bench.ours(name, SLIPWAY if name in (FIRST, FLOW) else REPRO, {"seed": seed} | settings)
        if trained:
            bench.trained[trained].append(seen(result(bench.project)))


def by_hand(folder: Path, project: Path) -> float:
    """Return the seconds of the steps that bench/by_hand.py has; MLflow's database is made in the first run."""
    folder.mkdir(exist_ok=True)
    script = str(ROOT / "bench" / "by_hand.py")
    return sum(timed([PYTHON, script, str(project / "data"), step], folder)[0] for step in LIBRARIES)


def unchanged(bench: Bench, room: Path, settings: dict[str, Any], runs: int) -> None:
    """Run once more what has just run, beside an empty pipeline, without and with a server."""
    empty = room / "empty"
    empty_pipeline(empty, bench.project)
    for _ in range(runs):
        bench.rows[NOTHING]["reference"].append(timed(REPRO, empty)[0])
        bench.ours(NOTHING, REPRO, settings)
        must(bench.ours(ALONE, SLIPWAY, settings), "nothing changed")
    with server(room) as address:
        for _ in range(runs):
            must(bench.ours(SERVED, SLIPWAY, settings, PREFECT_API_URL=address), "nothing changed")


def changed(bench: Bench, settings: dict[str, Any], runs: int, often: int) -> None:
    """Change a gate, then the network."""
    minimum = YAML(typ="safe").load(bench.project / "params.yaml")["register"]["minimum"]["accuracy"]
    for number in range(often):
        gate = {"register.minimum.accuracy": round(minimum - 0.001 * (number + 1), 3)}
        must(bench.ours(GATE, SLIPWAY, settings | gate), "evaluate    unchanged")
    for number in range(runs):
        said = bench.ours(NETWORK, REPRO, settings | {"network.hidden": [500 - 8 * number]})
        if any(f"Running stage '{stage}'" in said for stage in ("validate", "preprocess", "baseline")):
            sys.exit(f"error: another network ran other stages than train and evaluate:\n{said[-2000:]}")
        alone = [timed(words, bench.project)[0] for words in commands(bench.project, "train", "evaluate")]
        bench.rows[NETWORK]["reference"].append(sum(alone))


def tell(row: Row) -> None:
    other = f", reference {row['reference'][-1]:.2f} s" if row["reference"] else ""
    print(f"{row['name']}: {row['ours'][-1]:.2f} s{other}", flush=True)


def must(said: str, words: str) -> None:
    """End where a command did not say what it is measured for."""
    if words not in said:
        sys.exit(f"error: a run that is measured did not say {words!r}:\n{said[-2000:]}")


def settle(project: Path, settings: dict[str, Any]) -> None:
    """Put the example's settings and expectations in place of the checkout's own, with some set otherwise.

    The names of settings are those of `dvc repro -S`: sections, then a point.
    """
    yaml = YAML()
    content = yaml.load(project / EXAMPLE / "params.yaml")
    shutil.copy(project / EXAMPLE / "expectations.yaml", project / "expectations" / f"{content['recipe']}.yaml")
    for name, value in settings.items():
        *sections, key = name.split(".")
        section = content
        for each in sections:
            section = section.setdefault(each, {})
        section[key] = copy.deepcopy(value)
    yaml.dump(content, project / "params.yaml")


def emptied(project: Path, *, stores: bool) -> None:
    """Remove what runs have left, DVC's and our own caches; with `stores` MLflow's and Prefect's, too.

    Not the dataset. A store is no cache: it is made once, in the first run of a clone, in some four seconds.
    """
    for path in (project / "dvc.lock", *(project.glob("mlflow.db*") if stores else ())):
        path.unlink(missing_ok=True)
    folders = ("build", ".stage_cache", ".dvc/cache", ".dvc/tmp", *(("mlartifacts", ".prefect") if stores else ()))
    for folder in folders:
        shutil.rmtree(project / folder, ignore_errors=True)
    run(["dvc", "commit", "--quiet", "--force", "data.dvc"], project)
    for name in run(["git", "for-each-ref", "--format=%(refname)", "refs/exps"], project).split():
        run(["git", "update-ref", "-d", name], project)


def ingest(project: Path, mnist: Path, *, small: bool) -> list[str]:
    """Return the command that makes the example's dataset, of the words of its example.yaml; or the starter's."""
    words = YAML(typ="safe").load(project / EXAMPLE / "example.yaml")["ingest"]
    filled = ["digits"] if small else [word.replace("{files}", str(mnist)) for word in words]
    return [PYTHON, "-m", "components", "ingest", *filled, "--name", EXAMPLE.name, "--keep-params", "--replace"]


def digits(folder: Path) -> Path:
    """Write scikit-learn's digits as MNIST's files, for the script."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    pixels, labels = np.rint(raw.images * (255 / 16)).astype(np.uint8), raw.target.astype(np.uint8)
    folder.mkdir()
    for part, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        for name, array, head in (("images-idx3", pixels, 16), ("labels-idx1", labels, 8)):
            content = bytes(head) + array[rows].tobytes()
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


def script(bench: Bench, seed: int) -> tuple[float, dict[str, Any]]:
    """Run the script; return its seconds, and what it did."""
    words = [str(ROOT / "bench" / "seed.py"), str(bench.mnist), str(bench.epochs), str(seed)]
    seconds, said = timed([PYTHON, *words], bench.project)
    about = json.loads(said.splitlines()[-1])
    return round(seconds - about["seconds of testing"], 3), seen(about)


def result(project: Path) -> dict[str, Any]:
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
        named = [str(settings[key]) for key in ("filters", "units", "activation", "rate") if key in settings]
        if named or layer.weights:  # not the input, its scaling and its flattening
            layers.append(" ".join([type(layer).__name__, *named]))
    print(json.dumps({"model": ", ".join(layers), "parameters": model.count_params()}))


def seen(side: dict[str, Any]) -> dict[str, Any]:
    """Return what a side did, with the examples that it has seen, repeated ones each time."""
    return side | {"examples seen": side["epochs"] * side["examples an epoch"]}


def empty_pipeline(folder: Path, project: Path) -> None:
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


def commands(project: Path, *stages: str) -> list[list[str]]:
    """Return the commands of stages as dvc.yaml has them."""
    recipe = YAML(typ="safe").load(project / "params.yaml")["recipe"]
    listed = YAML(typ="safe").load(project / "dvc.yaml")["stages"]
    return [[PYTHON, *listed[stage]["cmd"].replace("${recipe}", recipe).split()[1:]] for stage in stages]


def incremental(room: Path, mnist: Path) -> tuple[float, float]:
    """Return the seconds of 1 % new rows beside ten times MNIST, and those of all from nothing."""
    from bench import incremental as rows

    room.mkdir()
    rows.make(room, mnist, small=False)
    seconds = rows.measure(room)["seconds"]
    return sum(seconds["and a new one"].values()), sum(seconds["all from nothing"].values())


def each_stage(rows: list[Row], bench: Bench, room: Path, runs: int) -> None:
    """Measure each stage on few examples, and a Python that imports what the stage works with."""
    few = room / "few"
    run(["git", "clone", "--quiet", str(ROOT), str(few)], room)
    settle(few, bench.own | {"train.epochs": 1, "split.test": 0.2})
    expected = Path("expectations", "images.yaml")
    some = {"examples": YAML(typ="safe").load(bench.project / expected)["examples"]}  # not how many rows there are
    YAML().dump(some, few / expected)
    shutil.copytree(bench.project / "data", few / "data", dirs_exist_ok=True)
    for path in sorted((few / "data").glob("*.parquet")):
        table = pq.read_table(path)
        kept = np.linspace(0, len(table) - 1, min(FEW_ROWS, len(table))).astype(int)
        pq.write_table(table.take(pa.array(kept)), path)
    for stage, words in zip(LIBRARIES, commands(few, *LIBRARIES), strict=True):
        row: Row = {"name": stage, "aim": "<= 1 s more", "ours": [], "reference": []}
        for _ in range(runs):
            row["reference"].append(timed([PYTHON, "-c", f"import {LIBRARIES[stage]}"], few)[0])
            made = {words[at + 1] for at, word in enumerate(words) if word in ("--out", "--history")}
            made |= {"build/classical"} if stage == "baseline" else set()
            for folder in (".stage_cache", *made):
                shutil.rmtree(few / folder, ignore_errors=True)
            row["ours"].append(timed(words, few)[0])
            tell(row)
        rows.append(row)


def timed(command: list[str], folder: Path, **environment: str) -> tuple[float, str]:
    """Return the seconds of a command, and what it said."""
    started = time.perf_counter()
    said = run(command, folder, **environment)
    return round(time.perf_counter() - started, 3), said


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command in a folder and return what it printed; where it fails, end with that."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}"
    own = {name: value for name, value in os.environ.items() if name not in SHARED}
    own |= {"PATH": path} | environment
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
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
