"""What expectations on several modalities are drafted from: which are there, the length of texts, and the table."""

import pyarrow as pa
import pyarrow.compute as pc

from components.recipes.multimodal import example
from components.recipes.tabular import contract as tabular


def facts(table: pa.Table, params: example.Params) -> pa.Table:
    """Return the columns of the table, the characters of each text, and which files are there, as the facts have them.

    That a file is there is told by `decodable`, which is null where it is not; nothing is decoded for that.
    """
    found = {f"{name}_decodable": _there(table[name]) for name in (*params.images, *params.audio)}
    found |= {f"{name}_characters": pc.utf8_length(table[name]).cast(pa.int64()) for name in params.text}
    if params.tabular:
        part = tabular.facts(table, params.tabular)
        found |= dict(zip(part.column_names, part.columns, strict=True))
    return pa.table(found)


def _there(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(column.is_valid(), pa.scalar(value=True), pa.scalar(None, pa.bool_()))
