"""Fit the model; write it twice: .keras to train on, ONNX to predict with.

Killed half-way, it goes on from the last epoch's checkpoint and ends with the same bytes as if undisturbed:
every batch is a function of the seed, the epoch and its number, and the checkpoint holds every variable.
"""

import hashlib
import json
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import (
    SlipwayError,
    augment,
    batches,
    checkpoint,
    decision,
    device,
    export,
    fitting,
    pretrained,
    pretraining,
    recipes,
    schedules,
)
from components.checkpoint import Progress
from components.files import code, read_json, sha256, write_csv
from components.params import Params

if TYPE_CHECKING:
    import keras

    from components.tracking import Training

PARTS = (augment, batches, checkpoint, decision, device, export, fitting, pretrained, pretraining, schedules)


def run(params: Params, arrays: Path, out: Path, history: Path) -> dict[str, Any]:
    """Write `out` (model.keras, model.onnx, model.json) and `history` (epochs.csv, steps.csv).

    Raises SlipwayError for a device that is not there, settings that do not fit the recipe, weights to start from
    that cannot be read, an MLflow that does not answer, a loss that is not a number, and two artefacts whose
    outputs differ by more than 1e-4.
    """
    from components import tracking

    manifest = read_json(arrays / "manifest.json")
    tracking.check()
    hardware = device.start(params)
    source = pretrained.read(params.train)
    key = _key(params, manifest, source.digest if source else "")
    folder = out.parent / "checkpoints" / key
    model = fitting.build(params, manifest, mixed=bool(hardware["mixed_precision"]))
    taken = pretrained.start(model, source, params.train, manifest["state"]) if source else []
    fitting.compile_to_fit(model, params, manifest)
    progress = checkpoint.restore(model, folder / "fit")
    names = ", ".join(f"{name} {value}" for name, value in hardware.items())
    print(f"{model.count_params():,} parameters; {names}", flush=True)
    if progress.epochs:
        print(f"going on after epoch {len(progress.epochs)} of {params.train.epochs}", flush=True)
    metric = fitting.METRICS[manifest["target"]["kind"]]
    with tracking.training(params, key, manifest, hardware) as live:
        if not progress.epochs:
            pretraining.run(model, params, arrays, manifest, folder / "pretraining", live)
            _show(params, arrays, manifest, live)
        _fit(model, params, arrays, manifest, progress, folder / "fit", live, taken)
        # computes in float32, and starts a later training afresh
        shipped = fitting.build(params, manifest)
        shipped.set_weights(model.get_weights())
        fitting.compile_to_ship(shipped, params, manifest)
        started = {"from": source.name, "digest": source.digest, "layers": taken} if source else None
        digest = export.write(shipped, params, arrays, manifest, out, started)
        columns = ["loss", metric, "val_loss", f"val_{metric}", "learning_rate"]
        write_csv(history / "epochs.csv", progress.epochs, ["epoch", *columns])
        write_csv(history / "steps.csv", progress.steps, ["step", "loss", metric, "learning_rate"])
        live.done(digest)
    shutil.rmtree(folder.parent, ignore_errors=True)  # also those of trainings that were given up
    seen = manifest["rows"]["train"] * len(progress.epochs)
    return {
        "fit_seconds": round(progress.seconds, 2),
        "examples_per_second": round(seen / max(progress.seconds, 1e-9)),
        **hardware,
        "training": key,  # by which a run that lost its server is found again
        "model_digest": digest,
    }


