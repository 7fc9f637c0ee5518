"""Register the model in MLflow, and let it become the champion if it may.

The only stage that changes what others see. Everything is found by the model's digest and done only where it
is not done yet, so that it may be killed anywhere and run again: run -> logged model -> version -> loaded
back and asked -> alias `challenger` -> decision -> alias `champion`.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, recipes, temporary
from components.data import raw_rows, splits, versions
from components.evaluation import metrics, promotion
from components.evaluation.examples import Examples
from components.files import model_digest, read_json, sha256, write_json
from components.params import Params
from components.reports import results
from components.serving import onnx_model
from components.targets import Decision, Target
from components.tracking import connection, isolated, registry, runs, trusted
from components.tracking.connection import mask

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TOLERANCE = 1e-5  # between probabilities of the same model on another batch
NEEDED_FILES = (  # what `dvc repro` leaves for us
    "validation/quarantine.parquet",
    "arrays/manifest.json",
    "model/model.onnx",
    "model/model.json",
    "training/epochs.csv",
    "training/steps.csv",
    "evaluation/metrics.json",
    "evaluation/baselines.csv",
    "evaluation/intervals.csv",
    "evaluation/predictions.parquet",
)


def run(params: Params, build: Path, data: Path, out: Path, *, up_to_date: bool = False, trust: bool = False) -> None:
    """Register the model of `build` under params.name and write what came of it to `out`.

    DVC is asked first if all is up to date, which takes most of a second, unless the caller has just asked it:
    `up_to_date`. A champion that is not ours, or not as it was registered, is loaded only with `trust`.
    Raises SlipwayError where the pipeline is not up to date, MLflow does not answer, a gate names no metric, or the
    version that was loaded back answers otherwise than the evaluation did.
    """
    missing = [name for name in NEEDED_FILES if not (build / name).exists()]
    if missing:
        raise SlipwayError(f"{build / missing[0]}: no such file; run `dvc repro` to make the model and its evaluation")
    if not up_to_date and (reason := versions.outdated("evaluate")):
        raise SlipwayError(f"the pipeline is not up to date ({reason}): run `dvc repro` first")
    connection.check()
    digest = model_digest(build / "model")
    with connection.plainly("register the model"), registry.alone():
        run_id = runs.ensure_run(params, build)
        version = registry.find(params.name, digest)
        champion = registry.champion(params.name)
        if trust and champion is not None:
            champion = trusted.adopt(champion)
        key = _key(params, build, champion)
        before = dict(version.tags) if version is not None else {}
        settled = key in before.get("slipway.decided", "").split()
        if not settled:
            version = _settle(params, build, data, run_id, version, champion)
            # as it was and as it is now: who then moves the alias back by hand is not overruled
            decided = f"{key} {_key(params, build, registry.champion(params.name))}"
            registry.tag(version, {"slipway.decided": decided})
        assert version is not None  # noqa: S101 - for the type checker: found or made
        outcome = _outcome(params, build, run_id, digest, version.version)
    outcome |= {"new_version": not before, "changed": not settled}
    write_json(out, outcome)
    _tell(outcome)


def _key(params: Params, build: Path, champion: "ModelVersion | None") -> str:
    """Hash what a decision depends on: with the same key it need not be made again."""
    rival = (
        [str(champion.version), champion.tags.get("slipway.model"), champion.tags.get(trusted.TAG)]
        if champion is not None
        else None
    )
    settings = [rival, params.register_.model_dump(), params.seed, params.costs]
    evaluated = [sha256(build / "evaluation" / name) for name in ("predictions.parquet", "baselines.csv")]
    text = json.dumps([settings, evaluated])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _settle(
    params: Params,
    build: Path,
    data: Path,
    run_id: str,
    version: "ModelVersion | None",
    champion: "ModelVersion | None",
) -> "ModelVersion":
    """Do all that is still to be done for the model: version, proof, aliases and decision."""
    digest = model_digest(build / "model")
    values = _measured(build, digest)
    gates = promotion.gates(params.register_, values)  # a gate that names nothing fails before anything is made
    gates.append(promotion.above_trivial(*results.beside_trivial(params, build / "evaluation")))
    client = connection.client()
    predictions = pq.read_table(build / "evaluation" / "predictions.parquet")
    proof = sha256(build / "evaluation" / "predictions.parquet")
    with temporary.folder() as folder:
        given = Path(folder, "examples.parquet")
        _examples(params, build, data, predictions["id"].to_pylist(), given)
        if version is None:
            version = registry.add(params, build, run_id, digest, pq.read_table(given).slice(0, 3))
        rival = champion if champion is not None and str(champion.version) != str(version.version) else None
        with ThreadPoolExecutor(2) as pool:
            theirs = pool.submit(_rival, rival, given)
            if version.tags.get("slipway.proved") != proof:
                loaded_back = isolated.predict(f"models:/{params.name}/{version.version}", given)
                decision = read_json(build / "model" / "model.json")["decision"]
                _proved(version, params.target(), decision, loaded_back, predictions)
                registry.tag(version, {"slipway.proved": proof})
            answers, problem = theirs.result()
    client.set_registered_model_alias(params.name, "challenger", version.version)
    difference, compared = None, None
    if answers is not None and rival is not None:
        ours, its = (_scores(params, build, predictions["actual"], given) for given in (predictions, answers))
        blocks = splits.blocks_of(build / "arrays")
        difference = promotion.compare(ours, its, params.register_, params.seed, blocks)
        compared = {"version": str(rival.version), "score": float(its.mean()), "metrics": {}}
        if promotion.score(params) in values:  # else it is no metric
            compared["metrics"] = {promotion.score(params): float(its.mean())}
    if champion is not None and rival is None:  # it is the champion: what made it so stays on record
        promoted, reason = True, "it is already the champion"
        if version.tags.get("slipway.decision") == "promoted":  # else by hand
            reason = version.tags.get("slipway.reason", reason)
        difference = json.loads(version.tags.get("slipway.difference", "null"))
        compared = json.loads(version.tags.get("slipway.champion", "null"))
    elif problem:
        promoted = False
        compared = {"version": str(rival.version), "metrics": {}} if rival is not None else None
        reason = (
            f"the champion cannot be evaluated again ({problem}); to promote this version anyway, move the "
            f"alias by hand: MLflow, Models, {params.name}, version {version.version}"
        )
    else:
        promoted, reason = promotion.verdict(gates, difference, params.register_.margin, promotion.score(params))
    record = {
        "slipway.reason": reason,
        "slipway.gates": json.dumps(gates),
        "slipway.difference": json.dumps(difference),
        "slipway.champion": json.dumps(compared),
        "slipway.decision": "promoted" if promoted else "kept",  # last: it says whose the reason is
    }
    registry.tag(version, record)
    shown = promotion.today(gates, reason) if promoted else reason
    registry.describe(version, params, build, digest, promotion.evidence(gates, difference, compared, params, shown))
    if promoted and (champion is None or rival is not None):
        client.set_registered_model_alias(params.name, "champion", version.version)
    return version


def _scores(params: Params, build: Path, actual: pa.ChunkedArray, answers: pa.Table) -> np.ndarray:
    """Score each answer; one that is missing, or not what is asked for today, scores as the worst there can be."""
    target, costs, deviation = params.target(), params.cost_matrix(), None
    there = target.answer in answers.column_names
    found = answers[target.answer].to_pylist() if there else [None] * len(actual)
    fits = ~np.array(target.invalid(found))
    if not target.classes:
        deviation = np.array(read_json(build / "arrays" / "manifest.json")["state"]["target"]["deviation"])
    truth = target.encode(actual.filter(pa.array(fits)).to_pylist())
    outputs = target.certain(target.encode([f for f, fit in zip(found, fits, strict=True) if fit]))
    score = metrics.scores(Examples(truth, outputs, target, costs=costs, deviation=deviation))
    every = np.full(len(fits), metrics.of(target).worst(score, costs))
    every[fits] = score
    return every


def _rival(champion: "ModelVersion | None", given: Path) -> tuple[pa.Table | None, str]:
    """Ask the champion anew; a champion that cannot answer is no error of ours, but a reason not to promote."""
    if champion is None:
        return None, ""
    try:
        return isolated.predict(f"models:/{champion.name}/{champion.version}", given), ""
    except SlipwayError as error:
        return None, str(error)


def _measured(build: Path, digest: str) -> dict[str, float]:
    """Collect all that a gate may name; the latency is measured here and now."""
    cost = results.costs(build, digest).get("evaluate", {})
    numbers = results.numbers(build, digest, cost)
    values = {name.removeprefix("test_").removeprefix("cost."): value for name, value in numbers.items()}
    model = onnx_model.load(build / "model")
    arrays = {
        name: np.load(build / "arrays" / "test" / f"{name}.npy", mmap_mode="r")
        for name in read_json(build / "arrays" / "manifest.json")["inputs"]
    }
    return values | {"latency_ms": onnx_model.latency_ms(model, arrays)}


def _examples(params: Params, build: Path, data: Path, ids: list[str], out: Path) -> None:
    """Write the raw examples of the test split, in the evaluation's order, chunk by chunk.

    Raises SlipwayError where data/ does not hold exactly those, or others were evaluated.
    """
    recipe = recipes.load(params.recipe)
    columns, names = recipes.schema(recipe, params.task), recipe.columns(params.task).names
    found: list[str] = []
    with pq.ParquetWriter(out, recipe.columns(params.task)) as writer:
        for part in raw_rows.read(data, build / "arrays", "test", columns, only=names):
            found += part["id"].to_pylist()
            writer.write_table(part.select(names))
    if found != ids:
        raise SlipwayError(
            f"{build / 'evaluation'} is not based on the examples in {build / 'arrays'}: run `dvc repro` first"
        )


def _proved(
    version: "ModelVersion", target: Target, decision: Decision | None, answers: pa.Table, predictions: pa.Table
) -> None:
    """Compare what the version answered with what was evaluated; SlipwayError where it differs."""
    title = f"{version.name} version {version.version}"
    failed = [error for error in answers["error"].to_pylist() if error]
    if failed:
        raise SlipwayError(f"{title}, loaded back, cannot predict {len(failed)} test examples: {failed[0]}")
    name = "probabilities" if target.output == "probabilities" else target.answer
    theirs, ours = (np.array(t[name].to_pylist(), np.float64).reshape(len(t), -1) for t in (answers, predictions))
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


def _outcome(params: Params, build: Path, run_id: str, digest: str, version: str) -> dict[str, Any]:
    """Read back from the registry what is so now."""
    entry = connection.client().get_model_version(params.name, version)
    aliases = sorted(entry.aliases)
    tags = entry.tags
    gates, reason = json.loads(tags.get("slipway.gates", "[]")), tags.get("slipway.reason", "")
    if "champion" in aliases:
        reason = promotion.today(gates, reason)
    elif tags.get("slipway.decision") == "promoted":
        reason += "; the alias champion has since been moved to another version"
    return {
        "name": params.name,
        "version": str(version),
        "run_id": run_id,
        "model_digest": digest,
        "aliases": aliases,
        "promoted": "champion" in aliases,
        "reason": reason,
        "gates": gates,
        "metrics": read_json(build / "evaluation" / "metrics.json"),
        "champion": json.loads(tags.get("slipway.champion", "null")),
        "difference": json.loads(tags.get("slipway.difference", "null")),
        "score": promotion.score(params),  # what the difference is of
        "tracking_uri": mask(connection.uri()),
    }


def _tell(outcome: dict[str, Any]) -> None:
    made = "new version" if outcome["new_version"] else "version"
    aliases = ", ".join(outcome["aliases"]) or "none"
    print(f"{outcome['name']}: {made} {outcome['version']}, aliases: {aliases}")
    if not outcome["changed"]:
        print("nothing has changed since the decision:")
    print(f"{'champion' if outcome['promoted'] else 'not the champion'}: {outcome['reason']}")
