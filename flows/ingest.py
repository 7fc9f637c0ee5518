"""Data for models: `slipway new NAME ...` makes one in models/ by an ingest, `slipway ingest --model NAME` adds to it.

Without --model, `slipway ingest` is the stage's own command, for the root's model.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from components import SlipwayError, files, masking, params, recipes
from components.data import versions
from components.params import changes
from components.stages import ingest
from flows.machinery import models, workspace

README = """\
# {name}

Made by `slipway new` on {day}. This page is yours: say where the data comes from, and what the model is for.

## Data

{rows:,} examples, recipe `{recipe}` (docs/recipes/{recipe}.md); what is predicted: {answers}.

```
{command}
```

| file | content |
|---|---|
| `params.yaml` | all settings: docs/training.md, docs/evaluation.md |
| `expectations.yaml` | what must hold for the data; rows that break it are set aside |
| `data.dvc` | the version of the dataset, which DVC keeps |
| `dvc.lock` | what the stages produced, after the first run |

## Use

```
{commands}
```

It runs in `.workspaces/{name}`, where `dvc repro`, `dvc exp run`, `dvc pull` and `dvc push` work as at the root.
After a run, commit `models/{name}`.
"""
COMMANDS = {  # of that page
    "slipway run {name}": "train, evaluate and register whatever has changed",
    "slipway ingest --model {name} {source} ...": "add examples; the options are those of the command above",
    'slipway schedule "0 3 * * 1" {name}': "retrain every Monday at 03:00",
    "slipway predict {name} FILE": "predict with the champion",
}
MOST_NAMES = 10  # of labels, on that page


def _ingest(options: dict[str, Any]) -> int:
    from components.__main__ import run  # not above: every command of the flows reads this file

    return run("ingest", options)


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parsers `ingest` and `new`."""
    ingest.arguments(commands)
    help_text = "name of a model in models/ to add to (default: the model of the root's params.yaml)"
    commands.choices["ingest"].add_argument("--model", default="", metavar="NAME", help=help_text)
    text = "make a model in models/NAME from your files, beside those that there are"
    new = commands.add_parser(
        "new",
        help=text,
        description=f"{text[0].upper()}{text[1:]}: all of it or nothing. The words after NAME are those of `ingest`.",
        epilog="e.g. %(prog)s churn table customers.csv --label left",
    )
    new.add_argument("new_name", metavar="NAME", help="its name: a-z, 0-9 and -")
    ingest.sources(new, argparse.ArgumentParser(add_help=False))


def add(model: str, options: dict[str, Any]) -> int:
    """Ingest into the dataset of a model, "" the root's; return the exit code."""
    found = models.find(model)
    if not found.name:
        return _ingest(options)
    if found.example:
        raise SlipwayError(f"{model} is an example: `slipway example {model}` brings its data")
    for name, default in (("data", Path("data")), ("params", Path("params.yaml"))):
        if options[name] not in (default, default.absolute()):
            raise SlipwayError(f"--{name} is for the root's model: leave it out with --model")
    if options["replace"] and options["name"] not in (None, model):
        raise SlipwayError(f"--name {options['name']}: with --model and --replace it can only be {model}")
    settings = (found.folder / "params.yaml").absolute()
    options = _absolute(options)
    with workspace.entered(model) as place:
        options |= {"params": Path(os.path.relpath(settings, place)), "to_commit": str(found.folder)}
        if options["replace"] or not Path("data.dvc").exists():
            options["name"] = model
        else:
            versions.fetched(Path("data"))  # else this would be the first data
        return _ingest(options)


def new(name: str, options: dict[str, Any]) -> int:
    """Make a model in models/ by an ingest, all of it or nothing; return the exit code."""
    options = _absolute(options)
    command = shlex.join(["slipway", *sys.argv[1:]]) if "new" in sys.argv[1:2] else f"slipway new {name} ..."
    folder = models.MODELS / name
    with workspace.fresh(name) as target:
        code = _ingest({**options, "name": name, "to_commit": str(folder)})
        if code:
            return code
        if not Path("data.dvc").exists():
            raise SlipwayError(f"DVC made no version of the data, so {folder} was not made: see above")
        settings = params.load()
        expectations = Path(f"expectations/{settings.recipe}.yaml")
        with files.replacing(target) as aside:
            aside.mkdir()
            (aside / "params.yaml").write_bytes(changes.own(Path("params.yaml")))
            (aside / "expectations.yaml").write_bytes(expectations.read_bytes())
            (aside / "data.dvc").write_bytes(Path("data.dvc").read_bytes())
            page = _page(settings, options["source"], masking.mask(command))
            (aside / "README.md").write_text(page, encoding="utf-8")
    print(
        f"made {folder}, with the root's settings and the changes above: edit its params.yaml, README.md and "
        f"expectations.yaml (a copy of {expectations}); then\n"
        f"  slipway run {name}\n  git add {folder} && git commit\n"
        f"a section `source` in {folder}/params.yaml says where new data comes from: docs/operations.md"
    )
    return 0


def _page(settings: params.Params, source: str, command: str) -> str:
    """Return the README.md of a new model."""
    import datetime

    from components.data import dataset

    columns = recipes.schema(recipes.load(settings.recipe), settings.task)
    names = settings.target().names
    lines = {words.format(name=settings.name, source=source): text for words, text in COMMANDS.items()}
    width = max(map(len, lines))
    return README.format(
        name=settings.name,
        day=datetime.datetime.now().astimezone().date().isoformat(),
        rows=sum(chunk.rows for chunk in dataset.chunks(Path("data"), columns)),
        recipe=settings.recipe,
        answers=", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else ""),
        command=command,
        commands="\n".join(f"{words.ljust(width)}  # {text}" for words, text in lines.items()),
    )


def _absolute(options: dict[str, Any]) -> dict[str, Any]:
    """Return options whose paths hold in a workspace, too."""
    kept = ("data", "params")
    return {
        name: value.absolute() if isinstance(value, Path) and name not in kept else value
        for name, value in options.items()
    }
