"""What preprocess costs, recipe by recipe, beside the library underneath: python -m bench.encode [--recipes NAME ...].

The dataset is the recipe's own sample, of MNIST's files for images where they lie. On one core, in processes of their
own: the stage preprocess (splits, fit, encode, write), and a bare loop over the same Parquet files that makes the same
arrays and does nothing else: read with pyarrow, encode with the libraries and the recipe's formulas, draw splits at
random, write a file per split and array. It checks nothing, keeps no ids and syncs nothing. Processor time, so that a
busy machine matters little. Two ratios: bare to stage, less `fit`, which is told beside them; and the encoding alone,
the loop's to the recipe's. Nothing is kept, and nothing that was kept is used: bench.incremental measures that. Peak
memory (of the whole process, imports included) at one and ten times the data.
"""

import argparse
import io
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from components import params, recipes, surroundings
from components.data import dataset
from components.recipes.audio.example import spectrogram
from components.recipes.images.source import known as pictures
from components.recipes.series.example import calendar, histories
from components.recipes.tabular.example import dates
from components.stages import preprocess

ROOT = Path(__file__).parent.parent
MNIST_ROWS = 70_000
HEAD = (
    "recipe",
    "library",
    "rows",
    "stage, 1/s",
    "fit, s",
    "bare, 1/s",
    "of stage",
    "of encode",
    "MB at 1x",
    "MB at 10x",
)
# Settings beside the sample's: the tokenizer is what can be compared, n-grams are counted by us.
SETTINGS: dict[str, dict[str, Any]] = {"text": {"encoding": "pieces"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recipes", nargs="+", metavar="NAME", default=recipes.names(), help="recipes to measure (default: all)"
    )
    parser.add_argument(
        "--rows", type=int, default=40_000, help="number of rows at ten times the data (default: %(default)s)"
    )
    default = ROOT.parent / "shared" / "datasets" / "mnist"
    parser.add_argument("--mnist", type=Path, default=default, help="folder of the four MNIST files")
    parser.add_argument(
        "--runs", type=int, default=3, help="number of runs, of which the best counts (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "encode.json")
    options = parser.parse_args()
    results = []
    for name in options.recipes:
        with tempfile.TemporaryDirectory(prefix=f"encode-{name}-") as room:
            results.append(measured(name, Path(room), options))
        print(f"{name}: done", flush=True)
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "runs": options.runs, "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    rows = [HEAD, *map(told, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\naims: ratios >= 0.9, memory flat; on one core, best of {options.runs} runs; all of it: {options.out}")


def told(result: dict[str, Any]) -> tuple[str, ...]:
    stage, rows, bare = result["stage"], result["rows"], result["bare"]
    known = [f"{rows / bare['seconds']:,.0f}", *(f"{value:.2f}" for value in result["ratios"])] if bare else ["-"] * 3
    memory = [f"{result[key]['peak_memory_mb']:,.0f}" for key in ("small", "stage")]
    speed = [f"{rows:,}", f"{rows / stage['seconds']:,.0f}", f"{stage['fit_seconds']:.2f}"]
    return (result["recipe"], result["library"] or "-", *speed, *known, *memory)


def measured(name: str, room: Path, options: argparse.Namespace) -> dict[str, Any]:
    mnist = options.mnist if name == "images" and options.mnist.is_dir() else None
    rows = MNIST_ROWS if mnist else options.rows
    for folder, count in (("small", rows // 10), ("large", rows)):
        make(name, room / folder, count, mnist)
    library, _ = BARE.get(name, (None, None))
    found: dict[str, list[dict[str, float]]] = {"small": [], "stage": [], "bare": []}
    for _ in range(options.runs):
        found["small"].append(child("stage", room / "small"))
        found["stage"].append(child("stage", room / "large"))
        if library:
            found["bare"].append(child("bare", room / "large"))
    best = {key: min(runs, key=lambda run: run["seconds"]) if runs else None for key, runs in found.items()}
    stage, bare = best["stage"], best["bare"]
    ratios = None
    if stage and bare:
        ratios = [bare["seconds"] / (stage["seconds"] - stage["fit_seconds"])]
        ratios.append(bare["encode_seconds"] / stage["encode_seconds"])
    return {"recipe": name, "library": library, "rows": rows, "ratios": ratios, **best, "runs": found}


def make(name: str, folder: Path, rows: int, mnist: Path | None) -> None:
    """Write params.yaml, data/ and an empty quarantine."""
    folder.mkdir()
    recipe = recipes.load(name)
    section, tables = _mnist(mnist, rows) if mnist else _sample(name, rows)
    YAML().dump({"name": "bench", "recipe": name, name: section}, folder / "params.yaml")
    columns = recipes.schema(recipe, recipe.Params.model_validate(section))

    def keyed() -> Iterator[pa.Table]:
        for part in tables:
            whole = part.select(columns.names).cast(columns)
            yield whole.add_column(0, "id", pa.array(dataset.ids(whole, columns), pa.string()))

    dataset.write(keyed(), folder / "data", "bench")
    nothing = {"file": pa.array([], pa.string()), "row": pa.array([], pa.int64())}
    pq.write_table(pa.table(nothing), folder / "quarantine.parquet")


def _mnist(folder: Path, rows: int) -> tuple[dict[str, Any], Iterator[pa.Table]]:
    source = pictures.mnist(str(folder))
    every = MNIST_ROWS // rows
    thinned = (part.take(pa.array(np.arange(0, len(part), every))) for part in source.tables)
    return source.settings, thinned


def _sample(name: str, rows: int) -> tuple[dict[str, Any], Iterator[pa.Table]]:
    section, sample = recipes.load(name).sample(rows, 1)
    return section | SETTINGS.get(name, {}), iter([sample])


def child(what: str, folder: Path) -> dict[str, float]:
    """Measure in a fresh process on one core."""
    code = f"from bench import encode; encode.measure({what!r}, {str(folder)!r})"
    anew = os.environ | {surroundings.REUSE: "0"}  # or the second run would find what the first one kept
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=anew, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {what} of {folder} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(what: str, name: str) -> None:
    """Run the stage or the bare loop and print what it took as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # then the stage starts no other processes
    folder = Path(name)
    settings = params.load(folder / "params.yaml")
    recipe: Any = recipes.load(settings.recipe)
    spent = dict.fromkeys(("fit", "encode"), 0.0)
    pa.array([0])  # here Arrow imports pandas, 0.3 s, however few the rows

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = time.process_time()
            try:
                return function(*given)
            finally:
                spent[part] += time.process_time() - started

        return call

    shutil.rmtree(folder / "bare", ignore_errors=True)
    started = time.process_time()
    if what == "stage":
        recipe.fit, recipe.encode = timed("fit", recipe.fit), timed("encode", recipe.encode)
        preprocess.run(settings, folder / "data", folder / "quarantine.parquet", folder / "arrays")
    else:
        columns = recipes.schema(recipe, settings.task)
        state = json.loads((folder / "arrays" / "manifest.json").read_text())["state"]
        names = recipe.target(settings.task).names
        _, plain = BARE[settings.recipe]

        def encode(part: pa.Table) -> dict[str, np.ndarray]:
            return plain(part, settings.task, state)

        bare(folder, names, timed("encode", encode))
    seconds = {"seconds": time.process_time() - started, **{f"{part}_seconds": took for part, took in spent.items()}}
    print(json.dumps(seconds | {"peak_memory_mb": _peak()}))
    if what == "bare":
        part = dataset.read(dataset.chunks(folder / "data", columns)[0], columns)
        found, wanted = encode(part), recipe.encode(part, settings.task, state)
        if not all(np.allclose(found[key], wanted[key], atol=1e-4) for key in wanted):
            sys.exit(f"error: the bare loop of {settings.recipe} makes other arrays than the recipe")


def _peak() -> float:
    """Of this process alone, in MB: getrusage(2) would tell that of the parent at the fork too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


# --- what anybody must do


def bare(folder: Path, names: tuple[str, ...], encode: Callable[[pa.Table], dict[str, np.ndarray]]) -> None:
    """Encode row group by row group, and write what each split gets."""
    random = np.random.default_rng(1)
    for split in dataset.SPLITS:
        (folder / "bare" / split).mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "data").iterdir()):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                part = file.read_row_group(group, use_threads=False)
                arrays = encode(part) | {"label": _labels(part["label"].combine_chunks(), names)}
                drawn = np.searchsorted([0.64, 0.8], random.random(len(part)))
                for index, split in enumerate(dataset.SPLITS):
                    rows = np.flatnonzero(drawn == index)
                    for key, array in arrays.items():
                        with (folder / "bare" / split / key).open("ab") as out:
                            out.write(array[rows].data)


def _labels(labels: pa.Array, names: tuple[str, ...]) -> np.ndarray:
    if pa.types.is_string(labels.type):
        return np.asarray(pc.index_in(labels, pa.array(names)))
    return np.asarray(labels.flatten(), np.float32)


def _pillow(part: pa.Table, _: Any, __: Any) -> dict[str, np.ndarray]:
    """Open, decode and take the pixels."""
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in part["image"].to_pylist()])
    return {"image": pixels[..., None]}


