"""May a model become the champion? Gates, and a paired comparison with the present one. Numbers only, no MLflow."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components import SlipwayError
from components.params import Register


def gates(settings: Register, values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Hold values against params.yaml's `register.minimum` and `register.maximum`.

    Returns a dict each of metric, limit (such as ">= 0.9"), value and held. Raises SlipwayError for a metric
    that was not measured, with the nearest one.
    """
    found = []
    for side, sign, limits in (("minimum", ">=", settings.minimum), ("maximum", "<=", settings.maximum)):
        for metric, limit in limits.items():
            if metric not in values:
                near = difflib.get_close_matches(metric, values, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"measured: {', '.join(sorted(values))}"
                raise SlipwayError(f"params.yaml: register.{side}.{metric}: no such metric; {hint}")
            value = float(values[metric])
            held = value >= limit if side == "minimum" else value <= limit
            shown = round(value, 6) if math.isfinite(value) else None
            found.append({"metric": metric, "limit": f"{sign} {limit:g}", "value": shown, "held": held})
    return found


def compare(challenger: np.ndarray, champion: np.ndarray, settings: Register, seed: int) -> dict[str, float]:
    """Return mean, low and high of the accuracy's difference, challenger minus champion.

    Both are `(n,)` bool, if the answer to each example was right. A paired bootstrap with a percentile interval
    (Efron and Tibshirani 1993, chapter 13). An example's difference is -1, 0 or 1, so that to draw n
    examples with replacement is to draw from a multinomial distribution of three counts.
    """
    difference = challenger.astype(int) - champion.astype(int)
    n = len(difference)
    counts = np.array([(difference == value).sum() for value in (-1, 0, 1)])
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, settings.resamples)
    means = (drawn[:, 2] - drawn[:, 0]) / n
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"mean": float(difference.mean()), "low": float(low), "high": float(high)}


def verdict(held: list[dict[str, Any]], difference: dict[str, float] | None, margin: float) -> tuple[bool, str]:
    """Decide on gates and, where there is a champion, on the interval; return the reason too.

    Not worse means non-inferior: the interval's lower end is at least -margin.
    """
    failed = [f"{g['metric']} is {g['value']}, the gate is {g['limit']}" for g in held if not g["held"]]
    if failed:
        return False, "; ".join(failed)
    if difference is None:
        return True, "all gates hold and there was no champion"
    text = f"accuracy differs by {difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    if difference["low"] < -margin:
        return False, f"it may be worse than the champion: {text}, the margin is {margin:g}"
    return True, f"all gates hold and it is not worse than the champion: {text}, the margin is {margin:g}"
