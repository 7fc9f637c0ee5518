"""How good the examples' models are, beside their baselines and goals: python -m bench.quality [--from FOLDER].

Each example of --examples is ingested and validated once, in a temporary folder; then the other stages of dvc.yaml run
for each seed, by their own commands. It is `seed` and `split.seed` of params.yaml: it drives the initialisation, the
order of the examples, the augmentation, and the hash by which examples without an official split (and a validation
split within an official training set) are split. So official test splits and splits by time stay, hash splits move, and
the baselines are fitted anew each time. With --hold-out, an example that names a column for it (the speaker) is
measured once more for each value of the column, on those examples, trained on all others.

The interval is the mean of the seeds' bootstrap intervals over the test examples; in brackets the seeds' lowest and
highest value. The JSON holds every seed's metrics.
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from components.files import read_json
from flows import example

ROOT = Path(__file__).parent.parent
HEAD = ("example", "metric", "model", "95 % interval", "of seeds", "classical", "trivial", "goal", "reached")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", nargs="+", metavar="NAME", help="examples to run (default: all)")
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of seeds, starting at 1 (default: %(default)s)"
    )
    default = ROOT.parent / "shared" / "datasets"
    parser.add_argument(
        "--from", dest="folder", type=Path, default=default, help="folder of the files, or of their folders"
    )
    parser.add_argument("--hold-out", action="store_true", help="also hold out speakers and the like in turn")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "quality.json")
    options = parser.parse_args()
    os.chdir(ROOT)
    folder = options.folder if options.folder.is_dir() else None  # else they are downloaded
    results = []
    for name in options.examples or example.names():
        with tempfile.TemporaryDirectory(prefix=f"quality-{name}-") as room:
            results += measured(name, folder, Path(room), options.seeds, options.hold_out)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": platform.platform(), "cores": os.cpu_count(), "seeds": options.seeds, "results": results}
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    rows = [HEAD, *(row for result in results for row in told(result))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n{options.seeds} seeds; every one of them: {options.out}")


def measured(name: str, folder: Path | None, room: Path, seeds: int, hold_out: bool) -> list[dict[str, Any]]:
    """Run an example for every seed; a result, and one more for each value that is held out."""
    found = example.load(name)
    files = example.files(name, found, folder.resolve() if folder else None)
    shutil.copy(ROOT / "dvc.yaml", room)
    shutil.copy(ROOT / "examples" / name / "params.yaml", room)
    settings = YAML(typ="safe").load(room / "params.yaml")
    recipe = settings["recipe"]
    (room / "expectations").mkdir()
    shutil.copy(ROOT / "examples" / name / "expectations.yaml", room / "expectations" / f"{recipe}.yaml")
    stages = [
        (stage, " ".join(entry["cmd"].replace("${recipe}", recipe).split()))
        for stage, entry in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items()
    ]
    words = [word.replace("{files}", str(files)) for word in found.ingest]
    run(room, [sys.executable, "-m", "components", "ingest", *words, "--name", name, "--keep-params"])
    goals = [goal.model_dump() for goal in found.goals]
    results = [{"example": name, "goals": goals, "runs": [once(room, stages, seed) for seed in range(1, seeds + 1)]}]
    if hold_out and found.hold_out:
        (path,) = (room / "data").glob("*.parquet")
        whole = pq.read_table(path)
        for value in sorted(pc.unique(whole[found.hold_out]).to_pylist()):
            sides = pa.array(["test" if each == value else "train" for each in whole[found.hold_out].to_pylist()])
            pq.write_table(whole.set_column(whole.column_names.index("split"), "split", sides), path)
            runs = [once(room, stages, 1)]
            results.append({"example": f"{name}, without {value}", "goals": goals, "runs": runs, "held_out": value})
    return results


def once(room: Path, stages: list[tuple[str, str]], seed: int) -> dict[str, Any]:
    """Run the stages with a seed; what evaluate wrote of the model and of its baselines."""
    yaml = YAML()
    content = yaml.load(room / "params.yaml")
    content["seed"] = seed
    content["split"]["seed"] = seed
    yaml.dump(content, room / "params.yaml")
    seconds = {}
    for stage, command in stages:
        if stage == "validate" and (room / "build" / "validation" / "quarantine.parquet").exists():
            continue  # knows of no seed, and of no split
        started = time.perf_counter()
        run(room, [sys.executable, *command.split()[1:]])
        seconds[stage] = round(time.perf_counter() - started, 1)
    evaluation = room / "build" / "evaluation"
    found: dict[str, Any] = {"seed": seed, "seconds": seconds, "metrics": read_json(evaluation / "metrics.json")}
    found["intervals"] = {
        row["metric"]: [float(row["low"]), float(row["high"])] for row in rows_of(evaluation, "intervals")
    }
    for row in rows_of(evaluation, "baselines"):
        found.setdefault(row["baseline"], {"name": row["name"]})[row["metric"]] = float(row["value"])
    return found


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(room: Path, command: list[str]) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{room / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(room / "mlartifacts"),
    }
    done = subprocess.run(command, cwd=room, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command[2:])}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    print(
        f"{room.name.split('-', 1)[1]}: {(done.stdout.strip().splitlines() or [''])[-1]}", file=sys.stderr, flush=True
    )


def told(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of the table for each goal of an example."""
    rows = []
    for goal in result["goals"]:
        metric, runs = goal["metric"], result["runs"]
        values = [found["metrics"][metric] for found in runs]
        low, high = (statistics.mean(found["intervals"][metric][side] for found in runs) for side in (0, 1))
        beside = {
            kind: statistics.mean(found[kind][metric] for found in runs if metric in found[kind])
            for kind in ("classical", "trivial")
            if any(metric in found.get(kind, {}) for found in runs)
        }
        limit = goal["limit"]
        if limit is None:
            limit = beside["classical"] + goal["classical_plus"]
        model = statistics.mean(values)
        reached = model >= limit if goal["better"] == "higher" else model <= limit
        aim = (f"{'>=' if goal['better'] == 'higher' else '<='} {limit:.4f}", "yes" if reached else "NO")
        rows.append(
            (
                result["example"],
                metric,
                f"{model:.4f}",
                f"{low:.4f} to {high:.4f}",
                f"({min(values):.4f} to {max(values):.4f})",
                *(f"{beside[kind]:.4f}" if kind in beside else "" for kind in ("classical", "trivial")),
                *(("", "") if "held_out" in result else aim),  # a goal is of the example's own split
            )
        )
    return rows


if __name__ == "__main__":
    main()
