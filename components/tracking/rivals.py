"""The versions that a challenger is compared with: the champion, and the reference, the best one so far.

Both predict today's test split anew, each in a process of its own with the code that was shipped with it; and so does
the challenger itself, which proves that it is what was evaluated.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components import SlipwayError, recipes
from components.data import raw_rows, splits
from components.evaluation import bootstrap, metrics, promotion, tested
from components.evaluation.promotion import MIN_COMMON_ROWS, Rival
from components.files import read_json
from components.params import Params
from components.targets import Decision, Target
from components.tracking import connection, isolated

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TOLERANCE = 1e-5  # between probabilities of the same model on another batch
Holders = dict[str, "ModelVersion | None"]  # alias -> the version that has it


@dataclass(frozen=True)
class Challenger:
    """What another version is compared with, and the comparisons that were made already."""

    params: Params
    build: Path
    data: Path
    given: Path  # the raw examples of the test split, as Parquet
    predictions: pa.Table  # of the challenger, in the same order
    known: dict[str, Rival] = field(default_factory=dict)  # number of a version -> how it compares


def compare(challenger: Challenger, holders: Holders, version: str) -> None:
    """Compare the challenger, which is `version`, with each holder of an alias that is not known yet."""
    for holder in holders.values():
        if holder is not None and str(holder.version) not in {version, *challenger.known}:
            challenger.known[str(holder.version)] = _rival(challenger, holder)


def _rival(challenger: Challenger, holder: "ModelVersion") -> Rival:
    """Ask a version anew; one that cannot answer is no error of ours, but a reason not to promote."""
    params, number = challenger.params, str(holder.version)
    every = len(challenger.predictions)
    try:
        both = _common(challenger, holder)
    except SlipwayError as error:
        return Rival(number, 0, every, problem=f"the split of version {number} cannot be told ({error})")
    rows = int(both.sum())
    if rows < min(MIN_COMMON_ROWS, every):
        why = (
            f"it cannot be compared with version {number}, whose split was made otherwise: only {rows:,} of {every:,} "
            f"test examples are test for both, and {MIN_COMMON_ROWS} are needed"
        )
        return Rival(number, rows, every, problem=why)
    uri, metric = f"models:/{params.name}/{number}", promotion.score(params)
    try:
        answers = isolated.predict(uri, challenger.given)
        # of its answers alone the order of its probabilities is no part
        labels = _labels(uri) if metric in metrics.of(params.target()).OF_OUTPUTS else []
    except SlipwayError as error:
        return Rival(number, rows, every, problem=f"version {number} cannot be evaluated again ({error})")
    examples = tested.split(params, challenger.data, challenger.build / "arrays")
    names = params.target().names
    ours, theirs = (
        tested.answered(examples, found, metric, own).take(np.flatnonzero(both))
        for found, own in ((challenger.predictions, names), (answers, labels or names))
    )
    settings = params.register_
    apart = bootstrap.compared(metric, ours, theirs, params.seed, settings.resamples, settings.confidence)
    if apart is None:
        why = f"{metric} is not defined for it and for version {number} on {rows:,} test examples"
        return Rival(number, rows, every, problem=why)
    return Rival(number, rows, every, apart)


def _labels(uri: str) -> list[str]:
    """Return the labels that a version was trained for, in the order of its probabilities; none of numbers."""
    found: list[str] = connection.about(uri).get("params", {}).get("labels", [])
    return found


def _common(challenger: Challenger, holder: "ModelVersion") -> np.ndarray:
    """Say which test examples of ours the other version was not trained on, `(n,)` bool: by the rule of its split."""
    arrays = challenger.build / "arrays"
    ours: splits.Rule = read_json(arrays / "manifest.json")["split"]
    theirs = _rule(holder, ours)
    if ours == theirs:
        return np.ones(len(challenger.predictions), bool)
    columns = recipes.schema(recipes.load(challenger.params.recipe), challenger.params.task)
    wanted = ["split", *splits.needs(theirs)]
    parts = raw_rows.read(challenger.data, arrays, "test", columns, only=wanted)
    return np.concatenate([splits.in_test(theirs, part) for part in parts])


def _rule(holder: "ModelVersion", ours: splits.Rule) -> splits.Rule:
    """Return how a version's split was made.

    One that was registered before this was written down was split by ids, with the seed of its run; or, as a series,
    by times that nobody knows any more.
    """
    if text := holder.tags.get("slipway.split"):
        found: splits.Rule = json.loads(text)
        return found
    logged = connection.client().get_run(holder.run_id).data.params if holder.run_id else {}
    ordered = ours["by"] == "time" and ours["gap"] is not None
    if ordered or not {"seed", "split.test", "split.validation"} <= logged.keys():
        return ours
    shares = {name: float(logged[f"split.{name}"]) for name in ("test", "validation")}
    return {"by": "id", "column": None, "seed": int(logged["seed"]), **shares, "official": ours["official"]}


def prove(
    version: "ModelVersion", target: Target, decision: Decision | None, answers: pa.Table, predictions: pa.Table
) -> None:
    """Compare what the version answered with what was evaluated; SlipwayError where it differs."""
    title = f"{version.name} version {version.version}"
    failed = [error for error in answers["error"].to_pylist() if error]
    if failed:
        raise SlipwayError(f"{title}, loaded back, cannot predict {len(failed)} test examples: {failed[0]}")
    theirs, ours = (target.outputs(t).astype(np.float64) for t in (answers, predictions))
    # numbers are compared in units of their own size
    scale = 1.0 if target.output == "probabilities" else np.maximum(np.abs(ours).max(axis=0, initial=0), 1)
    largest = float((np.abs(theirs - ours) / scale).max(initial=0)) if theirs.shape == ours.shape else float("inf")
    differ = 0
    if largest <= TOLERANCE:
        same = [a == b for a, b in zip(*(t[target.answer].to_pylist() for t in (answers, predictions)), strict=True)]
        differ = int((~np.array(same, bool)[target.settled(ours, decision, TOLERANCE)]).sum())
    if not largest <= TOLERANCE or differ:
        raise SlipwayError(
            f"{title}, loaded back, predicts differently from build/evaluation/predictions.parquet (largest difference "
            f"{largest:g}, {differ} different labels): nothing was promoted; `dvc repro -f evaluate` "
            "evaluates again on this machine"
        )
