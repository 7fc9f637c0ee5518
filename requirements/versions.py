"""Write requirements/versions.yaml, a line per package of lock.txt: stages depend on those that shape their results.

Run by `make lock`. Where the lock has several versions of a package, for several Pythons, the line holds them all.
"""

import re
from pathlib import Path

HEAD = "# Made by `make lock` from lock.txt. dvc.yaml names, stage by stage, the packages that shape what is written.\n"


def versions(lock: str) -> dict[str, str]:
    """Return the version of each package of a lock; several, with their markers, joined by a slash."""
    found: dict[str, list[str]] = {}
    for name, version, marker in re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)(?: ; (.*?))? \\$", lock, re.MULTILINE):
        found.setdefault(name, []).append(f"{version} ({marker})" if marker else version)
    return {name: " / ".join(every) for name, every in sorted(found.items())}


def text(lock: str) -> str:
    """Return the content of versions.yaml."""
    return HEAD + "".join(f'{name}: "{version}"\n' for name, version in versions(lock).items())


if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "versions.yaml").write_text(text((here / "lock.txt").read_text(encoding="utf-8")), encoding="utf-8")
