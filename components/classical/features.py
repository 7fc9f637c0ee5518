"""What a classical model reads of an example, by the kind of each input: part of the graph that ships."""

from dataclasses import dataclass

import numpy as np

from components.classical.graph import Graph
from components.recipes import Arrays, Input

IMAGE_SIDE = 16  # pixels: the longer side of what a linear model sees of an image


@dataclass(frozen=True)
class Bag:
    """Columns of which an example has few: its numbers `ids` of them, `(n, length)` int64, and their `weights`."""

    ids: str
    weights: str  # float32; 0 where there is none
    size: int


@dataclass(frozen=True)
class Features:
    """Tensors of a graph: `dense` are `(n, some)` float32 each."""

    dense: list[str]
    bags: list[Bag]


def linear(graph: Graph, inputs: dict[str, Input], arrays: Arrays, *, changes: bool = False) -> Features:
    """Describe examples for a linear model; `arrays` are those of training, encoded.

    Numbers and histories as they are, or with `changes` histories as by how much they differ from their last step; a
    column per code; tokens weighted by tf-idf, of length 1 over the text (as in scikit-learn's TfidfTransformer, where
    no token repeats); of images the mean of pixels, IMAGE_SIDE at most to a side; of spectrograms each band's mean and
    deviation over time, and those of its changes.
    """
    dense, bags = [], []
    for name, entry in inputs.items():
        if entry.kind == "codes":
            bags.append(_codes(graph, name, arrays[name]))
        elif entry.kind == "tokens":
            own = ((), (name,))
            weights = next((key for key, made in inputs.items() if made.kind == "weights" and made.names in own), None)
            bags.append(_tokens(graph, name, weights, arrays))
        elif entry.kind == "image":
            dense.append(_pixels(graph, name))
        elif entry.kind == "spectrogram":
            dense += _bands(graph, name)
        elif entry.kind == "history" and changes:
            history = _float(graph, name)
            dense.append(graph.add("Flatten", graph.add("Sub", history, _last_step(graph, name, history))))
        elif entry.kind != "weights":  # numbers and history
            dense.append(graph.add("Flatten", _float(graph, name)))
    return Features(dense, bags)


def forecast(inputs: dict[str, Input], names: int) -> bool:
    """Tell whether labels are later values of a history's columns: as many steps of each, column by column."""
    columns = next((len(entry.names) for entry in inputs.values() if entry.kind == "history"), 0)
    return columns > 0 and names % columns == 0


def last(graph: Graph, inputs: dict[str, Input], names: int) -> str:
    """Return the last value of each label's column, `(n, names)`: the naive forecast."""
    name, entry = next((name, entry) for name, entry in inputs.items() if entry.kind == "history")
    step = graph.add("Flatten", _last_step(graph, name, _float(graph, name)))
    at = np.repeat(np.arange(len(entry.names)), names // len(entry.names))
    return graph.add("Gather", step, graph.constant(at, np.int64), axis=1)


def _last_step(graph: Graph, name: str, history: str) -> str:
    steps = graph.inputs[name]["shape"][0]
    return graph.add("Slice", history, *(graph.constant([value], np.int64) for value in (steps - 1, steps, 1)))


def trees(graph: Graph, inputs: dict[str, Input], arrays: Arrays, most: int) -> tuple[list[str], list[str]] | None:
    """Describe examples for trees: tensors of numbers, and of categories 0, 1, ...; None for other inputs than tables.

    Of a column of codes, the `most` frequent in training are categories, the others NaN.
    """
    if any(entry.kind not in ("numbers", "codes") for entry in inputs.values()):
        return None
    numbers, categories = [], []
    for name, entry in inputs.items():
        if entry.kind == "numbers":
            numbers.append(_float(graph, name))
            continue
        ids, sizes = _placed(graph, name, arrays[name])
        tables = []
        for column, size in enumerate(sizes):
            counts = np.bincount(arrays[name][:, column], minlength=size)[:size]
            table = np.full(size, np.nan)
            kept = np.sort(np.argsort(-counts, kind="stable")[: min(most, np.count_nonzero(counts))])
            table[kept] = np.arange(len(kept))
            tables.append(table)
        categories.append(graph.add("Gather", graph.constant(np.concatenate(tables)), ids))
    return numbers, categories


def _float(graph: Graph, name: str) -> str:
    return graph.add("Cast", name, to=1)


def _placed(graph: Graph, name: str, codes: np.ndarray) -> tuple[str, list[int]]:
    """Number the codes of all columns on, `(n, columns)` int64; a code that training did not have is its column's 0."""
    sizes = [int(largest) + 1 for largest in codes.max(axis=0)]
    whole = graph.add("Cast", name, to=7)
    known = graph.add("Less", whole, graph.constant(sizes, np.int64))
    seen = graph.add("Where", known, whole, graph.constant(0, np.int64))
    return graph.add("Add", seen, graph.constant(np.cumsum([0, *sizes[:-1]]), np.int64)), sizes


def _codes(graph: Graph, name: str, codes: np.ndarray) -> Bag:
    ids, sizes = _placed(graph, name, codes)
    ones = graph.add("ConstantOfShape", graph.add("Shape", ids), value=_value(1.0))
    return Bag(ids, ones, sum(sizes))


def _value(number: float) -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([number], np.float32))


