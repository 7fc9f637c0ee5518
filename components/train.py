"""Fit the model; write it twice: .keras to train on, ONNX to predict with.

Killed half-way, it goes on from the last epoch's checkpoint and ends with the same bytes as if undisturbed:
every batch's order is a function of the seed and the epoch, and the checkpoint holds every variable.
"""

import hashlib
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import SlipwayError, export, recipes
from components.files import read_json, replacing, sha256, write_csv, write_json
from components.params import Params

if TYPE_CHECKING:
    import keras

    from components.tracking import Training

EPOCH_COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
STEP_COLUMNS = ["step", "loss", "accuracy", "learning_rate"]


@dataclass
class Progress:
    """What a training has come to, kept in its checkpoint."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0  # in fit, over all its parts


def run(params: Params, arrays: Path, out: Path, history: Path) -> dict[str, Any]:
    """Write `out` (model.keras, model.onnx, model.json) and `history` (epochs.csv, steps.csv).

    Raises SlipwayError for a device that is not there, an MLflow that does not answer, a loss that is not
    a number, and two artefacts whose probabilities differ by more than 1e-4.
    """
    from components import tracking

    manifest = read_json(arrays / "manifest.json")
    tracking.check()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    hardware = _device(params)
    key = _key(params, manifest)
    checkpoint = out.parent / "checkpoints" / key
    model = _model(params, manifest, mixed=bool(hardware["mixed_precision"]))
    progress = _restore(model, checkpoint)
    names = ", ".join(f"{name} {value}" for name, value in hardware.items())
    print(f"{model.count_params():,} parameters; {names}", flush=True)
    if progress.epochs:
        print(f"going on after epoch {len(progress.epochs)} of {params.train.epochs}", flush=True)
    with tracking.training(params, key, manifest, hardware) as live:
        _fit(model, params, arrays, manifest, progress, checkpoint, live)
        shipped = _model(params, manifest, mixed=False)  # computes in float32, and starts a later training afresh
        shipped.set_weights(model.get_weights())
        shipped.optimizer.build(shipped.trainable_variables)
        digest = export.write(shipped, params, arrays, manifest, out)
        write_csv(history / "epochs.csv", progress.epochs, EPOCH_COLUMNS)
        write_csv(history / "steps.csv", progress.steps, STEP_COLUMNS)
        live.done(digest)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)  # also those of trainings that were given up
    seen = manifest["rows"]["train"] * len(progress.epochs)
    return {
        "fit_seconds": round(progress.seconds, 2),
        "examples_per_second": round(seen / max(progress.seconds, 1e-9)),
        **hardware,
        "training": key,  # by which a run that lost its server is found again
        "model_digest": digest,
    }


def _device(params: Params) -> dict[str, str | int | float]:
    """Choose the device and say what it is; deterministic operations from here on.

    Op determinism: https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism
    """
    import psutil

    with _quiet():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    wanted = params.train.device
    if wanted == "gpu" and not gpus:
        raise SlipwayError(
            "params.yaml: train.device: gpu, but TensorFlow finds none: `make run GPU=1` installs CUDA on Linux, "
            "`nvidia-smi` shows the driver; device: auto takes the CPU where there is no GPU"
        )
    use_gpu = bool(gpus) and wanted != "cpu"
    if use_gpu:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, enable=True)
    elif gpus:
        tf.config.set_visible_devices([], "GPU")
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(params.seed)
    mixed = {"on": True, "off": False, "auto": use_gpu}[params.train.mixed_precision]
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if use_gpu else _processor()
    return {
        "device": "gpu" if use_gpu else "cpu",
        "device_name": name,
        "gpus": len(gpus) if use_gpu else 0,
        "cores": os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "mixed_precision": int(mixed),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what TensorFlow's C++ writes to stderr while it starts; show it if the start fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _processor() -> str:
    """Name the processor: /proc/cpuinfo has it on Linux (proc(5)); platform knows only the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _key(params: Params, manifest: dict[str, Any]) -> str:
    """Hash all that the training depends on: a checkpoint of anything else is never taken up."""
    recipe = Path(str(recipes.load(params.recipe).__file__))  # type: ignore[attr-defined]
    settings = [params.recipe, params.seed, params.train.model_dump(), params.task.model_dump(), manifest]
    text = json.dumps([settings, sha256(recipe, Path(__file__), Path(export.__file__))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _model(params: Params, manifest: dict[str, Any], *, mixed: bool) -> "keras.Model":
    """Build and compile the recipe's model, its weights initialised from the seed."""
    import keras

    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    keras.utils.clear_session()  # layers are named alike each time
    keras.utils.set_random_seed(params.seed)
    model = recipes.load(params.recipe).build(params.task, manifest["state"], 0.0)
    steps = -(-manifest["rows"]["train"] // params.train.batch_size)
    model.compile(
        optimizer=keras.optimizers.Adam(params.train.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=min(params.train.log_every, steps, 25),  # a callback a step would cost a third
    )
    return model


def _variables(model: "keras.Model") -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def _restore(model: "keras.Model", checkpoint: Path) -> Progress:
    """Make the optimizer's variables; take up the last epoch's checkpoint where there is one."""
    model.optimizer.build(model.trainable_variables)
    if not (checkpoint / "progress.json").exists():
        return Progress()
    with np.load(checkpoint / "variables.npz") as stored:
        for index, variable in enumerate(_variables(model)):
            variable.assign(stored[f"{index}"])
    return Progress(**read_json(checkpoint / "progress.json"))


def _save(model: "keras.Model", checkpoint: Path, progress: Progress) -> None:
    with replacing(checkpoint) as aside:
        aside.mkdir(parents=True)
        arrays = {f"{index}": np.asarray(variable) for index, variable in enumerate(_variables(model))}
        np.savez(aside / "variables.npz", **arrays)  # type: ignore[arg-type]
        write_json(aside / "progress.json", vars(progress))


def _fit(
    model: "keras.Model",
    params: Params,
    arrays: Path,
    manifest: dict[str, Any],
    progress: Progress,
    checkpoint: Path,
    live: "Training",
) -> None:
    import keras
    from tqdm import tqdm

    settings = params.train
    inputs = list(manifest["inputs"])
    first = len(progress.epochs)

    class Examples(keras.utils.PyDataset):  # type: ignore[misc]
        """A split in batches, read from memory-mapped arrays; shuffled by seed and epoch."""

        def __init__(self, split: str, size: int, *, shuffle: bool) -> None:
            super().__init__()
            self.arrays = {name: np.load(arrays / split / f"{name}.npy", mmap_mode="r") for name in [*inputs, "label"]}
            self.rows, self.size, self.shuffle, self.epoch = int(manifest["rows"][split]), size, shuffle, first
            self.order = self._order()

        def _order(self) -> np.ndarray:
            random = np.random.default_rng([params.seed, self.epoch])
            return random.permutation(self.rows) if self.shuffle else np.arange(self.rows)

        def __len__(self) -> int:
            return math.ceil(self.rows / self.size)

        def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            rows = self.order[index * self.size : (index + 1) * self.size]
            return {name: self.arrays[name][rows] for name in inputs}, self.arrays["label"][rows]

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self.order = self._order()

    train = Examples("train", settings.batch_size, shuffle=True)
    validation = Examples("validation", max(settings.batch_size, 1024), shuffle=False)

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        """Live metrics, the checkpoint and a line an epoch; stops a training whose loss is not a number."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.epoch, self.done, self.seen, self.sums = epoch, 0, 0, {"loss": 0.0, "accuracy": 0.0}
            self.started = time.perf_counter()
            self.bar = tqdm(total=len(train), desc=f"epoch {epoch + 1}", unit=" steps", leave=False, disable=None)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            step = self.epoch * len(train) + batch + 1
            rate = float(self.model.optimizer.learning_rate)
            self.check("loss", float(logs["loss"]), step)
            self.bar.update(batch + 1 - self.bar.n)
            before, self.done = self.done, batch + 1  # Keras calls once an execution, of one step or many
            if step // settings.log_every == (step - self.done + before) // settings.log_every:
                return
            # Keras reports means since the epoch's start: take those of the examples since the last report
            seen = min((batch + 1) * settings.batch_size, manifest["rows"]["train"])
            sums = {name: float(logs[name]) * seen for name in self.sums}
            part = {name: (sums[name] - self.sums[name]) / (seen - self.seen) for name in sums}
            self.seen, self.sums = seen, sums
            progress.steps.append({"step": step, **part, "learning_rate": rate})
            live.log({f"step_{name}": value for name, value in part.items()}, step)

        def check(self, name: str, value: float, step: int) -> None:
            if not math.isfinite(value):
                rate = float(self.model.optimizer.learning_rate)
                raise SlipwayError(
                    f"the {name} became {value} in epoch {self.epoch + 1}, by step {step}, at learning rate {rate:g}: "
                    "lower train.learning_rate in params.yaml, or look for extreme values in the data"
                )

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.bar.close()
            rate = float(self.model.optimizer.learning_rate)
            row = {name: float(logs[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
            self.check("validation loss", row["val_loss"], (epoch + 1) * len(train))
            progress.epochs.append({"epoch": epoch + 1, **row, "learning_rate": rate})
            progress.seconds += time.perf_counter() - self.started
            _save(self.model, checkpoint, progress)
            live.log({**row, "learning_rate": rate, "epoch": epoch + 1}, (epoch + 1) * len(train))
            text = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
            print(f"epoch {epoch + 1}/{settings.epochs}  {text}", flush=True)

    if first < settings.epochs:
        model.fit(
            train,
            validation_data=validation,
            epochs=settings.epochs,
            initial_epoch=first,
            callbacks=[Watch()],
            shuffle=False,  # of batches by Keras: Examples shuffles the examples
            verbose=0,
        )
