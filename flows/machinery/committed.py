"""What the stages made, held against the dvc.lock that is committed: the same inputs should give the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from components.files import read_json
from components.tracking import connection
from flows.machinery import git

LOCK = Path("dvc.lock")
COST = Path("build/cost/train.json")  # what train measured here, the processor among it


def other_bits() -> str:
    """Say so where a stage made other bytes than the committed dvc.lock lists of the very same inputs; else nothing.

    In a workspace nothing is said: nobody's dvc.lock has changed.
    """
    if connection.root() != Path.cwd() or not LOCK.exists():
        return ""
    before, now = git.content("HEAD", LOCK), LOCK.read_bytes()
    if before is None or before == now:
        return ""
    stage = first(*((YAML(typ="safe").load(content) or {}).get("stages") or {} for content in (before, now)))
    if not stage:
        return ""
    processor = read_json(COST).get("device_name", "") if COST.exists() else ""
    named = f" ({processor})" if processor else ""
    return (
        f"same inputs, other last bits: from {stage} on, the results are others than the committed dvc.lock lists, "
        f"though data, settings and code are the same: this processor{named} is of another kind than the one that they "
        "were made on. dvc.lock is changed: `git checkout dvc.lock && dvc pull` goes back to the committed results, "
        "`git add dvc.lock` and a commit keep these"
    )


def first(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first stage with the same inputs and other outputs; none where a stage has other inputs of its own.

    What an earlier one of these stages made is no input of its own.
    """
    found, others = "", set[str]()
    waiting = [name for name in now if name in before]
    while waiting:  # dvc.lock does not have them in the order of the graph
        ready = next((name for name in waiting if not _made(now, name, waiting)), waiting[0])
        waiting.remove(ready)
        if _inputs(before[ready], others) != _inputs(now[ready], others):
            return ""
        was, is_now = _digests(before[ready], "outs"), _digests(now[ready], "outs")
        changed = {path for path in {*was, *is_now} if was.get(path) != is_now.get(path)}
        if changed:
            found, others = found or ready, others | changed
    return found


def _made(stages: Mapping[str, Any], name: str, by: list[str]) -> bool:
    """Return whether a stage reads what another one of these makes."""
    read = _digests(stages[name], "deps")
    return any(path in read for other in by if other != name for path in _digests(stages[other], "outs"))


def _inputs(stage: Mapping[str, Any], without: set[str]) -> tuple[Any, ...]:
    digests = {path: md5 for path, md5 in _digests(stage, "deps").items() if path not in without}
    return stage.get("cmd"), stage.get("params"), digests


def _digests(stage: Mapping[str, Any], of: str) -> dict[str, str]:
    return {entry["path"]: str(entry.get("md5", "")) for entry in stage.get(of, [])}