def _soundfile(part: pa.Table, task: Any, state: Any) -> dict[str, np.ndarray]:
    """Read each recording, of the right rate and length, and make its log-mel spectrogram with the recipe's filters."""
    import soundfile
    from scipy.fft import rfft

    _, window, hop = spectrogram.lengths(task)
    shape, filters = spectrogram._filters(task.sample_rate, window, task.bands, task.fmin, task.highest)
    mean, deviation = (np.array(state[name], np.float32) for name in ("mean", "deviation"))
    found = []
    for data in part["audio"].to_pylist():
        sound, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        frames = np.lib.stride_tricks.sliding_window_view(sound - sound.mean(), window)[::hop] * shape
        spectrum = rfft(frames, 2 * (len(filters) - 1))
        power = (spectrum.real**2 + spectrum.imag**2) @ filters
        decibels = 10 * np.log10(np.maximum(power, np.float32(spectrogram.MIN_POWER)))
        found.append((np.maximum(decibels, decibels.max() - spectrogram.RANGE_DB) - mean) / deviation)
    return {"spectrogram": np.stack(found).astype(np.float32)}


def _tokenizers(part: pa.Table, task: Any, state: Any) -> dict[str, np.ndarray]:
    """Encode by the fitted tokenizer, padded."""
    encodings = _tokenizer(state["tokenizer"], task.length).encode_batch_fast(part["text"].to_pylist())
    return {"tokens": np.array([encoding.ids for encoding in encodings], np.int32)}


