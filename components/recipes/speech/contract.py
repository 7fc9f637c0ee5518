"""What expectations on transcripts are drafted from: how long they are; nothing is decoded."""

import pyarrow as pa

from components.recipes.speech.example import FACTS, Params, facts_of

NAMES = ("words", "symbols")


def facts(table: pa.Table, params: Params) -> pa.Table:
    """Return these facts of each label as the recipe's own have them."""
    rows = [{} if label is None else facts_of(label, None, params) for label in table["label"].to_pylist()]
    return pa.table({name: pa.array([row.get(name) for row in rows], FACTS[name]) for name in NAMES})
