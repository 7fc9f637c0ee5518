"""Calibrated probabilities: one temperature for all of a model's outputs, chosen on validation where that helps."""

from pathlib import Path

import numpy as np

from components.classical import choosing
from components.targets import Target

LIMITS = (0.05, 20.0)  # of the temperature
LEAST = 1e-30  # of a probability of which the logarithm is taken, as float32


def fit(outputs: np.ndarray, actual: np.ndarray, target: Target) -> float | None:
    """Return the temperature that makes probabilities `(n, names)` likeliest; None where they are as good without.

    Guo et al. 2017, On calibration of modern neural networks (arXiv:1706.04599). It is fitted twice: to the labels as
    they are, and to labels that are wrong once in n + 2 times (Platt 1999, Probabilistic outputs for support vector
    machines), for a model that is right on all of few examples may be as sure as it likes by the first, and is never
    sure enough by the second. Where one sharpens and the other softens nothing is known, and nothing is done; else the
    smaller change counts, if the loss on validation gets smaller by more than one standard error
    (components/classical/choosing.py). None for numbers, which have no probability.
    """
    from scipy.optimize import minimize_scalar

    if target.activation == "linear":
        return None

    def losses(temperature: float | None, doubt: float) -> np.ndarray:
        return _losses(scaled(outputs, temperature, target), actual, target, doubt)

    found: list[tuple[float, float]] = []
    for doubt in (0.0, 1 / (len(actual) + 2)):
        best = minimize_scalar(
            lambda logarithm, doubt=doubt: float(losses(float(np.exp(logarithm)), doubt).mean()),
            bounds=tuple(np.log(LIMITS)),
            method="bounded",
            options={"xatol": 1e-4},
        )
        found.append((float(best.x), doubt))
    if found[0][0] * found[1][0] <= 0:
        return None
    logarithm, doubt = min(found, key=lambda pair: abs(pair[0]))
    temperature = float(f"{np.exp(logarithm):.4g}")
    return temperature if choosing.worth(losses(None, doubt), losses(temperature, doubt))[-1] else None


def _losses(outputs: np.ndarray, actual: np.ndarray, target: Target, doubt: float) -> np.ndarray:
    """Return the loss on each example where its label is another one in the share `doubt` of times."""
    if target.activation == "sigmoid":
        other = target.loss(outputs, 1 - actual)
    else:
        logarithms = -np.log(np.maximum(outputs.astype(np.float64), 1e-7))
        rest = logarithms.sum(axis=1) - logarithms[np.arange(len(actual)), actual]
        other = rest / max(outputs.shape[1] - 1, 1)
    return np.asarray((1 - doubt) * target.loss(outputs, actual) + doubt * other)


def scaled(outputs: np.ndarray, temperature: float | None, target: Target) -> np.ndarray:
    """Divide the logits of probabilities `(n, names)` by a temperature; None leaves them."""
    from scipy.special import expit, softmax

    if temperature is None:
        return outputs
    known = np.maximum(outputs.astype(np.float64), LEAST)
    if target.activation == "softmax":
        return np.asarray(softmax(np.log(known) / temperature, axis=1), np.float32)
    return np.asarray(expit((np.log(known) - np.log(np.maximum(1 - known, LEAST))) / temperature), np.float32)


def write(path: Path, temperature: float, target: Target) -> None:
    """Let an ONNX model give probabilities of this temperature: it is replaced, its inputs and its output stay."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph, output = model.graph, target.output
    for node in graph.node:
        node.output[:] = ["uncalibrated" if name == output else name for name in node.output]
        node.input[:] = ["uncalibrated" if name == output else name for name in node.input]
    values = {"least": LEAST, "one": 1.0, "temperature": temperature}
    names = {name: f"calibration_{name}" for name in values}
    graph.initializer.extend(numpy_helper.from_array(np.array(values[name], np.float32), names[name]) for name in names)

    def add(operator: str, *inputs: str, name: str = "", **attributes: int) -> str:
        node = f"calibration_{len(graph.node)}"
        graph.node.append(helper.make_node(operator, list(inputs), [name or node], node, **attributes))
        return name or node

    logits = add("Log", add("Max", "uncalibrated", names["least"]))
    if target.activation == "sigmoid":
        other = add("Sub", names["one"], "uncalibrated")
        logits = add("Sub", logits, add("Log", add("Max", other, names["least"])))
    divided = add("Div", logits, names["temperature"])
    if target.activation == "softmax":
        add("Softmax", divided, name=output, axis=1)
    else:
        add("Sigmoid", divided, name=output)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
