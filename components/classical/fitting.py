"""Fit classical models, keep the one that suits validation best, and write it as ONNX."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from components import SlipwayError
from components.classical import boosting, choosing, linear
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
    """Fit a linear model, and of a table gradient boosting; keep the better one on validation, in doubt the linear one.

    `train` and `validation` are encoded inputs and labels, `specs` what build/arrays/manifest.json says of the inputs.
    """
    found: dict[str, tuple[np.ndarray, bytes]] = {}
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
        found[name] = target.loss(outputs, validation[1]), model
    best, *others = found  # from the simplest on
    for name in others:
        if choosing.worth(found[best][0], found[name][0])[-1]:
            best = name
    return Fitted(best, found[best][1], {name: float(losses.mean()) for name, (losses, _) in found.items()})


def answers(model: bytes, arrays: Arrays) -> np.ndarray:
    """Return what an ONNX model says of encoded examples, `(n, names)` float32."""
    return ask(model, arrays)[0]
