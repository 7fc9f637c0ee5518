"""The same five steps in other tools: python -m bench.peers.run --mnist FOLDER --room FOLDER [--only NAME ...].

Each peer is a small project beside this file, in its tool's own way: it validates, preprocesses, trains, evaluates and
registers the network of bench/seed.py on MNIST. Each gets an environment of its own, made once and kept in the room.
Beside them, in this environment, `slipway run` of the last commit, with the same network, epochs and split.
Measured in a new folder for each run, in seconds: all five steps (`fresh`); the same command again (`unchanged`); again
with another threshold of the gate (`threshold`); again with another size of the network (`network`). The last three
also `by hand`, where a tool has a command for people who know by themselves what changed. The table says how many steps
ran; the JSON holds every run. Only the environments need the network.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import pipeline
from bench.peers import digits
from bench.pipeline import count, must_hold

HERE = Path(__file__).resolve().parent
STEPS = ("validate", "preprocess", "train", "evaluate", "register")
NEEDED = {"fresh": STEPS, "unchanged": (), "threshold": STEPS[4:], "network": STEPS[2:]}
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")  # of this process's environment
QUIET = {  # telemetry and looking for updates off, and the logs of TensorFlow
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ZENML_ANALYTICS_OPT_IN": "false",
}


@dataclass(frozen=True)
class Peer:
    """How a project is used; commands run in its folder, with its environment's programs first on the path."""

    command: str
    settings: str  # the file of hidden, epochs and threshold
    package: str  # as its version is told
    module: str = "digits.py"  # where the project has the work
    prepare: Sequence[str] = ()  # a project's beginning, not timed
    by_hand: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)  # {project}: the project's folder


PEERS = {  # one more is a line here, and a folder of its name with a requirements.txt
    "kedro": Peer(
        command="kedro run",
        settings="conf/base/parameters.yml",
        package="kedro",
        module="src/mnist/digits.py",
        by_hand={
            "unchanged": "kedro run --only-missing-outputs",
            "threshold": "kedro run --from-nodes=register",
            "network": "kedro run --from-nodes=train",
        },
    ),
    "metaflow": Peer(
        command="python flow.py run",
        settings="flow.py",
        package="metaflow",
        by_hand={
            "unchanged": "python flow.py resume",
            "threshold": "python flow.py resume register",
            "network": "python flow.py resume train",
        },
        environment={
            "METAFLOW_USER": "bench",
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": "{project}",
        },
    ),
    "zenml": Peer(
        command="python run.py",
        settings="config.yaml",
        package="zenml",
        prepare=("zenml init",),
        environment={"ZENML_CONFIG_PATH": "{project}/.zenml"},
    ),
    "dvc": Peer(
        command="dvc repro",
        settings="params.yaml",
        package="dvc",
        prepare=(
            "git init --quiet",
            "dvc init --quiet",
            "dvc config core.check_update false",
            "dvc add --quiet data/raw",
        ),
        environment={"DVC_SITE_CACHE_DIR": "{project}/.dvc/site"},
    ),
}


