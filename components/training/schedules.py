"""Learning rates over a training, as shares of train.learning_rate; t is 0 in the first step after the warm-up.

| name | share |
| --- | --- |
| constant | 1 |
| inverse_time | 1 / (1 + decay t), Robbins and Monro 1951 |
| exponential | exp(-decay t) |
| cosine | floor + (1 - floor) (1 + cos(pi p)) / 2, p from 0 to 1 over the training: arXiv:1608.03983 |
| one_cycle | half a cosine up from start, half a cosine down to end: Smith and Topin, arXiv:1708.07120 |
| plateau | `factor` once more after each `patience` epochs in which the validation loss did not get better |

A step is a batch, an epoch all batches of the training split; with train.accumulate too.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from components.params import Constant, Cosine, Exponential, InverseTime, OneCycle, Plateau, Train


def learning_rate(settings: Train, steps: int) -> Any:
    """Return what an optimizer takes: a number, or a keras LearningRateSchedule of the step, counted from 0.

    `steps` is the number of batches in an epoch.
    """
    import keras

    schedule, top = settings.schedule, settings.learning_rate
    if schedule.name == "plateau" or (schedule.name == "constant" and not schedule.warmup):
        return top
    of_step = partial(share, schedule, steps=steps, total=float(settings.epochs * steps))

    class Rate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """The rate of each step, computed in the graph: a batch costs no call into Python."""

        def __call__(self, step: Any) -> Any:
            return top * of_step(keras.ops.cast(step, "float32"))

    return Rate()


def share(
    schedule: Constant | InverseTime | Exponential | Cosine | OneCycle, step: Any, steps: int, total: float
) -> Any:
    """Return the share of the learning rate in `step` (a float32 tensor) of `total`, `steps` of them an epoch."""
    from keras import ops

    def half(progress: Any) -> Any:  # half a cosine, 0 to 1
        return (1 - ops.cos(math.pi * ops.clip(progress, 0.0, 1.0))) / 2

    if schedule.name == "one_cycle":
        peak = schedule.rise * total
        up = schedule.start + (1 - schedule.start) * half(step / peak)
        down = 1 + (schedule.end - 1) * half((step - peak) / (total - peak))
        return ops.where(step < peak, up, down)
    warmup = schedule.warmup * steps
    after = ops.maximum(step - warmup, 0.0)
    if schedule.name == "constant":
        value = ops.ones_like(after)
    elif schedule.name == "cosine":
        value = 1 - (1 - schedule.floor) * half(after / max(total - warmup, 1.0))
    else:
        t = after / steps if schedule.unit == "epoch" else after
        value = ops.exp(-schedule.decay * t) if schedule.name == "exponential" else 1 / (1 + schedule.decay * t)
    if not warmup:
        return value
    return ops.where(step < warmup, (step + 1) / (warmup + 1), value)


def plateau(schedule: Plateau, losses: Sequence[float]) -> float:
    """Return the share of the learning rate after epochs with these validation losses.

    A function of what the checkpoint keeps, so that a training that was killed resumes alike.
    """
    best, waited, value = math.inf, 0, 1.0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == schedule.patience:
            value, waited = max(value * schedule.factor, schedule.floor), 0
    return value


def best(losses: Sequence[float]) -> int:
    """Return the epoch, counted from 0, of the lowest validation loss, the first of several; -1 of none."""
    return min(range(len(losses)), key=losses.__getitem__, default=-1)


def finished(settings: Train, losses: Sequence[float]) -> bool:
    """Tell if a training with these validation losses is over: all its epochs, or no better one for too long."""
    if len(losses) >= settings.epochs:
        return True
    patience = settings.early_stopping
    return patience is not None and len(losses) - 1 - best(losses) >= patience and bool(losses)
