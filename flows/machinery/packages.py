"""The packages of a lock file: whether this environment has them, and an environment of its own that does."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from components import SlipwayError
from flows.machinery.process import Children

NAMED = 5  # packages that a message names


def unlike(lock: str, python: str = "") -> list[str]:
    """Return what this environment has otherwise than a lock file says, and the Python that was asked for: texts.

    `python` is a version such as 3.12.4, of which the first two numbers count. What a lock does not name is no
    difference, nor what it has for other systems.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    own = platform.python_version()
    if python and python.split(".")[:2] != own.split(".")[:2]:
        found.append(f"Python {'.'.join(python.split('.')[:2])} (here {own})")
    here = {_plain(each.name): each.version for each in metadata.distributions()}
    for line in lock.splitlines():
        if not line[:1].isalnum():
            continue
        try:
            wanted = Requirement(line.removesuffix("\\").strip())
        except InvalidRequirement:
            raise SlipwayError(f"the version's lock of packages has a line that is no requirement: {line}") from None
        if wanted.marker is None or wanted.marker.evaluate():
            version = here.get(_plain(wanted.name), "none")
            if version == "none" or not wanted.specifier.contains(version, prereleases=True):
                found.append(f"{wanted.name}{wanted.specifier} (here {version})")
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(differences: list[str]) -> str:
    """Name some of the differences."""
    more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
    return ", ".join(differences[:NAMED]) + more


def install(children: Children, checkout: Path, lock: Path, folder: Path, python: str = "") -> None:
    """Make an environment with the locked packages, each checked against its hash, as the Makefile does with uv.

    `checkout` is where the lock is from; its telemetry switch comes along. Raises SlipwayError with what uv said.
    """
    uv = _uv()
    wanted = ".".join(python.split(".")[:2]) or f"{sys.version_info.major}.{sys.version_info.minor}"
    here = wanted == f"{sys.version_info.major}.{sys.version_info.minor}"
    _said(children, [uv, "venv", "--quiet", "--python", sys.executable if here else wanted, str(folder)])
    words = ["pip", "sync", "--quiet", "--python", str(folder / "bin" / "python"), "--require-hashes"]
    build = checkout / "requirements" / "build.txt"
    words += ["--compile-bytecode", *(["--build-constraints", str(build)] if build.exists() else []), str(lock)]
    _said(children, [uv, *words])
    for site in folder.glob("lib/python*/site-packages"):
        switch = checkout / "no_telemetry.pth"
        if switch.exists():
            (site / switch.name).write_bytes(switch.read_bytes())


def _uv() -> str:
    for folder in (Path(sys.executable).parent, *map(Path, os.environ.get("PATH", "").split(os.pathsep))):
        if (folder / "uv").is_file():
            return str(folder / "uv")
    raise SlipwayError("uv is not installed here, and the version's packages need it: `make setup` installs it")


def _said(children: Children, command: list[str]) -> None:
    lines: list[str] = []
    code = children.follow(children.start(command, _index()), lines.append)
    if code:
        raise SlipwayError("the version's packages cannot be installed: " + "\n".join(lines[-5:]))


def _index() -> dict[str, str]:
    """Return the index that pip is set up for, for uv, which does not look there."""
    if os.environ.get("UV_DEFAULT_INDEX"):
        return {}
    index = os.environ.get("PIP_INDEX_URL", "")
    if not index:
        command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        index = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if index else {}
