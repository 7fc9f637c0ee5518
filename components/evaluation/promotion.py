"""May a model become the champion? Gates, and a paired comparison with the present one. Numbers only, no MLflow."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components import SlipwayError, nearest
from components.evaluation import bootstrap, metrics
from components.evaluation.slices import MIN_SLICE_ROWS
from components.params import Params, Register


def gates(settings: Register, values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Hold values against params.yaml's `register.minimum` and `register.maximum`.

    Returns a dict each of metric, limit (such as ">= 0.9"), value and held. Raises SlipwayError for a metric
    that was not measured, with the nearest one.
    """
    found = []
    for side, sign, limits in (("minimum", ">=", settings.minimum), ("maximum", "<=", settings.maximum)):
        for metric, limit in limits.items():
            if metric not in values:
                hint = nearest(metric, sorted(values))
                if metric.startswith("worst_slice_") and not any(name.startswith("worst_slice_") for name in values):
                    hint = f"no column in evaluate.slices has a slice of at least {MIN_SLICE_ROWS} test examples"
                raise SlipwayError(f"params.yaml: register.{side}.{metric}: no such metric; {hint}")
            value = float(values[metric])
            held = value >= limit if side == "minimum" else value <= limit
            shown = round(value, 6) if math.isfinite(value) else None
            found.append({"metric": metric, "limit": f"{sign} {limit:g}", "value": shown, "held": held})
    return found


def above_trivial(found: Mapping[str, str] | None, metric: str) -> dict[str, Any]:
    """Return the gate that no setting takes away: a model has to be better than the trivial baseline.

    `found` is the trivial baseline's row of baselines.csv for the main metric; None: it was not measured. The value is
    the lower end of the interval of the difference (see docs/evaluation.md), which has to be above 0.
    """
    gate: dict[str, Any] = {"metric": "above_trivial", "limit": "> 0", "value": None, "held": False}
    if found is None:
        return gate | {"reason": f"it was not compared with the trivial baseline by {metric}, and it has to beat it"}
    better, low, high = (float(found[name]) for name in ("better", "low", "high"))
    text = f"{metric} is better by {better:+.4g} [{low:+.4g}, {high:+.4g}], but the whole interval must be above 0"
    reason = f"it does not beat the trivial baseline ({found['name'].rstrip('.')}, {float(found['value']):.4g}): {text}"
    return gate | {"value": round(low, 6) + 0.0, "held": low > 0} | ({} if low > 0 else {"reason": reason})


def compare(
    challenger: np.ndarray, champion: np.ndarray, settings: Register, seed: int, blocks: np.ndarray | None = None
) -> dict[str, float]:
    """Return mean, low and high of the difference in score, challenger minus champion.

    Both are `(n,)`, a score per example; so is `blocks`, where examples are drawn in blocks. A paired bootstrap.
    """
    differences = challenger.astype(np.float64) - champion.astype(np.float64)
    low, high = bootstrap.interval(bootstrap.means(differences, seed, settings.resamples, blocks), settings.confidence)
    return {"mean": float(differences.mean()), "low": float(low), "high": float(high)}


def score(params: Params) -> str:
    """Name what is compared; higher is better."""
    return metrics.of(params.target()).score_name(params.costs)


def verdict(
    held: list[dict[str, Any]], difference: dict[str, float] | None, margin: float, name: str = "accuracy"
) -> tuple[bool, str]:
    """Decide on gates and, where there is a champion, on the interval; return the reason too.

    Not worse means non-inferior: the interval's lower end is at least -margin, and it does not lie wholly below 0.
    """
    failed = [
        g.get("reason") or f"{g['metric']} is {g['value']}, but the gate is {g['limit']}" for g in held if not g["held"]
    ]
    if failed:
        return False, "; ".join(failed)
    if difference is None:
        return True, "it passes all gates and there was no champion"
    text = f"{name} differs by {difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    if difference["high"] < 0:
        return False, f"it is worse than the champion: {text}, all of it below 0"
    if difference["low"] < -margin:
        return False, f"it may be worse than the champion: {text}, the margin is {margin:g}"
    return True, f"it passes all gates and is not worse than the champion: {text}, the margin is {margin:g}"


def today(gates: list[dict[str, Any]], reason: str) -> str:
    """Return why a version is the champion, or that it fails gates raised since then; it stays champion anyway."""
    failed = [gate["metric"] for gate in gates if not gate["held"]]
    if not failed:
        return reason
    return (
        f"it is already the champion, but fails the current gates ({', '.join(failed)}); "
        "move the alias by hand if it should not stay"
    )


def evidence(
    gates: list[dict[str, Any]],
    difference: dict[str, float] | None,
    compared: dict[str, Any] | None,
    params: Params,
    reason: str,
) -> list[str]:
    """Return the gates, the comparison and the decision as lines of Markdown."""
    lines = [
        f"- {g['metric']} {g['limit']}: {g['value']}, {'passed' if g['held'] else '**not passed**'}" for g in gates
    ]
    if difference is not None and compared is not None:
        lines.append(
            f"- against version {compared['version']} ({score(params)} {compared['score']:.4f} on the same "
            f"examples): {difference['mean']:+.4f}, {params.register_.confidence:.0%} interval "
            f"[{difference['low']:+.4f}, {difference['high']:+.4f}] by a paired bootstrap"
        )
    return [*lines, f"- decision: {reason}"]
