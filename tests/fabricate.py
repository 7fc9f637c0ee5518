"""A consistent project made in seconds without TensorFlow: data/, data.dvc, dvc.lock, params.yaml and build/."""

import contextlib
import functools
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

from components import params, recipes
from components.data import dataset, splits
from components.evaluation import bootstrap, metrics
from components.evaluation.examples import Examples
from components.files import replacing, sha256, write_csv, write_json
from components.serving import onnx_model
from components.validation import drift, profile

ROOT = Path(__file__).parent.parent
PARAMS = """\
name: sides
recipe: images
images: {height: 6, width: 6, labels: [left, right]}
network: {hidden: [16]}
train: {epochs: 3, batch_size: 32}
register:
  minimum: {accuracy: 0.6}
  maximum: {latency_ms: 1000.0, size_mb: 10.0}
"""


def project(root: Path, flip: float = 0.0, rows: int = 300, text: str = PARAMS) -> params.Params:
    """Write a whole project into `root`; of the model's answers the share `flip` is about wrong."""
    (root / "params.yaml").write_text(text)
    settings = params.load(root / "params.yaml")
    data(root, settings, rows)
    model(root / "build", settings, flip)
    arrays(root, settings)
    baseline(root, settings)
    evaluation(root, settings)
    versions(root)
    return settings


