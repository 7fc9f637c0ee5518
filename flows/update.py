"""New data for a model: what its `source` has, brought where the model's runs work."""

import os
from pathlib import Path
from typing import Any

from components import SlipwayError
from components.stages import update
from flows.machinery import checkout, models, workspace


def run(model: str, options: dict[str, Any]) -> None:
    """Bring what is new for a model of models/, or "" for the root's, once no run of it works any more.

    The labels and columns that it finds go into the model's own params.yaml. A dry run waits as well: what is new
    depends on the dataset in the workspace, which the run may be writing, and which is first prepared from the
    checkout's files.
    """
    found = models.find(model)
    if found.example:
        raise SlipwayError(f"{model} is an example: `slipway example {model}` brings its data")
    settings = (found.folder / "params.yaml").absolute()
    with workspace.entered(model, give_back=not options["dry_run"]) as place, checkout.opened():
        if found.name:
            options |= {"params": Path(os.path.relpath(settings, place)), "to_commit": str(found.folder)}
        update.run(**options)
