"""The loss of a transcriber, and what is shown beside it; `actual` are codes, `predicted` probabilities in each step.

`actual` is `(n, steps)`: the number of each symbol from 1 on, 0 behind the text. `predicted` is
`(n, steps, names + 1)`, of no symbol first; see components/targets/transcript.py.
"""

from typing import Any

LEAST = 1e-20  # a probability counts as so much at least: with less it would have no gradient
NEVER = -1e30  # the logarithm of the probability of what cannot be


def loss(actual: Any, predicted: Any) -> Any:
    """Return minus the logarithm of the text's probability, `(n,)` (Graves and others 2006, equation 14).

    The forward algorithm (section 4.1), in logarithms: of each state, the symbols with no symbol before, between and
    behind them, how probable all ways are that lead there. Keras's own keeps a square of the states for each step.
    """
    from keras import ops

    codes = ops.cast(actual, "int32")
    steps = predicted.shape[1]
    blanks = ops.zeros_like(codes)
    states = ops.reshape(ops.stack([blanks, codes], axis=2), (-1, 2 * steps))  # and one more blank at the end
    states = ops.pad(states, ((0, 0), (0, 1)))
    before = ops.pad(states[:, :-2], ((0, 0), (2, 0)))
    skips = ops.where(
        (states > 0) & (states != before), 0.0, NEVER
    )  # from a symbol right to the next, which is another
    logs = ops.log(ops.maximum(predicted, LEAST))
    heard = ops.take_along_axis(logs, ops.repeat(states[:, None], steps, axis=1), axis=2)  # (n, steps, states)
    heard = ops.transpose(heard, (1, 0, 2))

    def next_step(ways: Any, here: Any) -> tuple[Any, None]:
        one = ops.pad(ways[:, :-1], ((0, 0), (1, 0)), constant_values=NEVER)
        two = ops.pad(ways[:, :-2], ((0, 0), (2, 0)), constant_values=NEVER) + skips
        return ops.logsumexp(ops.stack([ways, one, two]), axis=0) + here, None

    first = ops.where(ops.arange(2 * steps + 1) < 2, heard[0], NEVER)
    ways, _ = ops.scan(next_step, first, heard[1:])
    ends = 2 * ops.sum(ops.cast(codes > 0, "int32"), axis=1)[:, None]  # the last blank, and the symbol before it
    number = ops.arange(2 * steps + 1)
    return -ops.logsumexp(ops.where((number == ends) | (number == ends - 1), ways, NEVER), axis=1)


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
