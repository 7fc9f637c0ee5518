"""What preprocess costs, recipe by recipe, beside the library underneath: python -m bench.encode [--recipes NAME ...].

The dataset is the recipe's own sample, of MNIST's files for images where they lie. On one core, in processes of their
own: the stage preprocess as it is (splits, fit, encode, write), and a bare loop over the same Parquet files that does
nothing but what the library must do anyway. Processor time, so that a busy machine matters little. Two ratios: bare to
stage, less `fit`, which is told beside them; and the loop alone to the recipe's `encode` alone, both without reading.
Peak memory (of the whole process, imports included) at one and ten times the data.
"""

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from components import params, recipes
from components.data import dataset
from components.recipes.images.source import known as pictures
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
        ratios.append((bare["seconds"] - bare["read_seconds"]) / stage["encode_seconds"])
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
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
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
    spent = dict.fromkeys(("fit", "encode", "read"), 0.0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = time.process_time()
            try:
                return function(*given)
            finally:
                spent[part] += time.process_time() - started

        return call

    started = time.process_time()
    if what == "stage":
        recipe.fit, recipe.encode = timed("fit", recipe.fit), timed("encode", recipe.encode)
        preprocess.run(settings, folder / "data", folder / "quarantine.parquet", folder / "arrays")
    else:
        state = json.loads((folder / "arrays" / "manifest.json").read_text())["state"]
        columns = recipes.schema(recipe, settings.task)
        read = timed("read", partial(dataset.read, columns=columns, only=columns.names))
        _, loop = BARE[settings.recipe]
        started = time.process_time()
        loop(map(read, dataset.chunks(folder / "data", columns)), settings.task, state)
    seconds = {"seconds": time.process_time() - started, **{f"{part}_seconds": took for part, took in spent.items()}}
    print(json.dumps(seconds | {"peak_memory_mb": _peak()}))


def _peak() -> float:
    """Of this process alone, in MB: getrusage(2) would tell that of the parent at the fork too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


# --- what the library underneath must do anyway


def _pillow(tables: Iterator[pa.Table], _: Any, __: Any) -> None:
    """Open, decode and take the pixels."""
    from PIL import Image

    for part in tables:
        for data in part["image"].to_pylist():
            np.asarray(Image.open(io.BytesIO(data)))


def _soundfile(tables: Iterator[pa.Table], task: Any, _: Any) -> None:
    """Read each recording, and transform the same frames."""
    import soundfile
    from scipy.fft import rfft

    window, hop = (round(ms * task.sample_rate / 1000) for ms in (task.window_ms, task.hop_ms))
    for part in tables:
        for data in part["audio"].to_pylist():
            sound, _ = soundfile.read(io.BytesIO(data), dtype="float32")
            frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, window), window)[::hop]
            rfft(frames, 1 << (window - 1).bit_length())


def _tokenizers(tables: Iterator[pa.Table], task: Any, state: Any) -> None:
    """Encode batches by the fitted tokenizer, padded."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(state["tokenizer"])
    tokenizer.enable_truncation(task.length)
    tokenizer.enable_padding(length=task.length)
    for part in tables:
        np.array([encoding.ids for encoding in tokenizer.encode_batch_fast(part["text"].to_pylist())], np.int32)


def _pyarrow(tables: Iterator[pa.Table], _: Any, __: Any) -> None:
    """Take each column as an array."""
    for part in tables:
        for column in part.columns:
            values = column.combine_chunks()
            values = values.flatten() if pa.types.is_list(values.type) else values
            values.to_numpy(zero_copy_only=False)


Loop = Callable[[Iterator[pa.Table], Any, Any], None]
BARE: dict[str, tuple[str, Loop]] = {
    "images": ("Pillow", _pillow),
    "audio": ("soundfile, scipy.fft", _soundfile),
    "text": ("tokenizers", _tokenizers),
    "tabular": ("pyarrow", _pyarrow),
    "series": ("pyarrow", _pyarrow),
}


if __name__ == "__main__":
    main()
