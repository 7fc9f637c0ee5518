"""Which project a command acts on, and that project's own code."""

import sys
from pathlib import Path

OWN = Path(__file__).resolve().parent.parent  # the checkout that this package stands in
MARKS = ("dvc.yaml", "components/__main__.py")  # no params.yaml: an ingest may be about to write it


class ProjectError(Exception):
    """No project here, or another one than this process works on; the message says what to do."""


def above(folder: Path) -> Path | None:
    """Return the nearest project: this folder, or one that it lies in; None where there is none."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if all((each / mark).is_file() for mark in MARKS)), None)


def here() -> Path:
    """Return the current folder; raises ProjectError where somebody has removed it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ProjectError("the current folder no longer exists: change to another one") from None


def root() -> Path:
    """Return the folder of the project that the current folder lies in; raises ProjectError outside of one."""
    found = above(here())
    if found is None:
        raise ProjectError(
            f"{here()} is not inside a Slipway project (a folder with dvc.yaml and components/): "
            "change to the clone, or to a folder in it"
        )
    return found


def use(project: Path) -> None:
    """Let `components` and `flows` be those of a project, not of another checkout.

    Raises ProjectError where this process has imported another's.
    """
    if str(project) not in sys.path[:1]:
        sys.path.insert(0, str(project))
    import components

    other = Path(str(components.__file__)).resolve().parent.parent
    if other != project:
        raise ProjectError(f"this process already works on the project {other}; start a new process for {project}")
