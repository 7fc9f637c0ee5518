"""Fit classical models, keep the one that suits validation best, and write it as ONNX."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from components import SlipwayError
from components.classical import boosting, linear
from components.classical.graph import Graph, ask
from components.recipes import Arrays, Input
from components.targets import Target

ACTIVATIONS = {"softmax": ("Softmax", {"axis": 1}), "sigmoid": ("Sigmoid", {}), "linear": ("Identity", {})}


@dataclass(frozen=True)
class Fitted:
    """A classical model: what it is called, its ONNX, and the mean loss on validation of each that was fitted."""

    name: str
    onnx: bytes
    losses: dict[str, float]


def fit(
    inputs: dict[str, Input],
    specs: dict[str, Any],
    target: Target,
    train: tuple[Arrays, np.ndarray],
    validation: tuple[Arrays, np.ndarray],
    seed: int,
) -> Fitted:
    """Fit a linear model, and of a table gradient boosting; the better one on validation is kept, in doubt the linear.

    `train` and `validation` are encoded inputs and labels, `specs` what build/arrays/manifest.json says of the inputs.
    """
    found: dict[str, tuple[float, bytes]] = {}
    graphs = Graph(specs), Graph(specs)
    models = [
        (graphs[0], linear.fit(graphs[0], inputs, target, train, validation)),
        (graphs[1], boosting.fit(graphs[1], inputs, target, train, validation, seed)),
    ]
    for graph, made in models:
        if made is None:
            continue
        logits, name = made
        operator, attributes = ACTIVATIONS[target.activation]
        last = graph.add(operator, logits, **attributes)
        model = graph.written((last, target.output, np.float32), columns=len(target.names))
        outputs = answers(model, validation[0])
        if not np.isfinite(outputs).all():
            raise SlipwayError(f"the classical model ({name}) gives outputs that are not finite")
        found[name] = float(target.loss(outputs, validation[1]).mean()), model
    best = min(found, key=lambda name: found[name][0])
    return Fitted(best, found[best][1], {name: loss for name, (loss, _) in found.items()})


def answers(model: bytes, arrays: Arrays) -> np.ndarray:
    """Return what an ONNX model says of encoded examples, `(n, names)` float32."""
    return ask(model, arrays)[0]
