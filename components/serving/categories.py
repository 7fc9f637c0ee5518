"""The categories that a model of tables knows, beside those of rows to predict: lost zeros are given back, and told."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from components.data import dataset, lost_zeros, spelling

MAX_COLUMNS = 5  # that are told of one by one
TRAINING = "the training data"


def as_known(table: pa.Table, values: dict[str, list[str]], rare: int = 1) -> tuple[pa.Table, list[str]]:
    """Return rows with the categories that the model knows, by their columns `values`, and what is to be told of them.

    1067 becomes 01067 where that alone is known. What is unknown stays, and is told: a model counts all of it as one
    value, unseen. `rare`: categories of fewer training examples are unknown to it, too.
    """
    told: list[str] = []
    unseen: dict[str, str] = {}
    for name in table.column_names:
        if name not in values or (column := _text(table[name])) is None:
            continue
        if lost_zeros.may_lack(column):
            codes = lost_zeros.known([pa.array(values[name], pa.string())])
            column = codes.read(column)
            told += codes.told(name, TRAINING)
            if codes.restored:
                table = table.set_column(table.column_names.index(name), name, column)
        if line := _unseen(column, values[name], rare):
            unseen[name] = f"{name}: {line}"
    return table, [*told, *list(unseen.values())[:MAX_COLUMNS], *_more(list(unseen)[MAX_COLUMNS:])]


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return values as the model's process makes text of them; None of what cannot be, which it tells itself."""
    if pa.types.is_binary(column.type) or pa.types.is_nested(column.type):
        return None
    try:
        text = column.cast(pa.string())
    except pa.ArrowException:
        return None
    return text if dataset.is_text(text) else None


def _unseen(column: pa.ChunkedArray, known: Iterable[str], rare: int) -> str:
    """Say how many values of a column the model does not know; it reads them as components/data/spelling.py does."""
    known = set(known)
    whole = set(map(spelling.whole, known))
    counted = pc.value_counts(column.drop_null()).to_pylist()
    plain = [(spelling.plain(item["values"]), item["counts"]) for item in counted]
    odd = Counter[str]()
    for value, count in plain:
        if value not in known and spelling.whole(value) not in whole:
            odd[value] += count
    if not odd:
        return ""
    some = " and ".join(repr(value[:50]) for value, _ in odd.most_common(2))
    seldom = f", or in fewer than {rare} examples" if rare > 1 else ""
    return (
        f"{odd.total():,} of {len(column):,} values {'is' if odd.total() == 1 else 'are'} unknown to the model (never "
        f"seen in training{seldom}), such as {some}: it takes all of these for one"
    )


def _more(names: list[str]) -> list[str]:
    return [f"and {len(names):,} more columns with values that the model does not know"] if names else []
