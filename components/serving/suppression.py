"""What makes boxes of a detector's maps, as part of model.onnx: the same in evaluate and wherever it is served.

A detector gives maps `(n, rows, columns, names + 4)`: of each place the probability that the middle of something of
each class is there, and left, top, right and bottom of its box as shares of the image. What is no local maximum of its
class (of 3 x 3 places; Zhou and others 2019, arXiv:1904.07850, section 4) is no box. Of those left the most probable
are kept, and of two of a class that overlap by more than OVERLAP the surer one (greedy non-maximum suppression).
"""

from pathlib import Path

import numpy as np

OVERLAP = 0.6  # of two boxes of a class above which they are one thing: things that stand close overlap by less
NODES = """<ir_version: {ir}, opset_import: ["": {opset}]>
suppression (float[examples, {rows}, {columns}, {depth}] maps) => (float[examples, {most}, 6] boxes) {{
    names, edges = Split <axis = -1> (maps, sizes)
    probability = Transpose <perm = [0, 3, 1, 2]> (names)
    around = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (probability)
    highest = Equal (probability, around)
    is_highest = Cast <to = 1> (highest)
    peaks = Mul (probability, is_highest)
    flat_peaks = Flatten (peaks)
    score, at = TopK <axis = 1> (flat_peaks, kept)
    name = Div (at, places)
    place = Mod (at, places)
    flat_edges = Reshape (edges, by_place)
    place_index = Unsqueeze (place, last)
    four_indices = Expand (place_index, four)
    found = GatherElements <axis = 1> (flat_edges, four_indices)
    inside = Clip (found, zero, one)
    own_name = Unsqueeze (name, middle)
    is_name = Equal (own_name, every_name)
    of_name = Cast <to = 1> (is_name)
    score_row = Unsqueeze (score, middle)
    by_name = Mul (of_name, score_row)
    chosen = NonMaxSuppression (inside, by_name, kept, overlap, zero)
    by_name_shape = Shape (by_name)
    nothing = ConstantOfShape <value = float[1] {{0}}> (by_name_shape)
    many = Shape <start = 0, end = 1> (chosen)
    ones = ConstantOfShape <value = float[1] {{1}}> (many)
    marked = ScatterND (nothing, chosen, ones)
    is_chosen = ReduceSum <keepdims = 0> (marked, middle)
    left = Mul (score, is_chosen)
    sorted_score, order = TopK <axis = 1> (left, kept)
    sorted_name = GatherElements <axis = 1> (name, order)
    order_index = Unsqueeze (order, last)
    four_orders = Expand (order_index, four)
    sorted_edges = GatherElements <axis = 1> (inside, four_orders)
    score_column = Unsqueeze (sorted_score, last)
    name_number = Cast <to = 1> (sorted_name)
    name_column = Unsqueeze (name_number, last)
    columns = Concat <axis = 2> (sorted_edges, score_column, name_column)
    boxes = Pad (columns, padding)
}}
"""


def write(path: Path, names: int, most: int) -> None:
    """Let an ONNX model that gives maps give boxes."""
    path.write_bytes(appended(path.read_bytes(), names, most))


def appended(content: bytes, names: int, most: int) -> bytes:
    """Return a model that gives maps with nodes behind it that make boxes `(n, most, 6)` of its only output.

    They are as components/targets/boxes.py has them.
    """
    import onnx
    from onnx import compose, numpy_helper, parser

    model = onnx.load_from_string(content)
    (maps,) = model.graph.output
    rows, columns, depth = (dim.dim_value for dim in maps.type.tensor_type.shape.dim[1:])
    (opset,) = (each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    text = NODES.format(ir=model.ir_version, opset=opset, rows=rows, columns=columns, depth=depth, most=most)
    tail = parser.parse_model(text)
    kept = min(most, names * rows * columns)
    values: dict[str, np.ndarray] = {
        "sizes": np.array([names, 4]),
        "kept": np.array([kept]),
        "places": np.array(rows * columns),
        "by_place": np.array([-1, rows * columns, 4]),
        "last": np.array([2]),
        "middle": np.array([1]),
        "four": np.array([1, 1, 4]),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "overlap": np.array([OVERLAP], np.float32),
        "every_name": np.arange(names).reshape(1, names, 1),
        "padding": np.array([0, 0, 0, 0, most - kept, 0]),
    }
    tail.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    whole = compose.merge_models(
        model,
        compose.add_prefix(tail, "suppression_", rename_inputs=False, rename_outputs=False),
        [(maps.name, "maps")],
    )
    onnx.checker.check_model(whole, full_check=True)
    found: bytes = whole.SerializeToString(deterministic=True)
    return found
