"""The tags that people read first, on a run and on its model's version alike: what was decided, and on what.

MLflow lists the tags of a run, and those in its list of versions, in the order in which they were set first, and those
on a version's page by their names. So these are set first, and `slipway.` ones come after them either way.
"""

import json
from collections.abc import Mapping
from typing import Any

from components.tracking import connection, provenance

DECISION, REASON = "decision", "reason"
PROMOTED, REFUSED, WAITING = "promoted", "refused", "waits for approval"
SPELLED = {"promoted": PROMOTED, "kept": REFUSED, "waiting": WAITING}  # what `slipway.decision` of older versions says
BEGUN = {  # of a run that begins, and of a version: tags keep their places
    DECISION: "not registered",
    "score": "not evaluated",
    REASON: "`slipway run` registers a model, and decides on it",
}
COMPARED = "slipway.compared"  # of a version: its gates, and how it did beside the champion and the best one so far
MAX_TAG = 4900  # characters that MLflow keeps of a tag: 5,000
MAX_DESCRIPTION = 5000  # characters that MLflow's databases have room for
MAX_HEAD = 300  # of them, for the first line


def made_of(manifest: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, str]:
    """Return which data and which commit something is of: the manifest of build/arrays, and a run's tags."""
    rows = sum(manifest["rows"].values())
    digest = provenance.used_data()[:8]
    changed = " with changes" if tags.get(provenance.DIRTY) == "true" else ""
    commit = tags.get(provenance.COMMIT, "")[:12]
    return {"data": f"{rows:,} rows, {digest or 'not versioned'}"} | (
        {"commit": f"{commit}{changed}"} if commit else {}
    )


def decided(tags: Mapping[str, str]) -> tuple[str, str]:
    """Return the decision on a version, one of PROMOTED, REFUSED and WAITING, and its reason; empty where none is made.

    Also of one that an older Slipway registered.
    """
    found = tags.get(DECISION) or SPELLED.get(tags.get("slipway.decision", ""), "")
    if found not in SPELLED.values():
        return "", ""
    return found, tags.get(REASON, "") if DECISION in tags else tags.get("slipway.reason", "")


def compared(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what a decision was based on: `gates`, and `champion` and `reference` as promotion.Rival says them.

    Also of a version that an older Slipway registered: it has a tag for each.
    """
    found: dict[str, Any] = {"gates": [], "champion": None, "reference": None}
    for key in found:
        if text := tags.get(f"slipway.{key}"):
            found[key] = json.loads(text)
    found |= json.loads(tags.get(COMPARED, "{}"))
    return found


def decide(name: str, number: str, decision: str, reason: str) -> None:
    """Write down the decision on a version: its tags, its run's tags and name, and the first line of its description.

    The caller has the turn. The version's tag `decision` is the last: it says whose the reason is.
    """
    from mlflow.exceptions import MlflowException

    client = connection.client()
    version = client.get_model_version(name, number)
    values = {REASON: reason[:MAX_TAG], DECISION: decision}
    try:
        run = client.get_run(version.run_id) if version.run_id else None
    except MlflowException:  # it was removed
        run = None
    if run is not None:
        for key, value in values.items():
            if run.data.tags.get(key) != value:
                client.set_tag(run.info.run_id, key, value)
        called = f"{decision}: {_undecided(str(run.info.run_name))}"
        if called != run.info.run_name:
            client.update_run(run.info.run_id, name=called)
    if version.description:
        first, _, rest = version.description.partition("\n\n")
        text = rest if first.startswith(tuple(map(_head, SPELLED.values()))) else version.description
        text = f"{told(decision, version.tags.get('score', ''), reason)}\n\n{text}"[:MAX_DESCRIPTION]
        if text != version.description:
            client.update_model_version(name, number, text)
    for key, value in values.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)


def _undecided(name: str) -> str:
    """Return a run's name without the decision before it: the list of runs shows names, and tags only if asked to."""
    return next((name.removeprefix(f"{each}: ") for each in SPELLED.values() if name.startswith(f"{each}: ")), name)


def anyway(name: str, number: str) -> str:
    """Return what ends the reason of a version that a run could not compare: how a person promotes it."""
    return f"; `slipway promote {name} {number}` makes it the champion anyway"


def told(decision: str, score: str, reason: str) -> str:
    """Say in a line what was decided: the list of versions shows how it begins, and no Markdown."""
    text = " ".join(f"{_head(decision)}{f', {score}' if score else ''}: {reason}".split())
    return text if len(text) <= MAX_HEAD else f"{text[: MAX_HEAD - 4].rpartition(' ')[0]} ..."


def _head(decision: str) -> str:
    return decision[:1].upper() + decision[1:]
