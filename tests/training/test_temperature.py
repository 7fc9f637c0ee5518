"""Calibration on validation: the temperature that overconfidence was made with, and its ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.targets import Target, multi_label, regression, single_label
from components.training import temperature

CLASSES = single_label.Target(("a", "b", "c"))
LABELS = multi_label.Target(("a", "b", "c"))


def drawn(target: Target, true: float, n: int = 4000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are `true` times too sure of themselves, and labels as the calibrated ones say."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 3)) * 1.5
    right, sure = (temperature.scaled(_probabilities(logits * by, target), None, target) for by in (1, true))
    if target.activation == "softmax":
        return sure, (right.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1).astype(np.int32)
    return sure, (random.random((n, 3)) < right).astype(np.uint8)


def _probabilities(logits: np.ndarray, target: Target) -> np.ndarray:
    if target.activation == "softmax":
        found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        found = 1 / (1 + np.exp(-logits))
    return np.asarray(found, np.float32)


@pytest.mark.parametrize("target", [CLASSES, LABELS])
@pytest.mark.parametrize("true", [0.5, 3.0])
def test_the_temperature_is_found(target: Target, true: float) -> None:
    outputs, actual = drawn(target, true)
    found = temperature.fit(outputs, actual, target)
    assert found == pytest.approx(true, rel=0.1)
    later, then = drawn(target, true, seed=2)
    before, after = (target.loss(some, then).mean() for some in (later, temperature.scaled(later, found, target)))
    assert after < before - 0.01


@pytest.mark.parametrize("target", [CLASSES, LABELS])
def test_probabilities_that_are_right_stay(target: Target) -> None:
    stays = [temperature.fit(*drawn(target, 1.0, n=300, seed=seed), target) is None for seed in range(40)]
    assert sum(stays) >= 30  # one standard error: of what is right, about one of six is changed, and hardly
    assert temperature.fit(np.ones((5, 1), np.float32), np.ones((5, 1)), regression.Target(("v",))) is None


@pytest.mark.parametrize("target", [CLASSES, LABELS])
def test_who_is_right_on_all_of_few_examples_is_not_sure_of_everything(target: Target) -> None:
    """By the labels alone the temperature goes to its limit, with doubt in them alone it unsettles who is right."""
    actual = np.arange(30) % 3
    held = np.eye(3)[actual]
    outputs = np.asarray(0.9 * held + 0.05 * (1 - held), np.float32)
    truth = actual if target is CLASSES else held.astype(np.uint8)
    found = temperature.fit(outputs, truth, target)
    sure = temperature.scaled(outputs, found, target)[held == 1]
    assert sure.min() >= 0.9 and sure.max() < 0.99
    surer = np.asarray(0.998 * held + 0.001 * (1 - held), np.float32)
    assert temperature.fit(surer, truth, target) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.sampled_from([CLASSES, LABELS]))
def test_the_onnx_says_the_same(tmp_path_factory: Any, seed: int, degree: float, target: Target) -> None:
    """Also of probabilities that are 0 and 1; what is likeliest stays."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    outputs = drawn(target, 2.0, n=50, seed=seed)[0]
    outputs[:3] = np.eye(3)
    place = helper.make_tensor_value_info("given", TensorProto.FLOAT, ["examples", 3])
    answer = helper.make_tensor_value_info(target.output, TensorProto.FLOAT, ["examples", 3])
    nodes = [helper.make_node("Identity", ["given"], [target.output], target.output)]
    model = helper.make_model(helper.make_graph(nodes, "g", [place], [answer]), ir_version=9)
    model.opset_import[0].version = 18
    path: Path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(model, path)
    temperature.write(path, degree, target)
    first = path.read_bytes()
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run([target.output], {"given": outputs})
    assert np.allclose(found, temperature.scaled(outputs, degree, target), atol=1e-6)
    assert np.isfinite(found).all()
    if target is CLASSES:
        assert (found.argmax(axis=1) == outputs.argmax(axis=1)).all()
    else:
        sided = np.abs(outputs - 0.5) > 1e-4
        assert ((found > 0.5) == (outputs > 0.5))[sided].all()
    onnx.save(model, path)
    temperature.write(path, degree, target)
    assert path.read_bytes() == first
