"""The typed params.yaml: the only configuration, read in one place."""

from components.params.base import Section
from components.params.operation import Clean, Mail, Notify
from components.params.reading import check, holds, load, name, section
from components.params.sections import Aliases, Evaluate, Params, Register, Split, Validate
from components.params.source import Dvc, Files, Origin, Sql
from components.params.train import (
    Augment,
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    OneCycle,
    Plateau,
    Schedule,
    Train,
)

__all__ = [
    "Aliases",
    "Augment",
    "Clean",
    "Constant",
    "Cosine",
    "Dvc",
    "Evaluate",
    "Exponential",
    "Files",
    "InverseTime",
    "Mail",
    "Notify",
    "OneCycle",
    "Origin",
    "Params",
    "Plateau",
    "Register",
    "Schedule",
    "Section",
    "Split",
    "Sql",
    "Train",
    "Validate",
    "check",
    "holds",
    "load",
    "name",
    "section",
]
