"""What a training has come to, kept on disk after each epoch, so that it resumes when it was killed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.files import read_json, replacing, sweep, write_json

if TYPE_CHECKING:
    import keras


@dataclass
class Progress:
    """The epochs and steps so far, and the weights of the best epoch where early stopping wants them."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0  # in fit, over all its parts
    best: list[np.ndarray] = field(default_factory=list)

    def losses(self) -> list[float]:
        """Return the validation loss of each epoch."""
        return [epoch["val_loss"] for epoch in self.epochs]


def _variables(model: "keras.Model") -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


def restore(model: "keras.Model", folder: Path) -> Progress:
    """Make the optimizer's variables; take up the last epoch's checkpoint where there is one."""
    model.optimizer.build(model.trainable_variables)
    sweep(folder.parent)  # it may have been killed while it put one checkpoint in the place of another
    if not (folder / "progress.json").exists():
        return Progress()
    with np.load(folder / "variables.npz") as stored:
        for index, variable in enumerate(_variables(model)):
            variable.assign(stored[f"{index}"])
    with np.load(folder / "best.npz") as stored:
        best = [stored[f"{index}"] for index in range(len(stored))]
    return Progress(**read_json(folder / "progress.json"), best=best)


def save(model: "keras.Model", folder: Path, progress: Progress) -> None:
    """Write every variable, those of the optimizer and of random layers included, and the progress."""
    with replacing(folder) as aside:
        aside.mkdir(parents=True)
        for name, values in (("variables", _variables(model)), ("best", progress.best)):
            arrays = {f"{index}": np.asarray(variable) for index, variable in enumerate(values)}
            np.savez(aside / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        write_json(
            aside / "progress.json", {"epochs": progress.epochs, "steps": progress.steps, "seconds": progress.seconds}
        )
