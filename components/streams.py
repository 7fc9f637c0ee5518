"""Random numbers: each purpose has a stream of its own, so that no two uses of the seed ever draw the same numbers."""

import hashlib

import numpy as np


def stream(seed: int, purpose: str, *at: int) -> np.random.Generator:
    """Return the generator of a purpose, such as "order", at a place, such as an epoch and a batch.

    The seed sequence is made of 256 bits of SHA-256 of all three. Lists of small numbers would not do: NumPy fills
    them with zeros, so that [1, 2] and [1, 2, 0] are the same stream (numpy.random.SeedSequence, `pool_size`).
    """
    text = "/".join(map(str, (seed, purpose, *at)))
    entropy = int.from_bytes(hashlib.sha256(text.encode()).digest())
    return np.random.default_rng(np.random.SeedSequence(entropy))
