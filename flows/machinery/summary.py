"""The summary at the end of a run: on the terminal, and as markdown for Prefect's page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components import brief, params
from components.evaluation import promotion
from components.files import read_json
from components.reports import results, terminal
from components.tracking import connection, shown
from components.validation import drift
from flows.machinery import committed
from flows.machinery.stages import Outcome

Block = str | list[list[str]]  # a paragraph, or a table whose first row is its head

MAX_SLICES = 10  # of the worst ones, for a person who decides
# How `slipway ui` opens what the summary speaks of; the addresses while it runs.
PLACES = {"mlflow": "runs, metrics and the registry", "prefect": "flow runs and their logs", "report": "data"}


def blocks(outcomes: Sequence[Outcome], registered: dict[str, Any], served: dict[str, str]) -> list[Block]:
    """Return the summary's parts, from the tasks' outcomes and the files that the stages left in build/."""
    table = [["task", "state", "seconds"]]
    table += [[outcome.name, outcome.state, f"{outcome.seconds:.1f}"] for outcome in outcomes]
    parts: list[Block] = [table]
    if any(outcome.state in ("failed", "not run") for outcome in outcomes):
        return parts
    if all(outcome.state == "unchanged" for outcome in outcomes if outcome.name != "push"):
        parts.append("nothing changed: no stage ran, no new version")
    parts += [
        f"{outcome.name} changed: `git add {outcome.name}` and commit it to keep this version of the data"
        for outcome in outcomes
        if outcome.state == "versioned"
    ]
    if told := committed.other_bits():
        parts.append(told)
    parts += _data(Path("build/validation/summary.json"))
    parts += _drift(registered.get("drift"))
    parts += _model(registered) if registered else []
    if "losses" in (found := results.candidates(Path("build"))):
        parts.append(f"what ships: {found['why']}")
    parts += _measured(Path("build/evaluation"))
    parts += [outcome.note for outcome in outcomes if outcome.note]
    parts.append(places(registered, served))
    return parts


def headline(registered: dict[str, Any]) -> tuple[str, str]:
    """Return what became of a run's model, as the name of its flow run and as the message of its state."""
    name, version, metric = registered["name"], registered["version"], registered["score"]
    decision, value = shown.SPELLED[registered["decision"]], registered["metrics"].get(metric)
    score = f"{metric} {_number(value)}"
    what = decision if registered["changed"] or registered["decision"] == "waiting" else "unchanged"
    reason = registered["reason"] if what == decision else f"nothing has changed; {decision}: {registered['reason']}"
    return f"{name} v{version} {what}, {score}", f"{name} version {version} {what}, {score}: {reason}"


def evidence(registered: dict[str, Any], parts: list[Block]) -> str:
    """Return what a person decides on, as markdown: the summary, the worst slices and what the model costs.

    Empty where nothing waits for a person.
    """
    if registered.get("decision") != "waiting":
        return ""
    found: list[Block] = [f"# {registered['name']} version {registered['version']} waits for an approval", *parts]
    rows = results.read_csv(Path("build/evaluation/slices.csv"))[:MAX_SLICES]
    if rows:
        found += ["## The worst slices", [list(rows[0]), *([_short(cell) for cell in row.values()] for row in rows)]]
    spent = results.costs(Path("build"), registered["model_digest"])
    table = [[stage, name, _short(str(value))] for stage, values in spent.items() for name, value in values.items()]
    table = [row for row in table if row[1] != "model_digest"]
    if table:
        found += ["## Cost", [["stage", "measure", "value"], *table]]
    return markdown(found)


def _short(cell: str) -> str:
    try:
        return brief(float(cell))
    except ValueError:
        return cell


def _data(path: Path) -> list[Block]:
    if not path.exists():
        return []
    found = read_json(path)
    files = "1 file" if found["files"] == 1 else f"{found['files']:,} files"
    text = f"data: {found['rows']} rows in {files} validated, {found['set_aside']} set aside"
    reasons = ", ".join(f"{reason}: {rows}" for reason, rows in found.get("reasons", {}).items())
    leaks = [f"BEFORE YOU TRUST THE MODEL: {found['leaks']}"] if found.get("leaks") else []
    return [f"{text} ({reasons})" if reasons else text, *leaks]


def _drift(found: dict[str, Any] | None) -> list[Block]:
    """Say which columns are unlike those that the champion before was made of."""
    if found is None:
        return []
    head = f"how the data moved since the champion before (version {found['version']}"
    if found["columns"] is None:
        return [f"{head}): not known, for that version is of an older Slipway"]
    return ["\n".join([f"{head}; {found['rows']}):", *(f"  {line}" for line in drift.told(found["columns"]))])]


