"""Names of the series of a file: those that can only be one are joined, and those that look alike are told."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from components.data import spelling


def read(names: pa.ChunkedArray, known: Sequence[str]) -> tuple[np.ndarray, list[str], list[str]]:
    """Return the index of each row's series `(n,)` int64, the names of the series, and what is to be told of them.

    `known` are those of the dataset, or of the model: a name that can only be one of them gets its spelling.
    """
    coded = names.cast(pa.string()).combine_chunks().dictionary_encode()
    found = coded.dictionary.to_pylist()
    joins = spelling.joined(found, known)
    spelled = [joins.get(name, name) for name in found]
    groups = list(dict.fromkeys(spelled))
    index = {name: code for code, name in enumerate(groups)}
    codes = np.array([index[name] for name in spelled], np.int64)
    told = [f"series {spelling.shown(name)}: read as {spelling.shown(own)}" for name, own in joins.items()]
    # those of the dataset alone were told when they came
    twins = [alike for alike in spelling.alike([*groups, *known]) if not index.keys().isdisjoint(alike)]
    told += [
        f"series {' and '.join(map(spelling.shown, alike))} look alike, and are {len(alike)} series; to join them, "
        "give them one name in the file"
        for alike in twins
    ]
    return codes[coded.indices.to_numpy()], groups, told
