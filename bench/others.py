"""What a practitioner types in five lines, fitted on all rows that are not test rows, with the defaults there are."""

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.datasets import Dataset

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


KINDS = {"table": of_table, "text": of_text, "series": of_series, "images": of_arrays}
