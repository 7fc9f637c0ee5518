"""What an evaluation measures: examples with their labels and a model's outputs."""

from dataclasses import dataclass, replace

import numpy as np

from components.targets import Decision, Target

Measures = dict[str, np.ndarray]  # metric -> its value for each weighting, `(b,)`, or of each name too, `(b, names)`


@dataclass(frozen=True)
class Examples:
    """The labels of `n` examples, and a model's outputs for them."""

    actual: np.ndarray  # encoded labels, as the target has them
    outputs: np.ndarray  # (n, *target.shape), as the model gives them
    target: Target
    decision: Decision | None = None  # as the target's answers take it
    costs: np.ndarray | None = None  # (names, names), by actual and predicted
    scale: np.ndarray | None = None  # (n, names) in-sample error of the naive forecast, for MASE; NaN where unknown
    deviation: np.ndarray | None = None  # (names,) of the training labels, where they are numbers
    bins: int = 15  # of confidence
    blocks: np.ndarray | None = None  # (n,) numbers of what a bootstrap draws as one; None: every example alone
    copies: np.ndarray | None = None  # (n,) how many examples each of these stands for; None: one

    def take(self, rows: np.ndarray) -> "Examples":
        """Return some of the examples, by number or mask."""
        scale, blocks, copies = (None if own is None else own[rows] for own in (self.scale, self.blocks, self.copies))
        actual, outputs = self.actual[rows], self.outputs[rows]
        return replace(self, actual=actual, outputs=outputs, scale=scale, blocks=blocks, copies=copies)

    def answered(self, outputs: np.ndarray, decision: Decision | None = None) -> "Examples":
        """Return the same examples with the outputs of another model."""
        return replace(self, outputs=outputs, decision=decision)


def rounded(value: float) -> float:
    """Keep eight digits: all that float32 outputs carry, and no noise of the sum's order in a diff."""
    return value if isinstance(value, int) else float(f"{value:.8g}")
