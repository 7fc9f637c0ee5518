"""When the better of two models is worth what it costs more."""

import numpy as np


def worth(simple: np.ndarray, other: np.ndarray) -> tuple[float, float | None, bool]:
    """Compare the losses `(n,)` of a simple model and of another one on the same examples.

    Returns by how much the other one is better, the standard error of that, and whether it is more than one: of two
    that are as good, the simpler one (Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees,
    section 3.4.3, the one-standard-error rule). Of one example nothing is sure: no error.
    """
    apart = simple - other
    better = float(apart.mean())
    if len(apart) < 2:
        return better, None, False
    error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
    return better, error, better > error
