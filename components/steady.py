"""What DVC records of a stage as read, looked at before and after the work: DVC reads it again after the work.

A setting, a file of data or of code that somebody changed meanwhile would be recorded beside results that were made
without it.
"""

import functools
import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError

Seen = dict[str, Any]  # of each setting its value, of code its text, of other files when they were written and the size
TEXTS = {".py", ".yaml", ".json"}  # may be written anew as they were, by an editor or by git


def seen(stage: str) -> Seen:
    """Return what dvc.yaml names as read by a stage, as it is now; nothing where DVC did not start the stage.

    Outputs of other stages are left out: DVC guards them. So is what has names of DVC's templating other than
    `${recipe}`.
    """
    if os.environ.get("DVC_STAGE", "").rpartition(":")[2] != stage:  # nothing is recorded
        return {}
    try:
        settings, graph = (_parsed(Path(name).read_bytes()) for name in ("params.yaml", "dvc.yaml"))
        listed = graph["stages"][stage]
        recipe = str(settings["recipe"])
    except (OSError, YAMLError, KeyError, TypeError):  # told where they are needed
        return {}
    found: Seen = {}
    for each in listed.get("params", []):
        if isinstance(each, str):
            key = each.replace("${recipe}", recipe)
            found |= _values(_at(settings, key), f"params.yaml: {key}")
    files = [name for each in listed.get("params", []) if isinstance(each, dict) for name in each]
    for name in (*listed.get("deps", []), *files):
        path = Path(name.replace("${recipe}", recipe))
        if "${" not in str(path) and path.parts[:1] != ("build",):
            found |= _files(path)
    return found


def must_be(stage: str, before: Seen) -> None:
    """Raise SlipwayError where what a stage reads is no longer as it was `before` its work, see `seen`."""
    now = seen(stage)
    if not before or not now:  # a file that cannot be read any more is told by DVC
        return
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        from components.data import dataset

        changed = [name for name in changed if not dataset.is_junk(name)]
    if not changed:
        return
    some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    raise SlipwayError(
        f"{some}: changed while {stage} was at work, which has not seen it, and DVC would record the results as made "
        "of that. Nothing is recorded: run again"
    )


@functools.cache
def _parsed(content: bytes) -> Any:
    return YAML(typ="safe").load(content)


def _at(settings: Any, key: str) -> Any:
    """Return the value of a key such as evaluate.baseline_rows; None where there is none."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return settings


def _values(value: Any, name: str) -> Seen:
    """Return the settings within a section, each with its name."""
    if not isinstance(value, dict):
        return {name: value}
    found: Seen = {}
    for key, each in value.items():
        found |= _values(each, f"{name}.{key}")
    return found


def _files(path: Path) -> Seen:
    found: Seen = {}
    try:
        if path.is_dir():
            for entry in path.iterdir():
                if entry.name != "__pycache__":
                    found |= _files(entry)
            return found
        stat = path.stat()
        found[str(path)] = path.read_bytes() if path.suffix in TEXTS else (stat.st_mtime_ns, stat.st_size)
    except OSError:  # not there, which the stage tells
        found[str(path)] = None
    return found
