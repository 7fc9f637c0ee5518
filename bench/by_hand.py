"""The work of examples/mnist typed by hand with the same libraries: the floor of bench/pipeline.py.

python bench/by_hand.py DATA STEP, in a folder of its own, a process a step as `dvc repro` has it. Each does what its
library must do for the same result and no more: nothing is found again, reused, compared with a contract, explained in
words or proved row by row; of the resamples the areas under curves are left out, which alone would take a minute.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"

import numpy as np

SEED, CLASSES, RESAMPLES = 1, 10, 1000
EPOCHS, BATCH, RATE = 6, 512, 0.01


def validate(data: Path) -> None:
    """Decode every image, and hold what it is like against expectations."""
    import great_expectations as gx
    import pyarrow.parquet as pq
    from PIL import Image

    frame = pq.read_table(data, columns=["id", "label", "split"]).to_pandas()
    pictures = [Image.open(io.BytesIO(each)) for each in pq.read_table(data, columns=["image"])["image"].to_pylist()]
    frame["mean"] = [np.asarray(picture).mean() for picture in pictures]
    frame["width"], frame["height"], frame["mode"] = zip(*((*p.size, p.mode) for p in pictures), strict=True)
    batch = gx.get_context(mode="ephemeral").data_sources.pandas_default.read_dataframe(frame)
    rules: Any = gx.expectations
    wanted = [rules.ExpectColumnValuesToNotBeNull(column=name) for name in ("id", "label", "split")]
    sets: dict[str, list[Any]] = {
        "label": [str(digit) for digit in range(10)],
        "split": ["train", "validation", "test"],
        "mode": ["L"],
    }
    sets |= {"width": [28], "height": [28]}
    wanted += [rules.ExpectColumnValuesToBeInSet(column=name, value_set=of) for name, of in sets.items()]
    wanted.append(rules.ExpectColumnValuesToBeUnique(column="id"))
    if not all(batch.validate(each).success for each in wanted):
        sys.exit("the data is not as expected")


def preprocess(data: Path) -> None:
    """Decode every image into arrays, split."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(data)
    x = np.stack([np.asarray(Image.open(io.BytesIO(each))) for each in table["image"].to_pylist()])
    y, given = np.array(table["label"].to_pylist()).astype(np.int64), np.array(table["split"].to_pylist())
    held = (np.random.default_rng(SEED).random(len(y)) < 0.1) & (given == "train")
    for name, rows in (("train", (given == "train") & ~held), ("validation", held), ("test", given == "test")):
        np.savez(name, x=x[rows], y=y[rows])


def baseline(_: Path) -> None:
    """Fit logistic regressions of 20,000 examples with the settings that ours goes through; keep the best."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    def features(part: str) -> tuple[np.ndarray, np.ndarray]:
        with np.load(f"{part}.npz") as file:
            x = file["x"].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196) / 255
            return x.astype(np.float32), file["y"]

    (x, y), (held, actual), (test, _actual) = map(features, ("train", "validation", "test"))
    model, best, found = LogisticRegression(max_iter=1000, tol=3e-4, warm_start=True), np.inf, np.empty(0)
    for strength in (0.001, 0.01, 0.1, 1.0):
        model.C = strength
        model.fit(x[:20_000], y[:20_000])
        if (loss := log_loss(actual, model.predict_proba(held))) < best:
            best, found = loss, model.predict_proba(test)
    np.save("classical.npy", found)


def train(_: Path) -> None:
    """Fit the network, write it and its ONNX model, log the run."""
    import keras
    import mlflow
    import onnxruntime

    keras.utils.set_random_seed(SEED)
    (x, y), held = (np.load(f"{part}.npz").values() for part in ("train", "validation"))
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=RATE, warmup_steps=steps // EPOCHS)
    layers = [keras.Input((28, 28)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    layers += [keras.layers.Dense(512, activation="relu"), keras.layers.Dropout(0.1)]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES, activation="softmax")])
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    with mlflow.start_run():
        mlflow.log_params({"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE})
        fitted = model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, validation_data=tuple(held), verbose=0)
        for epoch in range(EPOCHS):
            mlflow.log_metrics({name: values[epoch] for name, values in fitted.history.items()}, epoch)
    model.save("model.keras")
    model.export("model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession("model.onnx")
    given = x[:1000].astype(np.float32)
    (answers,) = session.run(None, {session.get_inputs()[0].name: given})
    if np.abs(answers - model.predict(given, verbose=0)).max() > 1e-4:
        sys.exit("the ONNX model answers otherwise")


def evaluate(_: Path) -> None:
    """Measure the model and the baselines with intervals, draw, explain some images, log."""
    import matplotlib as mpl
    import mlflow
    import onnxruntime
    from sklearn import metrics

    mpl.use("agg")
    from matplotlib import pyplot

    x, y = np.load("test.npz").values()
    session = onnxruntime.InferenceSession("model.onnx")
    ask = session.get_inputs()[0].name

    def outputs(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {ask: images.astype(np.float32)})[0])

    random, n = np.random.default_rng(SEED), len(y)
    prior = np.full((n, CLASSES), 1 / CLASSES)
    contestants = {"model": outputs(x), "classical": np.load("classical.npy"), "trivial": prior}
    contestants["chance"] = random.permutation(contestants["model"])
    measured, draws = {}, random.integers(0, n, (RESAMPLES, n))
    for name, found in contestants.items():
        said, surprise = found.argmax(1), -np.log(found[np.arange(n), y].clip(1e-15))
        measured[f"{name} roc_auc"] = metrics.roc_auc_score(y, found / found.sum(1, keepdims=True), multi_class="ovr")
        pairs, samples = y * CLASSES + said, []
        for draw in draws:
            counts = np.bincount(pairs[draw], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
            hit = counts.diagonal()
            f1 = (2 * hit / np.maximum(counts.sum(0) + counts.sum(1), 1)).mean()
            samples.append([hit.sum() / n, f1, surprise[draw].mean()])
        ends = np.quantile(samples, (0.025, 0.975), axis=0).T
        for metric, (low, high) in zip(("accuracy", "f1", "log_loss"), ends, strict=True):
            measured |= {f"{name} {metric} low": low, f"{name} {metric} high": high}
    said, folder = contestants["model"].argmax(1), Path("figures")
    folder.mkdir(exist_ok=True)
    plots: dict[str, Any] = {
        "confusion": lambda axis: axis.imshow(metrics.confusion_matrix(y, said)),
        "calibration": lambda axis: axis.hist(contestants["model"].max(1), 15),
        "ranking": lambda axis: [
            axis.plot(*metrics.roc_curve(y == c, contestants["model"][:, c])[:2]) for c in range(CLASSES)
        ],
        "by class": lambda axis: axis.barh(range(10), metrics.f1_score(y, said, average=None)),
    }
    for title, draw_on in plots.items():
        figure, axis = pyplot.subplots(layout="constrained")
        draw_on(axis)
        figure.savefig(folder / f"{title}.png", dpi=120)
    for row in np.flatnonzero(said != y)[:8]:
        hidden = np.repeat(x[row : row + 1], 169, 0)
        for place, image in enumerate(hidden):
            down, right = 2 * (place // 13), 2 * (place % 13)
            image[down : down + 4, right : right + 4] = 0
        outputs(hidden)
    with mlflow.start_run():
        mlflow.log_metrics({name.replace(" ", "_"): float(value) for name, value in measured.items()})
        mlflow.log_artifacts(str(folder), "figures")
    print(f"accuracy {(said == y).mean():.4f}")


if __name__ == "__main__":
    step: Any = globals()[sys.argv[2]]
    step(Path(sys.argv[1]))
