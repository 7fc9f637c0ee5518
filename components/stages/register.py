"""Register the model in MLflow, and let it become the champion if it may.

The only stage that changes what others see. Everything is found by the model's digest and done only where it
is not done yet, so that it may be killed anywhere and run again: run -> logged model -> version -> loaded
back and asked -> alias `challenger` -> decision -> alias `champion`, or `staging` where a person decides.
"""

import hashlib
import json
import math
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from components import SlipwayError, nearest, recipes, temporary
from components.data import dataset, raw_rows, versions
from components.evaluation import promotion
from components.files import model_digest, read_json, sha256, write_json
from components.masking import mask
from components.params import Params
from components.reports import results
from components.serving import onnx_model
from components.stages import DECIDING
from components.tracking import (
    connection,
    isolated,
    moving,
    origin,
    provenance,
    record,
    registry,
    rivals,
    runs,
    shown,
    trusted,
)
from components.validation import drift

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FLOW_RUN = "SLIPWAY_FLOW_RUN"  # environment variable: the id of Prefect's flow run that registers
LATENCY = "latency_ms"
MAX_LATENCY_TRIES = 4  # on a machine that is busy
LATENCY_PAUSE = 2.0  # seconds between them
MAX_DECISIONS = 5  # that other machines may make while this one compares
NEEDED_FILES = (  # what `dvc repro` leaves for us
    "validation/quarantine.parquet",
    "validation/columns.json",
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


def run(
    params: Params,
    build: Path,
    data: Path,
    out: Path,
    *,
    up_to_date: bool = False,
    told: bool = False,
    trust: bool = False,
    began: float | None = None,
) -> None:
    """Register the model of `build` under params.name and write what came of it to `out`.

    DVC is asked first if all is up to date, which takes most of a second, unless the caller has just asked it:
    `up_to_date`. If `told`, a line on stdin, the id of Prefect's flow run, is waited for before anything is decided;
    where none comes nothing is. A champion that is not ours, or not as it was registered, is loaded only with `trust`.
    `began` is when the run that made the model began, as time.time() has it: what a person has moved since is not
    overruled.
    Raises SlipwayError where the pipeline is not up to date, MLflow does not answer, a gate or register.score names no
    metric, or the version that was loaded back answers otherwise than the evaluation did.
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
        before = dict(version.tags) if version is not None else {}
        if trust:
            registry.adopt(params.name)
        if record.find(params.name) is not None:
            moving.look(params.name)
        since = record.now() if began is None else record.spelled(datetime.fromtimestamp(began, UTC))
        before_us = registry.holders(params.name)
        evaluated = [sha256(build / "evaluation" / name) for name in ("predictions.parquet", "baselines.csv")]
        key = _key(params, evaluated, before_us)
        settled = key in before.get("slipway.decided", "").split()
        if not settled:
            print(f"{params.name}: {DECIDING}", flush=True)  # `slipway run` looks for it
            if told:
                if not (line := sys.stdin.readline()):
                    raise SlipwayError("the run that was to say when to decide has ended: nothing was decided")
                os.environ[FLOW_RUN] = line.strip()
            version = _settle(params, build, data, run_id, version, since)
            if not _by_the_clock_alone(version):
                # as it was, as it is now, and as it is with the old champion: who moves that back is not overruled
                now = registry.holders(params.name)
                states = [now, now | {"champion": before_us["champion"]}]
                decided = [key, *(_key(params, evaluated, state) for state in states)]
                with registry.turn(params.name):
                    registry.tag(version, {"slipway.decided": " ".join(dict.fromkeys(decided))})
        assert version is not None  # noqa: S101 - for the type checker: found or made
        outcome = _outcome(params, build, run_id, digest, str(version.version))
    held = before_us["champion"]
    new_champion = outcome["promoted"] and (held is None or str(held.version) != outcome["version"])
    outcome["drift"] = _drift(params, build, held, outcome["version"])
    outcome |= {"new_version": not before, "changed": not settled, "new_champion": new_champion}
    write_json(out, outcome)
    _tell(outcome)


def _key(params: Params, evaluated: list[str], holders: rivals.Holders) -> str:
    """Hash what a decision depends on: with the same key it need not be made again.

    `evaluated` are the digests of the evaluation's predictions and of what it says of the baselines.
    """
    others = {
        alias: [str(holder.version), *map(holder.tags.get, ("slipway.model", trusted.TAG))] if holder else None
        for alias, holder in holders.items()
    }
    asked = params.register_.model_dump(exclude={"approval_hours", "aliases"})
    settings = [others, asked, params.seed, params.costs]
    text = json.dumps([settings, evaluated])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _by_the_clock_alone(version: "ModelVersion") -> bool:
    """Tell whether the latency alone kept a version back: that is measured again the next time."""
    tags = connection.client().get_model_version(version.name, version.version).tags
    failed = [gate["metric"] for gate in shown.compared(tags)["gates"] if not gate["held"]]
    return failed == [LATENCY] and shown.decided(tags)[0] == shown.REFUSED


def _settle(
    params: Params, build: Path, data: Path, run_id: str, version: "ModelVersion | None", began: str
) -> "ModelVersion":
    """Do all that is still to be done for the model: version, proof, decision and aliases."""
    digest = model_digest(build / "model")
    gates = _gates(params, build, digest)  # a gate that names nothing fails before anything is made
    predictions = pq.read_table(build / "evaluation" / "predictions.parquet")
    proof = sha256(build / "evaluation" / "predictions.parquet")
    with temporary.folder() as folder, isolated.started() as fresh:
        given = Path(folder, "examples.parquet")
        _examples(params, build, data, predictions["id"].to_pylist(), given)
        if version is None:
            version = registry.add(params, build, run_id, digest, pq.read_table(given).slice(0, 3))
        challenger = rivals.Challenger(params, build, data, given, predictions)
        holders = registry.holders(params.name)
        with ThreadPoolExecutor(2) as pool:
            compared = pool.submit(rivals.compare, challenger, holders, str(version.version))
            if version.tags.get("slipway.proved") != proof:
                loaded_back = isolated.predict(f"models:/{params.name}/{version.version}", given, process=fresh)
                decision = read_json(build / "model" / "model.json")["decision"]
                rivals.prove(version, params.target(), decision, loaded_back, predictions)
            compared.result()
        with registry.turn(params.name):
            registry.tag(version, {"slipway.proved": proof})
            moving.rename(params.name, params.register_.aliases)
            alias = params.register_.aliases.challenger
            connection.client().set_registered_model_alias(params.name, alias, version.version)
        for _ in range(MAX_DECISIONS):
            with registry.turn(params.name):  # minutes have passed: another one may be the champion by now
                there = moving.settle(params.name)
                holders = registry.holders(params.name)
                others = {str(holder.version) for holder in holders.values() if holder is not None}
                if others <= {str(version.version), *challenger.known}:
                    _decide(params, build, digest, version, gates, holders, challenger.known, there, began)
                    return version
            print("another version became the champion meanwhile: comparing with that one ...", flush=True)
            rivals.compare(challenger, holders, str(version.version))
    raise SlipwayError(
        f"{params.name}: the champion changed {MAX_DECISIONS} times while version {version.version} was compared with "
        "it; register it again"
    )


def _decide(
    params: Params,
    build: Path,
    digest: str,
    version: "ModelVersion",
    gates: list[dict[str, Any]],
    holders: rivals.Holders,
    known: dict[str, promotion.Rival],
    there: record.Record,
    began: str,
) -> None:
    """Decide whether a version becomes the champion, write down why, and move the aliases; the caller has the turn.

    What a person has decided stands: see moving.objection. With register.promotion `approve` a person is asked.
    """
    champion, reference = holders["champion"], holders["reference"]
    own = str(version.version)
    rival = known.get(str(champion.version)) if champion is not None and str(champion.version) != own else None
    best = known.get(str(reference.version)) if reference is not None and str(reference.version) != own else None
    if champion is not None and rival is None:  # it is the champion: what made it so stays on record
        promoted, reason = True, "it is already the champion"
        before, why = shown.decided(version.tags)
        if before == shown.PROMOTED:  # else by hand
            reason = why or reason
        stood = shown.compared(version.tags)
        others = {name: stood[name] for name in ("champion", "reference")}
    else:
        newer = champion is not None and registry.newer(params.name, champion)
        if best is not None and rival is not None and best.version == rival.version:
            best = None
        promoted, reason = promotion.verdict(gates, rival, best, params.register_, newer=newer)
        if best is not None and best.difference is None:
            reason += f"; the best version so far was left out: {best.problem}"
        rows = results.read_csv(build / "evaluation" / "baselines.csv")
        reason = "; ".join(filter(None, (reason, promotion.fallen(rival, rows))))
        if not promoted and rival is not None and rival.problem and all(gate["held"] for gate in gates):
            reason += shown.anyway(params.name, own)
        if promoted and (objection := moving.objection(there, own, digest, began)):
            promoted, reason = False, f"{objection}. The comparison: {reason}"
        others = {
            name: other.plain() if other is not None else None
            for name, other in (("champion", rival), ("reference", best))
        }
    becomes = promoted and (champion is None or rival is not None)
    waits = becomes and params.register_.promotion == "approve"
    decision = shown.WAITING if waits else shown.PROMOTED if promoted else shown.REFUSED
    tags = {
        "score": results.score(params, build),  # another one where the same model was evaluated anew
        shown.COMPARED: json.dumps({"gates": gates, **others}),
    }
    registry.tag(version, tags)
    today = promotion.today(gates, reason) if promoted else reason
    lines = promotion.evidence(gates, list(others.values()), params.register_.confidence, today)
    registry.describe(version, params, build, digest, lines)
    shown.decide(version.name, own, decision, reason)
    if not promoted:
        moving.drop(there, [number for number in there.standing().waiting if number == own], reason)
        return
    # the best one so far moves up only
    standing = reference or champion
    apart = known[str(standing.version)].difference if standing is not None and str(standing.version) in known else None
    above = standing if standing is not None and apart is not None and apart.better <= 0 else version
    entry = record.Entry(
        "promoted",
        own,
        there.champion,
        who=record.who(),
        why=reason,
        run=_runs(version),
        model=digest,
        reference=str((above if reference is None or above is version else reference).version),
    )
    if waits:
        moving.ask(there, entry, params.register_.approval_hours)
    elif becomes:
        moving.move(there, entry)


def _runs(version: "ModelVersion") -> dict[str, str]:
    """Return the runs by which a version came: that of MLflow, and that of Prefect where it is one."""
    found = {"mlflow": version.run_id, "prefect": os.environ.get(FLOW_RUN)}
    return {name: run for name, run in found.items() if run}


def _gates(params: Params, build: Path, digest: str) -> list[dict[str, Any]]:
    """Hold the model against all gates. The latency is measured here and now, and again where it is over its limit."""
    settings, metric = params.register_, promotion.score(params)
    rows = results.read_csv(build / "evaluation" / "baselines.csv")
    known = list(dict.fromkeys(row["metric"] for row in rows))
    if known and metric not in known:
        raise SlipwayError(f"params.yaml: register.score: no such metric {metric!r}; {nearest(metric, known)}")
    model = onnx_model.load(build / "model")
    arrays = {
        name: np.load(build / "arrays" / "test" / f"{name}.npy", mmap_mode="r")
        for name in read_json(build / "arrays" / "manifest.json")["inputs"]
    }
    values, took = _measured(build, digest), onnx_model.latency(model, arrays)
    for _ in range(MAX_LATENCY_TRIES - 1):
        if took[LATENCY] <= settings.maximum.get(LATENCY, math.inf):
            break
        time.sleep(LATENCY_PAUSE)
        took = min(took, onnx_model.latency(model, arrays), key=lambda found: found[LATENCY])
    found = promotion.gates(settings, values | took)
    spread = {"spread": took["latency_spread_ms"]}
    found = [gate | (spread if gate["metric"] == LATENCY else {}) for gate in found]
    test, others = (dataset.contents(build / "arrays", *splits) for splits in (["test"], ["train", "validation"]))
    beside = promotion.baseline_gates(settings, rows, metric)
    return [*found, *beside, promotion.unseen_gate(settings, test, others)]


def _measured(build: Path, digest: str) -> dict[str, float]:
    """Collect all that a gate may name, but the latency."""
    cost = results.costs(build, digest).get("evaluate", {})
    numbers = results.numbers(build, digest, cost)
    return {results.short(name): value for name, value in numbers.items()}


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


def _outcome(params: Params, build: Path, run_id: str, digest: str, version: str) -> dict[str, Any]:
    """Read back from the registry what is so now."""
    there = record.read(params.name)
    entry = connection.client().get_model_version(params.name, version)
    tags = entry.tags
    compared, (decision, reason) = shown.compared(tags), shown.decided(tags)
    promoted, asked = there.champion == version, there.standing().waiting.get(version)
    if promoted:
        reason = promotion.today(compared["gates"], reason)
    elif decision == shown.PROMOTED:
        reason += "; the alias champion has since been moved to another version"
        if (last := there.last_move()) is not None:
            reason += f" ({last.kind}{f' by {last.who}' if last.who else ''}, {record.shown(last.when)})"
    return {
        "name": params.name,
        "version": version,
        "run_id": run_id,
        "model_digest": digest,
        "aliases": sorted(entry.aliases),
        "promoted": promoted,
        "decision": "promoted" if promoted else "waiting" if asked else "kept",
        "waits_until": asked.since if asked else None,
        "to_decide": record.how_to_decide(params.name, version, asked.since) if asked else "",
        "waiting": sorted(there.standing().waiting, key=int),  # all versions of the model that do
        "reason": reason,
        "gates": compared["gates"],
        "metrics": read_json(build / "evaluation" / "metrics.json"),
        "champion": registry.with_metrics(params.name, compared["champion"], tags),
        "reference": compared["reference"],
        "score": promotion.score(params),  # what the difference is of
        "settings": params.register_.model_dump(mode="json"),  # with others there is something to decide
        "tracking_uri": mask(connection.uri()),
    }


def _drift(params: Params, build: Path, champion: "ModelVersion | None", own: str) -> dict[str, Any] | None:
    """Return how the data differs from what the champion before was made of; None where it is the same.

    `rows` says which were held beside which, `columns` are those that have moved, the furthest first, each with how;
    None where that was not kept.
    """
    if champion is None or str(champion.version) == own:
        return None
    made = origin.find(f"{params.name}/{champion.version}")
    if made.tag("data") == provenance.used_data():
        return None
    before = origin.kept(made, f"build/{drift.NAME}")
    if before is None:
        return {"version": made.version, "rows": "", "columns": None}
    rows, moved = drift.of_versions(json.loads(before), read_json(build / "validation" / drift.NAME))
    return {"version": made.version, "rows": rows, "columns": moved}


def _tell(outcome: dict[str, Any]) -> None:
    made = "new version" if outcome["new_version"] else "version"
    aliases = ", ".join(outcome["aliases"]) or "none"
    print(f"{outcome['name']}: {made} {outcome['version']}, aliases: {aliases}")
    if not outcome["changed"]:
        print("nothing has changed since the decision:")
    head = {"promoted": "champion", "kept": "not the champion", "waiting": "not the champion yet"}[outcome["decision"]]
    print(f"{head}: {outcome['reason']}")
    if outcome["to_decide"]:
        print(outcome["to_decide"])