def data(root: Path, settings: params.Params, rows: int) -> None:
    recipe = recipes.load(settings.recipe)
    _, sample = recipe.sample(rows, 7)
    columns = recipe.columns(settings.task)
    keys = dataset.ids(sample, columns)
    whole = pa.table({"id": keys, **{name: sample[name] for name in columns.names}, "label": sample["label"]})
    # an example stands twice, in two files: the second is set aside
    (root / "data").mkdir(exist_ok=True)
    pq.write_table(whole.slice(0, rows // 2), root / "data" / "a.parquet", row_group_size=50)
    pq.write_table(pa.concat_tables([whole.slice(0, 2), whole.slice(rows // 2)]), root / "data" / "b.parquet")
    aside = whole.slice(0, 2)
    quarantine = pa.table(
        {
            "file": ["b.parquet"] * 2,
            "row": pa.array([0, 1], pa.int64()),
            "reasons": ["id_is_unique"] * 2,
            **{name: aside[name] for name in aside.column_names},
            "split": pa.nulls(2, pa.string()),
        }
    )
    out = root / "build" / "validation"
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(quarantine, out / "quarantine.parquet")
    (out / "report.html").write_text("<html><body>report</body></html>")
    write_json(out / "summary.json", {"rows": rows + 2, "files": 2, "set_aside": 2, "passed": True})
    write_json(out / drift.NAME, drift.described(profile.of([(whole.select(["label"]), "a.parquet", 0)])))


def model(build: Path, settings: params.Params, flip: float) -> None:
    """A linear model by hand: the brighter half decides; `flip` of 1 turns all its answers round."""
    side = np.zeros((6, 6, 2), np.float32)
    side[:, :3, 0] = side[:, 3:, 1] = 0.002
    random = np.random.default_rng(3)
    noise = random.normal(0, 0.02 * flip, side.shape).astype(np.float32)
    weights = numpy_helper.from_array((side + noise).reshape(36, 2), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["examples", 6, 6, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["examples", 2])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    out = build / "model"
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    (out / "model.keras").write_bytes(b"not looked into here")
    task = settings.task.model_dump(mode="json")
    content = {"recipe": settings.recipe, "params": task, "state": {}, "target": target(settings), "decision": None}
    write_json(out / "model.json", {**content, "code": "0" * 64, "largest_difference": 1e-7})
    epochs = [
        {"epoch": e, "loss": 1 / e, "accuracy": 1 - 0.3 / e, "val_loss": 1.1 / e, "val_accuracy": 1 - 0.4 / e}
        for e in (1, 2, 3)
    ]
    epochs = [row | {"learning_rate": 0.001} for row in epochs]
    write_csv(build / "training" / "epochs.csv", epochs, list(epochs[0]))
    steps = [{"step": s, "loss": 1 / s, "accuracy": 1 - 0.5 / s, "learning_rate": 0.001} for s in range(2, 13, 2)]
    write_csv(build / "training" / "steps.csv", steps, list(steps[0]))


def outputs(model: Any, arrays: Any) -> np.ndarray:
    """What a Keras model computes, not compiled: that takes longer than a test's few examples."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(arrays, training=False)))


def table_model(out: Path, settings: params.Params, state: dict[str, Any]) -> None:
    """A model of a table by hand: the first two numbers decide, all else has no say."""
    given = recipes.load("tabular").inputs(settings.task, state)
    numbers, codes = (len(given[name].names) for name in ("numeric", "categorical"))
    weights = numpy_helper.from_array(np.array([[-1, 1] if n < 2 else [0, 0] for n in range(numbers)], np.float32))
    weights.name = "weights"
    nothing = numpy_helper.from_array(np.zeros((codes, 1), np.float32), "nothing")
    nodes = [
        helper.make_node("MatMul", ["numeric", "weights"], ["product"]),
        helper.make_node("Cast", ["categorical"], ["category"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["category", "nothing"], ["zero"]),
        helper.make_node("Add", ["product", "zero"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    inputs = [
        helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["examples", numbers]),
        helper.make_tensor_value_info("categorical", TensorProto.INT32, ["examples", codes]),
    ]
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["examples", 2])
    write_model(out, helper.make_graph(nodes, "table", inputs, [answer], [weights, nothing]), settings, state)


def any_model(out: Path, settings: params.Params, sample: pa.Table) -> None:
    """A model of any recipe by hand: its outputs grow with the sum of all that it is given, and can overflow."""
    recipe = recipes.load(settings.recipe)
    state, columns = recipe.fit([sample], settings.task), recipe.columns(settings.task)
    arrays = recipe.encode(sample.select(columns.names).cast(columns).combine_chunks(), settings.task, state)
    inputs, nodes = [], []
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        inputs.append(helper.make_tensor_value_info(name, kind, ["examples", *array.shape[1:]]))
        nodes += [
            helper.make_node("Cast", [name], [f"{name} as numbers"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name} as numbers"], [f"{name} flat"]),
            helper.make_node("ReduceSum", [f"{name} flat", "own axes"], [f"{name} sum"]),
        ]
    predicted = recipe.target(settings.task)
    last = {"softmax": "Softmax", "sigmoid": "Sigmoid", "linear": "Identity"}[predicted.activation]
    nodes += [
        helper.make_node("Sum", [f"{name} sum" for name in arrays], ["own sum"]),
        helper.make_node("Mul", ["own sum", "own unit"], ["own size"]),
        helper.make_node("Exp", ["own size"], ["own growth"]),
        helper.make_node("MatMul", ["own growth", "own weights"], ["own logits"]),
        helper.make_node(last, ["own logits"], ["answer"]),
    ]
    weights = np.linspace(-1, 2, len(predicted.names), dtype=np.float32)[None]
    # "own": an input may be called weights
    constants = {"own axes": np.array([1]), "own unit": np.array(1e-4, np.float32), "own weights": weights}
    if predicted.maps:  # one box around all, whose score grows
        box, score = np.zeros((2, *predicted.shape), np.float32)
        box[0, 2:4], score[0, 4] = 1, 1
        constants |= {"own box": box, "own score": score}
        nodes[-3:] = [
            helper.make_node("Softsign", ["own size"], ["own growth"]),
            helper.make_node("Unsqueeze", ["own growth", "own axes"], ["own column"]),
            helper.make_node("Mul", ["own column", "own score"], ["own scores"]),
            helper.make_node("Add", ["own scores", "own box"], ["answer"]),
        ]
    elif len(predicted.shape) > 1:  # the same in each step
        steps, symbols = predicted.shape
        constants["own weights"] = np.tile(np.linspace(-1, 2, symbols, dtype=np.float32), steps)[None]
        constants["own shape"] = np.array([-1, steps, symbols])
        nodes[-1:] = [
            helper.make_node("Reshape", ["own logits", "own shape"], ["own steps"]),
            helper.make_node(last, ["own steps"], ["answer"], axis=-1),
        ]
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["examples", *predicted.shape])
    fixed = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    write_model(out, helper.make_graph(nodes, settings.recipe, inputs, [answer], fixed), settings, state)


def write_model(out: Path, graph: Any, settings: params.Params, state: dict[str, Any]) -> None:
    """Write model.onnx and model.json."""
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    out.mkdir(parents=True)
    (out / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    content = {"recipe": settings.recipe, "params": settings.task.model_dump(mode="json"), "state": state}
    write_json(out / "model.json", content | {"target": target(settings), "decision": None})


def target(settings: params.Params) -> dict[str, Any]:
    """What is predicted, as manifest.json and model.json have it."""
    predicted = recipes.load(settings.recipe).target(settings.task)
    return predicted.described()


def examples(root: Path, settings: params.Params) -> tuple[pa.Table, np.ndarray]:
    """All examples that are not set aside, and their splits."""
    columns = recipes.load(settings.recipe).columns(settings.task)
    parts = [dataset.read(chunk, columns) for chunk in dataset.chunks(root / "data", columns)]
    kept = pa.concat_tables(parts)
    kept = kept.append_column("row", pa.array(range(len(kept))))
    mask = [True] * len(kept)
    start = sum(len(part) for part in parts[:3])  # b.parquet begins here
    mask[start] = mask[start + 1] = False
    kept = kept.filter(pa.array(mask))
    return kept, splits.assigned(rule(settings, kept), kept)


def rule(settings: params.Params, *parts: pa.Table) -> splits.Rule:
    """How these rows are split, as preprocess makes it."""
    by, column, gap = settings.split_by()
    shares = settings.split.test, settings.split.validation
    return splits.make(by, column, shares, settings.split.seed, parts, gap)


def arrays(root: Path, settings: params.Params) -> None:
    kept, splits = examples(root, settings)
    recipe = recipes.load(settings.recipe)
    rows, classes = {}, {}
    for index, split in enumerate(dataset.SPLITS):
        part = kept.take(pa.array(np.flatnonzero(splits == index)))
        folder = root / "build" / "arrays" / split
        folder.mkdir(parents=True, exist_ok=True)
        encoded = recipe.encode(part, settings.task, {})
        labels = settings.task.labels
        np.save(folder / "image.npy", encoded["image"])
        np.save(folder / "label.npy", np.array([labels.index(v) for v in part["label"].to_pylist()], np.int32))
        np.save(folder / "id.npy", np.array(part["id"].to_pylist(), "S32"))
        np.save(folder / "row.npy", part["row"].to_numpy())
        rows[split] = len(part)
        classes[split] = {label: part["label"].to_pylist().count(label) for label in labels}
    manifest: dict[str, Any] = {"recipe": settings.recipe, "rows": rows, "split": rule(settings, kept)}
    manifest["inputs"] = {"image": {"shape": [6, 6, 1], "dtype": "uint8"}}
    manifest |= {"target": target(settings), "state": {}, "classes": classes}
    write_json(root / "build" / "arrays" / "manifest.json", manifest)


def baseline(root: Path, settings: params.Params) -> None:
    """Two that say the first label each time."""
    build = root / "build"
    rows = len(np.load(build / "arrays" / "test" / "label.npy"))
    out = build / "baseline"
    out.mkdir(parents=True, exist_ok=True)
    for name in ("trivial", "classical"):
        np.save(out / f"{name}.npy", np.tile(np.array([0.6, 0.4], np.float32), (rows, 1)))
    write_json(out / "baseline.json", {"trivial": "the first label", "classical": "Constant", "rows": 9, "of": 9})


def evaluation(root: Path, settings: params.Params) -> None:
    build, labels = root / "build", settings.task.labels
    loaded = onnx_model.load(build / "model")
    image, label, ids = (np.load(build / "arrays" / "test" / f"{n}.npy") for n in ("image", "label", "id"))
    probabilities = onnx_model.outputs(loaded, {"image": image})
    predicted = probabilities.argmax(1)
    accuracy = float((predicted == label).mean())
    measured = Examples(label, probabilities, settings.target())
    f1 = float(metrics.measure(measured)[0]["f1_macro"][0])
    out = build / "evaluation"
    size = (build / "model" / "model.onnx").stat().st_size / 1e6
    write_json(
        out / "metrics.json",
        {"rows": len(label), "accuracy": accuracy, "f1_macro": f1, "size_mb": round(size, 6)},
    )
    interval = {"metric": "accuracy", "value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    write_csv(out / "intervals.csv", [interval], list(interval))
    constant = np.tile(np.array([0.6, 0.4], np.float32), (len(label), 1))  # what `baseline` says each time
    beside = []
    for name, text in (("trivial", "the first label"), ("classical", "Constant")):
        for metric in ("accuracy", "f1_macro"):
            found = bootstrap.compared(metric, measured, measured.answered(constant), 1, 200, 0.95)
            assert found is not None
            row = {"baseline": name, "name": text, "metric": metric, "value": found.other}
            beside.append(row | {"better": found.better, "low": found.low, "high": found.high})
    write_csv(out / "baselines.csv", beside, list(beside[0]))
    classes = [
        {"label": v, "precision": 0.9, "recall": 0.9, "f1": 0.9, "rows": int((label == i).sum())}
        for i, v in enumerate(labels)
    ]
    write_csv(out / "classes.csv", classes, list(classes[0]))
    pairs = [{"actual": labels[a], "predicted": labels[p]} for a, p in zip(label, predicted, strict=True)]
    write_csv(out / "confusion.csv", pairs, ["actual", "predicted"])
    write_csv(
        out / "calibration.csv",
        [{"confidence": 0.75, "accuracy": 0.7, "rows": 9}, {"confidence": 0.95, "accuracy": 1.0, "rows": 50}],
        ["confidence", "accuracy", "rows"],
    )
    predictions = loaded.target.answers(probabilities)
    predictions = predictions.add_column(0, "id", [[key.decode() for key in ids]])
    predictions = predictions.add_column(1, "actual", [[labels[i] for i in label]])
    pq.write_table(predictions, out / "predictions.parquet")
    made = {"model_digest": digest(root)}
    write_json(build / "cost" / "train.json", {"seconds": 3.5, "peak_memory_mb": 500, "fit_seconds": 2.0} | made)
    write_json(build / "cost" / "evaluate.json", {"seconds": 1.0, "peak_memory_mb": 200, "latency_ms": 0.05} | made)


def beside(baseline: str, low: float, high: float) -> dict[str, Any]:
    """A row of baselines.csv: the model is better by between `low` and `high`."""
    names = {"trivial": "the most frequent class", "classical": "LogisticRegression", "chance": "its own answers"}
    row = {"baseline": baseline, "name": names[baseline], "metric": "f1_macro", "value": 0.9772}
    return row | {"better": (low + high) / 2, "low": low, "high": high}


STAGES = {  # stage -> what it reads and what it makes
    "validate": (["data"], ["build/validation/quarantine.parquet"]),
    "train": (["build/validation/quarantine.parquet"], ["build/model"]),
    "evaluate": (["build/model"], ["build/evaluation"]),
}


def versions(root: Path) -> None:
    """A DVC repository whose stages are up to date: dvc.yaml, data.dvc and dvc.lock with DVC's own digests."""

    def entry(path: str) -> dict[str, str]:
        found = root / path
        return {"path": path, "hash": "md5", "md5": folder_digest(found) if found.is_dir() else md5(found)}

    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / ".dvcignore").write_text("")
    yaml = YAML()
    yaml.dump({"outs": [{**entry("data"), "cache": False}]}, root / "data.dvc")
    train = YAML(typ="safe").load(root / "params.yaml")["train"]
    defined: dict[str, Any] = {}
    locked: dict[str, Any] = {}
    for name, (deps, outs) in STAGES.items():
        defined[name] = {"cmd": name, "deps": deps, "outs": [{path: {"cache": False}} for path in outs]}
        locked[name] = {"cmd": name, "deps": [entry(path) for path in deps], "outs": [entry(path) for path in outs]}
    defined["train"]["params"] = ["train"]
    locked["train"]["params"] = {"params.yaml": {"train": train}}
    yaml.dump({"stages": defined}, root / "dvc.yaml")
    yaml.dump({"schema": "2.0", "stages": locked}, root / "dvc.lock")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324 - DVC's hash


def folder_digest(folder: Path) -> str:
    """DVC's digest of a folder: the MD5 of the JSON list of its files, sorted, with their MD5s."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"  # noqa: S324


def digest(root: Path) -> str:
    return sha256(root / "build" / "model" / "model.onnx", root / "build" / "model" / "model.json")


def store(root: Path) -> None:
    """Write an empty MLflow database to root/mlflow.db."""
    (root / "mlflow.db").write_bytes(_empty_store())


@functools.cache
def _empty_store() -> bytes:
    """Make an empty MLflow database, which takes seconds: once for each version of MLflow."""
    kept = ROOT / ".pytest_cache" / f"mlflow-{version('mlflow')}.db"
    if not kept.exists():
        from mlflow.store.db import utils

        steps: Any = utils  # untyped
        kept.parent.mkdir(exist_ok=True)
        with replacing(kept) as aside:
            engine = steps.create_sqlalchemy_engine(f"sqlite:///{aside}")
            steps._initialize_tables(engine)
            engine.dispose()
    return kept.read_bytes()


@contextmanager
def server(root: Path, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real `mlflow server` on loopback; its empty database is that of `root`."""
    shutil.copy(root / "mlflow.db", folder / "store.db")
    program = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    program += ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", f"{folder}/artifacts"]
    with _mlflow(program, folder, f"http://127.0.0.1:{port}/health") as process:
        yield process


@contextmanager
def served(model: str, folder: Path, port: int) -> Iterator[None]:
    """A real `mlflow models serve` on loopback, with no way to import the checkout."""
    program = ["models", "serve", "--model-uri", model, "--env-manager", "local"]
    program += ["--host", "127.0.0.1", "--port", str(port)]
    with _mlflow(program, folder, f"http://127.0.0.1:{port}/health"):
        yield


@contextmanager
def _mlflow(program: list[str], folder: Path, health: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    for name in ("MLFLOW_TRACKING_URI", "PYTHONPATH"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "mlflow", *program]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(health, timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text())
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Let no file grow beyond some bytes in this process, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def strict(text: str) -> Any:
    """Read JSON as others than Python do: NaN and Infinity are none."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON: {text}")

    return json.loads(text, parse_constant=refuse)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def kill_postgres(server: Any) -> None:
    """SIGKILL of all processes of a PostgreSQL."""
    postmaster = psutil.Process(server.get_pid())
    killed = [postmaster, *postmaster.children(recursive=True)]
    for each in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    assert not psutil.wait_procs(killed, timeout=60)[1]
