"""What makes boxes of a detector's maps: ONNX nodes, held against the same in NumPy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.serving import suppression
from components.targets import _overlap


def identity(rows: int, columns: int, names: int) -> bytes:
    """A model that gives the maps that it is given."""
    kind, shape = onnx.TensorProto.FLOAT, ["examples", rows, columns, names + 4]
    given, maps = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("given", "made"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["given"], ["made"])], "g", [given], [maps])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    return made.SerializeToString()


def run(maps: np.ndarray, most: int) -> np.ndarray:
    rows, columns, depth = maps.shape[1:]
    made = suppression.appended(identity(rows, columns, depth - 4), depth - 4, most)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    found: np.ndarray = onnxruntime.InferenceSession(made).run(None, {"given": maps})[0]
    return found


def by_hand(maps: np.ndarray, most: int) -> np.ndarray:
    """Local maxima, the most probable ones, and greedily none that overlaps a surer one of its class too much."""
    names = maps.shape[3] - 4
    found = np.zeros((len(maps), most, 6), np.float32)
    for image, each in zip(found, maps, strict=True):
        chance = each[:, :, :names]
        padded = np.pad(chance, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1)).max(axis=(3, 4))
        peaks = np.where(chance == around, chance, 0).transpose(2, 0, 1).reshape(names, -1)
        best = np.argsort(-peaks.ravel(), kind="stable")[:most]
        name, place = np.divmod(best, peaks.shape[1])
        edges, score = np.clip(each[:, :, names:].reshape(-1, 4)[place], 0, 1), peaks.ravel()[best]
        overlap = _overlap.shares(edges, edges)
        for at in range(len(best)):
            surer = (name[:at] == name[at]) & (score[:at] > 0)
            if (overlap[at, :at][surer] > suppression.OVERLAP).any():
                score[at] = 0
        order = np.argsort(-score, kind="stable")
        image[: len(best)] = np.column_stack([edges, score, name])[order]
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_nodes_find_the_boxes_that_are_found_by_hand(
    rows: int, columns: int, names: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    chance = random.permutation(3 * rows * columns * names)[: 3 * rows * columns * names].reshape(
        3, rows, columns, names
    )
    middle, half = random.random((3, rows, columns, 2)), random.random((3, rows, columns, 2)) / 2
    maps = np.concatenate([(chance + 1) / (chance.size + 1), middle - half, middle + half], axis=3).astype(np.float32)
    found, wanted = run(maps, most), by_hand(maps, most)
    assert found.shape == wanted.shape == (3, most, 6)
    assert np.allclose(found[:, :, 4], wanted[:, :, 4])
    there = wanted[:, :, 4] > 0
    assert np.allclose(found[there], wanted[there])


def test_of_two_boxes_on_each_other_the_surer_one_is_left_and_of_two_classes_both() -> None:
    maps = np.zeros((1, 1, 9, 6), np.float32)
    maps[0, 0, :, 2:] = (0.2, 0.2, 0.6, 0.6)
    maps[0, 0, [0, 4, 8], [0, 0, 1]] = (0.5, 0.9, 0.7)
    found = run(maps, 5)[0]
    assert found[:, 4] == pytest.approx([0.9, 0.7, 0, 0, 0])
    assert found[:2, 5].tolist() == [0, 1]
    maps[0, 0, 0, 2:] = (0.6, 0.2, 1.0, 0.6)  # now they stand apart
    assert run(maps, 5)[0, :, 4] == pytest.approx([0.9, 0.7, 0.5, 0, 0])
