"""Find a learning rate: slipway find-lr.

The range test of Smith 2017 (arXiv:1506.01186), with rates that grow by the same factor from step to step. Light to
import: every command line does.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.params import Params

MIN_RATE, MAX_RATE = 1e-6, 10.0
SMOOTHING = 0.9  # of the loss's moving average
STOP_FACTOR = 4.0  # times the lowest loss, where the test ends


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parser `find-lr`."""
    text = "try increasing learning rates for a few hundred steps; plot the loss and suggest a rate"
    command = commands.add_parser("find-lr", help=text, description=text, epilog="The model in build/ is not touched.")
    command.add_argument(
        "--arrays",
        type=Path,
        default=Path("build/arrays"),
        metavar="PATH",
        help="arrays written by preprocess (default: %(default)s)",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("build/find-lr"),
        metavar="PATH",
        help="folder for the result (default: %(default)s)",
    )
    command.add_argument(
        "--steps", type=int, default=200, metavar="N", help="number of training steps (default: %(default)s)"
    )
    command.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="PATH", help="settings (default: %(default)s)"
    )


def run(arrays: Path, out: Path, steps: int, params: Path) -> None:
    """Write curve.csv and curve.png to `out`; print a suggestion.

    Raises SlipwayError where preprocess has not run, for fewer than 20 steps, and where the first loss is not a number.
    """
    from components import SlipwayError
    from components import params as settings
    from components.files import read_json, replacing, write_csv

    if steps < 20:
        raise SlipwayError(f"--steps {steps}: at least 20 are needed")
    if not (arrays / "manifest.json").exists():
        raise SlipwayError(f"{arrays}: no arrays here; run `dvc repro preprocess` to make them")
    rows = sweep(settings.load(params), arrays, read_json(arrays / "manifest.json"), steps)
    if not rows:  # no step was taken yet: it is not the rate
        raise SlipwayError(
            "the loss of the first batch is not a number, whatever the learning rate: look for extreme values in "
            "the data and clip or scale them, or set train.mixed_precision: off"
        )
    best = suggestion(rows)
    with replacing(out) as aside:
        aside.mkdir(parents=True)
        write_csv(aside / "curve.csv", rows, ["step", "learning_rate", "loss", "smoothed"])
        _draw(rows, best, aside / "curve.png")
    if best is None:
        print(f"{out}/curve.png: the loss did not fall anywhere from {MIN_RATE:g} to {rows[-1]['learning_rate']:g}")
    else:
        print(
            f"{out}/curve.png: the loss falls fastest at learning rate {best:.2g}; try train.learning_rate: {best:.2g}"
        )


def sweep(params: "Params", arrays: Path, manifest: dict[str, Any], steps: int) -> list[dict[str, float]]:
    """Return each step's loss and its moving average, until that is STOP_FACTOR times the lowest or not a number."""
    from components.params import Constant
    from components.training import batches, device, fitting, pretrained_weights

    hardware = device.start(params)
    constant = params.train.model_copy(update={"schedule": Constant(), "learning_rate": MIN_RATE, "accumulate": 1})
    params = params.model_copy(update={"train": constant})
    model = fitting.build(params, manifest, mixed=bool(hardware["mixed_precision"]))
    source = pretrained_weights.read(params.train)
    if source:
        pretrained_weights.start(model, source, params.train, manifest["state"])
    fitting.compile_to_fit(model, params, manifest)
    model.optimizer.build(model.trainable_variables)
    examples = batches.training(params, arrays, fitting.read_by(model, manifest))
    rows: list[dict[str, float]] = []
    average, lowest = 0.0, math.inf
    for step in range(steps):
        if step and step % len(examples) == 0:
            examples.on_epoch_end()
        rate = MIN_RATE * (MAX_RATE / MIN_RATE) ** (step / (steps - 1))
        model.optimizer.learning_rate = rate
        inputs, labels, *weights = examples[step % len(examples)]
        model.reset_metrics()
        loss = float(model.train_on_batch(inputs, labels, *weights, return_dict=True)["loss"])
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed = average / (1 - SMOOTHING ** (step + 1))
        lowest = min(lowest, smoothed)
        if not math.isfinite(loss) or smoothed > STOP_FACTOR * lowest:
            break
        rows.append({"step": step + 1, "learning_rate": rate, "loss": loss, "smoothed": smoothed})
    return rows


def suggestion(rows: list[dict[str, float]]) -> float | None:
    """Return the rate at which the smoothed loss falls fastest by the logarithm of the rate; None where it never falls.

    The slope is taken over a twentieth of the steps at either side, so that noise of single batches does not decide.
    """
    import numpy as np

    loss = np.array([row["smoothed"] for row in rows])
    reach = max(1, len(rows) // 20)
    if len(rows) < 2 * reach + 1:
        return None
    slopes = (loss[2 * reach :] - loss[: -2 * reach]) / (2 * reach)
    at = int(slopes.argmin())
    return rows[at + reach]["learning_rate"] if slopes[at] < 0 else None


def _draw(rows: list[dict[str, float]], best: float | None, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    rates = [row["learning_rate"] for row in rows]
    axes.plot(rates, [row["loss"] for row in rows], color="#9aa4b2", linewidth=0.8, label="batch loss")
    axes.plot(rates, [row["smoothed"] for row in rows], color="#1f6feb", label="smoothed")
    if best is not None:
        axes.axvline(best, color="#d9730d", linestyle="--", label=f"falls fastest: {best:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning rate range test")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