OURS = "slipway"


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    names = list(dict.fromkeys(options.only or (OURS, *PEERS)))
    for name in names:
        if name != OURS:
            install(name, options.room)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in names}
    for number in range(options.runs):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # each goes first in its turn
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=options.room) as folder:
                measured = ours if name == OURS else partial(measure, name)
                for row, done in measured(Path(folder), options):
                    found[name].setdefault(row, []).append(done)
                    said = f"{done['seconds']:.2f} s, {len(done['steps'])} steps"
                    print(f"run {number + 1} of {options.runs}, {name}, {row}: {said}", flush=True)
    versions = {name: installed(name, options.room) for name in names}
    about = {"machine": platform.platform(), "cores": os.cpu_count(), "runs": options.runs, "epochs": options.epochs}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**about, "versions": versions, "results": found}, indent=2) + "\n")
    print("\n" + "\n".join(table(found)) + "\n")
    for name in names:
        print(f"{name}: " + ", ".join(f"{package} {version}" for package, version in versions[name].items()))
    print(f"\nseconds (steps that ran), medians of {options.runs} runs, {options.epochs} epochs; all: {options.out}")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; paths are then absolute, for the commands run in other folders."""
    text = " ".join(__doc__.partition("\n\n")[2].split())
    parser = argparse.ArgumentParser(prog="python -m bench.peers.run", description=text)
    out = HERE.parent.parent / "build" / "bench" / "peers.json"
    help_mnist = f"folder of the four MNIST files, {digits.NAMES[0]} and so on"
    help_room = "folder for the environments, which are kept (2 GB each), and the projects, which are not"
    parser.add_argument("--mnist", type=Path, required=True, metavar="FOLDER", help=help_mnist)
    parser.add_argument("--room", type=Path, required=True, metavar="FOLDER", help=help_room)
    parser.add_argument(
        "--only", nargs="+", choices=(OURS, *PEERS), metavar="NAME", help=f"{OURS}, {', '.join(PEERS)} (default: all)"
    )
    parser.add_argument("--epochs", type=count, default=20, metavar="N", help="epochs (default: %(default)s)")
    parser.add_argument("--runs", type=count, default=3, metavar="N", help="runs of each (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.mnist, options.room, options.out = (
        path.expanduser().resolve() for path in (options.mnist, options.room, options.out)
    )
    must_hold(options.mnist, digits.NAMES)
    return options


def install(name: str, room: Path) -> None:
    """Make a peer's environment; one that is complete and of the same requirements is kept."""
    environment, wanted = room / "environments" / name, (HERE / name / "requirements.txt").read_text()
    made = environment / "made-of.txt"
    if made.is_file() and made.read_text() == wanted:
        return
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        sys.exit("error: uv is needed to make the environments, and was not found: pip install uv")
    print(f"{name}: making its environment", flush=True)
    python = environment / "bin" / "python"
    requirements = str(HERE / name / "requirements.txt")
    run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], HERE, dict(os.environ))
    run(
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), "-r", requirements],
        HERE,
        dict(os.environ),
    )
    (environment / "home").mkdir()
    warm = [str(python), "-c", "import keras, mlflow, matplotlib.font_manager"]
    run(warm, room, surroundings(PEERS[name], room, environment))
    made.write_text(wanted)


def installed(name: str, room: Path) -> dict[str, str]:
    """Return the versions of a peer's tool and of the libraries that do its work."""
    packages = [PEERS[name].package if name in PEERS else "dvc", "python", "tensorflow", "keras", "mlflow", "numpy"]
    code = (
        "import sys, json, platform; from importlib.metadata import version; "
        "print(json.dumps({n: platform.python_version() if n == 'python' else version(n) for n in sys.argv[1:]}))"
    )
    python = sys.executable if name == OURS else str(room / "environments" / name / "bin" / "python")
    return dict(json.loads(run([python, "-c", code, *packages], room, dict(os.environ))))