@cache
def _tokenizer(content: str, length: int) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    return tokenizer


def _table(part: pa.Table, task: Any, state: Any) -> dict[str, np.ndarray]:
    """Take the numbers and those of the dates, filled and scaled, and the codes of the rest; 1 is a missing one."""
    numbers = [part[name].to_numpy() for name in task.numeric]
    for name in task.dates:
        made = list(dates.parts(part[name]).values())
        numbers += made[: -2 if name in state["timeless"] else None]
    stacked = np.stack(numbers, axis=1)
    filled = np.where(np.isnan(stacked), state["fill"], stacked)
    scaled = (filled - state["scale"]["shift"]) / state["scale"]["unit"]
    known = [(name, pa.array(state["values"][name])) for name in task.categorical]
    known += [(name, pa.array([False, True])) for name in task.boolean]
    codes = [np.asarray(pc.fill_null(pc.add(pc.index_in(part[name], values), 2), 1)) for name, values in known]
    codes += [2 + np.asarray(part[name].is_null()) for name in state["gaps"]]
    return {"numeric": scaled.astype(np.float32), "categorical": np.stack(codes, axis=1).astype(np.int32)}


def _windows(part: pa.Table, task: Any, state: Any) -> dict[str, np.ndarray]:
    """Take the histories, their gaps filled, the calendar and the codes of the groups."""
    values = np.asarray(part["history"].combine_chunks().flatten()).reshape(len(part), task.history, 1)
    codes = np.asarray(pc.index_in(part["group"], pa.array(state["groups"])), np.int32)[:, None] + 1
    filled = histories.between(values, np.isnan(values)).astype(np.float32)
    return {"history": filled, "calendar": calendar.encoded(part, task), "group": codes}


Encode = Callable[[pa.Table, Any, Any], dict[str, np.ndarray]]
BARE: dict[str, tuple[str, Encode]] = {
    "images": ("Pillow", _pillow),
    "audio": ("soundfile, scipy.fft", _soundfile),
    "text": ("tokenizers", _tokenizers),
    "tabular": ("pyarrow", _table),
    "series": ("pyarrow", _windows),
}


if __name__ == "__main__":
    main()
