"""How long a registered model takes to answer, beside MLflow's own TensorFlow flavour: python -m bench.serving.

A table of 20 numbers, an MLP fitted for a moment by the stages, and registered. `slipway predict` fetches and checks
the version, which answers by ONNX Runtime in a process of its own; `mlflow.pyfunc.load_model` loads it here. Beside
them, the same network saved with `mlflow.tensorflow`, loaded and asked by a script that standardises the numbers by
itself. From the start of the process to the answer written: for one row, and for a large table, both Parquet; memory of
all processes. In turns, medians of --runs; the answers must agree.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from bench import measuring
from components import params, recipes
from components.data import dataset
from components.files import read_json

ROOT = measuring.ROOT
NUMBERS = [f"number_{at:02}" for at in range(20)]
LABELS = ["no", "yes"]
TRAINED = 4000  # rows that the model is fitted on
STEPS = (
    "validate --data data --expectations expectations.yaml --out build/validation",
    "preprocess --data data --quarantine build/validation/quarantine.parquet --out build/arrays",
    "baseline --arrays build/arrays --out build/baseline --classical build/classical",
    "train --arrays build/arrays --classical build/classical --out build/model --history build/training",
    "evaluate --data data --arrays build/arrays --model build/model --baseline build/baseline --out build/evaluation",
    "register --build build --data data --out build/register.json --up-to-date",
)
VERSION = "bench/1"
MAX_APART = 1e-4  # of two probabilities


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__.splitlines()[0])
    text = "number of rows of the large table (default: %(default)s)"
    parser.add_argument("--rows", type=int, default=1_000_000, help=text)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each (default: %(default)s)")
    out = ROOT / "build" / "bench" / "serving.json"
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        try:
            make(Path(name), options.rows)
            runs = measure(Path(name), options.runs)
        except measuring.FailedError as error:
            sys.exit(f"error: {error}")
    found = {who: {size: measuring.medians(each) for size, each in sizes.items()} for who, sizes in runs.items()}
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "rows": options.rows, "medians": found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report | {"runs": runs}, indent=2) + "\n")
    heads = [f"{what:>11}{'processor':>11}{'MB':>7}" for what in ("one row, s", "table, s")]
    print(f"\n{'':<20}{heads[0]}{heads[1]}{'rows/s':>11}")
    for who, sizes in found.items():
        numbers = [f"{each['cpu_seconds']:>11.1f}{each['peak_mb']:>7,.0f}" for each in sizes.values()]
        one, large = (each["seconds"] for each in sizes.values())
        print(f"{who:<20}{one:>11.1f}{numbers[0]}{large:>11.1f}{numbers[1]}{options.rows / large:>11,.0f}")
    print(f"\n{options.rows:,} rows in the table; medians of {options.runs} runs, starts included; {options.out}")


def measure(room: Path, times: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Ask each in turns, one row and the table; SystemExit where their answers differ."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {who: {"one": [], "table": []} for who in CONTESTANTS}
    for size in ("one", "table"):
        for _ in range(times):
            for who, command in CONTESTANTS.items():
                words = [word.format(size=size) for word in command]
                took = measuring.run([sys.executable, *words], room)
                took.pop("output")
                runs[who][size].append(took)
                print(f"{who}, {size}: {took['seconds']:.1f} s, {took['peak_mb']:,.0f} MB", flush=True)
        answers = [pq.read_table(room / f"{who}-{size}.parquet") for who in ("slipway", "pyfunc", "tensorflow")]
        for other in answers[1:]:
            apart = np.abs(answers[0]["probability"].to_numpy() - other["probability"].to_numpy()).max()
            if len(other) != len(answers[0]) or apart > MAX_APART:
                sys.exit(f"error: the answers differ by {apart}")
    return runs


def make(room: Path, rows: int) -> None:
    """Fit and register the model; log the same network with mlflow.tensorflow; write the two tables."""
    train = {"candidates": ["network"], "epochs": 2, "batch_size": 128, "calibrate": False}
    settings = {"name": "bench", "recipe": "tabular", "tabular": {"numeric": NUMBERS, "labels": LABELS}}
    settings |= {"network": {"model": "mlp", "numeric_embedding": "none"}, "train": train}
    YAML().dump(settings, room / "params.yaml")
    (room / "expectations.yaml").write_bytes((ROOT / "expectations" / "tabular.yaml").read_bytes())
    columns = recipes.schema(recipes.load("tabular"), params.load(room / "params.yaml").task)
    table = _table(TRAINED, 1).select(columns.names).cast(columns)
    ids = pa.array(dataset.ids(table, columns), pa.string())
    dataset.write([table.add_column(0, "id", ids)], room / "data", "bench")
    for step in STEPS:
        took = measuring.run([sys.executable, "-m", "components", *step.split()], room)
        print(f"{step.split()[0]}: {took['seconds']:.1f} s", flush=True)
    measuring.run([sys.executable, "-c", "from bench import serving; serving.log()"], room)
    pq.write_table(_table(1, 2).drop_columns("label"), room / "one.parquet")
    pq.write_table(_table(rows, 3).drop_columns("label"), room / "table.parquet")


def _table(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    values = random.normal(10, 5, (rows, len(NUMBERS)))
    labels = np.where(values[:, :3].sum(axis=1) + random.normal(0, 3, rows) > 30, "yes", "no")
    return pa.table({**dict(zip(NUMBERS, values.T, strict=True)), "label": labels})


def log() -> None:
    """Save the network that the stage train made with MLflow's own flavour."""
    import keras
    import mlflow.tensorflow

    mlflow.tensorflow.save_model(keras.saving.load_model("build/model/model.keras"), "tensorflow")


def tensorflow(size: str) -> None:
    """Answer by the TensorFlow flavour, as a script does."""
    import mlflow.tensorflow

    model = mlflow.tensorflow.load_model("tensorflow")
    scale = read_json(Path("build/model/model.json"))["state"]["scale"]
    numbers = pq.read_table(f"{size}.parquet").to_pandas()[NUMBERS].to_numpy()
    scaled = (numbers - np.array(scale["shift"])) / np.array(scale["unit"])
    found = model.predict(scaled.astype(np.float32), batch_size=1024, verbose=0)
    answers = {"label": np.array(LABELS)[found.argmax(axis=1)], "probability": found.max(axis=1).astype(float)}
    pq.write_table(pa.table(answers), f"tensorflow-{size}.parquet")


def pyfunc(size: str) -> None:
    """Answer by the registered version in this process."""
    import mlflow.pyfunc

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    answers = mlflow.pyfunc.load_model(f"models:/{VERSION}").predict(pq.read_table(f"{size}.parquet").to_pandas())
    pq.write_table(pa.Table.from_pandas(answers, preserve_index=False), f"pyfunc-{size}.parquet")


CONTESTANTS = {
    "slipway predict": ["-m", "components", "predict", VERSION, "{size}.parquet", "--out", "slipway-{size}.parquet"],
    "mlflow.pyfunc, ours": ["-c", "from bench import serving; serving.pyfunc('{size}')"],
    "mlflow.tensorflow": ["-c", "from bench import serving; serving.tensorflow('{size}')"],
}


if __name__ == "__main__":
    main()
