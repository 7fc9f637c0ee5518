"""Draft expectations from the data as it is, and show how they differ from those of the model; write them if asked.

What somebody wrote, changed or commented out in the file stays (components/validation/contract.py).
"""

from pathlib import Path

from components import params as params_module
from components.files import replacing
from components.validation import contract


def run(
    data: Path = Path("data"),
    params: Path = Path("params.yaml"),
    *,
    write: bool = False,
    command: str = "slipway expect",
) -> int:
    """Compare, and with `write` write; `command` is what a person calls for that.

    Raises SlipwayError where there is no dataset, or the file of expectations cannot be read.
    """
    settings = params_module.load(params)
    path = contract.place(params, settings.recipe)
    known = contract.known(data, settings.recipe, settings.task)
    found = contract.drafted(path, known, grown=True)
    shown = _shown(path)
    rows = f"{known[0].rows:,} rows"
    if found.before == found.after:
        print(f"{shown}: as it would be drafted from the {rows} that there are now: nothing to write")
        return 0
    print(found.diff(shown), end="\n\n")
    stay = f"{found.kept:,} that were not drafted, or that were changed, stay"
    print(f"{shown}: {found.written:,} drafted from {rows}; {stay}")
    if write:
        with replacing(path) as aside:
            aside.write_text(found.after, encoding="utf-8")
        print(f"wrote {shown}: review it, then commit it")
    else:
        print(f"nothing was changed; to write this: {command} --write")
    return 0


def _shown(path: Path) -> str:
    """Name a file as seen from the project: a model's lies outside its workspace."""
    return str(Path(*[part for part in path.parts if part != ".."]))
