"""The stages of the pipeline and what they share; each runs under DVC, Prefect, a test or a notebook alike."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 20  # names in a message
WHOLE, HUGE = 1e4, 1e15  # sizes of numbers that are written without a point, and with an exponent


class SlipwayError(Exception):
    """A mistake that the user can fix; its message says what is wrong, where, and what to do."""


def near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for a name that is not known: the nearest one that is, after `prefix`; empty if none is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {prefix}{found[0]}?" if found else ""


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for a name that is not known: as `near` does, else all that there are."""
    every = list(known)
    return near(name, every, prefix) or f"there are: {listed(every)}"


def listed(names: Iterable[str], most: int = MAX_LISTED) -> str:
    """Return names in a line; of many, the first and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")


def brief(value: float, sign: str = "") -> str:
    """Write a number with four significant digits, as people do: 0.7553, 46,740, with `sign` "+" +46,740.

    An exponent comes only below 0.0001, and from HUGE on.
    """
    rounded = float(f"{value:.4g}")
    return f"{rounded:{sign},.0f}" if WHOLE <= abs(rounded) < HUGE else f"{value:{sign}.4g}"
