"""Write requirements/versions.json, a line per package of lock.txt: stages depend on those that shape their results.

JSON, for DVC reads it once for each stage, and YAML takes it thirty times as long. Run by `make lock`. Where the lock
has several versions of a package, for several Pythons, the line holds them all.
"""

import json
import re
from pathlib import Path


def versions(lock: str) -> dict[str, str]:
    """Return the version of each package of a lock; several, with their markers, joined by a slash."""
    found: dict[str, list[str]] = {}
    for name, version, marker in re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)(?: ; (.*?))? \\$", lock, re.MULTILINE):
        found.setdefault(name, []).append(f"{version} ({marker})" if marker else version)
    return {name: " / ".join(every) for name, every in sorted(found.items())}


def text(lock: str) -> str:
    """Return the content of versions.json."""
    return json.dumps(versions(lock), indent=0) + "\n"


if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "versions.json").write_text(text((here / "lock.txt").read_text(encoding="utf-8")), encoding="utf-8")
