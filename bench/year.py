"""Disk and databases over a year of nightly retrainings, with `slipway clean` and without.

python -m bench.year [--nights 365] [--plot docs/year.png]

Nothing is trained: each night leaves the traces of a run, by the interfaces of git, MLflow and Prefect, under a clock
that is moved on from night to night. Most nights bring new rows; one night in --every registers a version, which stays.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flows.machinery import runs, server
from tests import fabricate
from tests.flowing import serving
from tests.traces import DAY, Project, disk, git

ROOT = Path(__file__).parent.parent
PLACES = {
    "DVC's cache": ".dvc/cache",
    "MLflow's artefacts": "mlartifacts",
    "mlflow.db": "mlflow.db",
    "Prefect's database": ".prefect/prefect.db",
}
LINES = 30  # of the log of a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=365, help="nights (default: %(default)s)")
    parser.add_argument("--every", type=int, default=30, help="nights from version to version (default: %(default)s)")
    help_text = "nights from cleaning to cleaning (default: %(default)s)"
    parser.add_argument("--clean-every", type=int, default=1, metavar="N", help=help_text)
    parser.add_argument("--size", type=int, default=100_000, help="bytes of a model (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "year.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "build" / "bench" / "year.png", help="the figure's file")
    options = parser.parse_args()
    words = (options.nights, options.every, options.size)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # each has a clock of its own
        years = {cleans: pool.submit(simulated, *words, options.clean_every * cleans) for cleans in (False, True)}
        lines = {cleans: year.result() for cleans, year in years.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"without": lines[False], "with": lines[True]}))
    drawn(lines, options.plot)
    for title, found in (("without", lines[False]), ("with clean", lines[True])):
        last = found[-1]
        print(f"{title}: " + ", ".join(f"{name} {last[name] / 1e6:.1f} MB" for name in PLACES), end="")
        print(f"; {last['experiments']} experiments, {last['versions']} versions")


def simulated(nights: int, every: int, size: int, cleans: int) -> list[dict[str, int]]:
    """Let nights pass in a new project, with a cleaning after each `cleans` of them; return what each thing took."""
    with tempfile.TemporaryDirectory(prefix="year-") as room:
        try:
            return _simulated(Path(room), nights, every, size, cleans)
        finally:
            os.chdir(ROOT)


def _simulated(room: Path, nights: int, every: int, size: int, cleans: int) -> list[dict[str, int]]:
    (room / "store").mkdir()
    fabricate.store(room / "store")
    (room / "p").mkdir()
    os.chdir(room / "p")
    project, sizes, versions = Project(room / "p", room / "store", size), [], 0
    real, offset = time.time, [nights * DAY]
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with serving(room / "p/.prefect", server.free_port()) as url, temporary_settings({PREFECT_API_URL: url}):
        patched: dict[tuple[Any, str], Callable[..., Any]] = {
            (time, "time"): lambda: real() - offset[0],
            (runs, "claim"): lambda: None,
            (runs, "bury"): lambda: None,
            (server, "ours"): lambda: True,
        }
        before = {(where, name): getattr(where, name) for where, name in patched}
        try:
            for (where, name), function in patched.items():
                setattr(where, name, function)
            for night in range(nights):
                offset[0] = (nights - night) * DAY
                registers = night % every == 0
                project.run(0, new_rows=night % 3 != 0, alias="champion" if registers else "")
                versions += registers
                reported()
                if cleans and (night + 1) % cleans == 0:
                    cleaned()
                found = {name: disk(path) if path.is_dir() else _file(path) for name, path in _places(project.root)}
                experiments = len(git(project.root, "for-each-ref", "refs/exps").splitlines())
                if night % 20 == 0:
                    print(f"{'with clean' if cleans else 'without'}: night {night}", file=sys.stderr, flush=True)
                sizes.append(found | {"experiments": experiments, "versions": versions})
        finally:
            for (where, name), function in before.items():
                setattr(where, name, function)
    return sizes


def _places(root: Path) -> list[tuple[str, Path]]:
    return [(name, root / place) for name, place in PLACES.items()]


def _file(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def reported() -> None:
    """Leave a flow run in Prefect, with a log."""
    from datetime import UTC, datetime

    from prefect import Flow
    from prefect.client.orchestration import get_client
    from prefect.states import Completed, Scheduled

    now = datetime.fromtimestamp(time.time(), UTC)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(Flow(lambda: None, name="retrain"), state=Scheduled(scheduled_time=now))
        client.set_flow_run_state(run.id, Completed(timestamp=now), force=True)
        line = {"name": "run", "level": 20, "message": "epoch 3: loss 0.123", "timestamp": now.isoformat()}
        client.request("POST", "/logs/", json=[line | {"flow_run_id": str(run.id)}] * LINES)


def cleaned() -> None:
    import contextlib
    import io

    from flows.clean import clean

    with contextlib.redirect_stdout(io.StringIO()):
        clean.fn()


def drawn(lines: dict[bool, list[dict[str, int]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for axis, cleans in zip(axes, (False, True), strict=True):
        nights = range(1, len(lines[cleans]) + 1)
        axis.stackplot(nights, *([each[name] / 1e6 for each in lines[cleans]] for name in PLACES), labels=PLACES)
        axis.set_title("with slipway clean" if cleans else "without")
        axis.set_xlabel("night")
    axes[0].set_ylabel("MB")
    axes[0].legend(loc="upper left", frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
