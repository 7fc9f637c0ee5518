"""How fast the training loop is, beside a bare `model.fit`: python -m bench.fit [--models NAME ...].

Examples of real shape (28 x 28 x 1 bytes as MNIST's; 128 tokens) and no meaning, and the recipes' own networks: an MLP,
a CNN, a Transformer. Ours is what the stage `train` does between building the model and exporting it: the arrays mapped
from disk, the order drawn anew each epoch, a checkpoint an epoch, live metrics to MLflow, deterministic operations.
Beside it the same network, optimizer, loss, batch size and epochs as people type it: `model.fit` on arrays in memory.
Both validate after each epoch. Each in a process of its own, in turns; examples per second of the epochs after the
first, medians of --runs; also by processor time, for a busy machine slows the two unequally.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from bench import measuring
from components import params, recipes
from components.files import read_json, write_json

ROOT = measuring.ROOT
AIM = 0.95
LABELS = [str(at) for at in range(10)]
PICTURES: dict[str, Any] = {"height": 28, "width": 28, "channels": 1, "labels": LABELS}
TEXTS: dict[str, Any] = {"labels": ["negative", "positive"], "encoding": "pieces", "vocabulary": 2000, "length": 128}
# Model -> its recipe, the section of that, the network, training examples and the size of a batch.
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, int]] = {
    "mlp": ("images", PICTURES, {"model": "mlp"}, 54_000, 128),
    "cnn": ("images", PICTURES, {"model": "cnn"}, 12_000, 128),
    "transformer": ("text", TEXTS, {"model_size": "tiny"}, 4_000, 32),
}
SIDES = ("ours", "bare")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", metavar="NAME", choices=MODELS, default=[*MODELS], help="models to fit (default: all)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="number of epochs (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each (default: %(default)s)")
    text = "share of the usual number of examples (default: %(default)s)"
    parser.add_argument("--share", type=float, default=1.0, help=text)
    out = ROOT / "build" / "bench" / "fit.json"
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args()
    results = {}
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="bench-") as room:
            make(Path(room), name, options)
            results[name] = measured(Path(room), name, options.runs)
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "epochs": options.epochs, "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"\n{'examples a second':<18}{'ours':>10}{'bare':>10}{'ratio':>8}{'of processor time':>19}{'MB':>8}{'bare':>8}"
    )
    for name, found in results.items():
        speeds = f"{found['ours']['per_second']:>10,.0f}{found['bare']['per_second']:>10,.0f}"
        memory = f"{found['ours']['peak_mb']:>8,.0f}{found['bare']['peak_mb']:>8,.0f}"
        print(f"{name:<18}{speeds}{found['ratio']:>8.2f}{found['cpu_ratio']:>11.2f}{memory}")
    print(f"\naim: ratios >= {AIM}; medians of {options.runs} runs; {options.out}")


def measured(room: Path, name: str, times: int) -> dict[str, Any]:
    """Fit by both sides in turns; the ratios are medians of those of runs that followed each other."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(times):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            code = f"from bench import fit; fit.{side}()"
            try:
                took = measuring.run([sys.executable, "-c", code], room)
            except measuring.FailedError as error:
                sys.exit(f"error: {name}, {side}: {error}")
            found = took | json.loads(took.pop("output").splitlines()[-1])
            runs[side].append(found)
            print(f"{name}, {side}: {found['per_second']:,.0f} examples a second", flush=True)
    pairs = list(zip(*(runs[side] for side in SIDES), strict=True))
    ratios = {
        "ratio": median(mine["per_second"] / plain["per_second"] for mine, plain in pairs),
        "cpu_ratio": median(mine["per_cpu_second"] / plain["per_cpu_second"] for mine, plain in pairs),
    }
    return {side: measuring.medians(each) for side, each in runs.items()} | ratios | {"runs": runs}


