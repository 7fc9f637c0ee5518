"""Peak memory of every stage at once and at ten times the data: python -m bench.memory [--mnist FOLDER].

MNIST, and ten times MNIST as bench/incremental.py makes it, with the settings of examples/mnist and one epoch. Each
stage runs alone, as dvc.yaml has it; its memory is that of all its processes at once, what they share counted once.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bench import incremental, measuring, pipeline
from components import surroundings

ROOT = Path(__file__).resolve().parent.parent
SCALES = {"1x": True, "10x": False}  # whether it is MNIST once


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.splitlines()[0])
    default, out = ROOT.parent / "shared" / "datasets" / "mnist", ROOT / "build" / "bench" / "memory.json"
    help_mnist = "folder of the four MNIST files (default: %(default)s)"
    parser.add_argument("--mnist", type=Path, default=default, metavar="FOLDER", help=help_mnist)
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="report, as JSON (default: %(default)s)")
    options = parser.parse_args(arguments)
    pipeline.must_hold(options.mnist, list(YAML(typ="safe").load(incremental.EXAMPLE / "example.yaml")["files"]))
    found: dict[str, dict[str, Any]] = {}
    for scale, once in SCALES.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            found[scale] = measure(Path(name), options.mnist, once=once)
    report = {"machine": platform.platform(), "cores": os.cpu_count(), **found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{'stage':<12}" + "".join(f"{f'MB at {scale}':>12}{f's at {scale}':>12}" for scale in found))
    for stage in pipeline.LIBRARIES:
        cells = [f"{of[stage]['peak_mb']:>12,.0f}{of[stage]['seconds']:>12.1f}" for of in found.values()]
        print(f"{stage:<12}" + "".join(cells))
    print(f"\n{options.out}")


def measure(room: Path, mnist: Path, *, once: bool) -> dict[str, Any]:
    """Make the data in an empty folder and run each stage on it; return what each took."""
    incremental.make(room, mnist, small=once)
    (room / "expectations").mkdir()
    (room / "expectations.yaml").rename(room / "expectations" / "images.yaml")
    (room / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    yaml = YAML()
    settings = yaml.load(room / "params.yaml")
    settings["train"]["epochs"] = 1
    yaml.dump(settings, room / "params.yaml")
    found = {}
    for stage, words in zip(pipeline.LIBRARIES, pipeline.commands(room, *pipeline.LIBRARIES), strict=True):
        took = measuring.run(words, room, {surroundings.REUSE: "0"})
        found[stage] = {name: value for name, value in took.items() if name != "output"}
        print(f"{stage}: {took['peak_mb']:,.0f} MB, {took['seconds']:.1f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
