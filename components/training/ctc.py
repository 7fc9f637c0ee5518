"""The loss of a transcriber, and what is shown beside it; `actual` are codes, `predicted` probabilities in each step.

`actual` is `(n, steps)`: the number of each symbol from 1 on, 0 behind the text. `predicted` is
`(n, steps, names + 1)`, of no symbol first; see components/targets/transcript.py.
"""

from typing import Any

LEAST = 1e-20  # a probability counts as so much at least: with less it would have no gradient


def loss(actual: Any, predicted: Any) -> Any:
    """Return minus the logarithm of the text's probability, `(n,)` (Graves and others 2006, equation 14)."""
    from keras import ops

    labels = ops.cast(actual, "int32")
    lengths = ops.sum(ops.cast(labels > 0, "int32"), axis=1)
    steps = ops.full_like(lengths, predicted.shape[1])
    return ops.ctc_loss(labels, ops.log(ops.maximum(predicted, LEAST)), lengths, steps, mask_index=0)


def exact(actual: Any, predicted: Any) -> Any:
    """Return which texts are right if the likeliest symbol of each step is taken, `(n,)` float32."""
    from keras import ops

    labels = ops.cast(actual, "int32")
    best = ops.cast(ops.argmax(predicted, axis=2), "int32")
    before = ops.pad(best[:, :-1], ((0, 0), (1, 0)))
    heard = ops.cast((best > 0) & (best != before), "int32")
    place = ops.where(heard > 0, ops.cumsum(heard, axis=1) - 1, -1)  # in the text; no row of one_hot for -1
    moved = ops.one_hot(place, predicted.shape[1], dtype="int32") * best[:, :, None]
    return ops.cast(ops.all(ops.sum(moved, axis=1) == labels, axis=1), "float32")
