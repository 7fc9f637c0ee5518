"""The work of the five steps, the same for each peer: bench/peers/run.py copies this file into each project.

What differs between the peers is then only the tool around it. The checks are plain NumPy, as a practitioner writes
them for arrays of images; the tracker and the registry are MLflow on a SQLite file. Heavy imports are inside the
functions, so that a step which is a process of its own pays only for what it uses.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

NAMES = [
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]
SEED = 0


def idx(path: Path | str) -> np.ndarray:
    """Read an array of bytes from a gzipped IDX file: the fourth byte is the number of its dimensions."""
    content = gzip.decompress(Path(path).read_bytes())
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def read(folder: Path | str) -> list[np.ndarray]:
    """Return images and labels to train on, then those to test on."""
    return [idx(Path(folder) / name) for name in NAMES]


def validate(train_images: Any, train_labels: Any, test_images: Any, test_labels: Any) -> dict[str, Any]:
    """Check the raw data and return what was counted; raise ValueError with all that is wrong."""
    note("validate")
    wrong, counted = [], {}
    for name, images, labels in (("train", train_images, train_labels), ("test", test_images, test_labels)):
        classes, counts = np.unique(labels, return_counts=True)
        if images.shape[1:] != (28, 28):
            wrong.append(f"{name}: images of {images.shape[1:]}, not of (28, 28)")
        if len(images) != len(labels):
            wrong.append(f"{name}: {len(images)} images, {len(labels)} labels")
        if classes.tolist() != list(range(10)):
            wrong.append(f"{name}: the classes are {classes.tolist()}, not 0 to 9")
        if counts.min() < 0.05 * len(labels):
            wrong.append(f"{name}: a class has {counts.min()} of {len(labels)} examples")
        blank = int((images.reshape(len(images), -1).max(axis=1) == 0).sum())
        if blank:
            wrong.append(f"{name}: {blank} blank images")
        counted[name] = {"images": len(images), "classes": counts.tolist()}
    if wrong:
        raise ValueError("; ".join(wrong))
    return counted


def preprocess(train_images: Any, train_labels: Any, test_images: Any, test_labels: Any) -> tuple[np.ndarray, ...]:
    """Return inputs (n, 784) from 0 to 1 and labels, to train on, then to test on."""
    note("preprocess")
    x_train, x_test = (images.reshape(-1, 784).astype("float32") / 255 for images in (train_images, test_images))
    return x_train, np.asarray(train_labels), x_test, np.asarray(test_labels)


def train(x: np.ndarray, y: np.ndarray, hidden: int, epochs: int) -> Any:
    """Return the fitted network of bench/seed.py, with `hidden` units."""
    import keras

    note("train")
    keras.utils.set_random_seed(SEED)
    layers = [keras.layers.Dense(hidden, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((784,)), *layers])
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=epochs, validation_split=0.2, verbose=0)
    return model


def evaluate(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return loss and accuracy on the test split."""
    note("evaluate")
    loss, accuracy = model.evaluate(x, y, batch_size=1024, verbose=0)
    return {"loss": float(loss), "accuracy": float(accuracy)}


def register(model: Any, metrics: dict[str, float], hidden: int, epochs: int, threshold: float) -> dict[str, Any]:
    """Log the run; register the model where its accuracy reaches the threshold, and say so."""
    import mlflow

    note("register")
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("mnist")
    with mlflow.start_run():
        mlflow.log_params({"hidden": hidden, "epochs": epochs, "threshold": threshold})
        mlflow.log_metrics(metrics)
        version = None
        if metrics["accuracy"] >= threshold:
            logged = mlflow.keras.log_model(
                model,
                name="model",
                signature=mlflow.models.infer_signature(np.zeros((1, 784), "float32"), np.zeros((1, 10), "float32")),
                registered_model_name="mnist",
                pip_requirements="requirements.txt",  # known, so that MLflow need not infer them, which takes seconds
            )
            version = logged.registered_model_version
            mlflow.MlflowClient().set_registered_model_alias("mnist", "champion", version)
    return {"version": version, "threshold": threshold, **metrics}


def note(step: str) -> None:
    """Note that a step ran: bench/peers/run.py tells it beside the seconds."""
    with Path("ran.txt").open("a") as file:
        file.write(f"{step}\n")
