"""A recipe's task without labels, fitted before the model's own; see recipes/networks.py."""

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import SlipwayError, recipes
from components.params import Params
from components.recipes import networks
from components.streams import stream
from components.training import batches, checkpoint, fitting, pretrained_weights, schedules

if TYPE_CHECKING:
    import keras

    from components.tracking.apart import Live


def run(
    model: "keras.Model", params: Params, arrays: Path, manifest: dict[str, Any], folder: Path, live: "Live"
) -> None:
    """Fit the recipe's pretraining, if it has one, and give the model's layers what theirs have learned.

    `folder` keeps its checkpoint. Raises SlipwayError for a loss that is not a number, and where no layer fits.
    """
    import keras

    task = networks.pretraining(params.recipe, params.network, params.task, manifest["state"], params.train.dropout)
    if task is None:
        return
    changed: dict[str, Any] = {"epochs": task.epochs, "early_stopping": None, "freeze_epochs": 0}
    settings = params.train.model_copy(
        update=changed | {"learning_rate": task.learning_rate or params.train.learning_rate}
    )
    own, epochs, steps = task.model, task.epochs, fitting.steps(settings, manifest)
    own.compile(
        optimizer=fitting.optimizer(settings, schedules.learning_rate(settings, steps)),
        loss=task.loss,
        steps_per_execution=min(settings.log_every, steps, 25),
    )
    progress = checkpoint.restore(own, folder)
    rows = int(manifest["rows"]["train"])

    def order(epoch: int) -> np.ndarray:
        return stream(params.seed, "order of pretraining", epoch).permutation(rows)

    batch = task.batch

    def make(inputs: recipes.Arrays, _: np.ndarray, random: np.random.Generator) -> tuple[Any, ...]:
        made, targets, weights = batch(inputs, random)
        return (made, targets) if weights is None else (made, targets, weights)

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        """A line, live metrics and a checkpoint an epoch."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise SlipwayError(
                    f"the loss became {loss} in epoch {epoch + 1} of pretraining: lower train.learning_rate"
                )
            progress.epochs.append({"epoch": epoch + 1, "loss": loss})
            progress.seconds += time.perf_counter() - self.started
            checkpoint.save(self.model, folder, progress)
            live.log({"pretraining_loss": loss}, (epoch + 1) * steps)
            print(f"pretraining {epoch + 1}/{epochs}  loss {loss:.4f}", flush=True)

    if not progress.epochs:  # both from the same weights: those of train.pretrained, where it names some
        weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
        pretrained_weights.take(own, weights, head=False)
    if len(progress.epochs) < epochs:
        first = len(progress.epochs)
        draws = partial(stream, params.seed, "pretraining")
        examples = batches.dataset(arrays, manifest, "train", settings.batch_size, make, order, first, draws)
        own.fit(examples, epochs=epochs, initial_epoch=first, callbacks=[Watch()], shuffle=False, verbose=0)
    own.optimizer.finalize_variable_values(own.trainable_variables)  # the average, where there is one
    layers = {layer.name: layer.get_weights() for layer in own.layers if layer.weights}
    taken, _ = pretrained_weights.take(model, layers, head=False)
    if not taken:
        raise SlipwayError(
            f"recipe {params.recipe}: no layer of its pretraining matches a layer of its model by name and shapes"
        )
    print(f"{len(taken)} layers start from the pretraining", flush=True)
