"""Which candidate ships: the better one on validation; within the noise the classical model, which costs less."""

from typing import Any

import numpy as np

from components import brief
from components.classical import choosing
from components.targets import Target


def chosen(
    outputs: dict[str, np.ndarray], actual: np.ndarray, target: Target, scores: dict[str, float]
) -> dict[str, Any]:
    """Choose between `network` and `classical` by their outputs `(n, names)` on validation; say what was compared.

    The network has to be better than the classical model by more than one standard error, for it costs more: see
    components/classical/choosing.py. Of classes its answers must be better too: `scores` are those of both, as a
    promotion sees them (none of numbers); likelier probabilities alone are not worth a network.
    """
    losses = {name: target.loss(found, actual) for name, found in outputs.items()}
    better, error, worth = choosing.worth(losses["classical"], losses["network"])
    answers = not scores or scores["network"] > scores["classical"]
    return {
        "shipped": "network" if worth and answers else "classical",
        "losses": {name: float(loss.mean()) for name, loss in losses.items()},
        "scores": scores,
        "better": better,
        "error": error,
    }


def told(found: dict[str, Any]) -> str:
    """Say in a line which candidate ships, and why; `names` is what each is called."""
    names, ships = found["names"], found["shipped"]
    other = "classical" if ships == "network" else "network"
    error = "of unknown error" if found["error"] is None else f"± {found['error']:.2g}"
    losses = f"loss on validation {brief(found['losses'][ships])}, of {names[other]} {brief(found['losses'][other])}"
    text = f"{names[ships]}: {losses}, a difference of {abs(found['better']):.2g} {error}"
    scores = found["scores"]
    both = f"(score {brief(scores['network'])}, of the other {brief(scores['classical'])})" if scores else ""
    if ships == "network":
        return f"{text}: surely better{f', and its answers are better {both}' if scores else ''}"
    if found["error"] is not None and found["better"] > found["error"]:
        why = f"its answers are no better {both}"
    else:
        why = f"it is not {'surely ' if found['better'] > 0 else ''}better"
    return f"{text}; a network is not worth it here: {why}"
