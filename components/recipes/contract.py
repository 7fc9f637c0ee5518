"""What expectations on columns are drafted from: components/recipes/NAME/contract.py, where the recipe has one.

Facts that cost little, so that an ingest takes no longer for them: nothing is decoded.
"""

import importlib
import importlib.util
from typing import Any, Protocol, cast

import pyarrow as pa


class Contract(Protocol):
    """The contract of a recipe."""

    def facts(self, table: pa.Table, params: Any) -> pa.Table:
        """Return plain columns of examples, each called as the stage validate calls it."""


def load(recipe: str) -> Contract | None:
    """Import the contract of a recipe, if it has any."""
    name = f"components.recipes.{recipe}.contract"
    return cast("Contract", importlib.import_module(name)) if importlib.util.find_spec(name) else None
