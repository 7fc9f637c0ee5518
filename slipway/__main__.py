"""The command line: slipway COMMAND ...

Finds the project, imports of it what the one command needs, and calls that.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from slipway import ProjectError, __version__, completion, project

# Group -> command -> what it does, in a line, and the module that declares its arguments.
FLOWS, STAGES = "flows.__main__", "components.stages"
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "the pipeline": {
        "run": ("bring data and stages up to date, then register the model; only what has changed runs", FLOWS),
        "schedule": ("run on a schedule, such as every night at 03:00", FLOWS),
        "ui": ("open MLflow, Prefect and the data report in the browser", FLOWS),
    },
    "operation": {
        "up": ("start all that scheduled retraining needs, and keep it alive", FLOWS),
        "status": ("what runs, what is due next, how the last runs ended", FLOWS),
        "down": ("end what `up` started", FLOWS),
        "doctor": ("look at packages, disk, servers, remotes and so on: what is wrong, and what to do", FLOWS),
        "clean": ("remove old runs, data and logs that no registered version needs", FLOWS),
        "notify": ("show or test the notifications of a model", FLOWS),
    },
    "data and models": {
        "new": ("make a model in models/NAME from your files, beside those that there are", "flows.ingest"),
        "ingest": ("make a dataset from your files, or add to the existing one", "flows.ingest"),
        "expect": ("draft expectations from the data as it is, and show what differs", FLOWS),
        "update": ("bring what is new from where params.yaml says that data comes from", FLOWS),
        "compare": ("show what changed between trainings, and what it brought", FLOWS),
        "predict": ("predict with a registered model", f"{STAGES}.predict"),
        "find-lr": ("try increasing learning rates and suggest one", f"{STAGES}.find_lr"),
    },
    "proof": {
        "reproduce": ("make a registered version again and compare what comes out", FLOWS),
        "lineage": ("show where a version comes from, or which versions hold a file or a row", FLOWS),
    },
    "the model in production": {
        "promote": ("make a version of a model the champion, and say why", FLOWS),
        "rollback": ("go back to the version that was the champion before", FLOWS),
        "history": ("who was the champion when, and why", FLOWS),
        "approve": ("let a version that waits for it become the champion", FLOWS),
        "refuse": ("let a version that waits not become the champion", FLOWS),
    },
    "getting started": {
        "example": ("run the whole pipeline on an example with real data", FLOWS),
        "completion": ("print the script for shell completion", "slipway.completion"),
    },
}
MODULES = {name: module for group in COMMANDS.values() for name, (_, module) in group.items()}
EPILOG = """\
examples:
  slipway example income                                      run an example in a workspace of its own
  slipway ingest table people.csv --label income --replace    replace the dataset with your own data
  slipway run                                                 train, evaluate and register a model on it
  slipway predict people new.csv                              predict with the model
  slipway new churn table customers.csv --label left          one more model, in models/churn
  slipway run churn                                           train, evaluate and register that one
  slipway schedule "0 3 * * 1"                                retrain every Monday at 03:00

slipway works on the project that contains the current folder. `slipway COMMAND --help` describes one command. Use DVC
for single stages and experiments: `dvc repro STAGE`, `dvc exp run`, `dvc metrics show`.
"""


def parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of the whole command line; of one command, and what its module has beside it, to be quick."""
    lines = ["From raw data to a registered, reproducible production model, again and again."]
    for title, group in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {name:<12}{text}" for name, (text, _) in group.items())]
    main = argparse.ArgumentParser(
        prog="slipway",
        usage="slipway COMMAND ...",
        description="\n".join(lines),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"slipway {__version__}")
    commands = main.add_subparsers(
        dest="command", metavar="COMMAND", prog="slipway", required=True, help=argparse.SUPPRESS
    )
    for module in dict.fromkeys(MODULES.values() if asked is None else [MODULES[asked]]):
        importlib.import_module(module).arguments(commands)
    return main


def main(words: list[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 and 2 a mistake of the user's, 130 interrupted."""
    words = sys.argv[1:] if words is None else words
    try:
        return _run(words)
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head`: nobody reads on; as in components/__main__.py
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    here = project.here()
    found = project.above(here)
    project.use(found or project.OWN)  # help and completion are there anywhere
    asked = words[0] if words and words[0] in MODULES else "completion"  # the lightest: it is not asked
    known = parser(asked)
    if not words:
        known.print_help(sys.stderr)
        return 2
    if words[0] not in MODULES and not words[0].startswith("-"):
        known.error(_hint(words[0]))
    if words[0] in ("run", "schedule") and any(word.startswith(("-S", "--set-param")) for word in words):
        known.error(
            "settings are in params.yaml; to try another value without registering it: `dvc exp run -S "
            "train.epochs=3`, with + before a key that params.yaml lacks (-S +train.weight_decay=0.01)"
        )
    if here != found:
        for action in completion.actions(known):
            if action.type is Path:
                action.type = _full
    options = vars(known.parse_args(words))
    name = options.pop("command")
    if name == "completion":
        os.chdir(found or project.OWN)
        print(completion.script(parser(), options["shell"]))
        return 0
    os.chdir(project.root())
    return int(importlib.import_module(f"{MODULES[name].partition('.')[0]}.__main__").run(name, options))


def _full(text: str) -> Path:
    """Return a path that is given where the user stands, for the project's root; defaults never come here."""
    path = Path(text).absolute()
    return path.resolve() if ".." in path.parts else path


def _hint(word: str) -> str:
    """Say what may have been meant by a command that there is not."""
    from components import nearest
    from components.__main__ import STAGES as STAGES_OF_DVC

    if word in STAGES_OF_DVC:
        how = (
            "`slipway run` runs it"
            if word == "register"
            else f"`dvc repro {word}` runs it after the stages it depends on"
        )
        return f"{word} is a stage: {how}"
    return f"unknown command {word!r}; {nearest(word, [*MODULES, *STAGES_OF_DVC])}"


if __name__ == "__main__":
    sys.exit(main())
