"""The loop of a training, from the epoch where it stands: what Keras is told, and what it tells us.

Imported where a training begins, not before: with it comes Keras.
"""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from tqdm import tqdm

from components import SlipwayError, targets
from components.params import Params
from components.training import batches, checkpoint, pretrained_weights, schedules
from components.training.checkpoint import Progress

if TYPE_CHECKING:
    from components.tracking.apart import Live


def fit(
    model: "keras.Model",
    params: Params,
    arrays: Path,
    manifest: dict[str, Any],
    progress: Progress,
    folder: Path,
    live: "Live",
    taken: list[str],
) -> None:
    """Fit what is left of a training; the model then has the weights that ship.

    `folder` is that of the checkpoint; `taken` names the layers that have pretrained weights. Raises SlipwayError where
    the loss is not a number.
    """
    settings = params.train
    train = batches.training(params, arrays, manifest, len(progress.epochs))
    watch = Watch(model, params, manifest, progress, folder, live, taken, len(train))
    if not schedules.finished(settings, progress.losses()):
        model.fit(
            train,
            validation_data=batches.validation(params, arrays, manifest),
            epochs=settings.epochs,
            initial_epoch=watch.first,
            callbacks=[watch],
            shuffle=False,  # of batches by Keras: the order is ours
            verbose=0,
        )
    if settings.early_stopping is not None:
        model.set_weights(progress.best)
        print(f"the weights are those of epoch {schedules.best(progress.losses()) + 1}, the best", flush=True)
    else:
        model.optimizer.finalize_variable_values(watch.weights)  # the average, where there is one


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Live metrics, the checkpoint and a line per epoch; what changes from epoch to epoch.

    Stops a training whose loss is not a number, or does not get better.
    """

    def __init__(
        self,
        model: "keras.Model",
        params: Params,
        manifest: dict[str, Any],
        progress: Progress,
        folder: Path,
        live: "Live",
        taken: list[str],
        steps: int,
    ) -> None:
        super().__init__()
        self.settings, self.progress, self.folder, self.live = params.train, progress, folder, live
        self.metric = targets.of(manifest["target"]).metric
        self.rows, self.steps = manifest["rows"]["train"], steps
        self.first = len(progress.epochs)
        self.weights = model.trainable_variables  # all of them, also while some are frozen
        frozen = self.settings.freeze_epochs > 0
        body = [name for name in taken if name not in pretrained_weights.HEAD_LAYERS]
        self.still = [model.get_layer(name) for name in body] if frozen else []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Freeze or thaw what is pretrained; begin the epoch's counts."""
        if self.still and epoch in (self.first, self.settings.freeze_epochs):
            self._freeze(frozen=epoch < self.settings.freeze_epochs)
        self.epoch, self.done, self.seen, self.sums = epoch, 0, 0, {"loss": 0.0, self.metric: 0.0}
        self.started = time.perf_counter()
        self.bar = tqdm(total=self.steps, desc=f"epoch {epoch + 1}", unit=" steps", leave=False, disable=None)

    def _freeze(self, *, frozen: bool) -> None:
        for layer in self.still:
            layer.trainable = not frozen
        self.model.make_train_function(force=True)  # it was traced with the others

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Log the metrics of the steps since the last report, every log_every steps."""
        step = self.epoch * self.steps + batch + 1
        self._check("loss", float(logs["loss"]), step)
        self.bar.update(batch + 1 - self.bar.n)
        before, self.done = self.done, batch + 1  # Keras calls once an execution, of one step or many
        if step // self.settings.log_every == (step - self.done + before) // self.settings.log_every:
            return
        # Keras reports means since the epoch's start: take those of the examples since the last report
        seen = min((batch + 1) * self.settings.batch_size, self.rows)
        sums = {name: float(logs[name]) * seen for name in self.sums}
        part = {name: (sums[name] - self.sums[name]) / (seen - self.seen) for name in sums}
        self.seen, self.sums = seen, sums
        self.progress.steps.append({"step": step, **part, "learning_rate": self._rate()})
        self.live.log({f"step_{name}": value for name, value in part.items()}, step)

    def _rate(self) -> float:
        return float(self.model.optimizer.learning_rate)

    def _check(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise SlipwayError(
                f"the {name} became {value} in epoch {self.epoch + 1}, by step {step} at learning rate "
                f"{self._rate():g}: lower train.learning_rate in params.yaml, or look for extreme values in the data"
            )

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Put the weights' average in place, where there is one."""
        if self.settings.ema is not None:  # what is validated is what would ship
            self.raw = [np.asarray(variable) for variable in self.weights]
            self.model.optimizer.finalize_variable_values(self.weights)

    def on_test_end(self, logs: Any = None) -> None:
        """Keep the best weights, where a training may stop early; put the raw ones back."""
        if self.settings.early_stopping is not None and logs["loss"] < min(self.progress.losses(), default=math.inf):
            self.progress.best = self.model.get_weights()
        if self.settings.ema is not None:
            for variable, value in zip(self.weights, self.raw, strict=True):
                variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch, save the checkpoint, and decide if another one follows."""
        self.bar.close()
        rate = self._rate()
        row = {name: float(logs[name]) for name in ("loss", self.metric, "val_loss", f"val_{self.metric}")}
        self._check("validation loss", row["val_loss"], (epoch + 1) * self.steps)
        self.progress.epochs.append({"epoch": epoch + 1, **row, "learning_rate": rate})
        if self.settings.schedule.name == "plateau":
            share = schedules.plateau(self.settings.schedule, self.progress.losses())
            self.model.optimizer.learning_rate = self.settings.learning_rate * share
        if schedules.finished(self.settings, self.progress.losses()):
            self.model.stop_training = True
            self._thaw()
        self.progress.seconds += time.perf_counter() - self.started
        checkpoint.save(self.model, self.folder, self.progress)
        self.live.log({**row, "learning_rate": rate, "epoch": epoch + 1}, (epoch + 1) * self.steps)
        text = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
        print(f"epoch {epoch + 1}/{self.settings.epochs}  {text}", flush=True)

    def _thaw(self) -> None:
        for layer in self.still:
            layer.trainable = True