def make(room: Path, name: str, options: argparse.Namespace) -> None:
    """Write params.yaml and arrays/ as the stage preprocess does."""
    recipe_name, section, network, rows, size = MODELS[name]
    rows = max(int(rows * options.share), size)
    train = {"epochs": options.epochs, "batch_size": size, "learning_rate": 0.001, "dropout": 0.1}
    settings = {"name": "bench", "recipe": recipe_name, recipe_name: section, "network": network, "train": train}
    YAML().dump(settings, room / "params.yaml")
    task = params.load(room / "params.yaml").task
    recipe: Any = recipes.load(recipe_name)
    _, sample = recipe.sample(500, 1)
    state = recipe.fit(iter([sample]), task)
    examples = recipe.encode(sample.slice(0, 1), task, state)
    random = np.random.default_rng(1)
    counts = {"train": rows, "validation": rows // 10, "test": 1}
    for split, count in counts.items():
        (room / "arrays" / split).mkdir(parents=True)
        for key, example in examples.items():
            # no padding among the tokens: the attention then has all of its work
            low, high = (0, 256) if example.dtype == np.uint8 else (5, int(example.max()) + 1)
            drawn = random.integers(low, high, (count, *example.shape[1:])).astype(example.dtype)
            np.save(room / "arrays" / split / f"{key}.npy", drawn)
        labels = random.integers(0, len(section["labels"]), count).astype(np.int32)
        np.save(room / "arrays" / split / "label.npy", labels)
    target = recipe.target(task)
    inputs = {key: {"dtype": str(each.dtype), "shape": list(each.shape[1:])} for key, each in examples.items()}
    names = section["labels"]
    classes = {split: dict.fromkeys(names, count // len(names) + 1) for split, count in counts.items()}
    manifest = {"recipe": recipe_name, "digest": "0" * 64, "rows": counts, "split": {}, "inputs": inputs}
    manifest |= {"target": target.described(), "state": state, "classes": classes}
    write_json(room / "arrays" / "manifest.json", manifest)


class Clock:
    """When each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def told(self, rows: int) -> str:
        """Return examples a second of the epochs after the first, as JSON."""
        wall, cpu = (last - first for first, last in zip(self.ends[0], self.ends[-1], strict=True))
        seen = rows * (len(self.ends) - 1)
        return json.dumps({"per_second": seen / wall, "per_cpu_second": seen / cpu})


def ours() -> None:
    """Fit as the stage train does; prints what it took as JSON."""
    settings, arrays = params.load(), Path("arrays")
    from components.tracking import runs
    from components.training import checkpoint, device, fitting

    manifest = read_json(arrays / "manifest.json")
    shutil.rmtree("checkpoint", ignore_errors=True)  # of the run before, which would be resumed at its end
    hardware = device.start(settings)
    from components.training import loop

    model = fitting.build(settings, manifest, mixed=bool(hardware["mixed_precision"]))
    fitting.compile_to_fit(model, settings, manifest)
    progress = checkpoint.restore(model, Path("checkpoint", "fit"))
    clock = Clock()
    with runs.training(settings, os.urandom(16).hex(), manifest, hardware) as live:
        log = live.log

        def logged(metrics: dict[str, float], step: int) -> None:
            log(metrics, step)
            if "epoch" in metrics:
                clock.tick()

        live.log = logged  # type: ignore[method-assign]
        loop.fit(model, settings, arrays, manifest, progress, Path("checkpoint", "fit"), live, [])
        live.done("0" * 64)
    print(clock.told(manifest["rows"]["train"]))


def bare() -> None:
    """Fit as people type it; prints what it took as JSON."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from components.training import fitting

    settings, arrays = params.load(), Path("arrays")
    manifest = read_json(arrays / "manifest.json")
    model = fitting.build(settings, manifest)
    model.compile(
        optimizer=keras.optimizers.Adam(settings.train.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    given = {
        split: (
            {name: np.load(arrays / split / f"{name}.npy") for name in manifest["inputs"]},
            np.load(arrays / split / "label.npy"),
        )
        for split in ("train", "validation")
    }
    clock = Clock()
    model.fit(
        *given["train"],
        validation_data=given["validation"],
        batch_size=settings.train.batch_size,
        epochs=settings.train.epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: clock.tick())],
        verbose=0,
    )
    print(clock.told(manifest["rows"]["train"]))


if __name__ == "__main__":
    main()
