"""Completion in the shell: the script that `slipway completion SHELL` prints."""

import argparse
from collections.abc import Iterator
from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
HOW = """\
Run this once, and again when an option or a source has been added:
  bash  slipway completion bash > ~/.slipway.bash    then add to ~/.bashrc: source ~/.slipway.bash
  zsh   slipway completion zsh > FOLDER/_slipway     where FOLDER is in $fpath
  fish  slipway completion fish > ~/.config/fish/completions/slipway.fish
"""


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parser `completion`."""
    text = "Print the script with which a shell completes commands, options, data sources and file names."
    command = commands.add_parser(
        "completion",
        help="print the script for shell completion",
        description=text,
        epilog=HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("shell", choices=SHELLS, metavar="SHELL", help="the shell: bash, zsh or fish")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a whole command line; the current folder is the project's."""
    import shtab

    from components.files import file_or_text, folder_or_text
    from flows.machinery import models

    for action in actions(parser):
        if action.help == argparse.SUPPRESS:  # the list of commands, which the help writes in groups
            action.help = None
        if action.dest == "name" and not action.option_strings:  # of an example: whatever there is now
            action.choices = models.examples()
        elif action.dest == "models":
            action.choices = [*models.names(), *models.examples()]
        elif action.dest == "model" and action.metavar == "NAME":
            action.choices = models.names()
        elif action.metavar == "FOLDER" or action.type is folder_or_text:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined] # so shtab is told
        elif action.type in (Path, file_or_text) or action.dest == "model":  # without a model, the file stands first
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    text = shtab.complete(parser, shell)
    if shell == "bash":  # it cuts words at : and @, so what follows a MODEL is lost on shtab: then files, as by default
        text += "\ncomplete -o bashdefault -o default -F _shtab_slipway slipway"
    return text


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield each argument of a parser and of all below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from actions(below)