def _tokens(graph: Graph, name: str, weights: str | None, arrays: Arrays) -> Bag:
    """Weigh tokens by tf-idf; weights other than 0 and 1 are taken as they are."""
    tokens = arrays[name]
    size = int(max((tokens[at : at + 1024].max(initial=0) for at in range(0, len(tokens), 1024)), default=0)) + 1
    whole = graph.add("Cast", name, to=7)
    none = graph.constant(0, np.int64)
    ids = graph.add("Where", graph.add("Less", whole, graph.constant(size, np.int64)), whole, none)
    there = graph.add("Cast", graph.add("Greater", ids, none), to=1)
    if weights is not None:
        there = graph.add("Mul", there, weights)
        sample = arrays[weights][:1024]
        if not np.isin(sample, (0, 1)).all():
            return Bag(ids, there, size)
    held = np.zeros(size, np.int64)
    for at in range(0, len(tokens), 1024):
        rows = np.sort(tokens[at : at + 1024], axis=1)
        held += np.bincount(rows[:, 0], minlength=size)
        held += np.bincount(rows[:, 1:][rows[:, 1:] != rows[:, :-1]], minlength=size)
    idf = np.log((1 + len(tokens)) / (1 + held)) + 1
    found = graph.add("Mul", there, graph.add("Gather", graph.constant(idf), ids))
    squares = graph.add("ReduceSum", graph.add("Mul", found, found), graph.constant([1], np.int64))
    length = graph.add("Max", graph.add("Sqrt", squares), graph.constant(1e-6))
    return Bag(ids, graph.add("Div", found, length), size)


def _pixels(graph: Graph, name: str) -> str:
    """Means of pixels as numbers 0 to 1, `(n, side * side * channels)`."""
    height, width, _ = graph.inputs[name]["shape"]
    planes = graph.add("Transpose", _float(graph, name), perm=[0, 3, 1, 2])
    factor = min(1.0, IMAGE_SIDE / max(height, width))
    if factor < 1:
        down, across = (_means(side, max(1, round(side * factor))) for side in (height, width))
        planes = graph.add("MatMul", graph.constant(down), graph.add("MatMul", planes, graph.constant(across.T)))
    return graph.add("Div", graph.add("Flatten", planes), graph.constant(255))


def _means(size: int, parts: int) -> np.ndarray:
    """Return the matrix `(parts, size)` that averages `size` numbers in as many equal parts."""
    cuts = np.linspace(0, size, parts + 1)
    at = np.arange(size)
    inside = np.minimum(cuts[1:, None], at + 1) - np.maximum(cuts[:-1, None], at)
    return np.asarray(np.maximum(inside, 0) * parts / size)


def _bands(graph: Graph, name: str) -> list[str]:
    """Mean and deviation over time of each band, and of its changes: `(n, bands)` each."""
    whole = _float(graph, name)
    parts = [whole]
    if (frames := graph.inputs[name]["shape"][0]) > 1:
        later = graph.add("Slice", whole, *(graph.constant([value], np.int64) for value in (1, frames, 1)))
        earlier = graph.add("Slice", whole, *(graph.constant([value], np.int64) for value in (0, frames - 1, 1)))
        parts.append(graph.add("Sub", later, earlier))
    found = []
    for part in parts:
        axes = graph.constant([1], np.int64)
        mean = graph.add("ReduceMean", part, axes, keepdims=1)
        apart = graph.add("Sub", part, mean)
        square = graph.add("ReduceMean", graph.add("Mul", apart, apart), axes, keepdims=0)
        found += [graph.add("Flatten", mean), graph.add("Sqrt", square)]
    return found
