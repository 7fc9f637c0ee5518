"""Where new data comes from by itself, as the section `source` of params.yaml says.

`files`: a folder, a bucket, or what another DVC repository keeps, with fsspec; `sql`: a query on a database. `taken`
knows what of it a dataset has. components/stages/update.py brings what is new.
"""

import argparse

TEXT = "bring new data from where the section `source` of params.yaml says; version it with DVC"
TOLD = "prints what came: new rows, late and corrected ones, files that are set aside or left; nothing new is fine"


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *, model: bool = False) -> None:
    """Add `update` to a command line; with the name of a `model` where its commands know models."""
    update = commands.add_parser("update", help=TEXT, description=f"{TEXT}; {TOLD}")
    if model:
        text = "model in models/ (default: the root's)"
        update.add_argument("model", nargs="?", default="", metavar="NAME", help=text)
    help_text = "say what would be read, and change nothing; waits for a run of the model, which may be bringing it"
    update.add_argument("--dry-run", action="store_true", help=help_text)
    update.add_argument("--replace", action="store_true", help="start a new dataset from all that the source has")
    update.add_argument("--retry", action="store_true", help="read files that were set aside once more")
