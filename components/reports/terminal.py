"""How good a model is, in a few lines for the terminal."""

from pathlib import Path

from components import brief, listed
from components.evaluation import metrics, promotion, slices
from components.files import read_json
from components.params import Params
from components.reports import results

MIN_MISSED = 5  # test examples of a label under which finding none of them says little
MOST_MISSED = 5  # labels that are named


def told(params: Params, evaluation: Path) -> list[str]:
    """Say how good a model is: a line of metrics with their intervals, one a baseline, one for the worst slice."""
    rows = {row["metric"]: row for row in results.read_csv(evaluation / "intervals.csv")}
    kind, names = metrics.of(params.target()), params.target().names
    of = f" (of {kind.ranks(names)})" if kind.ranks(names) else ""
    text = ", ".join(
        f"{name}{of if name in ('roc_auc', 'pr_auc') else ''} {_with_interval(rows[name])}"
        for name in kind.SHOWN
        if name in rows
    )
    tests = read_json(evaluation / "metrics.json")["rows"]
    about = (beside, _missed, _worst, _views)
    return [f"{tests:,} test examples: {text}", *(line for tell in about for line in tell(params, evaluation))]


def beside(params: Params, evaluation: Path) -> list[str]:
    """Say of each baseline if the model beats it: if the interval of the difference lies above 0.

    That it does better than its own answers dealt at random goes without saying.
    """
    rows = [
        row for row in results.baselines(params, evaluation) if row["baseline"] != "chance" or float(row["low"]) <= 0
    ]
    lines = [promotion.beside(row) for row in rows]
    chosen = results.candidates(evaluation.parent)
    unsure = any(row["baseline"] == "classical" and float(row["low"]) <= 0 for row in rows)
    if unsure and chosen.get("shipped") == "network" and "losses" in chosen:
        lines.append(
            "the network was the better one on validation, but not surely on the test split: "
            "`train.candidates: [classical]` ships the model that costs less"
        )
    return lines


def _missed(params: Params, evaluation: Path) -> list[str]:
    """Name the labels of which no test example was found: a good accuracy hides them."""
    target = params.target()
    kind = metrics.of(target)
    rows = [
        row
        for row in results.read_csv(evaluation / kind.TABLE)
        if float(row.get("recall") or 1) == 0 and int(row["rows"]) >= MIN_MISSED
    ]
    if not rows:
        return []
    named = listed((f"{row[kind.TITLE]} ({int(row['rows']):,} test examples)" for row in rows), MOST_MISSED)
    classical = results.candidates(evaluation.parent).get("shipped") == "classical"
    helps = "train.threshold" if classical else "train.class_weights or train.threshold"
    advice = "more examples of it help" if "class_weights" in target.refused else f"{helps}: docs/training.md"
    return [f"THE MODEL FINDS NONE of {named}: it answers as if there were no such {kind.TITLE}; {advice}"]


def _worst(params: Params, evaluation: Path) -> list[str]:
    metric = results.main_metric(params)
    row = slices.worst(results.read_csv(evaluation / "slices.csv"))
    if row is None:
        return []
    interval = _with_interval(row | {"value": row[metric]})
    return [f"worst slice: {row['slice']} {row['value']} ({int(row['rows']):,} rows): {metric} {interval}"]


def _views(params: Params, evaluation: Path) -> list[str]:
    """Say how good a model is where something of the examples is left out."""
    metric = results.main_metric(params)
    return [
        f"{row['view']} ({int(row['rows']):,} rows): {metric} {_with_interval(row | {'value': row[metric]})}, with all "
        f"{brief(float(row['whole']))}"
        for row in results.read_csv(evaluation / "views.csv")
    ]


def _with_interval(row: dict[str, str]) -> str:
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    return f"{brief(value)} [{brief(low)}, {brief(high)}]"