def _measured(evaluation: Path) -> list[Block]:
    """Say how sure the metrics are, whether the model beats its baselines, and where it is worst."""
    if not (evaluation / "intervals.csv").exists():
        return []
    return ["\n".join(terminal.told(params.load(), evaluation))]


def _model(registered: dict[str, Any]) -> list[Block]:
    champion = {"version": None, "metrics": {}} | (registered["champion"] or {})
    gates = {gate["metric"]: gate for gate in registered["gates"]}
    values = {name: gate["value"] for name, gate in gates.items()} | registered["metrics"]
    called = "champion before" if registered["promoted"] else "champion"  # what it was compared with
    head = f"{called} (version {champion['version']})" if champion["version"] else f"{called} (none)"
    if champion.get("rows", 0) < champion.get("of", 0):
        head += f", on {champion['rows']:,} of the {champion['of']:,} rows"
    table = [["test metric", "this model", head, "gate"]]
    for name, value in values.items():
        if isinstance(value, int | float):
            table.append([name, _number(value), _number(champion["metrics"].get(name)), _gate(gates.get(name))])
    aliases = ", ".join(registered["aliases"]) or "no alias"
    version = f"{registered['name']} version {registered['version']}"
    parts: list[Block] = [table]
    if why := champion.get("unlike"):
        parts.append(f"of the {called} (version {champion['version']}) only what was compared is shown: {why}")
    for title, rival in ((f"the {called}", champion), ("the best version so far", registered["reference"] or {})):
        if apart := rival.get("difference"):
            few = f" on the {rival['rows']} of {rival['of']} test examples that are test for both"
            other = f"that of {title} (version {rival['version']})"
            parts.append(
                f"{registered['score']} is {_beside(apart, other)}{few if rival['rows'] < rival['of'] else ''}"
            )
    words = {"promoted": "promoted", "kept": "not promoted", "waiting": "not promoted yet"}
    parts.append(
        f"{version}{' (new)' if registered['new_version'] else ''}: {aliases}; "
        f"{words[registered['decision']]}: {registered['reason']}"
    )
    if registered["to_decide"]:
        parts.append(registered["to_decide"])
    return parts


def _beside(apart: Mapping[str, float], other: str) -> str:
    """Say how a score is beside another one; what may be chance is called neither better nor worse."""
    mean, low, high = (apart[name] for name in ("mean", "low", "high"))
    if low == high == 0:
        return other
    if low <= 0 <= high:
        by = f"{brief(mean, '+')} ({brief(low, '+')} to {brief(high, '+')})"
        return f"not surely better or worse than {other}: better by {by}"
    sign = -1 if mean < 0 else 1
    low, high = sorted(sign * end for end in (low, high))
    by = f"{_number(sign * mean)} ({_number(low)} to {_number(high)})"
    return f"{'worse' if sign < 0 else 'better'} than {other} by {by}"


def _gate(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return ""
    verdict = promotion.outcome(gate)
    return f"{promotion.asked(gate)}: {verdict if gate['held'] else verdict.upper()}"


def places(registered: dict[str, Any], served: dict[str, str]) -> str:
    """Say where all of it is shown: at the addresses that are served now, here or by others."""
    if not served:
        return "to see everything, run `slipway ui`: MLflow, Prefect and the data report"
    links = {name: f"{served[name]}  {text}" for name, text in PLACES.items() if name in served}
    if "mlflow" in links and registered:
        name, version = registered["name"], registered["version"]
        page = connection.page(served["mlflow"], f"models/{name}/versions/{version}")
        links["mlflow"] = f"{page}  {PLACES['mlflow']}"
    if "report" in links and connection.root() != Path.cwd():  # of a workspace
        links["report"] = f"{served['report']}/{Path.cwd().name}  {PLACES['report']}"
    if "report" not in links:
        links["report"] = f"run `slipway ui`  {PLACES['report']}"
    return "\n".join(f"{name}: {link}" for name, link in links.items())


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else brief(value)


def text(parts: list[Block]) -> str:
    """Return the summary for a terminal."""
    return "\n\n".join(part if isinstance(part, str) else _aligned(part) for part in parts)


def markdown(parts: list[Block]) -> str:
    """Return the summary for Prefect's page."""
    return "\n\n".join(part.replace("\n", "  \n") if isinstance(part, str) else _markdown(part) for part in parts)


def _aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def _markdown(table: list[list[str]]) -> str:
    head, *rows = table
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
