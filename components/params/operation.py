"""The sections of params.yaml that say how a model is run, and nothing of what it is: no digest depends on them."""

import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from components.params.base import Section

Event = Literal["failed", "recovered", "promoted", "waiting", "refused", "missed"]


def _words(value: Any) -> Any:
    """Split a command that is written as one text, as a shell would."""
    return shlex.split(value) if isinstance(value, str) else value


class Mail(Section):
    """Who gets an e-mail; the server and its login are in the variable SLIPWAY_SMTP."""

    to: Annotated[list[Annotated[str, Field(pattern=r"^[^\s@,<>]+@[^\s@,<>]+$")]], Field(min_length=1)]
    sender: Annotated[str, Field(pattern=r"^[^\s@,<>]+@[^\s@,<>]+$")] = "slipway@localhost"


class Clean(Section):
    """What is left of what no registered version needs, by `slipway clean`."""

    keep_runs: Annotated[int, Field(ge=0)] = 10  # the last ones of each model
    keep_days: Annotated[float, Field(ge=0)] = 30.0  # and all that is younger
    # of the versions that were never promoted, the last ones of each model that stay registered; null: all stay
    keep_versions: Annotated[int, Field(ge=0)] | None = None
    # GB for what each stage of a model keeps of single files (components/reuse.py), with or without a cleaning; 0: none
    keep_gb: Annotated[float, Field(ge=0)] = 10.0


class Notify(Section):
    """What is told, and how; a webhook is told where SLIPWAY_WEBHOOK holds its address."""

    events: list[Event] = Field(default=["failed", "recovered", "promoted", "waiting", "refused", "missed"])
    mail: Mail | None = None
    # a command and its words; no shell reads them
    command: Annotated[Annotated[list[str], Field(min_length=1)] | None, BeforeValidator(_words)] = None
