"""What expectations on several modalities are drafted from: the columns of the table, and the length of texts."""

import pyarrow as pa
import pyarrow.compute as pc

from components.recipes.multimodal import example
from components.recipes.tabular import contract as tabular


def facts(table: pa.Table, params: example.Params) -> pa.Table:
    """Return the columns of the table, and the characters of each text, as the facts of the recipe have them."""
    found = {f"{name}_characters": pc.utf8_length(table[name]).cast(pa.int64()) for name in params.text}
    if params.tabular:
        part = tabular.facts(table, params.tabular)
        found |= dict(zip(part.column_names, part.columns, strict=True))
    return pa.table(found)
