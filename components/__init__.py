"""The stages of the pipeline and what they share; each runs under DVC, Prefect, a test or a notebook alike."""

import difflib
from collections.abc import Iterable


class SlipwayError(Exception):
    """A mistake that the user can fix; its message says what is wrong, where, and what to do."""


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for a name that is not known: the nearest one that is, after `prefix`, else all of them."""
    every = list(known)
    near = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
    return f"did you mean {prefix}{near[0]}?" if near else f"there are: {', '.join(every)}"