def _key(params: Params, manifest: dict[str, Any], source: str) -> str:
    """Hash all that the training depends on: a checkpoint of anything else is never taken up.

    `source` is the digest of the weights that it starts from.
    """
    own = sha256(Path(__file__), *(Path(str(module.__file__)) for module in PARTS), *code(params.recipe))
    costs = params.costs if params.train.threshold == "cost" else None
    settings = [params.recipe, params.seed, params.train.model_dump(), params.task.model_dump(), costs, manifest]
    text = json.dumps([settings, source, own], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _show(params: Params, arrays: Path, manifest: dict[str, Any], live: "Training") -> None:
    """Give the run a picture of augmented examples, where there are any: those of the first batch."""
    spec = recipes.load(params.recipe).inputs(params.task, manifest["state"])
    change = augment.changes(params.train.augment, spec)
    if change is None:
        return
    rows = min(32, manifest["rows"]["train"])
    before = {name: np.load(arrays / "train" / f"{name}.npy", mmap_mode="r")[:rows] for name in manifest["inputs"]}
    after, _ = change(before, np.zeros((rows, 1), np.float32), np.random.default_rng([params.seed, 0, 0]))
    live.figure(*augment.shown(before, after, spec))


def _fit(
    model: "keras.Model",
    params: Params,
    arrays: Path,
    manifest: dict[str, Any],
    progress: Progress,
    folder: Path,
    live: "Training",
    taken: list[str],
) -> None:
    """Fit what is left of the training; the model then has the weights that ship."""
    import keras
    from tqdm import tqdm

    settings = params.train
    metric = fitting.METRICS[manifest["target"]["kind"]]
    first = len(progress.epochs)
    train = batches.training(params, arrays, manifest, first)
    weights = model.trainable_variables  # all of them, also while some are frozen
    still = [model.get_layer(name) for name in taken if name not in pretrained.HEAD] if settings.freeze_epochs else []

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        """Live metrics, the checkpoint and a line an epoch; what changes from epoch to epoch.

        Stops a training whose loss is not a number, or does not get better.
        """

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            if still and epoch in (first, settings.freeze_epochs):
                self.freeze(frozen=epoch < settings.freeze_epochs)
            self.epoch, self.done, self.seen, self.sums = epoch, 0, 0, {"loss": 0.0, metric: 0.0}
            self.started = time.perf_counter()
            self.bar = tqdm(total=len(train), desc=f"epoch {epoch + 1}", unit=" steps", leave=False, disable=None)

        def freeze(self, *, frozen: bool) -> None:
            for layer in still:
                layer.trainable = not frozen
            self.model.make_train_function(force=True)  # it was traced with the others

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            step = self.epoch * len(train) + batch + 1
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
            progress.steps.append({"step": step, **part, "learning_rate": self.rate()})
            live.log({f"step_{name}": value for name, value in part.items()}, step)

        def rate(self) -> float:
            return float(self.model.optimizer.learning_rate)

        def check(self, name: str, value: float, step: int) -> None:
            if not math.isfinite(value):
                raise SlipwayError(
                    f"the {name} became {value} in epoch {self.epoch + 1}, by step {step}, at learning rate "
                    f"{self.rate():g}: lower train.learning_rate in params.yaml, or look for extreme values in the data"
                )

        def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            if settings.ema is not None:  # what is validated is what would ship
                self.raw = [np.asarray(variable) for variable in weights]
                self.model.optimizer.finalize_variable_values(weights)

        def on_test_end(self, logs: Any = None) -> None:
            if settings.early_stopping is not None and logs["loss"] < min(progress.losses(), default=math.inf):
                progress.best = self.model.get_weights()
            if settings.ema is not None:
                for variable, value in zip(weights, self.raw, strict=True):
                    variable.assign(value)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.bar.close()
            rate = self.rate()
            row = {name: float(logs[name]) for name in ("loss", metric, "val_loss", f"val_{metric}")}
            self.check("validation loss", row["val_loss"], (epoch + 1) * len(train))
            progress.epochs.append({"epoch": epoch + 1, **row, "learning_rate": rate})
            if settings.schedule.name == "plateau":
                share = schedules.plateau(settings.schedule, progress.losses())
                self.model.optimizer.learning_rate = settings.learning_rate * share
            if schedules.finished(settings, progress.losses()):
                self.model.stop_training = True
                self.thaw()
            progress.seconds += time.perf_counter() - self.started
            checkpoint.save(self.model, folder, progress)
            live.log({**row, "learning_rate": rate, "epoch": epoch + 1}, (epoch + 1) * len(train))
            text = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
            print(f"epoch {epoch + 1}/{settings.epochs}  {text}", flush=True)

        def thaw(self) -> None:
            for layer in still:
                layer.trainable = True

    if not schedules.finished(settings, progress.losses()):
        model.fit(
            train,
            validation_data=batches.validation(params, arrays, manifest),
            epochs=settings.epochs,
            initial_epoch=first,
            callbacks=[Watch()],
            shuffle=False,  # of batches by Keras: the order is ours
            verbose=0,
        )
    if settings.early_stopping is not None:
        model.set_weights(progress.best)
        print(f"the weights are those of epoch {schedules.best(progress.losses()) + 1}, the best", flush=True)
    else:
        model.optimizer.finalize_variable_values(weights)  # the average, where there is one
