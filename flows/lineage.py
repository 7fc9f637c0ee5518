"""Where a registered version comes from, on one page; and which versions were made with a file or a row."""

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components import SlipwayError, brief, masking
from components.data import dataset
from components.evaluation import promotion
from components.files import replacing
from components.reports import lineage, results
from components.reports.lineage import GONE, Block, Page
from components.tracking import connection, origin, provenance, shown
from components.tracking.origin import Origin
from flows import search
from flows.machinery import origin as sources
from flows.machinery import server
from flows.machinery.origin import Objects, Source


def run(model: str | None, page: Path | None, file: str | None, example: str | None, row: list[str] | None) -> int:
    """Print the page of a version, or the versions that a file or a row was in; return the exit code.

    It is 1 where the answer is not complete, because a version's data is no longer to be had.
    """
    asked = sum(given is not None for given in (file, example, row))
    if asked > 1 or (asked and page is not None):
        raise SlipwayError("only one of --html, --file, --id and --row goes at a time")
    if asked:
        return search.run(model or "", file, example, row)
    if model is None:
        raise SlipwayError(
            "which version? `slipway lineage NAME` (its champion), `NAME@ALIAS` or `NAME/VERSION` shows where it comes "
            "from; --file, --id or --row asks which versions a file or a row was in"
        )
    made = origin.find(model)
    with sources.opened() as found:
        told = _page(made, found)
    print(lineage.text(told))
    if page is not None:
        with replacing(page) as aside:
            aside.write_text(lineage.html(told), encoding="utf-8")
        print(f"\nwritten: {page}")
    return 0


def _page(made: Origin, found: Objects) -> Page:
    try:
        source: Source | None = sources.source(made)
        where = source.words if source else ""
    except SlipwayError as error:
        source, where = None, str(error)
    aliases = ", ".join(made.aliases) or "no alias"
    outs = source.outs() if source else {}
    blocks = [
        _data(made, found, outs),
        _settings(made, source),
        _code(made, source, where),
        _training(made),
        lineage.measured(_metrics(made), _rows(found, outs, "intervals.csv")),
        _decision(made),
        _moves(made),
        _reproductions(made),
    ]
    return Page(
        f"{made.name} version {made.version}",
        f"{aliases}; registered {_when(made.created)}; {made.uri}",
        blocks,
        _links(made),
    )


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _data(made: Origin, found: Objects, outs: Mapping[str, str]) -> Block:
    digest = made.tag("data")
    facts = {"version": digest or "not versioned", "split": split(made)}
    listed = found.listing(digest) if digest else None
    if listed is None:
        return Block("Data", facts, notes=[f"its files: {GONE} (neither DVC's cache nor its remotes have the list)"])
    import pyarrow.parquet as pq

    table, total = [], 0
    for name, md5 in listed.items():
        if name.endswith(dataset.SOURCE):  # what an update took
            continue
        path = found.path(md5)
        rows = None
        with suppress(Exception):  # no Parquet
            rows = pq.read_metadata(path).num_rows if path else None
        total += rows or 0
        table.append([name, "not to be had" if path is None else lineage.number(rows), md5])
    facts["files"] = f"{len(table):,}, {total:,} rows"
    summary = _json(found, outs.get("build/validation/summary.json", ""))
    reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in summary.get("reasons", {}).items())
    aside = f"{summary['set_aside']:,} rows" if "set_aside" in summary else GONE
    facts["set aside"] = f"{aside} ({reasons})" if reasons else aside
    return Block("Data", facts, [["file", "rows", "digest"], *table], found.problems)


def split(made: Origin) -> str:
    """Say in words how a version's examples were split."""
    rule = json.loads(made.tag("split") or "null")
    if not rule:
        return GONE
    by = {"id": "by id"}.get(rule["by"], f"by {rule['by']}, {rule['column']}")
    shares = f"test {rule['test']:g}, validation {rule['validation']:g} of the others, seed {rule['seed']}"
    official = f"; given in the data: {', '.join(rule['official'])}" if rule.get("official") else ""
    return f"{by}: {shares}{official}"


def _json(found: Objects, digest: str) -> dict[str, Any]:
    path = found.path(digest) if digest else None
    content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return content if isinstance(content, dict) else {}


