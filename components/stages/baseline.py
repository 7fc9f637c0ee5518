"""Fit what a model has to beat: a trivial baseline, and a classical model on the same training split.

A stage of its own: no setting of `train:` or `network:` runs it again. The classical model is written as ONNX, so that
train can ship it where a network is not worth it.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from components import SlipwayError, recipes
from components.classical import fitting
from components.files import read_json, replacing, write_json
from components.params import Params
from components.recipes import Arrays, Recipe
from components.streams import stream

MAX_TRAINING_BYTES = 2**30  # of the examples on which a classical model is fitted: of large ones it gets fewer


def run(params: Params, arrays: Path, out: Path, classical: Path) -> None:
    """Write `out`, what the baselines say of the test examples, and `classical`, the model itself.

    `out`: trivial.npy and classical.npy, the outputs for each test example, float32, and baseline.json. `classical`:
    model.onnx, which takes what the network takes, and classical.json. It gets at most evaluate.baseline_rows examples
    of training and of validation, and as many as MAX_TRAINING_BYTES holds. Raises SlipwayError where it cannot be
    fitted.
    """
    recipe = recipes.load(params.recipe)
    manifest = read_json(arrays / "manifest.json")
    target = recipe.target(params.task)
    truth = np.load(arrays / "train" / "label.npy", mmap_mode="r")
    text, trivial = _trivial(recipe, params, arrays, manifest, truth)
    chosen = {split: _chosen(params, arrays, manifest, split) for split in ("train", "validation")}
    rows, of = (len(found[1]) for found in chosen.values())
    print(f"fitting classical models on {rows:,} examples, choosing on {of:,} ...", flush=True)
    rule = manifest["split"]
    started = time.perf_counter()
    try:
        made = fitting.fit(
            recipe.inputs(params.task, manifest["state"]),
            manifest["inputs"],
            target,
            chosen["train"],
            chosen["validation"],
            params.seed,
            mixed=rule["by"] == "id" and "validation" not in rule["official"],
            ordered=rule["by"] == "time",
        )
    except (ValueError, TypeError) as error:
        raise SlipwayError(f"the classical model cannot be fitted to recipe {params.recipe}: {error}") from error
    name = made.name
    if rows < len(truth):  # wherever a model is said to beat it
        name += f", fitted on {rows:,} of {len(truth):,} training examples"
    compared = fitting.answers(made.compared, _stored(arrays, manifest, "validation"))
    actual = np.load(arrays / "validation" / "label.npy", mmap_mode="r")
    decision = target.decided(compared, actual, manifest["state"]) if target.rule == "ngram" else None
    with replacing(out) as aside:
        aside.mkdir(parents=True)
        np.save(aside / "trivial.npy", trivial.astype(np.float32))
        np.save(aside / "classical.npy", fitting.answers(made.onnx, _stored(arrays, manifest, "test")))
        about = {"trivial": text, "classical": name, "rows": rows, "of": len(truth), "decision": decision}
        write_json(aside / "baseline.json", about)
    with replacing(classical) as aside:
        aside.mkdir(parents=True)
        (aside / "model.onnx").write_bytes(made.onnx)
        np.save(aside / "validation.npy", compared)
        about = {"name": name, "losses": made.losses, "folds": made.folds, "refitted": made.refitted}
        write_json(aside / "classical.json", about)
    others = "; ".join(f"{other} {loss:.4g}" for other, loss in made.losses.items())
    by = "validation" if made.folds == 1 else f"{made.folds} folds of training and validation, which are few"
    print(f"mean loss on {by}: {others} ({time.perf_counter() - started:.0f} s)")
    print(f"trivial: {text}; classical: {name}", flush=True)


def _trivial(
    recipe: Recipe, params: Params, arrays: Path, manifest: dict[str, Any], truth: np.ndarray
) -> tuple[str, np.ndarray]:
    """Say what the trivial baseline is, and return its output for each test example."""
    target = recipe.target(params.task)
    if (own := recipes.part(recipe, "baseline")) is not None:
        asked = _stored(arrays, manifest, "test")
        words = (own.__doc__ or "the recipe's own").strip().splitlines()[0].rstrip(".")
        return words, np.asarray(own(asked, params.task, manifest["state"]))
    text, answer = target.trivial(truth)
    return text, np.repeat(answer[None], manifest["rows"]["test"], axis=0)


def _chosen(params: Params, arrays: Path, manifest: dict[str, Any], split: str) -> tuple[Arrays, np.ndarray]:
    """Return the encoded inputs and labels that the classical model gets of a split, by their size in memory."""
    stored = _stored(arrays, manifest, split)
    labels = np.load(arrays / split / "label.npy", mmap_mode="r")
    size = sum(array.nbytes // max(len(array), 1) for array in stored.values())
    most = min(len(labels), params.evaluate.baseline_rows, max(1, MAX_TRAINING_BYTES // max(size, 1)))
    rows = np.sort(stream(params.seed, "rows of the classical baseline").permutation(len(labels))[:most])
    return {name: array[rows] for name, array in stored.items()}, labels[rows]


def _stored(arrays: Path, manifest: dict[str, Any], split: str) -> Arrays:
    """Open the encoded inputs of a split, memory-mapped."""
    return {name: np.load(arrays / split / f"{name}.npy", mmap_mode="r") for name in manifest["inputs"]}
