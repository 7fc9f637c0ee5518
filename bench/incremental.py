"""What new data costs validate and preprocess: python -m bench.incremental [--small] [--mnist FOLDER].

Ten times MNIST, in ten files, each with its images moved by other pixels so that none repeats; then a file with 1 %
new rows is added. Both stages, from nothing and with what they have kept of the ten files (components/reuse.py), as
processes of their own: processor time, children included, so that a busy machine matters little. What they write is
compared byte by byte. --small takes MNIST once, in ten files: there imports alone are more than a tenth.
"""

import argparse
import gzip
import io
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from components import params, recipes, reuse, surroundings
from components.data import dataset
from components.files import sha256

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mnist"
FILES = 10
AIM = 0.1
SHIFTS = [(down, right) for down in (0, 1, -1) for right in (0, 1, -1, 2)]  # of the images of a file, in pixels


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.incremental", description=__doc__.splitlines()[0])
    default, out = ROOT.parent / "shared" / "datasets" / "mnist", ROOT / "build" / "bench" / "incremental.json"
    help_mnist = "folder of the four MNIST files (default: %(default)s)"
    parser.add_argument("--mnist", type=Path, default=default, metavar="FOLDER", help=help_mnist)
    parser.add_argument("--small", action="store_true", help="MNIST once instead of ten times")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        make(Path(name), options.mnist, small=options.small)
        found = measure(Path(name))
    report = {"machine": platform.platform(), "cores": os.cpu_count(), "small": options.small, **found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{'processor time, s':<20}{'validate':>10}{'preprocess':>12}{'both':>8}")
    for run, seconds in found["seconds"].items():
        print(f"{run:<20}{seconds['validate']:>10.1f}{seconds['preprocess']:>12.1f}{sum(seconds.values()):>8.1f}")
    print(f"\n{found['share']:.1%} of the whole, for 1 % new rows; aim: {AIM:.0%} (of ten times MNIST)")
    print(f"kept: {found['kept_mb']:,.0f} MB; arrays: {found['arrays_mb']:,.0f} MB; {options.out}")


def measure(room: Path) -> dict[str, Any]:
    """Run both stages on the ten files, then with the new one, then from nothing; SystemExit where bytes differ."""
    seconds = {"ten files": both(room, "first")}
    for path in (room / "new").iterdir():
        path.rename(room / "data" / path.name)
    seconds["and a new one"] = both(room, "reused")
    seconds["all from nothing"] = both(room, "nothing", {surroundings.REUSE: "0"})
    for path in (path for path in (room / "nothing").rglob("*") if path.is_file() and "cost" not in path.parts):
        if sha256(path) != sha256(room / "reused" / path.relative_to(room / "nothing")):
            sys.exit(f"error: {path.relative_to(room / 'nothing')} is not that of a run from nothing")
    new, whole = (sum(seconds[run].values()) for run in ("and a new one", "all from nothing"))
    sizes = {"kept": room / reuse.FOLDER, "arrays": room / "nothing" / "arrays"}
    sizes_mb = {
        f"{name}_mb": sum(path.stat().st_size for path in folder.rglob("*")) / 1e6 for name, folder in sizes.items()
    }
    return {"seconds": seconds, "share": new / whole, **sizes_mb}


def both(room: Path, out: str, more: dict[str, str] | None = None) -> dict[str, float]:
    """Run both stages; return the processor time of each, their children's included."""
    validation, arrays = Path(out, "validation"), Path(out, "arrays")
    words = {
        "validate": ["--expectations", "expectations.yaml", "--out", str(validation)],
        "preprocess": ["--quarantine", str(validation / "quarantine.parquet"), "--out", str(arrays)],
    }
    seconds = {}
    for stage, given in words.items():
        command = [sys.executable, "-m", "components", stage, "--data", "data", *given]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | (more or {})
        done = subprocess.run(command, cwd=room, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: {stage} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds[stage] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{out}: {stage} {seconds[stage]:.1f} s", flush=True)
    return seconds


def make(room: Path, mnist: Path, *, small: bool) -> None:
    """Write params.yaml, expectations.yaml, data/ with ten files, and new/ with the one that comes later."""
    for name in ("params.yaml", "expectations.yaml"):
        shutil.copy(EXAMPLE / name, room)
    settings = params.load(room / "params.yaml")
    columns = recipes.schema(recipes.load("images"), settings.task)
    pixels = np.concatenate([_idx(mnist / f"{part}-images-idx3-ubyte.gz", 16) for part in ("train", "t10k")])
    labels = np.concatenate([_idx(mnist / f"{part}-labels-idx1-ubyte.gz", 8) for part in ("train", "t10k")])
    splits = np.array(["train"] * 60_000 + ["test"] * 10_000)
    pixels = pixels.reshape(-1, 28, 28)
    for number, shift in enumerate(SHIFTS[: FILES + 1]):
        mine = np.arange(number if small else 0, len(labels), FILES if small else 1)
        if number == FILES:
            mine = np.arange(0, len(labels), 100 if small else 10)
        tables = _tables(np.roll(pixels[mine], shift, (1, 2)), labels[mine], splits[mine], columns)
        folder = room / ("new" if number == FILES else "data")
        for path in dataset.write(tables, room / "aside", f"mnist-{number:02}"):
            folder.mkdir(exist_ok=True)
            path.rename(folder / path.name)


def _idx(path: Path, head: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[head:]


def _tables(pixels: np.ndarray, labels: np.ndarray, splits: np.ndarray, columns: pa.Schema) -> Iterator[pa.Table]:
    for at in range(0, len(labels), 4096):
        images = []
        for picture in pixels[at : at + 4096]:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png", compress_level=0)
            images.append(buffer.getvalue())
        table = pa.table({"image": images, "label": labels[at : at + 4096].astype(str)}).cast(columns)
        table = table.add_column(0, "id", pa.array(dataset.ids(table, columns), pa.string()))
        yield table.append_column("split", pa.array(splits[at : at + 4096]))


if __name__ == "__main__":
    main()