def _rows(found: Objects, outs: Mapping[str, str], name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file of the evaluation; none where it is no longer kept."""
    digest = outs.get("build/evaluation", "")
    listed = (found.listing(digest) if digest else None) or {}
    path = found.path(listed[name]) if name in listed else None
    if path is None:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _settings(made: Origin, source: Source | None) -> Block:
    now = _flat(source.yaml("params.yaml")) if source else {}
    before = origin.before(made)
    if before is None:
        return lineage.settings(now, None, "it is the first version")
    of = f"version {before.version}"
    try:
        return lineage.settings(now, _flat(sources.source(before).yaml("params.yaml")), of)
    except SlipwayError:
        return lineage.settings(now, None, f"those of {of}: {GONE}")


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {prefix: values} if prefix else {}
    dot = prefix and f"{prefix}."
    return {key: item for name, value in values.items() for key, item in _flat(value, f"{dot}{name}").items()}


def _code(made: Origin, source: Source | None, where: str) -> Block:
    dirty = made.tag("dirty") == "true"
    commit = made.commit or "none: it was registered outside of git"
    facts = {"commit": f"{commit}{' (with changes that were not committed)' if dirty else ''}"}
    if made.parent:
        facts["checked out"] = f"{made.parent}, with changes that the commit above holds"
    facts["experiment"] = made.tag("dvc_experiment") or "none"
    if source is None:
        return Block("Code", facts, notes=[where])
    if source.experiment and source.commit != made.commit:
        facts["experiment"] += f"\ncommit {source.commit}"
    lock = source.read("requirements/lock.txt")
    facts["packages"] = f"requirements/lock.txt, SHA-256 {hashlib.sha256(lock).hexdigest()}" if lock else "no lock"
    facts["Python"] = provenance.versions(made.run_tags).get("python", GONE)
    facts["code that is served"] = f"SHA-256 {made.tag('files')}" if made.tag("files") else GONE
    facts["to see it"] = f"git show --stat {source.commit[:12]}" + (
        f"\ndvc exp apply {source.experiment}" if source.experiment else ""
    )
    return Block("Code", facts, notes=[] if source.experiment else [where])


def _training(made: Origin) -> Block:
    facts = {"run": made.run_id or GONE, "by": made.run_tags.get("mlflow.user", GONE)}
    facts["processor"] = made.processor or GONE
    facts["model"] = made.tag("model")
    costs = results.of_cost(made.run_metrics)
    rows = [[name, lineage.number(value)] for name, value in sorted(costs.items())]
    notes = [] if made.experiment_id else ["the MLflow run was removed, and with it who made it and what it cost"]
    return Block("Training and what it cost", facts, [["cost", "value"], *rows] if rows else [], notes)


def _metrics(made: Origin) -> dict[str, float]:
    return dict(sorted(results.of_test(made.run_metrics).items()))


def _decision(made: Origin) -> Block:
    compared = shown.compared(made.tags)
    rows = [
        [
            str(gate["metric"]),
            promotion.asked(gate),
            lineage.number(gate["value"]),
            promotion.outcome(gate) if gate["held"] else promotion.outcome(gate).upper(),
        ]
        for gate in compared["gates"]
    ]
    decision, reason = made.decided
    facts = {"decision": decision or "none yet", "reason": reason}
    for title, key in (("against the champion", "champion"), ("against the best so far", "reference")):
        rival = compared[key]
        if rival and (apart := rival.get("difference")):
            ((metric, value),) = rival["metrics"].items()
            facts[title] = (
                f"version {rival['version']} ({metric} {lineage.number(value)}): better by {brief(apart['mean'], '+')} "
                f"({brief(apart['low'], '+')} to {brief(apart['high'], '+')}) on {rival['rows']:,} test examples"
            )
        elif rival:
            facts[title] = f"version {rival['version']}: {rival.get('problem', '')}"
    return Block("Gates and decision", facts, [["gate", "limit", "value", ""], *rows] if rows else [])


def _moves(made: Origin) -> Block:
    rows = []
    for entry in origin.moves(made.name):
        if made.version in (entry.get("version"), entry.get("before")) and entry.get("state", "done") != "lost":
            to, before = (f"version {v}" if v else "none" for v in (entry.get("version"), entry.get("before")))
            when = str(entry.get("when", ""))[:19].replace("T", " ")
            rows.append(
                [when, str(entry.get("kind", "")), before, to, str(entry.get("who", "")), str(entry.get("why", ""))]
            )
    if not rows:
        return Block("Moves of the champion", notes=["none that is recorded is about this version"])
    return Block("Moves of the champion", table=[["when (UTC)", "", "from", "to", "who", "why"], *rows])


def _reproductions(made: Origin) -> Block:
    said = origin.verdicts(made.tags)
    if not said:
        return Block("Reproductions", notes=[f"none yet; `slipway reproduce {made.name}/{made.version}` makes one"])
    rows = [
        [
            str(each["date"])[:16].replace("T", " "),
            str(each["verdict"]) + (f" (first: {each['stage']})" if "stage" in each else ""),
            str(each["machine"]),
            str(each["processor"]),
            f"{each['seconds']:.0f}",
            str(each.get("versions", {}).get("python", "")),
        ]
        for each in said
    ]
    return Block("Reproductions", table=[["when (UTC)", "verdict", "machine", "processor", "seconds", "Python"], *rows])


def _links(made: Origin) -> dict[str, str]:
    """Return the pages of MLflow, where its server is known."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    base = masking.address(uri) if uri.startswith(("http://", "https://")) else ""
    if not base and connection.uri() == connection.default():
        base = server.served().get("mlflow", "")
    if not base:
        return {}
    links = {"MLflow: the version": connection.page(base, f"models/{made.name}/versions/{made.version}")}
    if made.experiment_id:
        links["MLflow: its run"] = connection.page(base, f"experiments/{made.experiment_id}/runs/{made.run_id}")
    return links
