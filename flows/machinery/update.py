"""The flow's first task, where params.yaml has a section `source`: what is new there becomes a version of the data."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError
from flows.machinery import stages
from flows.machinery.checkout import Checkout
from flows.machinery.process import guarded
from flows.machinery.stages import Outcome, TaskError

if TYPE_CHECKING:
    from components.params import Origin

COMMAND = ["-m", "components", "update"]


def origin() -> "Origin | None":
    """Return where new data comes from; None, too, where params.yaml cannot be read, which the stages then say."""
    from components import params

    try:
        return params.load().source if Path("params.yaml").exists() else None
    except SlipwayError:
        return None


def run(work: Checkout) -> list[Outcome]:
    """Bring new data as a task of the flow run that calls; no outcome where there is no source."""
    source = origin()
    if source is None:
        return []
    told = f"bring new data: {source.kind}"
    task = stages.submit("update", partial(_bring, work, required=source.required), description=told)
    found = stages.outcomes({"update": task})
    work.repo._reset()  # as DVC does on entering it: the child wrote data.dvc
    return found


def _bring(work: Checkout, *, required: bool) -> str:
    from components.data import versions

    before = versions.recorded(Path("data"))
    try:
        stages.follow("update", work.children.start(guarded(*COMMAND)), work.children)
    except TaskError as error:
        if required or work.children.ended:
            raise
        print(
            f"warning: no new data: {error}\nthe run goes on with the data that there is (source.required: false)",
            flush=True,
        )
        return "no source"
    return "unchanged" if versions.recorded(Path("data")) == before else "new data"
