"""Examples in batches, read from the memory-mapped arrays of build/arrays; random only by seed, epoch and batch."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import recipes, targets
from components.params import Params
from components.streams import stream
from components.training import augment, fitting, losses

if TYPE_CHECKING:
    import keras

Make = Callable[[recipes.Arrays, np.ndarray, np.random.Generator], tuple[Any, ...]]
Order = Callable[[int], np.ndarray]
Draws = Callable[[int, int], np.random.Generator]


def dataset(
    arrays: Path, manifest: dict[str, Any], split: str, size: int, make: Make, order: Order, first: int, draws: Draws
) -> "keras.utils.PyDataset":
    """Return a Keras dataset of a split in batches of `size`.

    `order` gives an epoch's rows, `make` turns the arrays and labels of a batch into what Keras takes; `first` is
    the epoch that comes first, counted from 0; `draws` gives the random numbers of an epoch and a batch.
    """
    import keras

    names = list(manifest["inputs"])
    every = {name: np.load(arrays / split / f"{name}.npy", mmap_mode="r") for name in [*names, "label"]}

    class Examples(keras.utils.PyDataset):  # type: ignore[misc]
        """A batch is a function of the seed, the epoch and its number."""

        def __init__(self) -> None:
            super().__init__()
            self.epoch, self.order = first, order(first)

        def __len__(self) -> int:
            return math.ceil(len(self.order) / size)

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            rows = self.order[index * size : (index + 1) * size]
            random = draws(self.epoch, index)
            return make({name: every[name][rows] for name in names}, every["label"][rows], random)

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self.order = order(self.epoch)

    return Examples()


def shuffled(params: Params, arrays: Path, manifest: dict[str, Any]) -> Order:
    """Return the order of the training examples in an epoch: all of them once, or each class as often as another."""
    rows = int(manifest["rows"]["train"])
    if params.train.resample == "none":
        return lambda epoch: stream(params.seed, "order", epoch).permutation(rows)
    labels = np.load(arrays / "train" / "label.npy")
    classes = [
        members for code in range(len(manifest["target"]["names"])) if len(members := np.flatnonzero(labels == code))
    ]

    def balanced(epoch: int) -> np.ndarray:
        """As many examples as there are; each example of a class once before any of it twice."""
        random = stream(params.seed, "order", epoch)
        shares = np.diff(np.linspace(0, rows, len(classes) + 1).round().astype(int))
        drawn = [
            np.concatenate([random.permutation(members) for _ in range(-(-share // len(members)))] or [members[:0]])[
                :share
            ]
            for share, members in zip(shares, classes, strict=True)
        ]
        return random.permutation(np.concatenate(drawn))

    return balanced


def training(params: Params, arrays: Path, manifest: dict[str, Any], first: int = 0) -> "keras.utils.PyDataset":
    """Return the training split: shuffled or resampled, augmented and weighted by the settings."""
    settings = params.train
    target = targets.of(manifest["target"])
    weights = losses.class_weights(settings, target, manifest) if target.exclusive else None
    change = augment.changes(settings.augment, fitting.inputs(params, manifest))
    dense = _dense(params, manifest)

    def make(inputs: recipes.Arrays, labels: np.ndarray, random: np.random.Generator) -> tuple[Any, ...]:
        codes, labels = labels, dense(labels)
        if change is not None:
            inputs, labels = change(inputs, labels, random)
        if weights is None:
            return inputs, labels
        return inputs, labels, (labels @ weights if labels.ndim == 2 else weights[codes]).astype(np.float32)

    order = shuffled(params, arrays, manifest)
    draws = partial(stream, params.seed, "augmentation")
    return dataset(arrays, manifest, "train", settings.batch_size, make, order, first, draws)


def validation(params: Params, arrays: Path, manifest: dict[str, Any]) -> "keras.utils.PyDataset":
    """Return the validation split as it is, in batches as large as memory likes."""
    dense, rows = _dense(params, manifest), np.arange(int(manifest["rows"]["validation"]))
    stored = {name: np.load(arrays / "validation" / f"{name}.npy", mmap_mode="r") for name in manifest["inputs"]}
    size = max(params.train.batch_size, recipes.at_once(stored))
    draws = partial(stream, params.seed, "validation")  # nothing is drawn
    return dataset(
        arrays,
        manifest,
        "validation",
        size,
        lambda inputs, labels, _: (inputs, dense(labels)),
        lambda _: rows,
        0,
        draws,
    )


def _dense(params: Params, manifest: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Labels as the loss takes them: of one label per example a probability for each class, where `dense` says so."""
    if not targets.of(manifest["target"]).exclusive:
        return lambda labels: labels.astype(np.float32, copy=False)
    if not losses.dense(params.train):
        return lambda labels: labels
    table = np.eye(len(manifest["target"]["names"]), dtype=np.float32)
    return lambda labels: table[labels]