def ours(room: Path, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Clone the last commit into an empty folder and ingest MNIST; yield each row with its seconds and what ran."""
    project = room / OURS
    pipeline.run(["git", "clone", "--quiet", str(pipeline.ROOT), str(project)], room)
    settings = pipeline.SAME | {"train": pipeline.SAME["train"] | {"epochs": options.epochs}}
    pipeline.settle(project, settings)
    pipeline.run(pipeline.ingest(project, options.mnist, small=False), project)
    pipeline.emptied(project, stores=True)
    for row, changed in (
        ("fresh", {}),
        ("unchanged", {}),
        ("threshold", {"register.minimum.accuracy": 0.51}),
        ("network", {"network.hidden": [520]}),
    ):
        pipeline.settle(project, settings | changed)
        seconds, said = pipeline.timed(pipeline.SLIPWAY, project)
        steps = re.findall(rf"(?m)^({'|'.join(pipeline.LIBRARIES)}|register) +ran\b", said)
        if not set(NEEDED[row]) <= {*steps}:
            sys.exit(f"error: {OURS}, {row}: ran {', '.join(steps) or 'nothing'}:\n{said[-3000:]}")
        measured = json.loads((project / "build" / "evaluation" / "metrics.json").read_text())
        yield row, {"seconds": seconds, "steps": steps, "accuracy": measured["accuracy"]}


def measure(name: str, project: Path, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make a peer's project in an empty folder; yield each row with its seconds and what ran."""
    peer = PEERS[name]
    shutil.copytree(HERE / name, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "digits.py", project / peer.module)
    (project / "data" / "raw").mkdir(parents=True)
    for file in digits.NAMES:
        shutil.copy(options.mnist / file, project / "data" / "raw")
    environment = surroundings(peer, project, options.room / "environments" / name)
    change(project / peer.settings, "epochs", options.epochs)
    for beginning in peer.prepare:
        run(beginning.split(), project, environment)
    values = {"threshold": iter((0.51, 0.52)), "network": iter((520, 528))}
    for row, needed in NEEDED.items():
        for suffix, command in (("", peer.command), (", by hand", peer.by_hand.get(row))):
            if command is None:
                continue
            if row in values:
                change(project / peer.settings, {"network": "hidden"}.get(row, row), next(values[row]))
            (project / "ran.txt").unlink(missing_ok=True)
            before = registered(project)
            started = time.perf_counter()
            said = run(command.split(), project, environment)
            seconds = round(time.perf_counter() - started, 3)
            steps = (project / "ran.txt").read_text().split() if (project / "ran.txt").is_file() else []
            versions = registered(project) - before
            if not set(needed) <= set(steps) or versions != steps.count("register"):
                what = f"ran {', '.join(steps) or 'nothing'} and registered {versions} versions"
                sys.exit(f"error: {name}, {row}{suffix}: {command} {what}:\n{said[-3000:]}")
            yield row + suffix, {"seconds": seconds, "steps": steps, **accuracy(project)}


def surroundings(peer: Peer, project: Path, environment: Path) -> dict[str, str]:
    """Return the environment of a peer's commands: nothing of the user's own settings, and a home of its own."""
    home = environment / "home"  # beside the packages: what they keep there (matplotlib its list of fonts) is made once
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    path = f"{environment / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
    own = {name: value.format(project=project) for name, value in peer.environment.items()}
    return {**kept, **QUIET, "HOME": str(home), "VIRTUAL_ENV": str(environment), **own, "PATH": path}


def change(file: Path, key: str, value: float) -> None:
    """Set a key of a peer's settings, which are `key: value` or `KEY = value`."""
    text, changed = re.subn(rf"(?im)^(\s*{key}(?::| =)) \S+$", rf"\1 {value}", file.read_text())
    if changed != 1:
        sys.exit(f"error: {file}: expected one line for {key}, found {changed}")
    file.write_text(text)


def registered(project: Path) -> int:
    """Return how many model versions MLflow has."""
    return int(asked(project, "SELECT COUNT(*) FROM model_versions") or 0)


def accuracy(project: Path) -> dict[str, float]:
    """Return the test accuracy that was logged last."""
    return {
        "accuracy": asked(project, "SELECT value FROM metrics WHERE key = 'accuracy' ORDER BY timestamp DESC LIMIT 1")
    }


def asked(project: Path, query: str) -> Any:
    if not (project / "mlflow.db").is_file():
        return None
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        return store.execute(query).fetchone()[0]


def table(found: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """Return the lines of the table: a row per measure, a column per peer."""
    rows = [["", *found]]
    for measured in (row + suffix for suffix in ("", ", by hand") for row in NEEDED):
        cells = []
        for runs in (of_peer.get(measured) for of_peer in found.values()):
            median = runs and statistics.median(done["seconds"] for done in runs)
            cells.append(f"{median:.2f} ({len(runs[-1]['steps'])})" if runs else "-")
        if set(cells) != {"-"}:
            rows.append([measured, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a folder and return what it printed; where it fails, end with that."""
    program = shutil.which(command[0], path=environment.get("PATH"))
    done = subprocess.run(
        [program or command[0], *command[1:]],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
