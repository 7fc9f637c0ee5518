"""What the sections of params.yaml have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of params.yaml: immutable, exact types, finite numbers, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
