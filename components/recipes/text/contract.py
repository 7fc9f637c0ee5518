"""What expectations on texts are drafted from: their length."""

import pyarrow as pa
import pyarrow.compute as pc

from components.recipes.text import example


def facts(table: pa.Table, params: example.Params) -> pa.Table:  # noqa: ARG001
    """Return the characters of each text, as the facts of the recipe have them."""
    return pa.table({"characters": pc.utf8_length(table["text"]).cast(pa.int64())})
